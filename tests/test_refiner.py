"""Refining disparity: what it may never change, and that it helps where outlines are wrong."""

import pytest
import torch
from safetensors.torch import load_file

from bokehlib import refiner, train_refiner
from bokehlib.datasets import load_dataset
from bokehlib.disturb import disturb
from bokehlib.loop import Schedule
from bokehlib.optics import Lens
from bokehlib.synthesis import Batch


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


def test_every_pixel_takes_a_mixture_of_its_neighbours_within_9_px(trained):
    image, disparity = scene()
    reach = 2 * max(refiner.RINGS) + 1
    high = torch.nn.functional.max_pool2d(disparity, reach, 1, reach // 2)
    low = -torch.nn.functional.max_pool2d(-disparity, reach, 1, reach // 2)
    refined = trained(image, disparity)
    assert not torch.equal(refined, disparity)
    assert (refined <= high + 1e-6).all()
    assert (refined >= low - 1e-6).all()


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
        assert moved < 0.02


# --- Training ----------------------------------------------------------------------------------


def test_the_loss_is_zero_where_all_weight_is_on_right_neighbours_and_large_elsewhere():
    truth = torch.zeros(1, 1, 24, 24)
    truth[..., 12:] = 1.0
    wrong = torch.zeros(1, 1, 24, 24)
    wrong[..., 8:] = 1.0  # dilated by 4 px to the left
    there = torch.stack([n[:, 0] for n in refiner.neighbours(wrong)], dim=1)
    right = ((there - truth).abs() < 0.01).float()
    right /= right.sum(dim=1, keepdim=True)
    stays = torch.zeros_like(right)
    stays[:, 0] = 1.0
    assert abs(train_refiner.choice_loss(right, wrong, truth)) < 0.01
    share = 4 / 24  # of the columns are wrong
    expected = -share * torch.tensor(train_refiner.FLOOR).log()
    found = train_refiner.choice_loss(stays, wrong, truth)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_training_in_two_slices_is_training_in_one(tmp_path):
    def batch(step):
        draw = torch.Generator().manual_seed(step)
        image = torch.rand(4, 3, 32, 32, generator=draw)
        disparity = torch.rand(4, 1, 4, 4, generator=draw).repeat_interleave(8, 2)
        disparity = disparity.repeat_interleave(8, 3)
        return Batch(image, disparity, image, Lens(torch.zeros(4), torch.ones(4)))

    schedule = Schedule(steps=4, learning_rate=1e-3)
    whole = train_refiner.train(batch, schedule, tmp_path / "one")
    train_refiner.train(batch, schedule, tmp_path / "two", slice_steps=2)
    halves = train_refiner.train(batch, schedule, tmp_path / "two")
    assert whole.keys() == refiner.Refiner().state_dict().keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    stored = load_file(tmp_path / "one" / refiner.WEIGHTS)
    assert torch.equal(stored["stem.bias"], whole["stem.bias"].half())
