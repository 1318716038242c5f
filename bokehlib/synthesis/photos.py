"""Photographs on the device, and crops of them taken for a whole batch at once."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from bokehlib.optics import HAS_TRITON

LEVELS = 3  # of each photo's pyramid: full, half and quarter size
SHARPEST = 0.3  # octaves above its own size at which a pyramid level gives way to the next
LARGEST_SCALE = 3.5  # photo pixels per crop pixel


def upload(numbers, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Numbers as a tensor on the device, without a wait for what the device is busy with."""
    tensor = torch.as_tensor(numbers, dtype=dtype)
    # from pageable memory the copy would wait
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """The number that rng.uniform(low, high) draws, in a quarter of its time."""
    return low + (high - low) * rng.random()


@dataclass(frozen=True)
class Crop:
    """Where a crop comes from.

    Attributes:
        photo: number of the photograph.
        y: top of the crop's window, as a share of the room there is, in [0, 1].
        x: its left, likewise.
        scale: photo pixels per crop pixel.
        flip: mirrored left to right.
    """

    photo: int
    y: float
    x: float
    scale: float
    flip: bool


class Photos:
    """Photographs of any sizes as one buffer with pyramids, so that a batch is cropped at once."""

    def __init__(self, photos: Sequence[torch.Tensor], device: torch.device | str = "cpu"):
        """Photos are uint8 (3, H, W), sRGB."""
        pixels, start = [], 0
        self.table: list[list[tuple[int, int, int]]] = []  # by photo and level
        for photo in photos:
            level = photo.to(device)[None].float()
            table = []
            for k in range(LEVELS):
                if k:
                    half = [max(1, n // 2) for n in level.shape[-2:]]
                    level = F.interpolate(level, size=half, mode="bilinear", antialias=True)
                height, width = level.shape[-2:]
                table.append((start, height, width))
                pixels.append(level[0].flatten(1).T.round().to(torch.uint8))
                start += height * width
            self.table.append(table)
        self.pixels = torch.cat(pixels)  # (sum of H W, 3)
        self.device = self.pixels.device

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.table)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Crop:
        """A random crop whose window (H, W) lies inside its photo, 1 to 3.5 times smaller."""
        photo = int(rng.integers(len(self)))
        _, height, width = self.table[photo][0]
        fit = min(height / size[0], width / size[1])  # below 1 the photo has to be enlarged
        low, high = math.log(min(1.0, fit)), math.log(min(LARGEST_SCALE, fit))
        scale = math.exp(uniform(rng, low, high))
        y, x, flip = rng.random(), rng.random(), rng.random()
        return Crop(photo, y, x, scale, flip < 0.5)

    def take(self, crops: Sequence[Crop], size: tuple[int, int], margin: int = 0) -> torch.Tensor:
        """Windows (H, W) with a margin around them; beyond a photo's edge it is mirrored.

        Returns:
            (B, 3, H + 2 margin, W + 2 margin) float in [0, 1], sRGB.
        """
        rows = [self._place(crop, size) for crop in crops]
        places = upload(rows, self.device, torch.float64)
        if HAS_TRITON and self.pixels.is_cuda:
            from bokehlib.synthesis import planes_triton

            return planes_triton.take(self.pixels, places, size, margin)
        starts, places = places[:, :3].long(), places[:, 3:].float()
        start, widths = starts[:, 0, None, None], starts[:, 2, None, None]
        top, left, step, flip = (v[:, None] for v in places.unbind(1))
        y, x = (
            torch.arange(-margin, n + margin, device=self.device, dtype=torch.float32) for n in size
        )
        x = torch.where(flip > 0, size[1] - 1 - x, x)
        y0, y1, down = _taps(top + step * (y + 0.5), starts[:, 1, None])
        x0, x1, right = _taps(left + step * (x + 0.5), starts[:, 2, None])
        corner = [
            self.pixels[start + row[:, :, None] * widths + column[:, None, :]].float()
            for row in (y0, y1)
            for column in (x0, x1)
        ]  # each (B, h, w, 3)
        right, down = right[:, None, :, None], down[:, :, None, None]
        upper = torch.lerp(corner[0], corner[1], right)
        lower = torch.lerp(corner[2], corner[3], right)
        return torch.lerp(upper, lower, down).permute(0, 3, 1, 2).contiguous() / 255

    def _place(self, crop: Crop, size: tuple[int, int]) -> tuple[float, ...]:
        """Buffer start, height and width of the level; top, left, step in its pixels; flip."""
        level = min(max(math.floor(math.log2(crop.scale) + SHARPEST), 0), LEVELS - 1)
        start, height, width = self.table[crop.photo][level]
        step = crop.scale / 2**level
        # whole pixels, so that a crop at the photo's own scale is the photo itself
        top = math.floor(crop.y * max(0.0, height - step * size[0]))
        left = math.floor(crop.x * max(0.0, width - step * size[1]))
        return start, height, width, top, left, step, crop.flip


def _taps(at: torch.Tensor, length: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Both neighbours of positions (B, n), mirrored into [0, length), and the second's weight."""
    whole = length.to(at.dtype)
    at = whole - (whole - torch.remainder(at, 2 * whole)).abs() - 0.5
    low = at.floor()
    weight = at - low
    first, second = (v.long().clamp(min=0) for v in (low, low + 1))
    return torch.minimum(first, length - 1), torch.minimum(second, length - 1), weight


def crops(
    photos: Sequence[torch.Tensor], size: tuple[int, int], device: torch.device | str = "cpu"
) -> Callable[[int, Iterable[int]], torch.Tensor]:
    """Random crops for training an autoencoder.

    Args:
        photos: uint8 (3, H, W), sRGB.
        size: (h, w) of a crop in px.
        device: where the photos stay and the crops are made.

    Returns:
        draw(seed, ns) -> (B, 3, h, w) sRGB in [0, 1]; crop n depends on (seed, n) alone.
    """
    bank = Photos(photos, device)

    def draw(seed: int, ns: Iterable[int]) -> torch.Tensor:
        return bank.take([bank.draw(np.random.default_rng([seed, n]), size) for n in ns], size)

    return draw
