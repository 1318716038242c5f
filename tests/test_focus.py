"""Which pixels must be sharp."""

import math

import pytest
import torch

from bokehlib.evaluation.focus import in_focus_mask, under_near_blur_mask
from bokehlib.optics import Lens, circle_of_confusion


def _definition(disparity, lens):
    """In focus and clear, in focus and covered: one pair of pixels at a time."""
    radius = circle_of_confusion(disparity, lens)[0, 0].tolist()
    values = disparity[0, 0].tolist()
    pixels = [(y, x) for y in range(len(values)) for x in range(len(values[0]))]
    clear, under = torch.zeros_like(disparity, dtype=bool), torch.zeros_like(disparity, dtype=bool)
    for y, x in pixels:
        covered = any(
            values[j][i] > values[y][x] and math.hypot(j - y, i - x) <= radius[j][i]
            for j, i in pixels
        )
        if radius[y][x] < 0.5:
            (under if covered else clear)[0, 0, y, x] = True
    return clear, under


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (14, 3), (17, 19)])
@pytest.mark.parametrize("aperture", [0.0, 0.7, 3.0, 11.0, 60.0])
@pytest.mark.parametrize("focus", [0.0, 0.45, 0.95])
def test_the_masks_are_those_of_the_definition(size, aperture, focus):
    disparity = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(3)).double()
    disparity = torch.where(disparity < 0.7, 0.45, disparity)  # enough in focus
    lens = Lens(focus, aperture)
    clear, under = _definition(disparity, lens)
    assert torch.equal(in_focus_mask(disparity, lens), clear)
    assert torch.equal(under_near_blur_mask(disparity, lens), under)


def test_a_near_point_covers_its_disc_up_to_the_rim():
    disparity = torch.full((1, 1, 31, 31), 0.25)
    disparity[..., 15, 15] = 0.75
    under = under_near_blur_mask(disparity, Lens(0.25, 10.0))[0, 0]  # radius 5 px
    y, x = torch.meshgrid(torch.arange(31) - 15, torch.arange(31) - 15, indexing="ij")
    disc = y**2 + x**2 <= 25  # holds (3, 4) and (5, 0), exactly on the rim
    disc[15, 15] = False  # the point itself is not in focus
    assert torch.equal(under, disc)


def test_what_is_behind_covers_nothing():
    disparity = torch.full((1, 1, 31, 31), 0.75)
    disparity[..., 10:20, 10:20] = 0.25
    lens = Lens(0.75, 10.0)
    assert torch.equal(in_focus_mask(disparity, lens), disparity == 0.75)
    assert not under_near_blur_mask(disparity, lens).any()


def test_a_closed_aperture_leaves_all_in_focus():
    disparity = torch.rand(1, 1, 12, 9)
    assert in_focus_mask(disparity, Lens(0.4, 0.0)).all()


def test_every_picture_of_a_batch_has_its_own_lens():
    disparity = torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    disparity[:, :, 5:15] = 0.4
    together = under_near_blur_mask(disparity, Lens(torch.tensor([0.4, 0.4]), torch.tensor([2, 9])))
    assert torch.equal(together[:1], under_near_blur_mask(disparity[:1], Lens(0.4, 2.0)))
    assert torch.equal(together[1:], under_near_blur_mask(disparity[1:], Lens(0.4, 9.0)))
    assert not torch.equal(together[0], together[1])
