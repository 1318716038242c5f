"""Wrong disparity maps: what a renderer meets when the disparity is estimated.

Every disturbance takes (B, 1, H, W) in [0, 1], 1 = nearest, and returns the same shape, dtype and
device; lengths are pixels of this map. All but `random_disturbance` are deterministic. The focus
of a lens is a disparity of the true map and stays as it is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

STRAND = 2  # px; what is narrower than twice this and one pixel more counts as a strand
STANDS_OUT = 0.02  # disparity
BAND = 10  # px
SIGMA = 3.0  # px
COARSE = 8
GAMMA = 1.5


def grow(disparity: Tensor, radius: Tensor, largest: int) -> Tensor:
    """Dilate or erode what is near, each sample by its own radius.

    The kernel is OpenCV's ellipse of side 2 |radius| + 1: row y is as wide as the circle there,
    sqrt(radius^2 - y^2) to either side, rounded. Nothing comes in from outside, and the host never
    waits for the device.

    Args:
        disparity: (B, 1, H, W).
        radius: (B,) whole numbers of pixels; > 0 dilates (the largest in the kernel), < 0 erodes
            (the smallest), 0 changes nothing.
        largest: At least the largest |radius|; a larger one counts as this.
    """
    batch, height = len(disparity), disparity.shape[-2]
    radius = radius.to(disparity.device, torch.float32).clamp(-largest, largest)
    sign = torch.where(radius < 0, -1, 1).to(disparity)[:, None, None, None]
    values = sign * disparity  # eroding is dilating upside down
    wider = [values]  # [w]: the largest within w px to the left and right
    for _ in range(largest):
        wider.append(F.max_pool2d(wider[-1], (1, 3), stride=1, padding=(0, 1)))
    rows = torch.stack(wider)  # (largest + 1, B, 1, H, W)
    sample = torch.arange(batch, device=disparity.device)
    result = values
    for y in range(-min(largest, height - 1), min(largest, height - 1) + 1):
        inside = radius.abs() >= abs(y)
        half = (radius**2 - y**2).clamp(min=0).sqrt().round().long()  # of the kernel's row y
        row = rows[half, sample]
        row = torch.where(inside[:, None, None, None], row, -math.inf)
        row = F.pad(row, (0, 0, max(-y, 0), max(y, 0)), value=-math.inf)
        result = torch.maximum(result, row[..., max(y, 0) : max(y, 0) + height, :])
    return sign * result


def without_strands(disparity: Tensor) -> Tensor:
    """Near structures narrower than 5 px vanish into what is around them, as hair and wires do.

    What opening by the ellipse of radius `STRAND` leaves grows back by one pixel but never beyond
    the true map, so wide things keep their corners and a strand leaves a stub of 1 to 3 px.
    """
    opened = _grown(_grown(disparity, -STRAND), STRAND)
    return torch.minimum(disparity, _grown(opened, 1))


def strand_band(disparity: Tensor, reach: int = BAND) -> Tensor:
    """Where strands are, and all within `reach` px of them, (B, 1, H, W) bool.

    A strand is what `without_strands` takes away and stands out by more than `STANDS_OUT`.
    """
    strands = (disparity - without_strands(disparity) > STANDS_OUT).to(disparity)
    return _grown(strands, reach) > 0.5


def smoothed(disparity: Tensor) -> Tensor:
    """All edges smoothed by a Gaussian of `SIGMA` px that knows nothing of the picture."""
    reach = math.ceil(4 * SIGMA)
    steps = torch.arange(-reach, reach + 1, device=disparity.device, dtype=disparity.dtype)
    weights = torch.exp(-0.5 * (steps / SIGMA) ** 2)
    weights = (weights / weights.sum()).reshape(1, 1, 1, -1)
    across = F.conv2d(F.pad(disparity, (reach, reach, 0, 0), mode="replicate"), weights)
    padded = F.pad(across, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(padded, weights.mT).clamp(0, 1)


def coarse(disparity: Tensor) -> Tensor:
    """Known at an eighth of the resolution only: area means, then bilinear."""
    height, width = disparity.shape[-2:]
    size = max(1, round(height / COARSE)), max(1, round(width / COARSE))
    small = F.interpolate(disparity, size=size, mode="area")
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


def warped(disparity: Tensor) -> Tensor:
    """Between each map's own smallest and largest value, disparity to the power `GAMMA`.

    Surfaces in focus are no longer at the lens's focus, save at the two ends: a renderer that does
    as it is told then blurs them.
    """
    low, high = (extreme(disparity, dim=(-2, -1), keepdim=True) for extreme in _EXTREMES)
    span = torch.where(high > low, high - low, torch.ones_like(high))
    return low + (high - low) * ((disparity - low) / span).pow(GAMMA)


_EXTREMES = (torch.amin, torch.amax)
DISTURBANCES: dict[str, Callable[[Tensor], Tensor]] = {  # never trained on
    "strands": without_strands,
    "smoothed": smoothed,
    "coarse": coarse,
    "gamma": warped,
}


def disturb(disparity: Tensor, perturbation: int | str) -> Tensor:
    """The wrong map that a value of the scores' column `perturbation` stands for.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        perturbation: Signed radius in pixels (> 0 dilates, < 0 erodes, 0 changes nothing), or a
            name of `DISTURBANCES`.

    Raises:
        ValueError: For an unknown name.
    """
    if isinstance(perturbation, str):
        if perturbation not in DISTURBANCES:
            accepted = f"a signed radius in px or {', '.join(DISTURBANCES)}"
            raise ValueError(f"perturbation: found {perturbation!r}; accepted: {accepted}")
        return DISTURBANCES[perturbation](disparity)
    return _grown(disparity, perturbation)


def random_disturbance(
    disparity: Tensor, generator: torch.Generator, largest: float = 4.0
) -> Tensor:
    """Dilate or erode each sample by a random radius, as augmentation in training.

    Args:
        disparity: (B, 1, H, W).
        generator: On the disparity's device.
        largest: Radii are uniform from -largest to largest px, then rounded to whole pixels.
    """
    share = torch.rand(len(disparity), generator=generator, device=disparity.device)
    radius = (largest * (2 * share - 1)).round()
    return grow(disparity, radius, math.ceil(largest))


def _grown(disparity: Tensor, radius: int) -> Tensor:
    if radius == 0:
        return disparity
    return grow(disparity, torch.full((len(disparity),), radius), abs(radius))
