"""Surfaces that bulge and are lit from one side, as posts, wires and limbs are.

A cut-out coloured by a photograph is flat: its rim looks like its middle. Round things darken or
brighten towards their rims, which a network that compares outlines with the picture must not take
for another thing behind them.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from bokehlib.synthesis.planes import Layers

REACHES = (1, 2, 4, 7)  # px from the rim over which a surface bulges
STEEPEST = 3.0  # slope at the rim
LOWEST = math.radians(20)  # of the light above the picture's plane
BRIGHTEST = 2.0  # times the light of a surface that lies flat


def lit(layers: Layers, generator: torch.Generator) -> Layers:
    """The scenes with every second foreground, drawn at random, turned into a relief.

    Args:
        layers: B scenes of L layers; the farthest stays as it is.
        generator: on their device.

    Returns:
        The same layers with other colours; opacity and planes stay.
    """
    near = layers.textures[:, 1:].flatten(0, 1)
    steepness, azimuth, height, reach = torch.rand(
        4, len(near), generator=generator, device=near.device
    )
    steepness = STEEPEST * (2 * steepness - 1).clamp(min=0)
    azimuth = 2 * math.pi * azimuth
    height = LOWEST + (math.pi / 2 - LOWEST) * height
    chosen = (len(REACHES) * reach).long()
    gain = shading(near[:, 3:], steepness, azimuth, height, chosen)
    near = torch.cat([(near[:, :3] * gain).minimum(near[:, 3:]), near[:, 3:]], 1)
    near = near.view_as(layers.textures[:, 1:])
    return replace(layers, textures=torch.cat([layers.textures[:, :1], near], 1))


def shading(
    alpha: torch.Tensor,
    steepness: torch.Tensor,
    azimuth: torch.Tensor,
    height: torch.Tensor,
    reach: torch.Tensor,
) -> torch.Tensor:
    """Lambert's n.l of a bulging surface, over that of a flat one.

    The surface's height is its opacity averaged over its reach, twice.

    Args:
        alpha: (N, 1, H, W), opacity.
        steepness: (N,), slope where the height changes by its whole range over its reach.
        azimuth: (N,) radians of the light's direction in the picture, from x towards y.
        height: (N,) radians of the light above the picture's plane.
        reach: (N,) which of `REACHES`.

    Returns:
        (N, 1, H, W) gains in [0, `BRIGHTEST`]; 1 where opacity does not change.
    """
    bulges = []
    for pixels in REACHES:
        side = 2 * pixels + 1
        raised = alpha
        for _ in range(2):
            raised = F.avg_pool2d(raised, side, 1, pixels, count_include_pad=False)
        bulges.append(side * raised)
    surface = torch.stack(bulges)[reach, torch.arange(len(alpha), device=alpha.device)]
    steepness, azimuth, height = (t[:, None, None, None] for t in (steepness, azimuth, height))
    padded = F.pad(surface, (1, 1, 1, 1), mode="replicate")
    slope_y = steepness * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    slope_x = steepness * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    sideways = (slope_y * azimuth.sin() + slope_x * azimuth.cos()) / height.tan()
    return ((1 - sideways) / (1 + slope_y**2 + slope_x**2).sqrt()).clamp(0, BRIGHTEST)
