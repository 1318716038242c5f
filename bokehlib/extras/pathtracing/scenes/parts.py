"""Things that stand in several scenes."""

import math

import numpy as np
from numpy.typing import ArrayLike

from bokehlib.extras.pathtracing import shapes, textures
from bokehlib.extras.pathtracing.shapes import Mesh
from bokehlib.extras.pathtracing.world import World, coloured, matte

Place = ArrayLike


def cylinder(start: Place, end: Place, radius: float, steps: int = 32) -> Mesh:
    """A closed round bar between two points."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    axis = (end - start) / np.linalg.norm(end - start)
    first = np.cross(axis, (0.3, 0.2, 0.9) if abs(axis[1]) > 0.5 else (0, 1, 0))
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    turn = np.linspace(0, 2 * math.pi, steps + 1)[:, None]
    ring = np.cos(turn) * first + np.sin(turn) * second
    rings = [start + 0 * ring, start + radius * ring, start + radius * ring]
    rings += [end + radius * ring, end + radius * ring, end + 0 * ring]
    v, u = np.meshgrid([0, 0, 0, 1, 1, 1], np.linspace(0, 1, steps + 1), indexing="ij")
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    lattice = shapes.terrain(np.zeros((6, steps + 1)), 1, 0, 1).faces
    return Mesh(np.concatenate(rings), lattice, uv, smooth=False)


def bush(
    world: World, rng: np.random.Generator, centre: Place, radius: float, colour: Place, count: int
) -> None:
    """A ball of leaves, some in `colour`, the others green."""
    out = shapes.directions(rng, count)
    roots = np.asarray(centre) + radius * out * rng.uniform(0.55, 0.95, (count, 1))
    tints = shapes.varied(rng, (0.16, 0.32, 0.07), count, 0.4)
    flowers = rng.random(count) < 0.4
    tints[flowers] = shapes.varied(rng, colour, int(flowers.sum()), 0.25)
    leafage = shapes.leaves(
        rng, roots, out + rng.normal(0, 0.5, out.shape), 0.45 * radius, 0.6, tints
    )
    world.add(leafage, coloured(leafage))


def tree(
    world: World,
    rng: np.random.Generator,
    foot: Place,
    size: float,
    colour: Place,
    count: int = 1400,
) -> None:
    """A trunk under a crown of leaves; `size` is the crown's middle above the foot."""
    foot = np.asarray(foot, dtype=float)
    bark = textures.mottled(rng, (0.1, 0.06, 0.04), (0.28, 0.2, 0.14), (256, 128), (6, 30))
    world.add(cylinder(foot, foot + (0, 1.1 * size, 0), 0.07 * size), matte(bark))
    places, outs = [], []
    for out in shapes.directions(rng, 9):
        blob = foot + np.array([0, 1.35 * size, 0]) + 0.42 * size * out * (1, 0.8, 1)
        around = shapes.directions(rng, count // 9)
        places.append(blob + 0.36 * size * around * rng.uniform(0.6, 1, (len(around), 1)))
        outs.append(around + rng.normal(0, 0.4, around.shape))
    roots, along = np.concatenate(places), np.concatenate(outs)
    tints = shapes.varied(rng, colour, len(roots), 0.45)
    leafage = shapes.leaves(rng, roots, along, 0.19 * size, 0.55, tints)
    world.add(leafage, coloured(leafage))
