"""The classical render of `bokehlib.baselines.scatter` in torch: batches in float32, on a GPU too.

Every source pixel spreads its light over its blur disc with the weights
w = sigmoid(8 (r - distance)) / (r^2 + 0.2) for |dy|, |dx| <= int(r) + 1, and a pixel is
sum(w I) / sum(w) in linear light. Sums run over offsets in a fixed order: two runs are identical.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bokehlib.optics import Lens, circle_of_confusion

_LARGEST = 1e15  # px; the square of a radius must stay finite


@torch.no_grad()
def scatter(image: Tensor, disparity: Tensor, lens: Lens, gamma: float = 2.2) -> Tensor:
    """Blur by scattering each pixel over its circle of confusion.

    Args:
        image: (B, 3, H, W), sRGB-encoded, in [0, 1].
        disparity: (B, 1, H, W) in [0, 1], 1 = nearest.
        lens: focus and aperture, in pixels of blur radius per unit of disparity.
        gamma: linear light is image ** gamma.

    Returns:
        (B, 3, H, W) in [0, 1], in the image's dtype; the image itself where the aperture is 0.
    """
    radius = circle_of_confusion(disparity.float(), lens).clamp(max=_LARGEST)  # (B, 1, H, W)
    linear = image.float().clamp(min=0).pow(gamma)
    light = torch.cat((linear, torch.ones_like(radius)), dim=1) / (radius.square() + 0.2)
    total = _spread(light, radius)
    blurred = (total[:, :3] / total[:, 3:]).pow(1 / gamma).clamp(0, 1).to(image)
    return torch.where(lens.column(radius)[1] == 0, image, blurred)


def _spread(light: Tensor, radius: Tensor) -> Tensor:
    """Sum of the discs of all pixels, like light (B, 4, H, W)."""
    height, width = light.shape[-2:]
    reach, edge = radius.floor() + 1, 8 * radius
    total = torch.zeros_like(light)
    for ring in range(min(int(reach.amax()), max(height, width) - 1) + 1):
        reaching = light * (reach >= ring)
        for dy, dx in _quarter(ring):
            if dy >= height or dx >= width:
                continue
            part = reaching * torch.sigmoid(edge - 8 * math.hypot(dy, dx))
            for y in {dy, -dy}:
                for x in {dx, -dx}:
                    to_y, from_y = _overlap(y, height)
                    to_x, from_x = _overlap(x, width)
                    total[..., to_y, to_x] += part[..., from_y, from_x]
    return total


def _quarter(ring: int) -> Iterator[tuple[int, int]]:
    """Offsets (dy, dx) from 0 whose larger one is `ring`."""
    yield from ((ring, dx) for dx in range(ring + 1))
    yield from ((dy, ring) for dy in range(ring))


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Where along an axis light lands that moves by `offset`, and where it comes from."""
    here = slice(max(offset, 0), length + min(offset, 0))
    return here, slice(here.start - offset, here.stop - offset)
