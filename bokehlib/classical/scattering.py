"""The classical scatter render: BokehMe's published kernel, made deterministic.

Every source pixel spreads its light over its blur disc, w = (0.5 + 0.5 tanh(4 (r - distance))) /
(r^2 + 0.2) for |dy|, |dx| <= int(r) + 1, and a pixel is sum(w I) / sum(w) in linear light. There
is no occlusion. The one departure: an aperture of 0 returns the input bit for bit, where the
kernel would leave 0.27 % of each neighbour in it.

On a CPU it is computed in double: that is the definition. `scattering_triton` gathers the
same sums in float32 on a GPU.
"""

import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.io import progress
from bokehlib.optics import HAS_TRITON, Lens, circle_of_confusion

STRIPS = 16  # fixed, so that the order of summation does not depend on the number of threads
_LARGEST = 1e100  # px; a disc's weight, 1/r^2, must not underflow
FLAT = 37 / 8  # px from a disc's edge inwards, from where on exp(-8 d) is lost beside 1


@torch.no_grad()
def scatter(
    image: Tensor,
    disparity: Tensor,
    lens: Lens,
    gamma: float = 2.2,
    threads: int | None = None,
) -> Tensor:
    """Blur by scattering each pixel over its circle of confusion; it has no gradients.

    Args:
        image: (B, 3, H, W), sRGB-encoded, in [0, 1].
        disparity: (B, 1, H, W) in [0, 1], 1 = nearest.
        lens: Focus and aperture, in pixels of blur radius per unit of disparity.
        gamma: Linear light is image ** gamma.
        threads: How many compute at a time on a CPU (default: one a core); never changes the
            result.

    Returns:
        (B, 3, H, W) in [0, 1], in the image's dtype and on its device; the image itself where the
        aperture is 0.
    """
    # In double, so that int(r) is that of the definition, on a GPU too.
    radius = circle_of_confusion(disparity.to(image.device).double(), lens)
    light = image.to(torch.float32 if _by_kernel(image) else torch.float64).clamp(min=0).pow(gamma)
    blurred = spread(light, radius, threads).pow(1 / gamma).clamp(0, 1).to(image)
    return torch.where(lens.column(radius)[1] == 0, image, blurred)


def spread(light: Tensor, radius: Tensor, threads: int | None = None) -> Tensor:
    """Every pixel's light over its disc, sum(w light) / sum(w); without gradients.

    Args:
        light: (B, 3 or 4, H, W): linear RGB, and perhaps a coverage by which it is multiplied.
        radius: (B, 1, H, W) in px; on a CPU a pixel of a negative one spreads nothing.
        threads: as for `scatter`.

    Returns:
        Like light, in double on a CPU and in float32 on a GPU; 0 where no disc reaches.
    """
    if _by_kernel(light):
        from bokehlib.classical import scattering_triton

        return scattering_triton.spread(light, radius)
    sources = F.pad(light.cpu().double(), (0, 0, 0, 0, 0, 4 - light.shape[1]))
    sources = sources.permute(0, 2, 3, 1).contiguous()  # (B, H, W, 4)
    pairs = zip(sources.numpy(), radius.cpu().double().numpy(), strict=True)
    blurred = np.stack([_spread(source, each[0], threads) for source, each in pairs])
    return torch.from_numpy(blurred).permute(0, 3, 1, 2)[:, : light.shape[1]].to(light.device)


def _by_kernel(light: Tensor) -> bool:
    return light.is_cuda and HAS_TRITON


def _spread(light: np.ndarray, radius: np.ndarray, threads: int | None) -> np.ndarray:
    """Normalised sum of all discs, (H, W, 4); strips of sources add up in a fixed order."""
    height, width = radius.shape
    radius = np.ascontiguousarray(np.minimum(radius, _LARGEST))
    add_discs = compiled()
    rows = -(-height // STRIPS)
    starts = range(0, height, rows)
    total = np.zeros((height, width, 5))  # (H, W, [sum(w light), sum(w)])
    widest = int(min(radius.max().clip(0), max(height, width))) + 2
    whole, rest = _distances(2 * widest * widest)

    def strip(start: int) -> tuple[int, np.ndarray]:
        stop = min(start + rows, height)
        reach = int(min(radius[start:stop].max(), height)) + 1
        first, last = max(start - reach, 0), min(stop + reach, height)
        sums = np.zeros((last - first, width, 5))
        steps = np.zeros((last - first, width + 1, 6))
        add_discs(light, radius, start, stop, first, sums, steps, whole, rest)
        flat, chords = np.split(steps[:, :width].cumsum(axis=1), [5], axis=2)
        sums += np.where(chords > 0, flat, 0)  # outside of all chords there is but rounding
        return first, sums

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        strips = pool.map(strip, starts)
        for first, sums in progress.bar(strips, "blur", len(starts), "strip"):
            total[first : first + len(sums)] += sums
    np.maximum(total, 0, out=total)  # a difference of sums may be a rounding below it
    weight = total[..., 4:]
    return np.divide(total[..., :4], weight, out=np.zeros_like(light), where=weight > 0)


def _distances(most: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every d^2 below `most`: the whole pixels n of d, and exp(8 (d - n))."""
    distance = np.sqrt(np.arange(most))
    whole = distance.astype(np.int64)
    return whole, np.exp(8 * (distance - whole))


def _scatter_rows(
    light: np.ndarray,
    radius: np.ndarray,
    start: int,
    stop: int,
    first: int,
    sums: np.ndarray,
    steps: np.ndarray,
    whole: np.ndarray,
    rest: np.ndarray,
) -> None:
    """Add the discs of the source rows start..stop to sums, whose row 0 is image row `first`.

    Where a disc's weight is constant to the last digit, `steps` gets only where that begins and
    ends in a row, and their number: sums along rows make the discs of them. `whole` and `rest`
    are of `_distances`: exp(8 (d - r)) is a factor of each d and one of each whole pixel.
    """
    height, width = radius.shape
    parts = np.empty(5)
    for y in range(start, stop):
        for x in range(width):
            r = radius[y, x]
            if r < 0:
                continue
            reach = int(min(r, max(height, width))) + 1
            high = min(reach, max(y, height - 1 - y)) + 1
            wide = min(reach, max(x, width - 1 - x)) + 1
            energy = 1 / (r * r + 0.2)
            parts[:4], parts[4] = light[y, x], 1
            weights = np.empty(wide)
            flat = r - FLAT
            inmost = max(int(min(flat, 2.0 * max(height, width))), 0)
            far = whole[(high - 1) * (high - 1) + (wide - 1) * (wide - 1)]
            edge = np.exp(8 * (np.arange(inmost, far + 1) - r))
            for dy in range(high):
                chord = int(min(math.sqrt(flat * flat - dy * dy), wide)) if dy <= flat else -1
                for dx in range(chord + 1, wide):
                    # (1 + tanh(-b/2)) / 2 = 1 / (1 + exp(b)), b = 8 (d - r)
                    square = dy * dy + dx * dx
                    weights[dx] = energy / (1 + rest[square] * edge[whole[square] - inmost])
                for row in range(y - dy, y + dy + 1, max(2 * dy, 1)):
                    if row < 0 or row >= height:
                        continue
                    inside = max(x - chord, 0), min(x + chord + 1, width)
                    if chord >= 0:
                        for part in range(5):
                            steps[row - first, inside[0], part] += energy * parts[part]
                            steps[row - first, inside[1], part] -= energy * parts[part]
                        steps[row - first, inside[0], 5] += 1
                        steps[row - first, inside[1], 5] -= 1
                    for column in range(max(x - wide + 1, 0), x - chord):
                        for part in range(5):
                            sums[row - first, column, part] += weights[x - column] * parts[part]
                    for column in range(x + max(chord + 1, 1), min(x + wide, width)):
                        for part in range(5):
                            sums[row - first, column, part] += weights[column - x] * parts[part]


@functools.cache
def compiled() -> Callable[..., None]:
    """The sums over sources as machine code, which takes seconds to make without a cache."""
    import numba

    planes = "f8[:, :, ::1]"
    signature = f"void({planes}, f8[:, ::1], i8, i8, i8, {planes}, {planes}, i8[::1], f8[::1])"
    try:
        return numba.njit(signature, nogil=True, cache=True)(_scatter_rows)
    except RuntimeError:  # no folder for the cache can be written to
        return numba.njit(signature, nogil=True)(_scatter_rows)
