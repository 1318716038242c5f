"""Self-occlusion between tokens: what is held of it, and the two models of the rays (Eq. 7, 8, 9).

Disparity in [0, 1], 1 = nearest; lengths in tokens, the same in y and x; coordinates are (y, x),
grids (h, w), tokens row-major. `bokehlib.optics.visibility` is the door.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib import progress

Grid = tuple[int, int]

FINE = 3  # cells of the occluder look-up along one side of a token
SOURCE_SPREAD = 0.5  # tokens; standard deviation of the super-sampled source (epsilon of Eq. 9)
CHUNK = {"cpu": 2**17, "cuda": 2**22}  # rays followed at once: near the cache, or many threads
SAME = 1e-6  # disparities no further apart than this belong to one surface


@dataclass(frozen=True)
class Visibility:
    """Share of each source's light that reaches each query, for the pairs within reach of the CoC.

    About N (2r + 3)^2 bytes for N tokens of radius at most r and hardness 1e6.

    Attributes:
        counts: (B, N, S, S) uint8, source-major: how many of the rays from the source to the query
            at offset (y - S//2, x - S//2) from it arrive; 0 where the CoC mask is zero.
        supersamples: what counts are out of.
        grid: (h, w) with h*w = N.
        hardness: of the CoC mask that decided the window; None: all pairs are held.
    """

    counts: Tensor
    supersamples: int
    grid: Grid
    hardness: float | Tensor | None = None

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


def source_offsets(supersamples: int) -> Tensor:
    """Offsets (y, x) in tokens of the super-sampled source from its token, (supersamples, 2).

    Fixed Sobol normals.
    """
    engine = torch.quasirandom.SobolEngine(2, scramble=False)
    engine.fast_forward(1)  # the origin would lie infinitely far off
    uniform = engine.draw(supersamples, dtype=torch.float64)
    return torch.special.ndtri(uniform) * SOURCE_SPREAD


def query_offsets(supersamples: int) -> Tensor:
    """Sub-positions (y, x) of a token relative to its centre, (supersamples, 2) in (-1/2, 1/2).

    Sobol points, each in the middle of its stratum: powers of two have their mean at the centre.
    """
    points = torch.quasirandom.SobolEngine(2, scramble=False).draw(
        supersamples, dtype=torch.float64
    )
    return points + 0.5 ** (1 + math.ceil(math.log2(supersamples))) - 0.5


def lens_points(supersamples: int) -> Tensor:
    """Points (y, x) spread evenly over the unit disc, (supersamples, 2).

    The concentric map of Shirley and Chiu, which keeps areas, of `query_offsets`.
    """
    y, x = (2 * query_offsets(supersamples)).unbind(dim=-1)
    radius = torch.maximum(y.abs(), x.abs())
    along = torch.minimum(y.abs(), x.abs()) / radius.clamp_min(torch.finfo(y.dtype).tiny)
    long, short = (radius * turn(along * math.pi / 4) for turn in (torch.cos, torch.sin))
    steep = y.abs() > x.abs()
    y, x = (
        torch.where(steep, long, short).copysign(y),
        torch.where(steep, short, long).copysign(x),
    )
    return torch.stack((y, x), dim=-1)


def midpoints(samples: int) -> Tensor:
    """Middles of equal steps from 0 to 1 and what is left from there to 1, (samples, 2)."""
    middle = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples
    return torch.stack((middle, 1 - middle), dim=-1)


@lru_cache  # a Sobol engine takes longer to build than a GPU to follow all rays
def _kept(table: Callable[[int], Tensor], length: int, device: torch.device) -> Tensor:
    """`table(length)` in float32 on a device, one for all; not to be changed."""
    return table(length).to(device, torch.float32)


class Scene:
    """A disparity map on a grid finer than the tokens, and the pairs of tokens around a source."""

    offsets: Tensor  # (supersamples, 2), of sources or queries from their tokens
    rays_per_pair: int  # followed at once

    def __init__(self, disparity: Tensor, grid: Grid, samples: int):
        """Of a disparity (B, 1, H, W), the tokens' grid (h, w) and the number of d on a ray."""
        self.grid, self.samples = grid, samples
        self.fine = FINE * grid[0], FINE * grid[1]
        # The mean of equal float32 values is exact in float64: a plane stays a plane.
        cells = F.adaptive_avg_pool2d(disparity.double(), self.fine)
        self.disparity = cells.float().flatten()  # (B * FINE h * FINE w,)

    def place(self, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First fine cell of the item and row and column of each source, (n, 1) each.

        `sources` (n,) are numbers over batch and tokens.
        """
        h, w = self.grid
        item, token = sources // (h * w), sources % (h * w)
        first = (item * self.fine[0] * self.fine[1]).int()
        return first[:, None], (token // w)[:, None], (token % w)[:, None]

    def queries(self, row: Tensor, column: Tensor, far: Tensor, extent: int):
        """Rows y and columns x of the queries around each source, (n, S), and which are needed.

        Returns:
            y, x and a bool (n, S, S) that holds for tokens of the image within `far` (n,).
        """
        h, w = self.grid
        offset = torch.arange(-extent, extent + 1, device=row.device)
        y, x = row + offset, column + offset
        needed = (offset[:, None] ** 2 + offset**2).sqrt() <= far[:, None, None]
        needed &= ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
        return y, x, needed


class PaperScene(Scene):
    """Model "paper": Eq. 7 and 8 from sources drawn around each token."""

    def __init__(self, disparity: Tensor, grid: Grid, samples: int, supersamples: int):
        """With the number of d tried on a ray and of sources drawn around a token."""
        super().__init__(disparity, grid, samples)
        self.offsets = _kept(source_offsets, supersamples, disparity.device)
        self.steps = _kept(midpoints, samples, disparity.device)
        self.rays_per_pair = 1

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
        first, row, column = self.place(sources)
        y, x, needed = self.queries(row, column, far, extent)
        y, x = y.float(), x.float()
        counts = torch.zeros(needed.shape, dtype=torch.uint8, device=sources.device)
        for offset_y, offset_x in (offset.unbind() for offset in self.offsets):
            source_y = (row + offset_y).clamp_(-0.5, h - 0.5)
            source_x = (column + offset_x).clamp_(-0.5, w - 0.5)
            cell = first + self._cell(source_y, 0) * self.fine[1] + self._cell(source_x, 1)
            counts += self._reaches(y, x, source_y, source_x, first, self.disparity[cell])
        return counts * needed

    def _reaches(self, y, x, source_y, source_x, first, depth) -> Tensor:
        """Eq. 8 from one point of each source, (n, 1), to its queries, (n, S): bool (n, S, S)."""
        blocked = torch.zeros((*y.shape, x.shape[1]), dtype=torch.bool, device=y.device)
        above = torch.nextafter(depth, depth.new_tensor(2.0))
        for step, rest in (both.unbind() for both in self.steps):
            d = depth + step * (1 - depth)
            # Eq. 7 with (1 - d) / (1 - d_s) = 1 - step: finite for d_s = 0 and d_s = 1 too.
            ratio = rest * depth / d
            row = first + self._cell(y + ratio * (source_y - y), 0) * self.fine[1]
            column = self._cell(x + ratio * (source_x - x), 1)
            cell = row[:, :, None] + column[:, None, :]
            there = self.disparity.index_select(0, cell.flatten()).view(cell.shape)
            # Next to 1, d may round to d_s, and a surface must not block itself.
            blocked |= there >= torch.maximum(d, above)[:, :, None]
        return ~blocked


class ThinLensScene(Scene):
    """Model "thin_lens": straight rays through points of the lens.

    Seen from the middle of the lens, the ray from source s through the point u of the unit disc
    is at P(d) = P_s + K u (d - d_s) where its disparity is d, and lands at d = d_f.
    """

    def __init__(self, disparity, grid, samples, supersamples, focus, aperture, thickness):
        """The rays of one lens per item.

        Args:
            disparity: (B, 1, H, W).
            grid: (h, w).
            samples: number of d tried, midpoints of equal steps from d_s to the nearest surface.
            supersamples: sub-positions of a query, or points of the lens.
            focus: (B,) d_f.
            aperture: (B,) K in tokens per unit of disparity.
            thickness: of every surface, in disparity.
        """
        super().__init__(disparity, grid, samples)
        self.thickness = thickness
        self.focus, self.aperture = focus.float(), aperture.float()
        self.rays_per_pair = supersamples
        self.offsets = _kept(query_offsets, supersamples, disparity.device)
        self.lens = _kept(lens_points, supersamples, disparity.device)
        self.nearest = self._cells.amax(dim=(1, 2))  # nothing in front of it blocks

    @property
    def _cells(self) -> Tensor:
        return self.disparity.view(-1, *self.fine)

    @cached_property
    def depth(self) -> Tensor:
        """Disparity at the centre of every token, (B * h * w,)."""
        return self._cells[:, FINE // 2 :: FINE, FINE // 2 :: FINE].flatten()

    @cached_property
    def slope(self) -> Tensor:
        """Its rise in y and x per fine cell, (2, B * h * w)."""
        depth = self.depth.view(-1, *self.grid)
        return torch.stack((_slope(depth.mT).mT, _slope(depth))).flatten(1) * (1 / FINE)

    def seen(self, sources: Tensor, far: Tensor, extent: int) -> Tensor:
        """How many rays arrive at each query around each source; see `PaperScene.seen`."""
        first, row, column = self.place(sources)
        y, x, needed = self.queries(row, column, far, extent)
        item = sources // (self.grid[0] * self.grid[1])
        drift = self._drift(sources, item, row - y, column - x)
        origin = FINE * torch.stack((row, column)).float() + FINE // 2
        blocked = self._blocked(sources, item, first, origin, drift)
        return (~blocked).sum(dim=-1, dtype=torch.uint8) * needed

    def _drift(self, sources: Tensor, item: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """K u of every ray: tokens that it moves sideways per unit of disparity.

        A source of less than one token's radius is seen through the whole lens; of others, a ray
        arrives at each sub-position of the query. `y` and `x` are P_s - P_q, (n, S) each.

        Returns:
            (2, n, S, S, rays).
        """
        aperture, defocus = self.aperture[item], self.depth[sources] - self.focus[item]
        radius = aperture * defocus.abs()
        sharp = (radius < 1)[:, None, None, None]
        y, x = (
            side - offset
            for side, offset in zip(
                (y[:, :, None, None], x[:, None, :, None]), self.offsets.unbind(1), strict=True
            )
        )
        away = (y * y + x * x).sqrt_()
        # Rays that would miss the aperture pass its edge.
        scale = (radius[:, None, None, None] / away).clamp_(max=1)
        scale /= torch.where(radius < 1, 1.0, defocus)[:, None, None, None]
        whole = aperture[:, None, None, None, None] * self.lens  # (n, 1, 1, rays, 2)
        return torch.stack(
            [
                torch.where(sharp, through, scale * side)
                for through, side in zip(whole.unbind(-1), (y, x), strict=True)
            ]
        )

    def _blocked(self, sources, item, first, origin, drift) -> Tensor:
        """Whether each ray crosses a surface: bool like drift[0].

        Blocked where d <= dis(P(d)) < d + thickness; steps coarser than the thickness replace it,
        so that no surface slips between two. The source's own surface, continued as a plane, does
        not block: it counts only what rises above it by more than it rises itself in half a token.
        """
        y, x = (axis[:, :, None, None] for axis in origin)
        slope = self.slope[:, sources, None, None, None]
        depth = self.depth[sources, None, None, None]
        step = (self.nearest[item, None, None, None] - depth) * (1 / self.samples)
        thickness = step.clamp(min=self.thickness)
        own = depth + FINE / 2 * slope.abs().sum(dim=0) + SAME - slope[0] * y - slope[1] * x
        first, drift = first[:, :, None, None], FINE * drift
        blocked = torch.zeros(drift.shape[1:], dtype=torch.bool, device=drift.device)
        for i in range(self.samples):
            ahead = (i + 0.5) * step
            # Not addcmul, whose rounding depends on the device and on the place in memory.
            row = (drift[0] * ahead).add_(y).clamp_(0, self.fine[0] - 1)
            column = (drift[1] * ahead).add_(x).clamp_(0, self.fine[1] - 1)
            plane = (slope[0] * row).add_(own).add_(slope[1] * column)
            cell = row.round_().mul_(self.fine[1]).add_(column.round_()).int().add_(first)
            there = self.disparity.index_select(0, cell.flatten()).view(cell.shape)
            hit = there >= torch.maximum(plane, depth + ahead, out=plane)
            if self.thickness < math.inf:
                hit &= there < depth + ahead + thickness
            blocked |= hit
        return blocked


def _slope(values: Tensor) -> Tensor:
    """Rise per token along the last axis, the smaller of both sides; 0 beside an edge or a wire."""
    if values.shape[-1] < 3:
        return torch.zeros_like(values)
    before, after = values.diff(dim=-1)[..., :-1], values.diff(dim=-1)[..., 1:]
    smaller = torch.where(before.abs() < after.abs(), before, after)
    inner = torch.where(before * after > 0, smaller, 0.0)
    return torch.cat((inner[..., :1], inner, inner[..., -1:]), dim=-1)


def count(scene: PaperScene | ThinLensScene, far: Tensor, extent: int) -> Tensor:
    """`Visibility.counts` of all pairs up to `far` (B, N) and along either axis `extent` apart."""
    order = far.flatten().argsort(descending=True, stable=True)
    extents = far.flatten()[order].clamp(max=extent).int().tolist()
    side = 2 * extent + 1
    counts = torch.zeros((*far.shape, side, side), dtype=torch.uint8, device=far.device)
    start, rays = 0, CHUNK.get(far.device.type, CHUNK["cpu"])
    with progress.bar(None, "visibility", len(extents), "token") as shown:
        while start < len(extents):
            # Sources come with the widest first, so those in focus cost almost nothing.
            local = extents[start]
            stop = start + max(1, rays // ((2 * local + 1) ** 2 * scene.rays_per_pair))
            chunk, window = order[start:stop], slice(extent - local, extent + local + 1)
            counts.flatten(0, 1)[:, window, window][chunk] = scene.seen(
                chunk, far.flatten()[chunk], local
            )
            shown.update(len(chunk))
            start = stop
    return counts
