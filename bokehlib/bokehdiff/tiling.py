"""Large images in tiles without seams: crops of one size that overlap and are blended.

Along each axis the image stands between reflected margins, as a whole image does, and is covered
by tiles of one side. With S_i a smooth step from 0 to 1 over the overlap of tiles i and i + 1,
less a halo at the edge of either, tile i has the weight S_(i-1) - S_i. So the weights are 0 or
more, sum to 1, and are 0 within a halo of every edge that is not the image's own.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bokehlib.optics import Lens


def render(
    transform: Callable[[Tensor, Tensor, Lens], Tensor],
    image: Tensor,
    disparity: Tensor,
    lens: Lens,
    *,
    side: int,
    halo: int,
    multiple: int,
    ramp: int,
    progress: Callable[[list], Iterable] = iter,
) -> Tensor:
    """Render an image tile by tile; beside image, disparity and result one tile is held.

    Args:
        transform: (image crop, disparity crop, lens) -> (B, C, h, w), a crop of the same size. All
            crops have one size, and their corners lie on one grid of `multiple` pixels.
        image: (B, 3, H, W).
        disparity: (B, 1, H, W).
        lens: in pixels of this image; it holds on every tile unchanged.
        side: of a tile in pixels at most, margins included; tiles are as small as their number
            allows.
        halo: pixels around every pixel that the transform may look at, and the reflected margin
            around the image.
        multiple: the sides of all crops are multiples of it.
        ramp: pixels over which neighbours are blended, at least.
        progress: wraps the list of tiles if there are several, e.g. tqdm.

    Returns:
        (B, C, H, W) float32, on the device of what `transform` returns.

    Raises:
        ValueError: if the side is no multiple, or leaves no room between margins and ramp.
    """
    if side < 1 or side % multiple:
        raise ValueError(f"tile of {side} px; accepted: multiples of {multiple} px")
    rows, columns = (_spans(length, side, halo, multiple, ramp) for length in image.shape[-2:])
    crops = list(itertools.product(rows, columns))
    result: Tensor | None = None
    for down, across in progress(crops) if len(crops) > 1 else crops:
        y, x = (span.source.to(image.device) for span in (down, across))
        crop = transform(image[..., y[:, None], x], disparity[..., y[:, None], x], lens)
        if result is None:
            result = crop.new_zeros((*crop.shape[:2], *image.shape[-2:]), dtype=torch.float32)
        weight = (down.weight[:, None] * across.weight).to(crop.device)
        seen = crop[..., down.inside, across.inside]
        result[..., down.target, across.target] += weight * seen
    assert result is not None
    return result


def reflect(image: Tensor, halo: int, multiple: int) -> Tensor:
    """Pad by reflection: `halo` pixels on every side, then below and right to a multiple.

    Unlike `torch.nn.functional.pad` it goes on reflecting where the halo exceeds the image, so
    that images from 1x1 upwards work.

    Args:
        image: (B, C, H, W).
        halo: margin in pixels.
        multiple: the padded sides are multiples of it.

    Returns:
        (B, C, H + 2 halo + ..., W + 2 halo + ...).
    """
    for axis in (-2, -1):
        length = image.shape[axis]
        total = _padded(length, halo, multiple)
        if total == length:
            continue
        place = torch.arange(total, device=image.device) - halo
        image = image.index_select(axis, _reflected(place, length))
    return image


def _padded(length: int, halo: int, multiple: int) -> int:
    return multiple * math.ceil((length + 2 * halo) / multiple)


def _reflected(place: Tensor, length: int) -> Tensor:
    """The pixel of an axis from 0 to length - 1 that stands at each place, inside or outside."""
    period = max(2 * length - 2, 1)
    place = place % period
    return torch.minimum(place, period - place)


@dataclass(frozen=True)
class _Span:
    """A tile along one axis."""

    source: Tensor  # (side,): the pixel of the image that stands at each place of the tile
    inside: slice  # the places of the tile that lie in the image
    target: slice  # those places in the image
    weight: Tensor  # of those places


def _spans(length: int, side: int, halo: int, multiple: int, ramp: int) -> list[_Span]:
    total = _padded(length, halo, multiple)
    side = min(side, total)
    number = len(_starts(total, side, halo, multiple, ramp))
    needed = (total + (number - 1) * (2 * halo + ramp)) / number
    side = min(side, multiple * math.ceil(needed / multiple))  # no more overlap than asked for
    starts = _starts(total, side, halo, multiple, ramp)
    spans = []
    for start, weight in zip(starts, _weights(starts, side, halo), strict=True):
        first = start - halo
        inside = slice(max(0, -first), min(side, length - first))
        target = slice(first + inside.start, first + inside.stop)
        source = _reflected(torch.arange(first, first + side), length)
        spans.append(_Span(source, inside, target, weight[inside]))
    return spans


def _starts(total: int, side: int, halo: int, multiple: int, ramp: int) -> list[int]:
    """First places of as few tiles as cover `total` places, evenly spread, on the token grid."""
    if total == side:
        return [0]
    step = (side - 2 * halo - ramp) // multiple
    if step < 1:
        least = _padded(ramp + multiple, halo, multiple)
        raise ValueError(
            f"tile of {side} px for a halo of {halo} px on every side and a ramp of {ramp} px; "
            f"accepted: from {least} px"
        )
    room = (total - side) // multiple
    gaps = math.ceil(room / step)
    return [multiple * (room * index // gaps) for index in range(gaps + 1)]


def _weights(starts: list[int], side: int, halo: int) -> list[Tensor]:
    """S_(i-1) - S_i for each tile i, (side,)."""
    weights = []
    for index, start in enumerate(starts):
        weight = torch.ones(side)
        if index > 0:
            weight = _rise(side, halo, starts[index - 1] + side - halo - start)
        if index + 1 < len(starts):
            weight = weight - _rise(side, starts[index + 1] + halo - start, side - halo)
        weights.append(weight)
    return weights


def _rise(side: int, low: int, high: int) -> Tensor:
    """A smooth step, 0 before the place `low` and 1 from the place `high` on, (side,)."""
    x = ((torch.arange(side) + 0.5 - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x)
