"""Refining disparity: what it may never change, and that it helps where outlines are wrong."""

import math

import pytest
import torch
from safetensors.torch import load_file

from bokehlib.bokehdiff import refiner
from bokehlib.data.datasets import load_dataset
from bokehlib.data.perturb import disturb
from bokehlib.synthesis import Layers, lit
from bokehlib.synthesis.shading import BRIGHTEST, REACHES, bulge, highlight, shading
from bokehlib.training import refiner as train_refiner
from bokehlib.training.loop import Schedule


@pytest.fixture(scope="module")
def trained():
    return refiner.load()


@pytest.fixture(scope="module")
def samples():
    return [s for s in load_dataset("synbokeh-mini") if s.blur == 0][:6]


def scene(height=40, width=56):
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=draw)
    return image, torch.rand(1, 1, height, width, generator=draw)


def test_a_constant_map_stays_exactly_as_it_is(trained):
    image, _ = scene()
    flat = torch.full((1, 1, 40, 56), 0.37)
    assert torch.equal(trained(image, flat), flat)


def test_every_pixel_takes_the_disparity_of_the_neighbour_that_weighs_most(trained, samples):
    image, disparity = samples[0].image, disturb(samples[0].disparity, 4)
    refined = trained(image, disparity)
    assert not torch.equal(refined, disparity)
    there = torch.cat([*refiner.neighbours(disparity)], dim=1)
    heaviest = trained.weights(image, disparity).argmax(dim=1, keepdim=True)
    assert torch.equal(refined, there.gather(1, heaviest))


def test_the_offsets_are_all_different_and_lie_in_opposite_pairs():
    assert refiner.OFFSETS[0] == (0, 0)
    assert len(set(refiner.OFFSETS)) == len(refiner.OFFSETS) == 1 + 8 * len(refiner.RINGS)
    assert {(-y, -x) for y, x in refiner.OFFSETS} == set(refiner.OFFSETS)


def test_a_neighbour_is_what_stands_at_its_offset():
    _, disparity = scene()
    for (y, x), there in zip(refiner.OFFSETS, refiner.neighbours(disparity), strict=True):
        assert there[0, 0, 20, 25] == disparity[0, 0, 20 + y, 25 + x]


def test_a_picture_of_any_size_is_taken(trained):
    image, disparity = scene(33, 47)
    assert trained(image, disparity).shape == disparity.shape


@pytest.mark.parametrize("radius", [-4, 4])
def test_outlines_that_are_wrong_by_4_px_come_nearer_to_the_truth(trained, samples, radius):
    before = after = 0.0
    for sample in samples:
        wrong = disturb(sample.disparity, radius)
        refined = trained(sample.image, wrong)
        before += float((wrong - sample.disparity).abs().mean())
        after += float((refined - sample.disparity).abs().mean())
    assert after < 0.95 * before


def test_a_right_map_hardly_changes(trained, samples):
    for sample in samples:
        moved = (trained(sample.image, sample.disparity) - sample.disparity).abs().mean()
        assert moved < 0.002


def test_wires_lit_from_one_side_stay_as_thick_as_a_right_map_has_them(trained):
    sample = next(s for s in load_dataset("rendered") if s.name == "fence")
    moved = (trained(sample.image, sample.disparity) - sample.disparity).abs() > 0.1
    assert moved.float().mean() < 0.005  # an earlier one took half of the wire away


# --- Training ----------------------------------------------------------------------------------


def test_the_loss_is_least_where_right_pixels_stay_and_wrong_ones_take_right_neighbours():
    truth = torch.zeros(1, 1, 24, 24)
    truth[..., 12:] = 1.0
    wrong = torch.zeros(1, 1, 24, 24)
    wrong[..., 8:] = 1.0  # dilated by 4 px to the left
    there = torch.stack([n[:, 0] for n in refiner.neighbours(wrong)], dim=1)
    right = ((there - truth).abs() < 0.01).float()
    anyone = right / right.sum(dim=1, keepdim=True)
    stays = torch.zeros_like(right)
    stays[:, 0] = 1.0
    best = torch.where(right[:, :1] > 0, stays, anyone)
    share = 4 / 24  # of the columns are wrong
    loss = {
        name: float(train_refiner.choice_loss(weights, wrong, truth))
        for name, weights in (("best", best), ("anyone", anyone), ("stays", stays))
    }
    others = math.log(train_refiner.OTHERS)
    assert loss["best"] == pytest.approx(-share * others, abs=0.01)
    assert loss["anyone"] > loss["best"] + 0.1
    assert loss["stays"] == pytest.approx(-share * math.log(train_refiner.FLOOR), rel=0.02)


def test_training_in_two_slices_is_training_in_one(tmp_path):
    def scenes(step):
        draw = torch.Generator().manual_seed(step)
        image = torch.rand(4, 3, 32, 32, generator=draw)
        disparity = torch.rand(4, 1, 4, 4, generator=draw).repeat_interleave(8, 2)
        return image, disparity.repeat_interleave(8, 3)

    schedule = Schedule(steps=4, learning_rate=1e-3)
    whole = train_refiner.train(scenes, schedule, tmp_path / "one")
    train_refiner.train(scenes, schedule, tmp_path / "two", slice_steps=2)
    halves = train_refiner.train(scenes, schedule, tmp_path / "two")
    assert whole.keys() == refiner.Refiner().state_dict().keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    stored = load_file(tmp_path / "one" / refiner.WEIGHTS)
    assert torch.equal(stored["stem.bias"], whole["stem.bias"].half())


# --- Relief ------------------------------------------------------------------------------------


def bar():
    alpha = torch.zeros(1, 1, 24, 40)
    alpha[..., 12:28] = 1.0
    return alpha


def numbers(*values):
    return [torch.tensor([float(value)]) for value in values]


def shade(alpha, steepness, azimuth, height, reach=1):
    slopes = bulge(alpha, *numbers(steepness), torch.tensor([reach]))
    return shading(*slopes, *numbers(azimuth, height))


def test_a_flat_surface_and_the_middle_of_a_wide_one_keep_their_light():
    assert torch.equal(shade(bar(), 0, 1, 1), torch.ones(1, 1, 24, 40))
    middle = shade(bar(), 3, 1, 0.5)[..., 18:22]
    torch.testing.assert_close(middle, torch.ones_like(middle))


def test_the_side_towards_the_light_is_brighter_and_light_from_the_front_darkens_both_rims_alike():
    left, right = (shade(bar(), 1, 0, 0.7)[0, 0, 12, x] for x in (12, 27))
    assert left < 0.9
    assert right > 1.1
    front = shade(bar(), 1, 0, math.pi / 2)[0, 0, 12]
    torch.testing.assert_close(front, front.flip(0))
    assert front[12] < 0.9
    upright, lying = shade(bar(), 2, 0.3, 0.6), shade(bar().mT, 2, math.pi / 2 - 0.3, 0.6)
    torch.testing.assert_close(upright, lying.mT)


def test_a_surface_bulges_as_far_from_its_rim_as_its_reach():
    for chosen, pixels in enumerate(REACHES[:3]):
        changed = (shade(bar(), 1, 0, 1, chosen)[0, 0, 12] - 1).abs() > 1e-4
        assert changed[12:20].sum() == min(2 * pixels + 1, 8)


def test_a_highlight_is_brightest_where_the_surface_mirrors_the_light_into_the_eye():
    height, exponent = 0.7, 16
    slope = torch.linspace(-3, 3, 601).view(1, 1, 1, -1)
    shine = highlight(0 * slope, slope, *numbers(0, height, exponent))[0, 0, 0]
    # The normal leans half as far from upright as the light does.
    leaning = (math.pi / 2 - height) / 2
    assert float(slope[..., shine.argmax()]) == pytest.approx(-math.tan(leaning), abs=0.01)
    assert float(shine.max()) == pytest.approx(1, abs=1e-3)
    assert float(shine[300]) == pytest.approx(math.cos(leaning) ** exponent, rel=1e-3)
    turned = highlight(slope, 0 * slope, *numbers(math.pi / 2, height, exponent))[0, 0, 0]
    torch.testing.assert_close(turned, shine)


def test_half_of_the_foregrounds_are_lit_and_nothing_else_changes():
    draw = torch.Generator().manual_seed(0)
    alpha = bar().expand(64, 2, -1, -1).clone()
    alpha[:, 0] = 1.0
    textures = torch.cat([0.4 * alpha[:, :, None].expand(-1, -1, 3, -1, -1), alpha[:, :, None]], 2)
    layers = Layers(textures, torch.zeros(64, 2, 3), (24, 40))
    made = lit(layers, draw)
    assert torch.equal(made.textures[:, :, 3], textures[:, :, 3])
    assert torch.equal(made.textures[:, 0], textures[:, 0])
    assert made.planes is layers.planes
    changed = (made.textures != textures).flatten(1).any(1)
    assert 20 <= changed.sum() <= 44
    assert (made.textures[:, :, :3] <= textures[:, :, 3:]).all()
    most = made.textures[:, 1, :3].flatten(1).amax(1)
    assert 0.4 * BRIGHTEST < most.max() <= 1  # highlights come on top of what the texture gives
    assert 0.3 < (most > 0.4).float().mean() < 0.7
