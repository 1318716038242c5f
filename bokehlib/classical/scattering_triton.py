"""The classical scatter render as a Triton kernel; `classical.scattering` defines it.

One program a (picture, tile of pixels) gathers what the sources around the tile scatter on it: a
loop over offsets, in which only sources whose own reach holds the offset weigh anything. For every
row of offsets it first looks which of them any source needs, so that a sharp tile costs little
beside a blurred one. Sums are float32 in a fixed order: two runs are identical. There are no
gradients.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F
from triton.language import constexpr

SETTINGS = {"ROWS": 8, "COLUMNS": 32, "num_warps": 2}
LARGEST = 1e15  # px; the square of a radius must stay finite in float32
EDGE = constexpr(8 / math.log(2))  # a disc's edge is 1 / (1 + 2 ^ ((distance - r) EDGE))
BEYOND = constexpr(4.0)  # px outside a disc; from there on its edge is below e^-32

# --- Pieces of the kernel ---------------------------------------------------------------------

_kernel = triton.jit(do_not_specialize=["h", "w"])


@triton.jit
def _tile(w, ROWS: constexpr, COLUMNS: constexpr):
    """The first row and column of this program's tile in a picture of width w."""
    across = tl.cdiv(w, COLUMNS)
    return tl.program_id(0) // across * ROWS, tl.program_id(0) % across * COLUMNS


@triton.jit
def _needed(RADII, line, left, w, dy, reach, ROWS: constexpr, COLUMNS: constexpr):
    """The first and last dx with which any source of the rows starting at `line` is needed."""
    right = left + COLUMNS - 1
    first = tl.full([ROWS * COLUMNS], 1, tl.int32) + reach
    last = -first
    for start in range(tl.maximum(left - reach, 0), tl.minimum(right + reach + 1, w), COLUMNS):
        x = start + tl.arange(0, ROWS * COLUMNS) % COLUMNS
        radius = tl.load(RADII + line + x)
        high = tl.minimum(radius, reach.to(tl.float32)).to(tl.int32) + 1
        disc = tl.sqrt(tl.maximum((radius + BEYOND) * (radius + BEYOND) - dy * dy, 0.0))
        wide = tl.minimum(disc, high.to(tl.float32)).to(tl.int32)
        needed = (high >= tl.abs(dy)) & (wide >= tl.maximum(left - x, x - right))
        first = tl.where(needed, tl.minimum(first, tl.maximum(x - right, -wide)), first)
        last = tl.where(needed, tl.maximum(last, tl.minimum(x - left, wide)), last)
    return tl.min(first, 0), tl.max(last, 0)


@triton.jit
def _low(pair):
    return pair.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _high(pair):
    return (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


# --- Kernel -----------------------------------------------------------------------------------


@_kernel
def _spread_kernel(
    RADII, LIGHT, WIDEST, RESULTS, h, w,
    PAIRS: constexpr, ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """RADII and LIGHT are those of `_pack`; WIDEST (B,) is the largest radius of each picture."""
    picture, width = tl.program_id(1).to(tl.int64), w + 2 * COLUMNS
    area = width * (h + 2 * ROWS)
    RADII += picture * area
    LIGHT += picture * PAIRS * area
    top, left = _tile(w, ROWS, COLUMNS)
    row = top + tl.arange(0, ROWS * COLUMNS) // COLUMNS
    column = left + tl.arange(0, ROWS * COLUMNS) % COLUMNS
    widest = tl.minimum(tl.load(WIDEST + picture), tl.maximum(h, w).to(tl.float32))
    reach = widest.to(tl.int32) + 1
    weight = tl.zeros([ROWS * COLUMNS], tl.float32)
    red, green, blue, coverage = weight, weight, weight, weight
    above = tl.maximum(-reach, 1 - ROWS - top)
    for i in range(tl.minimum(reach, h - 1 - top) - above + 1):
        dy = above + i
        line = (ROWS + row + dy) * width + COLUMNS
        first, last = _needed(RADII, line, left, w, dy, reach, ROWS, COLUMNS)
        for j in range(last - first + 1):
            dx = first + j
            distance = tl.sqrt((dy * dy + dx * dx).to(tl.float32))
            ring = tl.maximum(tl.abs(dy), tl.abs(dx)).to(tl.float32)
            at = line + column + dx
            radius = tl.load(RADII + at)
            edge = 1 / (1 + tl.exp2((distance - radius) * EDGE))
            edge = tl.where(radius >= ring - 1, edge, 0.0)  # that is, ring <= int(radius) + 1
            pair, other = tl.load(LIGHT + at), tl.load(LIGHT + area + at)
            weight += edge * _low(pair)
            red += edge * _high(pair)
            green += edge * _low(other)
            blue += edge * _high(other)
            if PAIRS == 3:
                coverage += edge * _low(tl.load(LIGHT + 2 * area + at))
    inside, channels = (row < h) & (column < w), 3 + (PAIRS == 3)
    RESULTS += picture * channels * (h * w) + row * w + column
    for channel in tl.static_range(3 + (PAIRS == 3)):
        total = (
            red if channel == 0 else green if channel == 1 else blue if channel == 2 else coverage
        )
        tl.store(RESULTS + channel * (h * w), total / weight, mask=inside)


# --- Launch -----------------------------------------------------------------------------------


def _pack(light: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """What a source spreads, with a margin of a tile in which there is no light.

    The margin spares the kernel all questions about borders; pairs of floats, half of its loads.

    Returns:
        Radii (B, 1, H', W'), and light (B, 2 or 3, H', W', 1): int64 that hold two float32 each,
        energy e = 1 / (r^2 + 0.2) and e R, then e G and e B, then e times coverage and nothing.
    """
    energy = 1 / (radius.square() + 0.2)
    across, down = (SETTINGS[name] for name in ("COLUMNS", "ROWS"))
    margin = across, across, down, down
    spent = F.pad(
        torch.cat((energy, light * energy), dim=1), (*margin, 0, (1 + light.shape[1]) % 2)
    )
    pairs = spent.unflatten(1, (-1, 2)).movedim(2, -1).contiguous()
    return F.pad(radius, margin), pairs.view(torch.int64)


def spread(light: Tensor, radius: Tensor) -> Tensor:
    """`classical.spread` in one launch, and a dozen that pack the sources; it never waits.

    Args:
        light: (B, 3 or 4, H, W), linear.
        radius: (B, 1, H, W) in px.

    Returns:
        Like light, float32.
    """
    height, width = light.shape[-2:]
    radius = radius.clamp(max=LARGEST).float()
    radii, pairs = _pack(light.float(), radius)
    result = torch.empty(light.shape, dtype=torch.float32, device=light.device)
    rows, columns = SETTINGS["ROWS"], SETTINGS["COLUMNS"]
    programs = triton.cdiv(height, rows) * triton.cdiv(width, columns), len(light)
    with torch.cuda.device_of(light):
        _spread_kernel[programs](
            radii, pairs, radius.amax((1, 2, 3)), result, height, width,
            PAIRS=pairs.shape[1], **SETTINGS,
        )  # fmt: skip
    return result
