"""Brightness of clipped highlights, estimated from their rim.

A photo shows a light of level L > 1 as 1, and a lens would spread L. A pixel that the light covers
by a share c, before a background of level b, shows b + c (L - b): below 1 only while
c < (1 - b) / (L - b). The brighter the light, the narrower is the rim where it is not clipped.
Along an outline of length P all shares are equally frequent, so what the rim adds to the background
sums to S = P (1 - b)^2 / (2 (L - b)), and with P = 2 sqrt(pi A) for a light of A clipped pixels

    L = b + sqrt(pi A) (1 - b)^2 / S.

Rims that are softer than a pixel make L smaller; below 1 the photo is left as it is. Every channel
is looked at by itself, and only lights that are small and whole are.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CLIPPED = 0.998  # of a channel, sRGB-encoded: the last of 8-bit levels
LARGEST = 60  # clipped pixels
REACH = 8  # px from a light's last pixel to its farthest
BRIGHTEST = 10.0  # level of a light whose rim does not show
NO_RIM = 0.03  # added to S / sqrt(A): what the rim of the brightest adds by chance
AROUND = 5  # px, side of the window whose darkest pixel is the background


@torch.no_grad()
def gains(linear: Tensor, gamma: float = 2.2) -> Tensor:
    """By how much the small clipped lights of a picture are brighter than it shows.

    Args:
        linear: (B, 3, H, W), linear light in [0, 1].
        gamma: linear light is image ** gamma.

    Returns:
        Like linear: from 1 to `BRIGHTEST`, one value for each light and channel, 1 elsewhere.
    """
    level = linear.flatten(0, 1)[:, None]  # (B * 3, 1, H, W)
    clipped = level > CLIPPED**gamma
    if not level.is_cuda and not clipped.any():  # a GPU is not waited for
        return torch.ones_like(linear)
    light, rim_of, torn = _numbered(clipped)
    dark = -F.max_pool2d(-level, AROUND, 1, AROUND // 2)
    rim = (~clipped).to(level)

    def total(values: Tensor, number: Tensor = rim_of) -> Tensor:
        """Sum over each light's pixels and its rim's, (B * 3, H W + 1)."""
        sums = level.new_zeros(len(level), level[0].numel() + 1)
        return sums.scatter_add(1, number.flatten(1), values.flatten(1))

    area, around = total(clipped.to(level), light), total(rim).clamp(min=1)
    side, background = area.sqrt(), total(dark * rim) / around
    added = total((level - dark) * rim) + NO_RIM * side
    found = background + math.sqrt(math.pi) * side * (1 - background) ** 2 / added.clamp(min=1e-12)
    small = (area <= LARGEST) & (total(torn, light) + total(torn) == 0)
    found = torch.where(small, found.clamp(1, BRIGHTEST), 1.0)
    gain = found.gather(1, light.flatten(1)).reshape(level.shape)
    return torch.where(clipped, gain, 1.0).reshape(linear.shape)


def _numbered(clipped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each light's number at its pixels, also on its rim, and where a light is too long for one."""
    height, width = clipped.shape[-2:]
    places = torch.arange(1, height * width + 1, device=clipped.device, dtype=torch.float64)
    number = places.reshape(1, 1, height, width) * clipped
    for _ in range(REACH):
        number = F.max_pool2d(number, 3, 1, 1) * clipped
    wider = F.max_pool2d(number, 3, 1, 1)
    torn = (wider * clipped != number).float()
    return number.long(), wider.long(), torn
