"""What goes beyond the paper's step: optics as channels, and two residual forms.

    out = D(z0) + m (image - D(z))              (`keep_detail`; m is `in_focus_weight`)
    out = c + g (D(z0) - D(E(c)))               (`correct_layers`; c is `classical.layers.render`)

In the second form g is 1, or `occlusion_uncertainty_mask` with the switch "detail": away from
outlines c is right already. E(c) is an input beside z, z0 = E(c) - beta_t / alpha_t eps, and eps is
0 before training.
"""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from bokehlib.classical import layers
from bokehlib.classical.layers import JUMP
from bokehlib.optics import IN_FOCUS_RADIUS, Lens, circle_of_confusion, signed_coc

if TYPE_CHECKING:
    from bokehlib.bokehdiff.pipeline import BokehPipeline

OPTICS = 2  # channels of `optics_channels`
HALF = 2.0  # latents of radius at which the defocus channel is 1/2
BLURRED = 1.0  # px of radius from which on no detail is kept; below IN_FOCUS_RADIUS all is
NEAR = 5  # px, side of the window in which an outline is a jump of the signed radius
MARGIN = 4.0  # px around what an outline's discs reach


def keep_detail(
    pipeline: "BokehPipeline",
    out: Tensor,
    image: Tensor,
    latent: Tensor,
    disparity: Tensor,
    lens: Lens,
) -> Tensor:
    """Return what the autoencoder lost, where the lens leaves the photo sharp."""
    kept = in_focus_weight(disparity, lens).to(image)
    return out + kept * (image - pipeline.decode(latent))


def correct_layers(
    pipeline: "BokehPipeline", image: Tensor, disparity: Tensor, lens: Lens, tokens
) -> Tensor:
    """Correct the layered classical render; the autoencoder's own loss cancels."""
    blurred = layers.render(image, disparity, lens)
    latent, target = pipeline.encode(image), pipeline.encode(blurred)
    channels = pipeline.optics_channels(disparity, lens, latent)
    out = pipeline.decode(pipeline.denoise(latent, tokens, target, *channels))
    correction = out - pipeline.decode(target)
    if pipeline.config.detail:
        correction *= occlusion_uncertainty_mask(disparity, lens).to(image)
    return blurred + correction


def optics_channels(disparity: Tensor, lens: Lens, stride: int) -> Tensor:
    """Defocus and disparity on the grid of the latents.

    With t the signed radius in latents, the defocus channel is the area mean of t / (|t| + 2), in
    (-1, 1). It depends on the blur in latents alone, not on the size of the image.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
        stride: pixels per latent; divides H and W.

    Returns:
        (B, 2, H/stride, W/stride).
    """
    signed = signed_coc(disparity, lens) / stride
    return F.avg_pool2d(torch.cat((signed / (signed.abs() + HALF), disparity), dim=1), stride)


def in_focus_weight(disparity: Tensor, lens: Lens) -> Tensor:
    """How much of a pixel's own detail a lens would show, (B, 1, H, W) in [0, 1].

    With r the radius of pixel p in pixels of this image, n the signed one (positive before the
    focus) and rho(p) = max(r(p), max_s(n(s) - |P_s - P_p|)), it is 1 - u^2 (3 - 2 u) for
    u = clamp((rho - 0.5) / 0.5, 0, 1): 1 up to half a pixel, 0 from one pixel on. The second
    maximum is how deep p lies inside the discs of what is before the focus, so detail under a
    blurred foreground is not kept.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
    """
    deep = torch.maximum(
        circle_of_confusion(disparity, lens), inside_disc_depth(signed_coc(disparity, lens))
    )
    return _fade(deep, IN_FOCUS_RADIUS, BLURRED)


def occlusion_uncertainty_mask(disparity: Tensor, lens: Lens) -> Tensor:
    """Where a classical render may be wrong, (B, 1, H, W) in [0, 1].

    Blur within one surface is a gather that it does exactly; it cannot know what lies behind an
    outline. So, with S the pixels within 2 px of a jump of the signed radius by more than 1 px and
    r(s) the radius of the wider side there, rho(p) = max over s in S of r(s) - |P_s - P_p|; the
    share rises from 0 at rho = -4 px, since outlines are not known exactly, to 1 at rho = 0.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
    """
    signed = signed_coc(disparity, lens)
    high, low = (sign * F.max_pool2d(sign * signed, NEAR, 1, NEAR // 2) for sign in (1, -1))
    widest = torch.maximum(high.abs(), low.abs())
    radius = torch.where(high - low > JUMP, widest, -math.inf)
    return 1 - _fade(inside_disc_depth(radius + MARGIN), 0.0, MARGIN)


def _fade(deep: Tensor, start: float, end: float) -> Tensor:
    """1 up to `start`, 0 from `end` on."""
    u = ((deep - start) / (end - start)).clamp(0, 1)
    return 1 - u * u * (3 - 2 * u)


def inside_disc_depth(radius: Tensor) -> Tensor:
    """How deep every pixel p lies in discs, max over s of radius(s) - |P_s - P_p|, in pixels.

    Distances are those of paths along rows, columns and diagonals, at most 8 % too long.

    Args:
        radius: (B, 1, H, W) in pixels; a negative one is no disc.

    Returns:
        Like radius; 0 or less where no disc reaches.
    """
    steps = min(int(radius.amax().clamp(min=0)), max(radius.shape[-2:]))
    for _ in range(steps):
        straight = torch.maximum(
            F.max_pool2d(radius, (3, 1), 1, (1, 0)), F.max_pool2d(radius, (1, 3), 1, (0, 1))
        )
        diagonal = F.max_pool2d(radius, 3, 1, 1) - math.sqrt(2)
        radius = torch.maximum(radius, torch.maximum(straight - 1, diagonal))
    return radius
