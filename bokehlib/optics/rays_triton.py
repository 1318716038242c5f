"""Self-occlusion between tokens as Triton kernels; the scenes of `bokehlib.optics.rays` define it.

One program a few neighbouring sources; it follows every ray to every query within their own reach
in registers. Operation for operation the arithmetic is that of the scenes, rounded to nearest:
without fused multiply-adds and approximate divisions, the counts are the same.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr

from bokehlib.optics import rays
from bokehlib.optics.rays import PaperScene, ThinLensScene

SETTINGS = {"SOURCES": 1, "QUERIES": 64, "num_warps": 2}
FINE = constexpr(rays.FINE)
THIRD = constexpr(1 / rays.FINE)
SAME = constexpr(rays.SAME)

# --- Pieces of kernels ------------------------------------------------------------------------


@triton.jit
def _sources(FAR, h, w, total, extent, SOURCES: constexpr):
    """Numbers, rows, columns and reach of this program's sources, and the window around them.

    The window is the offsets (top, left) of its first query, its columns and its queries: those
    of the image within the largest reach.
    """
    s = tl.program_id(0) * SOURCES + tl.arange(0, SOURCES)
    row, column = s // w % h, s % w
    far = tl.load(FAR + s, mask=s < total, other=-1.0)
    e = tl.max(tl.minimum(far, extent).to(tl.int32), 0)
    top, left = tl.maximum(-e, -tl.max(row, 0)), tl.maximum(-e, -tl.max(column, 0))
    rows = tl.minimum(e, h - 1 - tl.min(row, 0)) - top + 1
    columns = tl.minimum(e, w - 1 - tl.min(column, 0)) - left + 1
    return s, row, column, far, top, left, columns, rows * columns


@triton.jit
def _queries(start, row, column, far, top, left, columns, number, h, w, QUERIES: constexpr):
    """Offsets (QUERIES,) of some queries of the window, and which are needed (SOURCES, QUERIES)."""
    i = start + tl.arange(0, QUERIES)
    dy, dx = top + i // columns, left + i % columns
    y, x = row[:, None] + dy[None, :], column[:, None] + dx[None, :]
    apart = tl.sqrt_rn((dy * dy + dx * dx).to(tl.float32))
    needed = (i < number)[None, :] & (apart[None, :] <= far[:, None])
    return dy, dx, needed & (y >= 0) & (y < h) & (x >= 0) & (x < w)


@triton.jit
def _whole(x, last):
    """The whole number in [0, last] next to x; halves go to the even one."""
    x = tl.clamp(x, 0.0, last.to(tl.float32))
    # From 2^23 on, floats are whole and their bits count them.
    return (x + 8388608.0).to(tl.int32, bitcast=True) - 0x4B000000


@triton.jit
def _cell(position, last):
    """Number of the fine cell that a position in tokens lies in, clamped into the image."""
    return _whole(position * FINE + (FINE - 1) / 2, last)


@triton.jit
def _slope(CELLS, centre, here, index, n, apart):
    """Rise per token along an axis of n tokens `apart` cells; see `visibility._slope`."""
    inside = here & (n >= 3)
    at = CELLS + centre + (tl.minimum(tl.maximum(index, 1), n - 2) - index) * apart
    middle = tl.load(at, mask=inside, other=0.0)
    before = middle - tl.load(at - apart, mask=inside, other=0.0)
    after = tl.load(at + apart, mask=inside, other=0.0) - middle
    smaller = tl.where(tl.abs(before) < tl.abs(after), before, after)
    return tl.where(before * after > 0, smaller, 0.0)


@triton.jit
def _store(COUNTS, s, dy, dx, extent, seen, needed):
    side = 2 * extent + 1
    window = COUNTS + s.to(tl.int64)[:, None] * (side * side)
    at = window + ((dy + extent) * side + dx + extent)[None, :]
    tl.store(at, seen.to(tl.uint8), mask=needed)


# --- Kernels ----------------------------------------------------------------------------------
# CELLS (B, FINE h, FINE w) are the scene's disparities, FAR (B, h, w) the reach of each source,
# POINTS, STEPS and LENS what the scenes call offsets, steps and lens.

_kernel = triton.jit(
    do_not_specialize=["h", "w", "total", "extent", "samples", "supersamples", "share", "thickness"]
)


@_kernel
def _paper_kernel(
    CELLS, FAR, POINTS, STEPS, COUNTS, h, w, total, extent, samples, supersamples,
    SOURCES: constexpr, QUERIES: constexpr,
):  # fmt: skip
    """`visibility.PaperScene`."""
    s, row, column, far, top, left, columns, number = _sources(FAR, h, w, total, extent, SOURCES)
    here, bottom, right = s < total, h * FINE - 1, w * FINE - 1
    first = (s // (h * w)).to(tl.int64) * ((bottom + 1) * (right + 1))
    for start in range(0, number, QUERIES):
        dy, dx, needed = _queries(
            start, row, column, far, top, left, columns, number, h, w, QUERIES
        )
        y = (row[:, None] + dy[None, :]).to(tl.float32)
        x = (column[:, None] + dx[None, :]).to(tl.float32)
        seen = tl.zeros([SOURCES, QUERIES], tl.int32)
        for j in range(supersamples):
            sy = tl.clamp(row.to(tl.float32) + tl.load(POINTS + 2 * j), -0.5, h - 0.5)
            sx = tl.clamp(column.to(tl.float32) + tl.load(POINTS + 2 * j + 1), -0.5, w - 0.5)
            own = first + _cell(sy, bottom) * (right + 1) + _cell(sx, right)
            depth = tl.load(CELLS + own, mask=here, other=0.0)
            above = (depth.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True)
            blocked = tl.zeros([SOURCES, QUERIES], tl.int1)
            for i in range(samples):
                d = depth + tl.load(STEPS + 2 * i) * (1 - depth)
                ratio = tl.div_rn(tl.load(STEPS + 2 * i + 1) * depth, d)
                r = _cell(y + ratio[:, None] * (sy[:, None] - y), bottom)
                c = _cell(x + ratio[:, None] * (sx[:, None] - x), right)
                at = first[:, None] + r * (right + 1) + c
                there = tl.load(CELLS + at, mask=needed, other=0.0)
                blocked |= there >= tl.maximum(d, above)[:, None]
            seen += tl.where(blocked, 0, 1)
        _store(COUNTS, s, dy, dx, extent, seen, needed)


@_kernel
def _thin_lens_kernel(
    CELLS, FAR, POINTS, LENS, NEAREST, FOCUS, APERTURE, COUNTS,
    h, w, total, extent, samples, supersamples, share, thickness,
    SOURCES: constexpr, QUERIES: constexpr,
):  # fmt: skip
    """`visibility.ThinLensScene`."""
    s, row, column, far, top, left, columns, number = _sources(FAR, h, w, total, extent, SOURCES)
    here, bottom, right = s < total, h * FINE - 1, w * FINE - 1
    item = s // (h * w)
    first = item.to(tl.int64) * ((bottom + 1) * (right + 1))
    y, x = row * FINE + FINE // 2, column * FINE + FINE // 2
    centre = first + y * (right + 1) + x
    y, x = y.to(tl.float32), x.to(tl.float32)
    slope_y = _slope(CELLS, centre, here, row, h, (right + 1) * FINE) * THIRD
    slope_x = _slope(CELLS, centre, here, column, w, FINE) * THIRD
    depth = tl.load(CELLS + centre, mask=here, other=0.0)
    own = (
        depth + (tl.abs(slope_y) + tl.abs(slope_x)) * (FINE / 2) + SAME - slope_y * y - slope_x * x
    )
    step = (tl.load(NEAREST + item, mask=here, other=0.0) - depth) * share
    thickness = tl.maximum(step, thickness)
    aperture = tl.load(APERTURE + item, mask=here, other=0.0)
    defocus = depth - tl.load(FOCUS + item, mask=here, other=0.0)
    radius = aperture * tl.abs(defocus)
    sharp = radius < 1
    defocus = tl.where(sharp, 1.0, defocus)
    for start in range(0, number, QUERIES):
        dy, dx, needed = _queries(
            start, row, column, far, top, left, columns, number, h, w, QUERIES
        )
        seen = tl.zeros([SOURCES, QUERIES], tl.int32)
        for j in range(supersamples):
            v = -dy.to(tl.float32) - tl.load(POINTS + 2 * j)
            u = -dx.to(tl.float32) - tl.load(POINTS + 2 * j + 1)
            away = tl.sqrt_rn(v * v + u * u)
            scale = tl.minimum(tl.div_rn(radius[:, None], away[None, :]), 1.0)
            scale = tl.div_rn(scale, defocus[:, None])
            through_y = (aperture * tl.load(LENS + 2 * j))[:, None]
            through_x = (aperture * tl.load(LENS + 2 * j + 1))[:, None]
            drift_y = tl.where(sharp[:, None], through_y, scale * v[None, :]) * FINE
            drift_x = tl.where(sharp[:, None], through_x, scale * u[None, :]) * FINE
            blocked = tl.zeros([SOURCES, QUERIES], tl.int1)
            for i in range(samples):
                ahead = (i + 0.5) * step
                d = (depth + ahead)[:, None]
                r = tl.clamp(y[:, None] + drift_y * ahead[:, None], 0.0, bottom.to(tl.float32))
                c = tl.clamp(x[:, None] + drift_x * ahead[:, None], 0.0, right.to(tl.float32))
                plane = own[:, None] + slope_y[:, None] * r + slope_x[:, None] * c
                at = first[:, None] + _whole(r, bottom) * (right + 1) + _whole(c, right)
                there = tl.load(CELLS + at, mask=needed, other=-1.0)
                hit = (there >= tl.maximum(plane, d)) & (there < d + thickness[:, None])
                blocked |= hit
            seen += tl.where(blocked, 0, 1)
        _store(COUNTS, s, dy, dx, extent, seen, needed)


# --- Launch -----------------------------------------------------------------------------------


def count(scene: PaperScene | ThinLensScene, far: Tensor, extent: int) -> Tensor:
    """`visibility.count` without a wait for the device."""
    h, w = scene.grid
    counts = torch.zeros(
        (*far.shape, 2 * extent + 1, 2 * extent + 1), dtype=torch.uint8, device=far.device
    )
    programs = (triton.cdiv(far.numel(), SETTINGS["SOURCES"]),)
    sizes = h, w, far.numel(), extent, scene.samples, len(scene.offsets)
    options = SETTINGS | {"enable_fp_fusion": False}
    with torch.cuda.device_of(far):
        if isinstance(scene, PaperScene):
            paper = far, scene.offsets, scene.steps
            _paper_kernel[programs](scene.disparity, *paper, counts, *sizes, **options)
        else:
            lens = scene.lens, scene.nearest, scene.focus.contiguous(), scene.aperture.contiguous()
            rest = 1 / scene.samples, float(scene.thickness)
            _thin_lens_kernel[programs](
                scene.disparity, far, scene.offsets, *lens, counts, *sizes, *rest, **options
            )
    return counts
