"""BokehMe's dilated defocus as a Triton kernel is that of the CPU: on a GPU, or interpreted."""

import pytest
import torch
from interpreted import DEVICE, LAWS, all_laws_hold, few_programs, law, only_once

from bokehlib.baselines import bokehme_classical
from bokehlib.baselines.bokehme_classical import dilated

pytestmark = LAWS


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch):
    few_programs(monkeypatch, "bokehlib.baselines.bokehme_kernel")


def kernel(defocus):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bokehme_classical, "_by_kernel", lambda defocus: True)
        return dilated(defocus.to(DEVICE)).cpu()


@law
@pytest.mark.parametrize("size", [(1, 1), (1, 45), (9, 33)], ids=str)
def test_the_largest_defocus_that_covers_a_pixel_is_found(size):
    defocus = 8 * torch.rand(2, 1, *size) - 4
    defocus[1] *= 0.3  # each picture has its own reach
    found = kernel(defocus)
    assert torch.equal(found, dilated(defocus))
    assert not torch.equal(found, defocus.trunc()) or size == (1, 1)


@law
def test_a_disc_is_closed_and_what_is_behind_the_focus_gives_way():
    defocus = torch.full((1, 1, 9, 40), -2.0)
    defocus[..., 4, 20] = 5.0  # 3, 4, 5
    found = kernel(defocus)[0, 0]
    assert found[4, 15] == found[8, 23] == found[4, 25] == 5  # 5 px away
    assert found[4, 14] == found[8, 24] == -2


@law
def test_a_radius_without_bounds_covers_the_picture():
    defocus = torch.zeros(1, 1, 5, 7)
    defocus[..., 0, 0] = 1e12
    assert torch.equal(kernel(defocus), torch.full_like(defocus, 1e12))


@only_once
def test_all_laws_hold_in_the_interpreter():
    all_laws_hold(__file__)
