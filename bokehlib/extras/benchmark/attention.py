"""One layer: PISA against plain attention on the same queries, keys and values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bokehlib import optics
from bokehlib.data import demo_photos
from bokehlib.extras.benchmark.timing import Row, captured, milliseconds, peak_gib, wall_seconds
from bokehlib.optics import Grid, Lens, Visibility
from bokehlib.pisa import pisa_attention
from bokehlib.pisa.authors import published_attention, published_optics

CHANNELS = 64  # of a head
STRIDE = 16  # pixels a token
SIZES = {  # grid -> heads, as SDXL has them at 1024 px and above
    **{(32, 32): (10, 20), (64, 64): (10,), (64, 96): (10,)},
    **{(96, 96): (10,), (128, 128): (10,), (192, 192): (10,)},
}
RADII = (1, 2, 4, 8, 16)
PHOTO_RADIUS = 8  # the largest of the photograph's
SMOKE = {(6, 8): (1,)}, (1, 2), 2
DENSE = {"forward": 128 * 128, "both": 96 * 96}  # tokens up to which all pairs fit a large GPU
PUBLISHED = 96 * 96  # the same for the published layer
SLOW = ("pisa-reference", "pisa-published")  # so slow that launching kernels takes no time
EAGER_CALLS = 50


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

    def row(self, what: str, radius: int | None, both: bool = False, **values: Any) -> Row:
        """A row of this layer."""
        tokens, heads = f"{self.grid[0]}x{self.grid[1]}", self.q.shape[1]
        return Row(what, tokens, heads, radius, "both" if both else "forward", **values)


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
    shape = (1, grid[0] * grid[1], heads, CHANNELS)
    q, k, v = (
        torch.randn(shape, device=device, generator=draw).to(torch.bfloat16).transpose(1, 2)
        for _ in range(3)
    )
    pixels = grid[0] * STRIDE, grid[1] * STRIDE
    if photo:
        found = demo_photos.motorcycle().tensors()[1].to(device)
        disparity = F.interpolate(found, pixels, mode="bilinear")
        largest = float(optics.token_radius(disparity, Lens(0.5, 1.0), grid).amax())
        return Problem(grid, q, k, v, disparity, Lens(0.5, radius / largest))
    wall = torch.zeros(1, 1, *pixels, device=device)
    return Problem(grid, q, k, v, wall, Lens(1.0, float(radius * STRIDE)))


def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """All measurements of single layers and of visibility, smallest grids first."""
    note["channels"] = CHANNELS
    sizes, radii, photo_radius = SMOKE if smoke else (SIZES, RADII, PHOTO_RADIUS)
    for grid, numbers in sizes.items():
        for heads in numbers:
            for both in (False, True):
                plain = None
                for row in _layer(grid, heads, radii, photo_radius, both, device):
                    plain = plain or row.milliseconds  # plain attention comes first
                    if row.what != "pisa-eager" and row.milliseconds and plain:
                        row = replace(row, ratio_to_plain=row.milliseconds / plain)
                    yield row
        for radius in radii[1:4]:
            scene = problem(grid, 1, radius, False, device)
            for what, model in (("visibility", "paper"), ("visibility-thin_lens", "thin_lens")):
                work = partial(lambda scene, model: (scene.seen(model), scene.radius), scene, model)
                peak = peak_gib(work)
                row = scene.row(what, radius, milliseconds=milliseconds(work), peak_gib=peak)
                yield replace(row, heads=None)


def _layer(grid, heads, radii, photo_radius, both, device) -> Iterator[Row]:
    """Plain attention, then PISA at every radius, then its other forms at the middle radius."""
    tokens = grid[0] * grid[1]
    plain = problem(grid, heads, 1, False, device)
    yield _measured("plain", plain, None, F.scaled_dot_product_attention, both)
    for radius in radii:
        wall = problem(grid, heads, radius, False, device)
        yield _measured("pisa", wall, radius, _pisa(wall, wall.seen()), both)
        if radius != radii[len(radii) // 2]:
            continue
        yield _measured("pisa-novis", wall, radius, _pisa(wall, None), both)
        if not both:
            yield _eager(wall, radius)
        if tokens <= DENSE["both" if both else "forward"]:
            dense = _pisa(wall, wall.seen(), backend="reference")
            yield _measured("pisa-reference", wall, radius, dense, both)
        if tokens <= PUBLISHED and not both:
            yield _measured("pisa-published", wall, radius, _published(wall), both)
    photo = problem(grid, heads, photo_radius, True, device)
    yield _measured("pisa-photo", photo, photo_radius, _pisa(photo, photo.seen()), both)


def _measured(what: str, layer: Problem, radius: int | None, attend: Callable, both: bool) -> Row:
    work = _work(attend, layer, both)
    peak = peak_gib(work)  # the first call compiles, too
    if what in SLOW:
        time = milliseconds(work, repeats=5)
    else:
        time = milliseconds(captured(work, times=5)) / 5
    return layer.row(what, radius, both, milliseconds=time, peak_gib=peak)


def _eager(layer: Problem, radius: int) -> Row:
    """The mean wall time of calls from Python that do not wait for each other."""
    work = _work(_pisa(layer, layer.seen()), layer, both=False)
    work()
    seconds = wall_seconds(lambda: [work() for _ in range(EAGER_CALLS)]) / EAGER_CALLS
    return layer.row("pisa-eager", radius, milliseconds=1e3 * seconds)


def _work(attend: Callable, layer: Problem, both: bool) -> Callable[[], None]:
    """One call: the output, or the output and the gradients of q, k and v."""
    inputs = [t.detach().requires_grad_(both) for t in (layer.q, layer.k, layer.v)]
    gradient = torch.ones_like(layer.v)

    def work() -> None:
        out = attend(*inputs)
        if both:
            torch.autograd.grad(out, inputs, gradient)

    return work


def _pisa(layer: Problem, seen: Visibility | None, backend: str = "auto") -> Callable:
    radius, grid = layer.radius, layer.grid
    return partial(pisa_attention, radius=radius, grid=grid, visibility=seen, backend=backend)


def _published(layer: Problem) -> Callable:
    maps = published_optics(layer.disparity, layer.lens)
    # in single precision, as it was published
    return lambda q, k, v: published_attention(q.float(), k.float(), v.float(), maps)
