"""The Triton kernels of synthesis make what PyTorch defines: on a GPU, or interpreted."""

import numpy as np
import pytest
import torch
from interpreted import DEVICE, INTERPRETED, all_laws_hold, law, needs_triton, only_once

from bokehlib.optics import Lens
from bokehlib.synthesis import TRAIN_FAMILIES, Layers, Synthesiser, draw_cutouts, lens_points
from bokehlib.synthesis.photos import Crop, Photos, uniform
from bokehlib.synthesis.planes import to_display

pytestmark = needs_triton


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch):
    """The interpreter takes one program after the other: a few large ones are quicker."""
    if INTERPRETED:
        from bokehlib.synthesis import planes_triton

        monkeypatch.setitem(planes_triton.SETTINGS, "ROWS", 32)


def in_half(textures):
    """Textures that half floats hold exactly, both as they are and as 1 - alpha."""
    rgb = textures[:, :, :3].half().float()
    return torch.cat([rgb, (textures[:, :, 3:] * 256).round() / 256], 2)


def scene(size, margins, counts):
    """Random tilted layers of all alphas on a canvas of uneven sides: (textures, planes)."""
    batch, depth = len(counts), max(counts)
    height, width = (n + 2 * m for n, m in zip(size, margins, strict=True))
    textures = torch.rand(batch, depth, 4, height, width)
    textures[:, :, :3] *= 3 * textures[:, :, 3:]
    planes = torch.randn(batch, depth, 3) * torch.tensor([0.004, 0.004, 0.05])
    planes[..., 2] += torch.linspace(0.1, 0.8, depth)
    for i, count in enumerate(counts):
        textures[i, count:] = 0
        planes[i, count:] = torch.tensor([0.0, 0, 1])
    return in_half(textures), planes


def kernel(layers, lens, points):
    """`Layers.render` by the kernel, whatever the device."""
    on = Layers(
        layers.textures.to(DEVICE),
        layers.planes.to(DEVICE),
        layers.size,
        None if layers.counts is None else layers.counts.to(DEVICE),
    )
    focus, aperture = (
        torch.as_tensor(v, dtype=torch.float32).expand(len(points)).to(DEVICE)
        for v in (lens.focus, lens.aperture)
    )
    return on._gather(focus, aperture[:, None, None] * points.to(DEVICE)).cpu()


def defined(layers, lens, points):
    """`Layers.render` in float64 on the CPU."""
    exact = Layers(layers.textures.double(), layers.planes.double(), layers.size)
    return exact.render(lens, points.double())


# --- The gather -------------------------------------------------------------------------------


@law
@pytest.mark.parametrize(
    ("size", "margins", "counts"),
    [
        ((8, 32), (6, 6), [3]),
        ((33, 35), (5, 3), [2, 4, 3]),
        ((1, 1), (8, 9), [1, 2]),
        ((5, 70), (0, 1), [2]),
    ],
    ids=str,
)
def test_it_renders_what_the_definition_renders(size, margins, counts):
    textures, planes = scene(size, margins, counts)
    layers = Layers(textures, planes, size, torch.tensor(counts, dtype=torch.int32))
    batch = len(counts)
    lens = Lens(torch.linspace(0.2, 0.9, batch), torch.linspace(24.0, 5.0, batch))
    points = lens_points(4, torch.arange(batch) * 1.0)
    out, expected = kernel(layers, lens, points), defined(layers, lens, points)
    torch.testing.assert_close(out.double(), expected, atol=5e-5, rtol=0)
    assert expected.std() > 0.05 or size == (1, 1)


@law
def test_without_counts_all_layers_are_seen():
    textures, planes = scene((12, 20), (4, 4), [3, 3])
    lens, points = Lens(0.4, 9.0), lens_points(5, torch.zeros(2))
    out = kernel(Layers(textures, planes, (12, 20)), lens, points)
    told = Layers(textures, planes, (12, 20), torch.tensor([3, 2], dtype=torch.int32))
    expected = defined(told, lens, points)
    torch.testing.assert_close(out.double(), expected, atol=5e-5, rtol=0)
    fewer = kernel(told, lens, points)
    assert torch.equal(fewer[0], out[0])
    assert (fewer[1] - out[1]).abs().max() > 0.1


@law
def test_the_canvas_border_goes_on_beyond_it():
    textures, _ = scene((9, 9), (1, 2), [1])
    planes = torch.tensor([[[0.0, 0.0, 0.9]]])
    layers, lens = Layers(textures, planes, (9, 9)), Lens(0.1, 500.0)
    points = torch.tensor([[[1.0, 1.0]], [[-1.0, 1.0]], [[1.0, -1.0]], [[-1.0, -1.0]]])
    for point, corner in zip(points, ((-1, -1), (0, -1), (-1, 0), (0, 0)), strict=True):
        out = kernel(layers, lens, point[None])
        expected = textures[0, 0, :3, corner[0], corner[1]]
        torch.testing.assert_close(out[0], expected[:, None, None].expand(3, 9, 9))


def drawn():
    """Layers of two scenes, one of them with lamps, and their lens."""
    coarse = torch.rand(3, 3, 12, 16)
    photos = torch.nn.functional.interpolate(coarse, size=(90, 130), mode="bicubic").clamp(0, 1)
    maker = Synthesiser(
        list((photos * 255).to(torch.uint8)),
        [draw_cutouts(TRAIN_FAMILIES, 1, seed=3)],
        size=(32, 48),
        margin=12,
        max_radius=10,
    )
    scenes = [maker.draw(0, n) for n in range(100)]
    lit = next(s for s in scenes if s.lamps and len(s.foregrounds) == 2)
    dark = next(s for s in scenes if not s.lamps and len(s.foregrounds) == 1)
    layers = maker.layers([lit, dark])
    return layers, maker.lens([lit, dark], layers)


@law
def test_half_floats_change_a_display_value_by_less_than_a_thousandth():
    layers, lens = drawn()
    assert layers.textures[0].max() > 2
    assert layers.counts.tolist() == [3, 2]
    points = lens_points(8, torch.tensor([0.3, 2.0]))
    out = to_display(kernel(layers, lens, points).double())
    off = (out - to_display(defined(layers, lens, points))).abs()
    assert off.max() < 1e-3
    assert off.mean() < 1e-4


@law
def test_a_lamp_behind_all_but_opaque_glass_keeps_its_light():
    textures = torch.zeros(1, 2, 4, 12, 12)
    textures[:, 0, :3], textures[:, 1, 3] = 40.0, 0.9998
    layers = Layers(textures, torch.tensor([[[0.0, 0, 0.1], [0, 0, 0.8]]]), (4, 4))
    out = kernel(layers, Lens(0.1, 3.0), lens_points(3, torch.zeros(1)))
    torch.testing.assert_close(out, torch.full_like(out, 40 * (1 - 0.9998)), rtol=1e-3, atol=0)


# --- Crops ------------------------------------------------------------------------------------


@law
@pytest.mark.parametrize("margin", [0, 5])
def test_crops_are_those_of_the_definition(margin):
    from bokehlib.synthesis import planes_triton

    rng = np.random.default_rng(0)
    shapes = ((50, 61), (7, 90), (33, 20))
    bank = Photos([torch.from_numpy(rng.integers(0, 256, (3, *s), np.uint8)) for s in shapes])
    crops = [bank.draw(rng, (21, 30)) for _ in range(12)]
    crops += [Crop(0, 0.0, 1.0, 1.0, False), Crop(2, 1.0, 0.0, 3.5, True)]
    assert {crop.photo for crop in crops} == {0, 1, 2}
    assert {crop.flip for crop in crops} == {True, False}
    expected = bank.take(crops, (21, 30), margin)
    places = torch.tensor([bank._place(crop, (21, 30)) for crop in crops], dtype=torch.float64)
    out = planes_triton.take(bank.pixels.to(DEVICE), places.to(DEVICE), (21, 30), margin)
    torch.testing.assert_close(out.cpu(), expected, atol=2e-4, rtol=0)


# --- On a GPU ---------------------------------------------------------------------------------


def makers(*devices):
    photos = list(torch.randint(256, (4, 3, 300, 400), dtype=torch.uint8))
    cutouts = [draw_cutouts(TRAIN_FAMILIES, 1, seed=3)]
    return [Synthesiser(photos, cutouts, (192, 192), 32, d, max_radius=32) for d in devices]


@pytest.mark.gpu
def test_scenes_on_the_gpu_are_those_of_the_cpu():
    cpu, gpu = makers("cpu", "cuda")
    cpu.photos.pixels = gpu.photos.pixels.cpu()  # smaller levels may be rounded the other way
    scenes = [cpu.draw(3, n) for n in range(4)]
    assert scenes == [gpu.draw(3, n) for n in range(4)]
    expected, found = cpu.layers(scenes), gpu.layers(scenes)
    lens = cpu.lens(scenes, expected)
    points = lens_points(32, torch.arange(4) * 1.0)
    there = Lens(lens.focus.cuda(), lens.aperture.cuda())
    assert torch.equal(found.planes.cpu(), expected.planes)
    for a, b in (
        (found.textures, expected.textures),
        (to_display(found.render(there, points.cuda())), to_display(expected.render(lens, points))),
    ):
        off = (a.cpu() - b).abs()
        assert off.mean() < 1e-4
        assert (off > 2e-3).float().mean() < 1e-4
    own = gpu.lens(scenes, found)
    torch.testing.assert_close(own.focus.cpu(), lens.focus, rtol=1e-3, atol=0)
    torch.testing.assert_close(own.aperture.cpu(), lens.aperture, rtol=1e-2, atol=0)


@pytest.mark.gpu
def test_a_batch_never_waits_for_the_device():
    (maker,) = makers("cuda")
    maker.batch(0, range(8))
    torch.cuda.set_sync_debug_mode("error")
    try:
        maker.batch(1, range(8))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_a_batch_of_32_takes_few_launches():
    (maker,) = makers("cuda")
    maker.batch(0, range(32))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as record:
        maker.batch(1, range(32))
        torch.cuda.synchronize()
    on_device = [e for e in record.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    assert 20 < len(on_device) <= 160, len(on_device)


# --- In this process --------------------------------------------------------------------------


def test_a_uniform_number_is_the_one_that_numpy_draws():
    ours, numpys = np.random.default_rng(5), np.random.default_rng(5)
    for low, high in ((0.0, 1.0), (-0.4, 0.4), (0.69314718, 2.9957323), (0.02, 0.02)):
        drawn = [uniform(ours, low, high) for _ in range(50)]
        assert drawn == numpys.uniform(low, high, 50).tolist()


@only_once
def test_all_laws_hold_in_the_interpreter():
    all_laws_hold(__file__)
