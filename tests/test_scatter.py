"""The classical scatter renderer as a method of the study."""

import math

import pytest
import torch

from bokehlib.classical import scattering
from bokehlib.methods import load
from bokehlib.optics import Lens


def _scene(height, width):
    return torch.rand(1, 3, height, width), torch.rand(1, 1, height, width)


def test_gamma_is_an_option_of_the_method_and_has_a_range():
    image, disparity = _scene(10, 10)
    lens = Lens(0.4, 6.0)
    usual = scattering.scatter(image, disparity, lens)
    assert torch.equal(load("scatter", "cpu")(image, disparity, lens), usual)
    bright = load("scatter", "cpu", gamma=5)(image, disparity, lens)
    assert bright.mean() > usual.mean() + 0.01
    for gamma in (0.9, 5.1, math.nan):
        with pytest.raises(ValueError, match=r"gamma: found .*accepted: 1 to 5"):
            load("scatter", "cpu", gamma=gamma)


def test_loading_it_compiles_it():
    scattering.compiled.cache_clear()
    load("scatter", "cpu")
    assert scattering.compiled.cache_info().currsize == 1


@pytest.mark.gpu
def test_on_a_gpu_it_is_computed_by_its_definition_too():
    image, disparity = _scene(30, 20)
    lens = Lens(0.4, 6.0)
    found = load("scatter", "cuda")(image.cuda(), disparity.cuda(), lens)
    assert found.is_cuda
    assert torch.equal(found.cpu(), scattering.scatter(image, disparity, lens))
