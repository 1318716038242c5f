"""MPIB for a whole batch at once, as training wants it: a GPU is given large pieces, seldom.

It renders what `bokehlib.baselines.mpib` renders picture by picture and plane by plane, but for two
things. What stands behind a foreground is filled from around it (push-pull) instead of painted by
LaMa or OpenCV, which work on one picture at a time on the CPU; the networks never see it. And of
the planes those count on which most pixels lie, `SLOTS` in each picture.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.baselines.mpib_networks import PLANES
from bokehlib.classical import layers

SLOTS = 12  # scenes of training have up to ten planes with pixels
SOBEL = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)  # along an edge, and across
GAUSSIAN = (0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125)
OPAQUE = 1 - 1e-6  # what covers more counts as this, so that its logarithm is finite

# --- What stands behind -----------------------------------------------------------------------


def hidden_side(disparity: Tensor, reach: Tensor, threshold: float) -> Tensor:
    """`mpib.hidden_side` for a batch, specks included.

    Args:
        disparity: (B, 1, H, W).
        reach: (B,), px from a jump.
        threshold: of the smoothed gradient, from which on it is a jump.

    Returns:
        (B, 1, H, W) bool.
    """
    down, right = _filtered(disparity, *SOBEL[::-1]), _filtered(disparity, *SOBEL)
    down, right = (_filtered(x, GAUSSIAN, GAUSSIAN) for x in (down, right))
    jump = down.abs() + right.abs() > threshold
    height, width = disparity.shape[-2:]
    rows = torch.arange(height, device=disparity.device).view(1, 1, -1, 1).expand_as(jump)
    columns = torch.arange(width, device=disparity.device).view(1, 1, 1, -1).expand_as(jump)
    from_y, from_x = nearest(jump)
    at = (from_y * width + from_x).flatten(1)
    slope_y, slope_x = (x.flatten(1).gather(1, at).view_as(x) for x in (down, right))
    dy, dx = rows - from_y, columns - from_x
    uphill = dy * slope_y + dx * slope_x > 0
    near = torch.hypot(dy.float(), dx.float()) <= reach.view(-1, 1, 1, 1)
    return jump | (uphill & near & jump.flatten(1).any(1).view(-1, 1, 1, 1))


def _filtered(maps: Tensor, vertical, horizontal) -> Tensor:
    """One kernel along the columns and one along the rows, borders mirrored at their pixels."""
    column = maps.new_tensor(vertical).view(1, 1, -1, 1)
    row = maps.new_tensor(horizontal).view(1, 1, 1, -1)
    y, x = len(vertical) // 2, len(horizontal) // 2
    return F.conv2d(F.conv2d(F.pad(maps, (x, x, y, y), mode="reflect"), column), row)


def nearest(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of a pixel of the mask, for all but few pixels the nearest (jump flooding).

    Args:
        mask: (B, 1, H, W) bool.

    Returns:
        Two of (B, 1, H, W), long; 0 where the mask is empty.
    """
    height, width = mask.shape[-2:]
    rows = torch.arange(1.0, height + 1, device=mask.device).view(1, 1, -1, 1)
    columns = torch.arange(1.0, width + 1, device=mask.device).view(1, 1, 1, -1)
    found = torch.cat((mask * rows, mask * columns), dim=1)  # from 1 on, since beyond is 0
    step = 2 ** max(0, math.ceil(math.log2(max(height, width))) - 1)
    while step:
        around = F.unfold(found, 3, dilation=step, padding=step).unflatten(1, (2, 9))
        around = around.unflatten(-1, (height, width))  # (B, 2, 9, H, W)
        away = (around[:, 0] - rows).square() + (around[:, 1] - columns).square()
        away = torch.where(around[:, 0] > 0, away, math.inf)
        best = away.argmin(dim=1, keepdim=True)[:, None].expand(-1, 2, -1, -1, -1)
        found = around.gather(2, best)[:, :, 0]
        step //= 2
    y, x = (found.long() - 1).clamp(min=0).split(1, dim=1)
    return y, x


def background(image: Tensor, hole: Tensor) -> Tensor:
    """The photo (B, 3, H, W) with the holes (B, 1, H, W) filled from around them."""
    return layers.fill(image, ~hole)


# --- Planes -----------------------------------------------------------------------------------


def fullest(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """The planes on which most pixels lie, from the farthest to the nearest.

    Args:
        disparity: (B, 1, H, W) in [0, 1].

    Returns:
        Their numbers, (B, SLOTS) long, and whether any pixel lies there, (B, SLOTS) bool.
    """
    place = (disparity * PLANES).long().clamp(0, PLANES - 1).flatten(1)
    counts = disparity.new_zeros(len(disparity), PLANES)
    counts.scatter_add_(1, place, torch.ones_like(place, dtype=counts.dtype))
    planes = counts.topk(SLOTS, dim=1).indices.sort(dim=1).values
    return planes, counts.gather(1, planes) > 0


def radii(planes: Tensor, focus: Tensor, aperture: Tensor) -> Tensor:
    """`mpib.radius_of` planes (B, S) under focus and aperture of (B,), in px; (B, S)."""
    away = ((planes + 0.5) / PLANES - focus[:, None]).abs() - 0.5 / PLANES
    return (aperture[:, None] * away.clamp(min=0)).round()


def blur(maps: Tensor, radius: Tensor, widest: int) -> Tensor:
    """Maps (B, S, C, H, W) convolved with the discs of radius (B, S), at most `widest` px."""
    height, width = maps.shape[-2:]
    wide = F.pad(maps.flatten(0, 1), [widest] * 4, mode="replicate").unflatten(0, maps.shape[:2])
    x = torch.arange(-widest, widest + 1, device=maps.device)
    r = radius[..., None, None]
    inside = r.square() - x[:, None].square() - x.square()
    square = (x[:, None].abs() <= r) & (x.abs() <= r)
    discs = (0.5 + 0.5 * torch.tanh(0.25 * inside + 0.5)) * square
    discs = (discs / discs.sum((-2, -1), keepdim=True))[:, :, None]
    size = [2 * -(-n // 2) for n in wide.shape[-2:]]
    product = torch.fft.rfft2(wide, s=size) * torch.fft.rfft2(discs, s=size)
    return torch.fft.irfft2(product, s=size)[..., 2 * widest :, 2 * widest :][..., :height, :width]


def composite(
    colours: Tensor, alpha: Tensor, radius: Tensor, widest: int, gamma: float, faint: float
) -> Tensor:
    """`mpib.composite` of a batch, (B, 3, H, W).

    What a plane adds shines through all nearer ones, the product of 1 - blur(a); here it is a sum
    of logarithms.

    Args:
        colours: (B, S, 3, H, W), sRGB, from the farthest plane to the nearest.
        alpha: (B, S, 1, H, W) in [0, 1].
        radius: (B, S) in whole px.
        widest: at least the largest radius.
        gamma: linear light is colours ** gamma.
        faint: darkest light.
    """
    light = colours.float().clamp(min=faint).pow(gamma)
    shown = torch.cat((light, torch.ones_like(light[:, :, :1])), dim=2) * alpha.float()
    added = blur(shown, radius, widest)
    passed = torch.log1p(-added[:, :, 3:].clamp(max=OPAQUE))
    nearer = passed.flip(1).cumsum(1).flip(1) - passed
    result = (added * nearer.exp()).sum(1)
    return (result[:, :3] / result[:, 3:].clamp(min=1e-6)).clamp(min=faint).pow(1 / gamma)
