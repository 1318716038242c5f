"""Wrong disparity maps."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from bokehlib.data.perturb import (
    DISTURBANCES,
    coarse,
    disturb,
    grow,
    random_disturbance,
    smoothed,
    warped,
    without_strands,
)

SIZES = [(1, 1), (2, 31), (17, 3), (40, 33)]


def _random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def kernel(radius):
    """OpenCV's MORPH_ELLIPSE as booleans (2 radius + 1, 2 radius + 1)."""
    steps = np.arange(-radius, radius + 1)
    half_width = np.rint(np.sqrt(radius**2 - steps**2))  # of each row
    return np.abs(steps) <= half_width[:, None]


def by_scipy(disparity, radius):
    """Dilation and erosion by the kernel, worked out independently."""
    extreme, outside = (
        (ndimage.maximum_filter, -math.inf) if radius > 0 else (ndimage.minimum_filter, math.inf)
    )
    footprint = kernel(abs(radius))[None, None]
    result = extreme(disparity.numpy(), footprint=footprint, mode="constant", cval=outside)
    return torch.from_numpy(result)


def test_the_kernel_is_opencvs_ellipse():
    expected = ["..#..", "#####", "#####", "#####", "..#.."]  # as in its documentation
    rows = ["".join(".#"[int(cell)] for cell in row) for row in kernel(2)]
    assert rows == expected
    assert kernel(8).shape == (17, 17)


@pytest.mark.parametrize("radius", [1, 2, 5, 30])
def test_a_near_point_grows_to_the_kernel(radius):
    disparity = torch.zeros(1, 1, 70, 65)
    disparity[0, 0, 33, 32] = 1
    grown = np.zeros((70, 65))
    window = np.s_[33 - radius : 34 + radius, 32 - radius : 33 + radius]
    grown[window] = kernel(radius)
    assert np.array_equal(disturb(disparity, radius)[0, 0].numpy(), grown)
    assert disturb(disparity, -radius).sum() == 0


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_eroding_what_is_near_is_dilating_what_is_far(radius):
    disparity = _random(2, 1, 21, 34)
    far = 1 - disparity
    dual = 1 - disturb(far, radius)
    assert (disturb(disparity, -radius) - dual).abs().max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [-8, -4, -2, -1, 0, 1, 2, 3, 4, 8])
def test_growing_is_the_same_as_with_scipy_bit_for_bit(size, radius):
    disparity = _random(2, 1, *size)
    assert torch.equal(disturb(disparity, radius), by_scipy(disparity, radius))


def test_every_sample_of_a_batch_grows_by_its_own_radius():
    disparity = _random(5, 1, 23, 19)
    radii = [3, -4, 0, 1, -2]
    grown = grow(disparity, torch.tensor(radii), 4)
    for one, alone, radius in zip(grown, disparity, radii, strict=True):
        assert torch.equal(one, by_scipy(alone[None], radius)[0])


def test_random_disturbances_stay_within_the_largest_and_come_back_from_the_seed():
    disparity = _random(1, 1, 24, 24).expand(400, -1, -1, -1)

    def draw(seed, largest=4.0):
        return random_disturbance(disparity, torch.Generator().manual_seed(seed), largest)

    first = draw(0)
    assert torch.equal(first, draw(0))
    assert not torch.equal(first, draw(1))
    counts = {}
    for radius in range(-4, 5):
        wrong = by_scipy(disparity[:1], radius)
        counts[radius] = int((first == wrong).all(dim=(1, 2, 3)).sum())
    assert sum(counts.values()) == 400  # each is a whole radius of the measured kind
    assert all(25 <= counts[radius] <= 80 for radius in range(-3, 4))  # 50 expected
    assert all(8 <= counts[radius] <= 45 for radius in (-4, 4))  # 25 expected
    assert torch.equal(draw(0, 0.4), disparity)


@pytest.mark.parametrize("name", DISTURBANCES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_disturbed_map_is_a_disparity_map_like_the_true_one(name, size, dtype):
    disparity = _random(2, 1, *size).to(dtype)
    before = disparity.clone()
    wrong = disturb(disparity, name)
    assert (wrong.shape, wrong.dtype) == (disparity.shape, dtype)
    assert disparity.amin() - 1e-6 <= wrong.amin()
    assert wrong.amax() <= disparity.amax() + 1e-6
    assert torch.equal(disparity, before)
    assert torch.equal(wrong, disturb(disparity, name))
    assert torch.allclose(wrong[:1], disturb(disparity[:1], name), atol=1e-6)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_flat_map_stays_flat(name):
    flat = torch.full((1, 1, 20, 30), 0.3)
    assert (disturb(flat, name) - flat).abs().max() < 1e-6


@pytest.mark.parametrize("name", DISTURBANCES)
def test_every_disturbance_changes_a_strand_in_front_of_a_wall(name):
    disparity = torch.full((1, 1, 40, 40), 0.2)
    disparity[..., 19:21] = 0.9
    disparity[..., :4, :4] = 0.5  # so that the strand is not the only value between the ends
    assert (disturb(disparity, name) - disparity).abs().max() > 0.02


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("level", [False, True])
def test_strands_vanish_and_what_carries_them_stays_to_its_corners(width, level):
    head = torch.full((1, 1, 60, 60), 0.1)
    head[..., 30:50, 15:45] = 0.8
    hairy = head.clone()
    hairy[..., :30, 28 : 28 + width] = 0.8
    if level:
        head, hairy = head.mT, hairy.mT
    bald = without_strands(hairy)
    assert torch.equal(without_strands(head), head)
    changed = (bald != head).nonzero()
    assert len(changed) <= 3 * width  # the stub
    assert (hairy != head).sum() >= 30 * width


def test_a_band_of_five_pixels_is_no_strand():
    band = torch.full((1, 1, 40, 40), 0.1)
    band[..., 10:15] = 0.8
    assert torch.equal(without_strands(band), band)


def test_a_far_gap_is_no_strand():
    gap = torch.full((1, 1, 40, 40), 0.8)
    gap[..., 20:22] = 0.1
    assert torch.equal(without_strands(gap), gap)


def test_smoothing_is_scipys_gaussian():
    disparity = _random(2, 1, 31, 44).double()
    expected = [ndimage.gaussian_filter(d[0].numpy(), 3.0, mode="nearest") for d in disparity]
    assert np.abs(smoothed(disparity)[:, 0].numpy() - np.stack(expected)).max() < 1e-6


def test_a_coarse_map_keeps_the_mean_of_each_eight_pixels_and_no_finer_detail():
    disparity = _random(1, 1, 64, 96)
    checks = disparity + 0.2 * ((torch.arange(96) + torch.arange(64)[:, None]) % 2 - 0.5)
    assert (coarse(disparity) - coarse(checks)).abs().max() < 1e-6
    ramp = torch.linspace(0, 1, 96).expand(1, 1, 64, 96)
    assert (coarse(ramp) - ramp)[..., 4:-4].abs().max() < 1e-6


def test_the_warp_bends_between_the_ends_of_each_map():
    disparity = torch.stack([0.2 + 0.5 * _random(1, 9, 9), _random(1, 9, 9)])
    disparity[:, 0, 0, 0], disparity[0, 0, 4, 4] = disparity.amin(dim=(1, 2, 3)), 0.45
    bent = warped(disparity)
    assert torch.allclose(bent.amin(dim=(1, 2, 3)), disparity.amin(dim=(1, 2, 3)))
    assert torch.allclose(bent.amax(dim=(1, 2, 3)), disparity.amax(dim=(1, 2, 3)))
    low, high = float(disparity[0].min()), float(disparity[0].max())
    middle = low + (high - low) * ((0.45 - low) / (high - low)) ** 1.5
    assert math.isclose(float(bent[0, 0, 4, 4]), middle, rel_tol=1e-5)
    order = disparity[0].flatten().argsort()
    assert (bent[0].flatten()[order].diff() >= 0).all()
