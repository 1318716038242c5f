"""The classical scatter render against the published kernel, one light and pixel at a time."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from bokehlib.classical import scattering
from bokehlib.classical.scattering import scatter
from bokehlib.optics import Lens


def _scene(height, width, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=generator, dtype=dtype)
    return image, torch.rand(1, 1, height, width, generator=generator, dtype=dtype)


def _definition(image, disparity, lens, gamma):
    """The kernel as published, one light and one pixel at a time."""
    light = image[0].numpy() ** gamma
    height, width = light.shape[1:]
    total, weight = np.zeros_like(light), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            radius = lens.aperture * abs(float(disparity[0, 0, y, x]) - lens.focus)
            reach = int(radius) + 1
            for j in range(max(y - reach, 0), min(y + reach + 1, height)):
                for i in range(max(x - reach, 0), min(x + reach + 1, width)):
                    distance = math.hypot(j - y, i - x)
                    w = (0.5 + 0.5 * math.tanh(4 * (radius - distance))) / (radius**2 + 0.2)
                    total[:, j, i] += w * light[:, y, x]
                    weight[j, i] += w
    return torch.from_numpy((total / weight) ** (1 / gamma))[None]


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (9, 13), (17, 5)])
@pytest.mark.parametrize("aperture", [0.5, 4.0, 40.0])
@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_the_kernel_is_the_published_one(size, aperture, gamma):
    image, disparity = _scene(*size)
    lens = Lens(0.4, aperture)
    error = scatter(image, disparity, lens, gamma) - _definition(image, disparity, lens, gamma)
    assert error.abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_closed_aperture_returns_the_input_bit_for_bit(dtype):
    image, disparity = _scene(12, 9, dtype=dtype)
    assert torch.equal(scatter(image, disparity, Lens(0.4, 0.0)), image)


def test_a_point_of_light_spreads_over_its_disc_and_no_further():
    image = torch.zeros(1, 3, 41, 41, dtype=torch.float64)
    image[..., 20, 20] = 1
    disc = scatter(image, torch.ones(1, 1, 41, 41), Lens(0.0, 8.0))[0, 0]
    y, x = torch.meshgrid(torch.arange(41) - 20, torch.arange(41) - 20, indexing="ij")
    distance = torch.hypot(y.double(), x.double())
    assert disc[distance < 7].min() > 0.95 * disc[20, 20] > 0
    assert disc[(y.abs() > 9) | (x.abs() > 9)].abs().max() == 0


def test_inside_a_flat_scene_light_is_neither_lost_nor_made():
    light = torch.zeros(1, 3, 61, 61, dtype=torch.float64)
    light[:, :, 24:37, 24:37] = _scene(13, 13)[0]  # 24 px to the border, beyond two radii
    blurred = scatter(light ** (1 / 2.2), torch.ones(1, 1, 61, 61), Lens(0.0, 9.0)) ** 2.2
    assert torch.allclose(blurred.sum((-1, -2)), light.sum((-1, -2)), rtol=1e-9)


def test_a_constant_picture_stays_constant():
    disparity = _scene(20, 30)[1]
    blurred = scatter(torch.full((1, 3, 20, 30), 0.37), disparity, Lens(0.5, 12.0))
    assert (blurred - 0.37).abs().max() < 1e-6


def test_what_is_in_focus_is_sharp():
    image, disparity = _scene(20, 30)
    sharp = scatter(image, torch.full_like(disparity, 0.4), Lens(0.4, 30.0)) ** 2.2
    assert (sharp - image**2.2).abs().max() < 0.01  # four neighbours of weight tanh(-4) remain
    assert (scatter(image, disparity, Lens(0.4, 30.0)) ** 2.2 - image**2.2).abs().max() > 0.3


def test_a_transposed_scene_gives_the_transposed_picture():
    image, disparity = _scene(14, 23)
    straight = scatter(image, disparity, Lens(0.4, 9.0))
    turned = scatter(image.mT, disparity.mT, Lens(0.4, 9.0))
    assert (turned.mT - straight).abs().max() < 1e-12


def test_the_number_of_threads_does_not_change_a_bit():
    image, disparity = _scene(67, 50)
    pictures = [scatter(image, disparity, Lens(0.4, 15.0), threads=n) for n in (1, 2, 7)]
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


def test_each_picture_of_a_batch_has_its_own_lens():
    image, disparity = (torch.cat(pair) for pair in zip(_scene(9, 8), _scene(9, 8, 1), strict=True))
    lens = Lens(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 7.0]))
    together = scatter(image, disparity, lens)
    assert torch.equal(together[0], image[0])
    alone = scatter(image[1:], disparity[1:], Lens(lens.focus[1:], lens.aperture[1:]))
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-6)


def test_any_finite_aperture_gives_a_picture():
    image, disparity = _scene(6, 7)
    for aperture in (1e-300, 1e6, 1e200):
        blurred = scatter(image, disparity, Lens(0.4, aperture))
        assert blurred.isfinite().all()
        assert 0 <= blurred.min() <= blurred.max() <= 1


def test_it_compiles_where_no_cache_can_be_written(monkeypatch):
    numba = pytest.importorskip("numba")
    njit = numba.njit

    def no_place_for_a_cache(signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(signature, **options)

    monkeypatch.setattr(numba, "njit", no_place_for_a_cache)
    scattering.compiled.cache_clear()
    try:
        image, disparity = _scene(5, 5)
        assert scatter(image, disparity, Lens(0.4, 3.0)).isfinite().all()
    finally:
        scattering.compiled.cache_clear()


def test_half_floats_come_back_as_half_floats():
    image, disparity = _scene(9, 8)
    lens = Lens(0.4, 6.0)
    found = scatter(image.half(), disparity, lens)
    assert found.dtype == torch.float16
    assert (found - scatter(image, disparity, lens)).abs().max() < 1e-3


def test_importing_it_imports_neither_numba_nor_triton():
    heavy = "{'numba', 'triton'} & set(sys.modules)"
    script = f"import bokehlib.classical.scattering, sys; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
