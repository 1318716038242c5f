"""Thin-lens optics: blur radius, soft edge, tokens and self-occlusion (Eq. 4, 6, 7, 8, 9, S1).

Units: disparity in [0, 1], 1 = nearest; a lens's aperture is the blur radius in pixels of this
very image per unit of disparity; token lengths are counted in tokens, the same in y and x.
Coordinates are (y, x), grids (h, w), tokens row-major.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

Grid = tuple[int, int]

MODELS = ("paper",)  # of self-occlusion
NEGLIGIBLE = 1e-6  # where the soft edge has fallen to this, it counts as zero
WIDEST_EDGE = 16.0  # tokens; a very soft edge is cut off here
FINE = 3  # cells of the occluder look-up along one side of a token
SOURCE_SPREAD = 0.5  # tokens; standard deviation of the super-sampled source (epsilon of Eq. 9)
CHUNK = {"cpu": 2**17, "cuda": 2**22}  # pairs looked up at once: near the cache, or many threads


@dataclass(frozen=True)
class Lens:
    """A lens setting.

    Attributes:
        focus: the disparity that is sharp, a float or a (B,) tensor.
        aperture: blur radius in pixels of this image per unit of disparity, a float or a (B,)
            tensor. (The paper calls it a diameter and uses it as a radius, Eq. 4.)
    """

    focus: float | Tensor
    aperture: float | Tensor

    def scaled(self, factor: float) -> "Lens":
        """The same lens on an image resized by `factor`."""
        return replace(self, aperture=self.aperture * factor)

    def column(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Focus and aperture as (B, 1, 1, 1) in the dtype and on the device of `like` (B, ...)."""
        focus, aperture = (
            torch.as_tensor(value, dtype=like.dtype, device=like.device)
            .reshape(-1, 1, 1, 1)
            .expand(like.shape[0], 1, 1, 1)
            for value in (self.focus, self.aperture)
        )
        return focus, aperture


def circle_of_confusion(disparity: Tensor, lens: Lens) -> Tensor:
    """Blur radius of every pixel in pixels, (B, 1, H, W) like the disparity (Eq. 4)."""
    focus, aperture = lens.column(disparity)
    return aperture * (disparity - focus).abs()


def log_soft_step(x: Tensor, hardness: float | Tensor) -> Tensor:
    """Logarithm of `soft_step`; finite wherever the step is not exactly zero."""
    if _is_hard(hardness):
        return torch.log(torch.heaviside(x, x.new_tensor(0.5)))
    return F.logsigmoid(_log(hardness) * x)


def soft_step(x: Tensor, hardness: float | Tensor) -> Tensor:
    """Soft edge sigmoid(ln(hardness) x): 0 below, 1/2 at 0, 1 above.

    Eq. S1 prints 1 / (1 + k exp(x)), which falls with x and is not 1/2 at the edge; this is
    1 / (1 + k ** -x).

    Args:
        x: signed distance inside the edge, any shape.
        hardness: above 1; `math.inf` is a hard step. As a 0-d tensor (finite) it may change from
            call to call without torch.compile starting anew.
    """
    if _is_hard(hardness):
        return torch.heaviside(x, x.new_tensor(0.5))
    return torch.sigmoid(_log(hardness) * x)


def reach(radius, hardness: float | Tensor):
    """Distance in tokens beyond which the CoC mask is exactly zero (a float or a tensor)."""
    edge = -math.log(NEGLIGIBLE) / _log(hardness)
    if isinstance(edge, Tensor):
        return radius + edge.clamp(max=WIDEST_EDGE)
    return radius + min(edge, WIDEST_EDGE)


def _is_hard(hardness: float | Tensor) -> bool:
    return not isinstance(hardness, Tensor) and hardness == math.inf


def _log(hardness: float | Tensor) -> float | Tensor:
    return hardness.log() if isinstance(hardness, Tensor) else math.log(hardness)


def token_positions(
    grid: Grid, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Token centres (y, x) in tokens, (h*w, 2), row-major."""
    h, w = grid
    index = torch.arange(h * w, device=device)
    return torch.stack((index // w, index % w), dim=-1).to(dtype)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance between (y, x) positions (..., 2), broadcast over the leading axes."""
    y, x = (a - b).unbind(dim=-1)
    return (y * y + x * x).sqrt()


def token_radius(disparity: Tensor, lens: Lens, grid: Grid) -> Tensor:
    """CoC radius of every token in tokens, (B, h*w).

    It is the area mean of the per-pixel radius over the token divided by the stride, so that the
    same picture at any working size gives the same radii.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
        grid: (h, w); H/h and W/w must be the same whole number.

    Raises:
        ValueError: if the tokens are not square or do not tile the map.
    """
    stride = _stride(disparity, grid)
    return F.avg_pool2d(circle_of_confusion(disparity, lens), stride).flatten(1) / stride


def _stride(disparity: Tensor, grid: Grid) -> int:
    if disparity.ndim != 4 or disparity.shape[1] != 1:
        raise ValueError(f"disparity has shape {tuple(disparity.shape)}; accepted: (B, 1, H, W)")
    (height, width), (h, w) = disparity.shape[-2:], grid
    if min(grid) < 1 or height % h or width % w or height // h != width // w:
        raise ValueError(
            f"grid {h}x{w} does not tile a disparity of {height}x{width} with square tokens; "
            "accepted: (H/s, W/s) for a stride s that divides both"
        )
    return height // h


# --- Self-occlusion ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Visibility:
    """Share of each source's light that reaches each query, for the pairs within reach of the CoC.

    About N (2r + 3)^2 bytes for N tokens of radius at most r and hardness 1e6.

    Attributes:
        counts: (B, N, S, S) uint8, source-major: how many of the super-sampled sources the query
            at offset (y - S//2, x - S//2) from the source sees; 0 where the CoC mask is zero.
        supersamples: what counts are out of.
        grid: (h, w) with h*w = N.
        hardness: of the CoC mask that decided the window; None: all pairs are held.
    """

    counts: Tensor
    supersamples: int
    grid: Grid
    hardness: float | None = None

    @property
    def extent(self) -> int:
        """Largest offset held along one axis, in tokens."""
        return self.counts.shape[-1] // 2

    def to(self, device: torch.device | str) -> "Visibility":
        """The same on another device."""
        return replace(self, counts=self.counts.to(device))

    def at(self, queries: Tensor, sources: Tensor) -> Tensor:
        """Visibility of pairs of tokens in [0, 1].

        Args:
            queries: token numbers, any shape that broadcasts with `sources`.
            sources: token numbers.

        Returns:
            float32 (B, *broadcast shape); 0 for pairs that are not held.
        """
        w, side = self.grid[1], self.counts.shape[-1]
        y = queries // w - sources // w + self.extent
        x = queries % w - sources % w + self.extent
        held = (y >= 0) & (y < side) & (x >= 0) & (x < side)
        cell = (sources * side + y) * side + x
        seen = self.counts.flatten(1)[:, torch.where(held, cell, 0)]
        return seen * (held / self.supersamples)

    def block(self, queries: slice, sources: slice) -> Tensor:
        """The (B, len(queries), len(sources)) part of `dense()`."""
        tokens = torch.arange(self.counts.shape[1], device=self.counts.device)
        return self.at(tokens[queries, None], tokens[None, sources])

    def dense(self) -> Tensor:
        """(B, N, N) [query, source] in [0, 1]; 0, not measured, beyond the reach of the CoC."""
        return self.block(slice(None), slice(None))


@torch.no_grad()
def visibility(
    disparity: Tensor,
    lens: Lens,
    grid: Grid,
    model: str = "paper",
    samples: int = 16,
    supersamples: int = 4,
    hardness: float | Tensor = 1e6,
    coc: bool = True,
) -> Visibility:
    """Self-occlusion between tokens (Eq. 7, 8, 9).

    Model "paper": on the way from source s to query q light of disparity d passes
    P_q + (1 - d) d_s / (d (1 - d_s)) (P_s - P_q) and is blocked if the scene there is at d or
    nearer, for any d in (d_s, 1). A source of disparity 1 is always visible. As the ray ends in
    P_q at d = 1, a source behind the query's own surface never is: light from the background
    does not enter a blurred foreground.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
        grid: (h, w) of the tokens, as for `token_radius`.
        model: "paper".
        samples: number of d tried, midpoints of equal steps from d_s to 1.
        supersamples: sources drawn around each token (1 to 255), the same offsets for all.
        hardness: of the soft edge; with the radius it decides which pairs are needed.
        coc: False holds all pairs, for attention without a CoC mask (N (2 max(h, w) - 1)^2 bytes).

    Raises:
        ValueError: for an unknown model, a grid that does not fit or samples out of range.
    """
    if model not in MODELS:
        raise ValueError(f"unknown visibility model {model!r}; known: {', '.join(MODELS)}")
    if samples < 1 or not 1 <= supersamples <= 255:
        raise ValueError(
            f"samples {samples}, supersamples {supersamples}; accepted: from 1, and 1 to 255"
        )
    radius = token_radius(disparity.float(), lens, grid)
    limit = max(grid) - 1
    far = reach(radius, hardness) if coc else torch.full_like(radius, math.hypot(*grid))
    order = far.flatten().argsort(descending=True, stable=True)
    extents = far.flatten()[order].clamp(max=limit).int().tolist()
    extent = extents[0]
    scene = _Scene(disparity, grid, samples, source_offsets(supersamples))
    counts = torch.zeros(
        (*far.shape, 2 * extent + 1, 2 * extent + 1), dtype=torch.uint8, device=far.device
    )
    start, pairs = 0, CHUNK.get(far.device.type, CHUNK["cpu"])
    while start < len(extents):
        # Sources come with the widest first, so those in focus cost almost nothing.
        local = extents[start]
        stop = start + max(1, pairs // (2 * local + 1) ** 2)
        chunk, window = order[start:stop], slice(extent - local, extent + local + 1)
        counts.flatten(0, 1)[:, window, window][chunk] = scene.seen(
            chunk, far.flatten()[chunk], local
        )
        start = stop
    return Visibility(counts, supersamples, grid, float(hardness) if coc else None)


def source_offsets(supersamples: int) -> list[list[float]]:
    """Offsets (y, x) in tokens of the super-sampled source from its token: fixed Sobol normals."""
    engine = torch.quasirandom.SobolEngine(2, scramble=False)
    engine.fast_forward(1)  # the origin would lie infinitely far off
    uniform = engine.draw(supersamples, dtype=torch.float64)
    return (torch.special.ndtri(uniform) * SOURCE_SPREAD).tolist()


class _Scene:
    """A disparity map on a grid finer than the tokens, and the rays through it."""

    def __init__(self, disparity: Tensor, grid: Grid, samples: int, offsets: list[list[float]]):
        self.grid = grid
        self.fine = FINE * grid[0], FINE * grid[1]
        # The mean of equal float32 values is exact in float64: a plane stays a plane.
        cells = F.adaptive_avg_pool2d(disparity.double(), self.fine)
        self.disparity = cells.float().flatten()  # (B * FINE h * FINE w,)
        self.offsets = offsets
        self.steps = [(i + 0.5) / samples for i in range(samples)]

    def _cell(self, position: Tensor, axis: int) -> Tensor:
        """Number of the fine cell that a position in tokens lies in, clamped into the image."""
        last = self.fine[axis] - 1
        return (FINE * position + (FINE - 1) / 2).round_().clamp_(0, last).int()

    def seen(self, sources: Tensor, far: Tensor, extent: int) -> Tensor:
        """How many offsets of each source are seen from each query around it.

        Args:
            sources: (n,) numbers over batch and tokens.
            far: (n,) the distance in tokens up to which queries matter.
            extent: half the side of the square of queries around each source.

        Returns:
            (n, 2 extent + 1, 2 extent + 1) uint8.
        """
        h, w = self.grid
        item, token = sources // (h * w), sources % (h * w)
        first = (item * self.fine[0] * self.fine[1]).int()[:, None]
        offset = torch.arange(-extent, extent + 1, device=sources.device)
        y, x = (token // w)[:, None] + offset, (token % w)[:, None] + offset  # (n, S) queries
        needed = (offset[:, None] ** 2 + offset**2).sqrt() <= far[:, None, None]
        needed &= ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
        counts = torch.zeros(needed.shape, dtype=torch.uint8, device=sources.device)
        for offset_y, offset_x in self.offsets:
            source_y = ((token // w)[:, None] + offset_y).clamp_(-0.5, h - 0.5)
            source_x = ((token % w)[:, None] + offset_x).clamp_(-0.5, w - 0.5)
            cell = first + self._cell(source_y, 0) * self.fine[1] + self._cell(source_x, 1)
            counts += self._reaches(y, x, source_y, source_x, first, self.disparity[cell])
        return counts * needed

    def _reaches(self, y, x, source_y, source_x, first, depth) -> Tensor:
        """Eq. 8 from one point of each source, (n, 1), to its queries, (n, S): bool (n, S, S)."""
        blocked = torch.zeros((*y.shape, x.shape[1]), dtype=torch.bool, device=y.device)
        above = torch.nextafter(depth, depth.new_tensor(2.0))
        for step in self.steps:
            d = depth + step * (1 - depth)
            # Eq. 7 with (1 - d) / (1 - d_s) = 1 - step: finite for d_s = 0 and d_s = 1 too.
            ratio = (1 - step) * depth / d
            row = first + self._cell(y + ratio * (source_y - y), 0) * self.fine[1]
            column = self._cell(x + ratio * (source_x - x), 1)
            cell = row[:, :, None] + column[:, None, :]
            there = self.disparity.index_select(0, cell.flatten()).view(cell.shape)
            # Next to 1, d may round to d_s, and a surface must not block itself.
            blocked |= there >= torch.maximum(d, above)[:, :, None]
        return ~blocked
