"""The Triton kernels of visibility count what the PyTorch scenes count, on whatever device."""

import math
import statistics
import time
import warnings

import pytest
import torch
from interpreted import (
    DEVICE,
    INTERPRETED,
    all_laws_hold,
    imports_no_triton,
    law,
    needs_triton,
    only_once,
)

from bokehlib import optics
from bokehlib.optics import Lens, occlusion, rays, reach, token_radius
from bokehlib.optics.occlusion import MODELS

pytestmark = [
    needs_triton,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy's, of what is masked out later
]
each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch):
    """The interpreter takes one program after the other: a few large ones are quicker."""
    if INTERPRETED:
        from bokehlib.optics import rays_triton

        for name, size in (("SOURCES", 128), ("QUERIES", 256)):
            monkeypatch.setitem(rays_triton.SETTINGS, name, size)


def kernel(*scene):
    from bokehlib.optics import rays_triton

    return rays_triton.count(*scene)


def counted(count, *arguments, **options):
    """`Visibility.counts` with `count` in the place of what would have been taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(occlusion, "_count", count)
        return optics.visibility(*arguments, **options).counts


def hold_to_the_scene(*arguments, **options):
    """The law: not one pair differs. Returns the counts."""
    expected = counted(rays.count, *arguments, **options)
    found = counted(kernel, *arguments, **options)
    assert torch.equal(found, expected), f"{(found != expected).float().mean():.2g} of all differ"
    return found


def scene(grid, stride=3, batch=2):
    """Blobs of all sizes, steep and flat: (batch, 1, h * stride, w * stride) in [0, 1]."""
    noise = torch.rand((batch, 1, grid[0] * stride, grid[1] * stride))
    smooth = torch.nn.functional.avg_pool2d(noise, 2 * stride + 1, 1, stride)
    mixed = noise * (torch.rand_like(noise) < 0.1) + smooth
    return (mixed / mixed.max()).to(DEVICE)


def lenses(stride, *apertures):
    """One lens an item; apertures in tokens."""
    focus = torch.linspace(0.1, 0.9, len(apertures))
    return Lens(focus.to(DEVICE), torch.tensor(apertures).to(DEVICE) * stride)


# --- Against the scenes -----------------------------------------------------------------------


@law
@each_model
@pytest.mark.parametrize(
    ("grid", "hardness"),
    [
        ((1, 1), 1e6),
        *(((5, 7), hardness) for hardness in (math.inf, 1e6, 20.0)),
        ((13, 9), 1e6),
        ((2, 33), 20.0),
    ],
    ids=str,
)
def test_it_counts_what_the_scene_counts(grid, hardness, model):
    counts = hold_to_the_scene(
        scene(grid, 8), lenses(8, 6.0, 3.0), grid, model, samples=5, hardness=hardness
    )
    if grid == (5, 7):
        assert {0, 1, 4} <= set(counts.unique().tolist())


@law
@each_model
@pytest.mark.parametrize(("samples", "supersamples"), [(1, 1), (16, 2), (3, 7)])
def test_any_number_of_samples_will_do(samples, supersamples, model):
    arguments = scene((4, 5)), lenses(3, 4.0, 9.0), (4, 5), model
    counts = hold_to_the_scene(*arguments, samples, supersamples)
    assert counts.max() == supersamples


@law
@each_model
@pytest.mark.parametrize("thickness", [0.01, 0.3, math.inf])
def test_all_pairs_can_be_held_and_surfaces_be_thick(thickness, model):
    arguments = scene((3, 11)), lenses(3, 2.0, 12.0), (3, 11), model
    hold_to_the_scene(*arguments, samples=4, coc=False, thickness=thickness)


@law
@each_model
@pytest.mark.parametrize(("focus", "aperture"), [(0.0, 1e6), (0.5, 60.0), (1.0, 1e-6), (0.5, 0.0)])
def test_disparities_of_0_1_and_the_focus_are_the_same_too(focus, aperture, model):
    values = ((scene((5, 5)) * 5).floor() / 2).clamp(max=1)
    assert set(values.unique().tolist()) == {0.0, 0.5, 1.0}
    hold_to_the_scene(values, Lens(focus, aperture), (5, 5), model, samples=4, coc=False)


@law
@each_model
@pytest.mark.parametrize("value", [0.0, 1e-8, 0.3, 1 - 5 * 2**-24, 1 - 2**-24, 1.0])
def test_a_plane_of_constant_disparity_never_hides_itself(value, model):
    plane = torch.full((1, 1, 24, 32), value, device=DEVICE)  # 8 pixels a token, not 3
    options = {"samples": 3, "coc": False}
    counts = hold_to_the_scene(plane, Lens(0.5, 1000.0), (3, 4), model, **options)
    assert counts.sum() == 4 * 12**2


@law
@each_model
@pytest.mark.parametrize("extent", [0, 2, 99])
def test_a_window_that_the_caller_gives_is_kept(extent, model):
    arguments = scene((7, 5)), lenses(3, 9.0, 4.0), (7, 5), model
    counts = hold_to_the_scene(*arguments, samples=4, extent=extent)
    assert counts.shape[-1] == 2 * min(extent, 6) + 1
    assert counts.any()


@law
@each_model
def test_how_many_sources_share_a_program_does_not_matter(model, monkeypatch):
    from bokehlib.optics import rays_triton

    arguments = scene((2, 3)), lenses(3, 6.0, 1.5), (2, 3), model, 3, 2
    expected = counted(rays.count, *arguments)
    for sources, queries in ((1, 16), (4, 8), (8, 64)):
        monkeypatch.setitem(rays_triton.SETTINGS, "SOURCES", sources)
        monkeypatch.setitem(rays_triton.SETTINGS, "QUERIES", queries)
        assert torch.equal(counted(kernel, *arguments), expected)


# --- On a GPU ---------------------------------------------------------------------------------


@pytest.mark.gpu
@each_model
@pytest.mark.parametrize("hardness", [math.inf, 1e6, 20.0])
@pytest.mark.parametrize("side", [64, 128])
def test_a_large_grid_is_counted_as_the_scene_counts_it(side, hardness, model):
    grid = (side, side)
    arguments = scene(grid, 8, batch=3), lenses(8, 6.0, 0.5, 4.0), grid, model
    counts = hold_to_the_scene(*arguments, hardness=hardness)
    assert 0.2 < (counts[counts > 0] == 4).float().mean() < 0.99


@pytest.mark.gpu
@each_model
def test_cuda_takes_the_kernel_and_agrees_with_the_cpu(model, monkeypatch):
    grid, lens = (24, 30), Lens(0.3, 40.0)
    disparity = scene(grid, 8)
    expected = optics.visibility(disparity.cpu(), lens, grid, model).counts
    monkeypatch.setattr(rays.Scene, "place", pytest.fail)
    found = optics.visibility(disparity, lens, grid, model).counts
    assert found.shape == expected.shape
    # The cells of the two devices may differ in the last bit: they sum in another order.
    assert (found.cpu() != expected).float().mean() < 1e-3


def largest_radius_4(model):
    """A call for 64 x 64 tokens of 8 pixels whose largest radius is 4, and that radius."""
    grid, disparity = (64, 64), scene((64, 64), 8, batch=1)
    lens = Lens(0.5, 8.0)
    lens = lens.scaled(4 / token_radius(disparity, lens, grid).max().item())
    return lambda **options: optics.visibility(disparity, lens, grid, model, **options), disparity


@pytest.mark.gpu
@each_model
def test_it_waits_once_for_the_device_or_never(model):
    call, _ = largest_radius_4(model)
    expected = call().counts
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            call()
        torch.cuda.set_sync_debug_mode("error")
        found = call(extent=expected.shape[-1] // 2).counts
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in waits if "synchroniz" in str(w.message)]) == 1
    assert torch.equal(found, expected)


@pytest.mark.gpu
@each_model
def test_it_can_be_captured_in_a_graph(model):
    call, disparity = largest_radius_4(model)
    options = {"extent": 5, "hardness": torch.tensor(1e6, device=DEVICE)}
    call(**options)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call(**options).counts
    disparity.copy_(disparity.flip(-1).clone())
    graph.replay()
    assert torch.equal(captured, call(**options).counts)
    assert captured.any()


@pytest.mark.gpu
@each_model
def test_64x64_tokens_take_2_ms_and_few_launches(model):
    call, _ = largest_radius_4(model)
    assert reach(4.0, 1e6) >= call().extent >= 4
    took = []
    for _ in range(30):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        took.append(1e3 * (time.perf_counter() - start))
    assert statistics.median(took) <= 2, took
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as record:
        call()
        torch.cuda.synchronize()
    on_device = [e for e in record.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    assert 5 < len(on_device) <= 30, [e.name for e in on_device]


# --- In this process --------------------------------------------------------------------------


def test_importing_optics_imports_no_triton():
    assert imports_no_triton("bokehlib.optics")


@only_once
def test_all_laws_hold_in_the_interpreter():
    all_laws_hold(__file__)
