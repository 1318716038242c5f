"""Dr.Bokeh: its gather against the published one, its layers, and what it does to pictures."""

import numpy as np
import pytest
import torch

from bokehlib.baselines import drbokeh
from bokehlib.baselines.inpainting import Inpainter
from bokehlib.methods import load
from bokehlib.optics import Lens

pytest.importorskip("cv2")


def two_planes(side=48, near=0.8, far=0.2):
    """A textured square before a textured background."""
    image = torch.rand(1, 3, side, side)
    disparity = torch.full((1, 1, side, side), far)
    disparity[..., side // 4 : -side // 4, side // 4 : -side // 4] = near
    return image, disparity


@pytest.mark.parametrize(("window", "aperture"), [(13, 9), (9, 4)])
def test_a_layer_gathers_what_the_published_program_gathers(shared, window, aperture):
    reference = np.load(shared / "reference" / "drbokeh_layer.npz")
    wanted = torch.from_numpy(reference[f"lens{window}_K{aperture}"])
    found = drbokeh.gather(torch.from_numpy(reference["x"]), aperture, window)
    assert ((found - wanted).abs() / (wanted.abs() + 1e-12)).max() < 1e-5


def test_the_gather_is_its_formula_for_one_centre():
    layer = torch.rand(1, 5, 9, 9, dtype=torch.float64)
    layer[:, 4] -= 0.5
    aperture, centre = 3.0, layer[0, 4, 4, 4]
    total = 0.0
    for y in range(9):
        for x in range(9):
            distance = np.hypot(y - 4, x - 4)
            if distance >= 4:
                continue
            *_, alpha, depth = layer[0, :, y, x]
            radius = aperture * abs(depth) + 1
            step = 0.1 / (0.1 + torch.exp(-3 * (radius - distance)))
            blurred = 1 - torch.exp(-3 * (aperture * centre) ** 2)
            seen = blurred + (1 - blurred) * (0.5 + torch.tanh(10 * (depth - centre - 0.1)) / 2)
            total += step * alpha / radius**2 * (seen if distance else 1)
    assert drbokeh.gather(layer, aperture, 9)[0, 3, 4, 4] == pytest.approx(float(total), rel=1e-6)


def test_a_closed_aperture_returns_the_photo_bit_for_bit():
    image, disparity = two_planes()
    assert torch.equal(load("drbokeh", "cpu")(image, disparity, Lens(0.2, 0.0)), image)


def test_what_is_in_focus_before_blur_stays_sharp_to_its_edge():
    image, disparity = two_planes()
    image[...] = image.mean((2, 3), keepdim=True)
    image[..., 12:-12, 12:-12] = torch.rand(1, 3, 24, 24)
    sharp, blurred = (
        (load("drbokeh", "cpu")(image, disparity, Lens(focus, 20.0)) ** 2.2 - image**2.2).abs()
        for focus in (0.8, 0.2)
    )
    # The soft step leaves 1.6 % of each of four neighbours in a pixel.
    assert sharp[..., 16:-16, 16:-16].max() < 0.07
    assert blurred[..., 16:-16, 16:-16].max() > 0.5


def test_light_from_behind_does_not_run_over_a_sharp_foreground():
    _, disparity = two_planes()
    image = torch.ones(1, 3, 48, 48)
    image[..., 12:-12, 12:-12] = 0.1
    lens = Lens(0.8, 20.0)
    found = load("drbokeh", "cpu")(image, disparity, lens)
    leaked = load("scatter", "cpu")(image, disparity, lens)
    assert found[..., 15:-15, 15:-15].max() < 0.12
    assert leaked[..., 15:-15, 15:-15].max() > 0.2


def test_the_matte_parts_near_from_far_and_a_given_one_is_used_instead():
    image, disparity = two_planes()
    matte = drbokeh.matte(disparity)
    assert matte[..., 14:-14, 14:-14].min() == 1
    assert matte[..., :10].max() == 0
    nothing = torch.zeros_like(disparity)
    made = load("drbokeh", "cpu")(image, disparity, Lens(0.2, 14.0))
    given = load("drbokeh", "cpu", mask=nothing)(image, disparity, Lens(0.2, 14.0))
    assert (made - given).abs().max() > 0.1
    same = load("drbokeh", "cpu", mask=matte)(image, disparity, Lens(0.2, 14.0))
    assert (made - same).abs().max() < 1e-3


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_map_of_any_disparity_gives_a_picture(value):
    image = torch.rand(1, 3, 20, 31)
    found = load("drbokeh", "cpu")(image, torch.full((1, 1, 20, 31), value), Lens(0.3, 9.0))
    assert found.isfinite().all()
    assert (found.mean() - image.mean()).abs() < 0.1


def test_each_picture_of_a_batch_has_its_own_lens_and_twice_is_the_same():
    pairs = [two_planes(32), two_planes(32, 0.6)]
    image, disparity = (torch.cat(x) for x in zip(*pairs, strict=True))
    lens = Lens(torch.tensor([0.2, 0.6]), torch.tensor([0.0, 12.0]))
    together = load("drbokeh", "cpu")(image, disparity, lens)
    alone = load("drbokeh", "cpu")(image[1:], disparity[1:], Lens(0.6, 12.0))
    assert torch.equal(together[:1], image[:1])
    assert (together[1:] - alone).abs().max() < 1e-6
    assert torch.equal(together, load("drbokeh", "cpu")(image, disparity, lens))


# --- Painting --------------------------------------------------------------------------------


def test_opencv_paints_the_hole_alone_and_within_what_is_around_it(monkeypatch, tmp_path):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    picture = 0.4 + 0.2 * torch.rand(1, 3, 40, 50)
    hole = torch.zeros(1, 1, 40, 50, dtype=torch.bool)
    hole[..., 10:30, 15:35] = True
    spoiled = torch.where(hole, torch.ones(()), picture)
    found = Inpainter()(spoiled, hole)
    inside = found[hole.expand_as(found)]
    assert torch.equal(found[~hole.expand_as(found)], picture[~hole.expand_as(found)])
    assert 0.35 < inside.min() <= inside.max() < 0.65


def test_lama_paints_where_the_user_has_it(monkeypatch, tmp_path):
    class Red(torch.nn.Module):
        def forward(self, picture, mask):
            return torch.cat((mask, 0 * mask, 0 * mask), dim=1)

    torch.jit.trace(Red(), (torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8))).save(
        str(tmp_path / "big-lama.pt")
    )
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    hole = torch.zeros(1, 1, 11, 13, dtype=torch.bool)
    hole[..., 3:5, 3:5] = True
    painted = Inpainter()(torch.full((1, 3, 11, 13), 0.5), hole)
    assert painted[0, :, 4, 4].tolist() == [1, 0, 0]
    assert (painted[0, :, 0, 0] == 0.5).all()
