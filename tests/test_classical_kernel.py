"""The classical render as a Triton kernel is that of the CPU: on a GPU, or interpreted."""

import pytest
import torch
from interpreted import DEVICE, LAWS, all_laws_hold, few_programs, law, only_once

from bokehlib.classical import scattering
from bokehlib.optics import Lens

pytestmark = LAWS


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch):
    few_programs(monkeypatch, "bokehlib.classical.scattering_triton")


def scene(height, width, batch=1):
    return torch.rand(batch, 3, height, width), torch.rand(batch, 1, height, width)


def kernel(image, disparity, lens, gamma=2.2):
    """`classical.scatter` by the kernel, whatever the device."""
    image, disparity = image.to(DEVICE), disparity.to(DEVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scattering, "_by_kernel", lambda light: True)
        return scattering.scatter(image, disparity, lens, gamma).cpu()


def hold_to_the_definition(image, disparity, lens, gamma=2.2, atol=1e-4):
    """The law. Returns the picture."""
    found = kernel(image, disparity, lens, gamma)
    expected = scattering.scatter(image, disparity, lens, gamma)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    return found


@law
@pytest.mark.parametrize(
    ("size", "aperture"),
    [
        ((1, 1), 4.0),
        ((1, 45), 8.0),
        ((40, 1), 8.0),
        ((17, 33), 5.0),
        ((5, 7), 60.0),
        ((5, 7), 1e9),
        ((3, 70), 0.5),
    ],
    ids=str,
)
def test_it_renders_what_the_definition_renders(size, aperture):
    image, disparity = scene(*size)
    found = hold_to_the_definition(image, disparity, Lens(0.4, aperture))
    assert (found - image).abs().max() > 0.01 or size == (1, 1)


@law
def test_each_picture_has_its_own_lens_and_a_closed_one_changes_no_bit():
    image, disparity = scene(12, 20, batch=3)
    image[1, 0, 0, 0] = 1.25  # as it is: a closed lens does not clamp either
    lens = Lens(torch.tensor([0.2, 0.5, 0.9]), torch.tensor([3.0, 0.0, 6.0]))
    found = hold_to_the_definition(image, disparity, lens)
    assert torch.equal(found[1], image[1])
    for n in (0, 2):
        alone = Lens(lens.focus[n].item(), lens.aperture[n].item())
        expected = kernel(image[n : n + 1], disparity[n : n + 1], alone)[0]
        torch.testing.assert_close(found[n], expected, rtol=0, atol=1e-6)


@law
def test_sharp_and_blurred_sources_share_a_picture():
    image, disparity = scene(16, 60)
    disparity[..., :40] = 0.4  # radius 0
    disparity[..., 5:8, 50:] = 0.4
    disparity[..., 40:50] = 1.0
    found = hold_to_the_definition(image, disparity, Lens(0.4, 10.0))
    off = (found - image).abs()
    assert off[..., :32].max() < 0.1 < 0.3 < off[..., 40:].max()


@law
@pytest.mark.parametrize("column", [9, 22])
def test_a_lone_disc_is_seen_by_all_pixels_within_it(column):
    image, disparity = torch.zeros(1, 3, 3, 32), torch.zeros(1, 1, 3, 32)
    image[..., 1, column] = disparity[..., 1, column] = 1
    found = hold_to_the_definition(image, disparity, Lens(0.0, 25.0))
    assert found[0, :, 1].min() > 0.01


@law
@pytest.mark.parametrize("radius", [1.0, 2.0, 3.999999])
def test_a_disc_ends_where_that_of_the_definition_ends(radius):
    image = torch.zeros(1, 3, 13, 13)
    image[..., 6, 6] = 1
    found = hold_to_the_definition(image, torch.ones(1, 1, 13, 13), Lens(0.0, radius))
    reach = int(radius) + 1
    lit = (found[0, 0] > 0).nonzero()
    assert (lit.amin(0).tolist(), lit.amax(0).tolist()) == ([6 - reach] * 2, [6 + reach] * 2)


@law
def test_a_constant_picture_stays_constant():
    disparity = scene(9, 35)[1]
    found = kernel(torch.full((1, 3, 9, 35), 0.37), disparity, Lens(0.5, 8.0))
    assert (found - 0.37).abs().max() < 1e-5


@law
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_light_is_linear_in_image_to_the_gamma(gamma):
    image, disparity = scene(8, 16)
    found = hold_to_the_definition(image, disparity, Lens(0.4, 5.0), gamma)
    assert (found - kernel(image, disparity, Lens(0.4, 5.0))).abs().max() > 0.02


@law
@pytest.mark.parametrize(("dtype", "step"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_a_picture_comes_back_in_its_own_precision(dtype, step):
    image, disparity = scene(9, 20)
    found = hold_to_the_definition(image.to(dtype), disparity, Lens(0.4, 5.0), atol=step)
    assert found.dtype == dtype


@law
def test_coverage_is_spread_with_the_light():
    from bokehlib.classical import scattering_triton

    light, radius = torch.rand(2, 4, 9, 37), 6 * torch.rand(2, 1, 9, 37)
    found = scattering_triton.spread(light.to(DEVICE), radius.to(DEVICE)).cpu()
    expected = scattering.spread(light, radius).float()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found[:, 3] - found[:, 0]).abs().max() > 0.01


@law
def test_how_pixels_share_programs_does_not_matter(monkeypatch):
    from bokehlib.classical import scattering_triton

    picture = *scene(9, 20), Lens(0.4, 3.0)
    usual = kernel(*picture)
    for rows, columns in ((4, 16), (16, 8)):
        monkeypatch.setitem(scattering_triton.SETTINGS, "ROWS", rows)
        monkeypatch.setitem(scattering_triton.SETTINGS, "COLUMNS", columns)
        torch.testing.assert_close(kernel(*picture), usual, rtol=0, atol=1e-6)


# --- On a GPU ---------------------------------------------------------------------------------


def training_batch():
    """32 pictures of 256 x 256, radii up to 32 px, on the GPU: (image, disparity, lens)."""
    image, disparity = (part.to(DEVICE) for part in scene(256, 256, batch=32))
    focus = torch.linspace(0, 1, 32, device=DEVICE)
    return image, disparity, Lens(focus, 32 / torch.maximum(focus, 1 - focus))


@pytest.mark.gpu
def test_a_picture_on_the_gpu_is_that_of_the_cpu():
    image, disparity = scene(200, 300)
    smooth = torch.nn.functional.avg_pool2d(disparity, 31, 1, 15)
    lens = Lens(smooth.mean().item(), 200.0)
    found = scattering.scatter(image.cuda(), smooth.cuda(), lens)
    assert found.is_cuda
    torch.testing.assert_close(
        found.cpu(), scattering.scatter(image, smooth, lens), rtol=0, atol=1e-4
    )


@pytest.mark.gpu
def test_two_runs_are_identical_and_never_wait_for_the_device():
    picture = training_batch()
    expected = scattering.scatter(*picture)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = scattering.scatter(*picture)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found, expected)


@pytest.mark.gpu
def test_a_batch_of_32_takes_few_launches():
    picture = training_batch()
    scattering.scatter(*picture)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as record:
        scattering.scatter(*picture)
        torch.cuda.synchronize()
    on_device = [e for e in record.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    assert 1 < len(on_device) <= 40, [e.name for e in on_device]


# --- In this process --------------------------------------------------------------------------


@only_once
def test_all_laws_hold_in_the_interpreter():
    all_laws_hold(__file__)
