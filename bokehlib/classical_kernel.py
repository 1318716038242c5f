"""The classical scatter render as a Triton kernel; `bokehlib.classical` on a CPU defines it.

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

_kernel = triton.jit(do_not_specialize=["h", "w", "inverse"])


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


@triton.jit
def _encode(PICTURE, RESULT, total, weight, inverse, closed, inside):
    """Store one channel: total / weight as sRGB, or the picture's own where the lens is closed."""
    value = tl.minimum(tl.exp2(tl.log2(total / weight) * inverse), 1.0)
    own = tl.load(PICTURE, mask=inside & closed, other=0.0)
    tl.store(RESULT, tl.where(closed, own, value.to(own.dtype)), mask=inside)


# --- Kernel -----------------------------------------------------------------------------------


@_kernel
def _scatter_kernel(
    PICTURES, RADII, LIGHT, WIDEST, CLOSED, RESULTS, h, w, inverse,
    ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """RADII and LIGHT are those of `_pack`; WIDEST (B,) is the largest radius of each picture."""
    picture, width = tl.program_id(1).to(tl.int64), w + 2 * COLUMNS
    area = width * (h + 2 * ROWS)
    RADII += picture * area
    LIGHT += picture * 2 * area
    top, left = _tile(w, ROWS, COLUMNS)
    row = top + tl.arange(0, ROWS * COLUMNS) // COLUMNS
    column = left + tl.arange(0, ROWS * COLUMNS) % COLUMNS
    widest = tl.minimum(tl.load(WIDEST + picture), tl.maximum(h, w).to(tl.float32))
    reach = widest.to(tl.int32) + 1
    weight = tl.zeros([ROWS * COLUMNS], tl.float32)
    red, green, blue = weight, weight, weight
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
    inside, closed = (row < h) & (column < w), tl.load(CLOSED + picture)
    PICTURES += picture * 3 * (h * w) + row * w + column
    RESULTS += picture * 3 * (h * w) + row * w + column
    for channel in tl.static_range(3):
        total = red if channel == 0 else green if channel == 1 else blue
        _encode(PICTURES, RESULTS, total, weight, inverse, closed, inside)
        PICTURES += h * w
        RESULTS += h * w


# --- Launch -----------------------------------------------------------------------------------


def _pack(image: Tensor, radius: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """What a source spreads, with a margin of a tile in which there is no light.

    The margin spares the kernel all questions about borders; pairs of floats, half of its loads.

    Returns:
        Radii (B, 1, H', W'), and light (B, 2, H', W', 1): int64 that hold two float32 each, energy
        e = 1 / (r^2 + 0.2) and e R, then e G and e B.
    """
    energy = 1 / (radius.square() + 0.2)
    linear = image.float().clamp(min=0).pow(gamma)
    across, down = (SETTINGS[name] for name in ("COLUMNS", "ROWS"))
    margin = across, across, down, down
    light = F.pad(torch.cat((energy, linear * energy), dim=1), margin)
    pairs = light.unflatten(1, (2, 2)).movedim(2, -1).contiguous()
    return F.pad(radius, margin), pairs.view(torch.int64)


def scatter(image: Tensor, radius: Tensor, closed: Tensor, gamma: float) -> Tensor:
    """`classical.scatter` in one launch, and a dozen that pack the sources; it never waits.

    Args:
        image: (B, 3, H, W), sRGB in [0, 1], float16, bfloat16 or float32.
        radius: (B, 1, H, W) in px.
        closed: (B, 1, 1, 1), whether the aperture is 0: the image is returned bit for bit.
        gamma: linear light is image ** gamma.

    Returns:
        (B, 3, H, W) in [0, 1], in the image's dtype.
    """
    image, (height, width) = image.contiguous(), image.shape[-2:]
    radius = radius.clamp(max=LARGEST).float()
    sources, result = _pack(image, radius, gamma), torch.empty_like(image)
    rows, columns = SETTINGS["ROWS"], SETTINGS["COLUMNS"]
    programs = triton.cdiv(height, rows) * triton.cdiv(width, columns), len(image)
    with torch.cuda.device_of(image):
        _scatter_kernel[programs](
            image, *sources, radius.amax((1, 2, 3)), closed, result,
            height, width, 1 / gamma, **SETTINGS,
        )  # fmt: skip
    return result
