"""One layer: PISA against plain attention on the same queries, keys and values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bokehlib import optics
from bokehlib.benchmark.timing import Row, Work, captured, milliseconds, peak_gib, wall_milliseconds
from bokehlib.data import demo_photos
from bokehlib.optics import Grid, Lens, Visibility
from bokehlib.pisa import pisa_attention
from bokehlib.pisa.authors import published_attention, published_optics

CHANNELS = 64  # of a head
STRIDE = 16  # pixels a token
SIZES = {  # grid -> heads, as SDXL has them at 1024 px and above
    (32, 32): (10, 20),
    (64, 64): (10,),
    (64, 96): (10,),
    (96, 96): (10,),
    (128, 128): (10,),
    (192, 192): (10,),
}
RADII = (1, 2, 4, 8, 16)
PHOTO_RADIUS = 8  # the largest of the photograph's
SMOKE = {(6, 8): (1,)}, (1, 2), 2
DENSE = {"forward": 128 * 128, "both": 96 * 96}  # tokens up to which all pairs fit a large GPU
PUBLISHED = 96 * 96  # the same for the published layer
SLOW = ("pisa-reference", "pisa-published")  # for which the starting of kernels is no matter


@dataclass(frozen=True)
class Problem:
    """Random q, k, v in the memory order of a U-Net's projections, and a scene's optics."""

    grid: Grid
    q: Tensor
    k: Tensor
    v: Tensor
    disparity: Tensor
    lens: Lens

    @property
    def radius(self) -> Tensor:
        """Circle of confusion of every token, (1, N), in tokens."""
        return optics.token_radius(self.disparity, self.lens, self.grid)

    def seen(self, model: str = "paper") -> Visibility:
        """Visibility of all pairs within reach."""
        return optics.visibility(self.disparity, self.lens, self.grid, model)


def problem(grid: Grid, heads: int, radius: float, photo: bool, device: str) -> Problem:
    """A layer's inputs in bfloat16, batch 1, over a wall out of focus or over a photograph.

    Args:
        grid: (h, w) of the tokens.
        heads: of `CHANNELS` channels each.
        radius: circle of confusion in tokens: everywhere, or the largest of the photograph's.
        photo: whether the disparity is the photograph's.
        device: "cuda" or "cpu".
    """
    draw = torch.Generator(device).manual_seed(0)
    tokens = grid[0] * grid[1]
    q, k, v = (
        torch.randn(1, tokens, heads, CHANNELS, device=device, generator=draw)
        .to(torch.bfloat16)
        .transpose(1, 2)
        for _ in range(3)
    )
    pixels = grid[0] * STRIDE, grid[1] * STRIDE
    if photo:
        found = demo_photos.motorcycle().tensors()[1].to(device)
        disparity = F.interpolate(found, pixels, mode="bilinear")
        lens = Lens(0.5, 1.0)
        largest = float(optics.token_radius(disparity, lens, grid).amax())
        return Problem(grid, q, k, v, disparity, Lens(0.5, radius / largest))
    wall = torch.zeros(1, 1, *pixels, device=device)
    return Problem(grid, q, k, v, wall, Lens(1.0, float(radius * STRIDE)))


def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """All measurements of single layers and of visibility, smallest grids first."""
    note["channels"] = CHANNELS
    sizes, radii, photo_radius = SMOKE if smoke else (SIZES, RADII, PHOTO_RADIUS)
    for grid, numbers in sizes.items():
        for heads in numbers:
            for direction in ("forward", "both"):
                yield from _layer(grid, heads, radii, photo_radius, direction, device)
        for radius in radii[1:4]:
            yield from _visibilities(grid, radius, device)


def _layer(grid, heads, radii, photo_radius, direction, device) -> Iterator[Row]:
    """Plain attention, then PISA at every radius, then its other forms at the middle radius."""
    both, tokens = direction == "both", grid[0] * grid[1]
    plain = _row("plain", problem(grid, heads, 1, False, device), None, _plain, both)
    yield _compare(plain, plain)
    middle = radii[len(radii) // 2]
    for radius in radii:
        wall = problem(grid, heads, radius, False, device)
        yield _compare(_row("pisa", wall, radius, _pisa(wall, wall.seen()), both), plain)
        if radius != middle:
            continue
        yield _compare(_row("pisa-novis", wall, radius, _pisa(wall, None), both), plain)
        if not both:
            work = _work(_pisa(wall, wall.seen()), wall, both)
            here = _name(wall, radius, direction)
            yield Row("pisa-eager", **here, milliseconds=wall_milliseconds(work))
        if tokens <= DENSE[direction]:
            dense = _pisa(wall, wall.seen(), backend="reference")
            yield _compare(_row("pisa-reference", wall, radius, dense, both), plain)
        if tokens <= PUBLISHED and not both:
            yield _compare(_row("pisa-published", wall, radius, _published(wall), both), plain)
    photo = problem(grid, heads, photo_radius, True, device)
    yield _compare(_row("pisa-photo", photo, photo_radius, _pisa(photo, photo.seen()), both), plain)


def _name(layer: Problem, radius: int | None, direction: str) -> dict:
    tokens = f"{layer.grid[0]}x{layer.grid[1]}"
    heads = layer.q.shape[1]
    return {"tokens": tokens, "heads": heads, "radius": radius, "direction": direction}


def _row(what: str, layer: Problem, radius: int | None, attend: Callable, both: bool) -> Row:
    work = _work(attend, layer, both)
    peak = peak_gib(work)  # the first call compiles, too
    if what in SLOW:
        time = milliseconds(work, repeats=5)
    else:
        time = milliseconds(captured(work, times=5)) / 5
    here = _name(layer, radius, "both" if both else "forward")
    return Row(what, **here, milliseconds=time, peak_gib=peak)


def _work(attend: Callable, layer: Problem, both: bool) -> Work:
    """One call: the output, or the output and the gradients of q, k and v."""
    inputs = [t.detach().requires_grad_(both) for t in (layer.q, layer.k, layer.v)]
    gradient = torch.ones_like(layer.v)

    def work():
        out = attend(*inputs)
        if both:
            torch.autograd.grad(out, inputs, gradient)

    return work


def _compare(row: Row, plain: Row) -> Row:
    assert row.milliseconds is not None
    assert plain.milliseconds is not None
    return replace(row, ratio_to_plain=row.milliseconds / plain.milliseconds)


def _plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def _pisa(layer: Problem, seen: Visibility | None, backend: str = "auto") -> Callable:
    radius = layer.radius

    def attend(q, k, v):
        return pisa_attention(q, k, v, radius, layer.grid, visibility=seen, backend=backend)

    return attend


def _published(layer: Problem) -> Callable:
    maps = published_optics(layer.disparity, layer.lens)

    def attend(q, k, v):  # in single precision, as it was published
        return published_attention(q.float(), k.float(), v.float(), maps)

    return attend


def _visibilities(grid: Grid, radius: int, device: str) -> Iterator[Row]:
    scene = problem(grid, 1, radius, False, device)
    for what, model in (("visibility", "paper"), ("visibility-thin_lens", "thin_lens")):

        def work(model=model):
            return scene.seen(model), scene.radius

        here = _name(scene, radius, "forward") | {"heads": None}
        peak = peak_gib(work)
        yield Row(what, **here, milliseconds=milliseconds(work), peak_gib=peak)
