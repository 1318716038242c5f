"""Which pixels of a true picture must be sharp: in focus, and what lies before them.

A pixel is in focus where its blur radius is below `IN_FOCUS_RADIUS`. Only one nearer than the
focus can cover it: one behind it is hidden by it, and one nearer within the focus spreads over no
other pixel.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.optics import IN_FOCUS_RADIUS, Lens, circle_of_confusion


def in_focus_mask(disparity: Tensor, lens: Lens) -> Tensor:
    """Pixels in focus that no nearer disc reaches: a renderer must leave them as they are.

    Exactly: the circle of confusion is below `IN_FOCUS_RADIUS`, and no pixel that is nearer (larger
    disparity) lies within its own radius of this one, centre to centre.

    Args:
        disparity: (B, 1, H, W) in [0, 1], the true one.
        lens: In pixels of this map.

    Returns:
        (B, 1, H, W) bool.
    """
    sharp, reached = sharp_and_reached(disparity, lens)
    return sharp & ~reached


def under_near_blur_mask(disparity: Tensor, lens: Lens) -> Tensor:
    """Pixels in focus under the blur of something nearer, (B, 1, H, W) bool: all the others."""
    sharp, reached = sharp_and_reached(disparity, lens)
    return sharp & reached


def sharp_and_reached(disparity: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    """Pixels in focus, and pixels that a nearer disc reaches, (B, 1, H, W) bool each."""
    disparity = disparity.double()
    focus, _ = lens.column(disparity)
    radius = circle_of_confusion(disparity, lens)
    # A radius of 1 px, the least that reaches another pixel, is nearer than all that is in focus.
    near = (disparity > focus) & (radius >= 1)
    # q is reached if |q - s|^2 - r_s^2 <= 0 for some s; the least of it separates into y and x.
    power = torch.where(near, -radius.square(), torch.inf)
    extent = int(radius[near].max()) if near.any() else 0
    return radius < IN_FOCUS_RADIUS, _lowest(_lowest(power, extent).mT, extent).mT <= 0


def _lowest(power: Tensor, extent: int) -> Tensor:
    """Minimum over shifts s along the last axis of power[x + s] + s^2, |s| <= extent."""
    width = power.shape[-1]
    extent = min(extent, width - 1)
    padded = F.pad(power, (extent, extent), value=torch.inf)
    result = power
    for shift in range(-extent, extent + 1):
        start = extent + shift
        result = torch.minimum(result, padded[..., start : start + width] + shift**2)
    return result
