"""Does a renderer blur as much as it is asked to? Asked aperture against measured blur radius.

Flat scenes, wholly nearer or wholly farther than the focus, are rendered under one lens after the
other, and the radius of the blur is measured in linear light in two ways:

- from the second moment: the light of a uniform disc of radius r lies at a mean square distance
  of r^2 / 2 from its centre, and mean squares add when blurs follow each other. A square of s
  pixels has (s^2 - 1) / 6 of its own, so r = sqrt(2 (m - (s^2 - 1) / 6)), m measured on the
  render of the square minus the render of the background alone.
- from edges: the light across a straight edge blurred by a disc of radius r is
  1/2 + (u sqrt(1 - u^2) + asin u) / pi with u = x / r, and rises from 10 to 90 % over 2 u r with
  u = `RISE`, so r = width / (2 RISE).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bokehlib.evaluation.protocol import SWEEP_RADII
from bokehlib.optics import Lens

SIDES = {"near": (0.8, 0.3), "far": (0.3, 0.8)}  # name -> disparity of the scene, of the focus
SQUARE = 4  # px
GREY, BRIGHT, WHITE = 0.02, 0.5, 1.0  # linear light: background, beyond the edge, the square
GAMMA = 2.2
RISE = 0.6870488  # u where the blurred edge stands at 90 %
MARGIN = 8  # px; light is looked for this far beyond twice the asked radius
PLATEAU = 8  # px at either border that say how bright the two sides of an edge are


@torch.inference_mode()
def sweep(
    render: Callable[[torch.Tensor, torch.Tensor, Lens], torch.Tensor],
    radii: Sequence[float] = SWEEP_RADII,
    device: str | torch.device = "cpu",
) -> list[dict[str, Any]]:
    """Render the test scenes at every radius, nearer and farther than the focus.

    Args:
        render: (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W).
        radii: Blur radii to ask for, in pixels, above 0.
        device: Where the renderer gets its tensors.

    Returns:
        One row a side and radius: side ("near" or "far"), asked, moment and edge, the latter
        two the measured radii in pixels (NaN where the render shows nothing to measure), and
        light, the share of the square's light that the render holds (1 = all of it).
    """
    scenes = _scenes(max(radii)).to(device)
    rows = []
    for side, (disparity, focus) in SIDES.items():
        plane = torch.full_like(scenes[:, :1], disparity)
        for asked in radii:
            lens = Lens(focus, asked / abs(disparity - focus))
            blurred = render(scenes, plane, lens).cpu().double().clamp(0, 1)
            empty, square, upright, level = blurred.pow(GAMMA).mean(dim=1).numpy()  # (H, W) each
            edges = (_from_edge(edge) for edge in (upright, level.T))
            light, moment = _from_moment(square - empty, asked)
            row = {"side": side, "asked": float(asked), "moment": moment}
            rows.append(row | {"edge": math.fsum(edges) / 2, "light": light})
    return rows


def _scenes(largest: float) -> torch.Tensor:
    """Background, square, upright and level edge, sRGB-encoded, (4, 3, H, W)."""
    side = 16 * math.ceil((4 * largest + 2 * MARGIN + 2 * PLATEAU) / 16)
    linear = torch.full((4, 1, side, side), GREY)
    start = (side - SQUARE) // 2
    linear[1, :, start : start + SQUARE, start : start + SQUARE] = WHITE
    linear[2, :, :, side // 2 :] = BRIGHT
    linear[3, :, side // 2 :] = BRIGHT
    return linear.pow(1 / GAMMA).repeat(1, 3, 1, 1)


def _from_moment(light: np.ndarray, asked: float) -> tuple[float, float]:
    """Share of the light and blur radius in pixels from what the square added, (H, W)."""
    y, x = np.indices(light.shape) - (len(light) - 1) / 2
    square = y**2 + x**2  # squared distance from the centre
    # Far from the square a picture holds only the renderer's noise, which the distance magnifies.
    light = np.where(square <= (2 * asked + MARGIN) ** 2, light, 0)
    total = light.sum()
    share = float(total / (SQUARE**2 * (WHITE - GREY)))
    if total <= 0:
        return share, math.nan
    y0, x0 = (light * y).sum() / total, (light * x).sum() / total
    moment = (light * square).sum() / total - y0**2 - x0**2
    if moment <= 0:  # more darkness than light around the square
        return share, math.nan
    return share, math.sqrt(max(2 * (moment - (SQUARE**2 - 1) / 6), 0))


def _from_edge(light: np.ndarray) -> float:
    """Blur radius in pixels from the light (H, W) of an upright edge in the middle."""
    middle = len(light) // 2
    profile = light[middle - PLATEAU : middle + PLATEAU].mean(axis=0)
    dark, bright = profile[:PLATEAU].mean(), profile[-PLATEAU:].mean()
    if bright <= dark:
        return math.nan
    # Ripples would cross a level twice: half way between the envelopes there is one crossing.
    above = np.maximum.accumulate(profile)
    below = np.minimum.accumulate(profile[::-1])[::-1]
    rising = ((above + below) / 2 - dark) / (bright - dark)
    low, high = np.interp((0.1, 0.9), rising, np.arange(len(rising)))
    return float(high - low) / (2 * RISE)
