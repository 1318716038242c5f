"""Surfaces that bulge and are lit from one side, as posts, wires and limbs are.

A cut-out coloured by a photograph is flat: its rim looks like its middle. Round things darken or
brighten towards their rims, and glossy ones shine along a line inside them, which a network that
compares outlines with the picture must not take for another thing behind them.
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
GLOSSIEST = 1.0  # of the light's own white, in the middle of a highlight
EXPONENTS = (4.0, 64.0)  # of highlights, from dull to polished

Field = torch.Tensor  # (N, 1, H, W)
Numbers = torch.Tensor  # (N,)


def lit(layers: Layers, generator: torch.Generator) -> Layers:
    """The scenes with every second foreground, drawn at random, turned into a relief.

    Args:
        layers: B scenes of L layers; the farthest stays as it is.
        generator: on their device.

    Returns:
        The same layers with other colours; opacity and planes stay.
    """
    near = layers.textures[:, 1:].flatten(0, 1)
    numbers = torch.rand(6, len(near), generator=generator, device=near.device)
    steepness = STEEPEST * (2 * numbers[0] - 1).clamp(min=0)
    light = 2 * math.pi * numbers[1], LOWEST + (math.pi / 2 - LOWEST) * numbers[2]
    slopes = bulge(near[:, 3:], steepness, (len(REACHES) * numbers[3]).long())
    dull, polished = EXPONENTS
    gloss = GLOSSIEST * (2 * numbers[4] - 1).clamp(min=0) * (steepness > 0)
    shine = highlight(*slopes, *light, dull * (polished / dull) ** numbers[5])
    alpha = near[:, 3:]
    colour = near[:, :3] * shading(*slopes, *light) + alpha * gloss[:, None, None, None] * shine
    near = torch.cat([colour.minimum(alpha), alpha], 1).view_as(layers.textures[:, 1:])
    return replace(layers, textures=torch.cat([layers.textures[:, :1], near], 1))


def bulge(alpha: Field, steepness: Numbers, reach: Numbers) -> tuple[Field, Field]:
    """Slopes of a surface whose height is its opacity averaged over its reach, twice.

    Args:
        alpha: opacity.
        steepness: slope where the height changes by its whole range over its reach.
        reach: which of `REACHES`.

    Returns:
        Along y and along x; 0 where opacity does not change.
    """
    bulges = []
    for pixels in REACHES:
        side = 2 * pixels + 1
        raised = alpha
        for _ in range(2):
            raised = F.avg_pool2d(raised, side, 1, pixels, count_include_pad=False)
        bulges.append(side * raised)
    surface = torch.stack(bulges)[reach, torch.arange(len(alpha), device=alpha.device)]
    padded = F.pad(surface, (1, 1, 1, 1), mode="replicate")
    half = steepness[:, None, None, None] / 2
    slope_y = half * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    slope_x = half * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    return slope_y, slope_x


def shading(slope_y: Field, slope_x: Field, azimuth: Numbers, height: Numbers) -> Field:
    """Lambert's n.l of a surface, over that of a flat one.

    Args:
        slope_y: along y.
        slope_x: along x.
        azimuth: radians of the light's direction in the picture, from x towards y.
        height: radians of the light above the picture's plane.

    Returns:
        Gains in [0, `BRIGHTEST`]; 1 where the surface is flat.
    """
    return _facing(slope_y, slope_x, azimuth, 1 / height.tan()).clamp(0, BRIGHTEST)


def highlight(
    slope_y: Field, slope_x: Field, azimuth: Numbers, height: Numbers, exponent: Numbers
) -> Field:
    """Blinn's (n.h)^e, h halfway between the light and the eye, which looks straight down.

    Args:
        slope_y: along y.
        slope_x: along x.
        azimuth: as for `shading`.
        height: as for `shading`.
        exponent: e.

    Returns:
        In [0, 1]; 1 where the surface mirrors the light.
    """
    up = ((1 + height.sin()) / 2).sqrt()  # of h, over the picture's plane
    facing = _facing(slope_y, slope_x, azimuth, (1 / up.square() - 1).sqrt())
    return (up[:, None, None, None] * facing).clamp(0, 1) ** exponent[:, None, None, None]


def _facing(slope_y: Field, slope_x: Field, azimuth: Numbers, leaning: Numbers) -> Field:
    """n.v over that of a flat surface, v as far sideways as `leaning` for each 1 upwards."""
    azimuth, leaning = azimuth[:, None, None, None], leaning[:, None, None, None]
    sideways = leaning * (slope_y * azimuth.sin() + slope_x * azimuth.cos())
    return (1 - sideways) / (1 + slope_y**2 + slope_x**2).sqrt()
