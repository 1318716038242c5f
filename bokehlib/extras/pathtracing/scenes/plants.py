"""Scenes of branches, grass and seed heads."""

import numpy as np

from bokehlib.extras.pathtracing import shapes, textures
from bokehlib.extras.pathtracing.camera import Camera
from bokehlib.extras.pathtracing.scenes.parts import cylinder, tree
from bokehlib.extras.pathtracing.shapes import Ball
from bokehlib.extras.pathtracing.world import World, coloured, matte, shiny


def branches(rng: np.random.Generator) -> World:
    """Autumn twigs close by, a path between trunks behind."""
    camera = Camera(height=1.5, pitch=5, fov=40, near=1.05, far=5.0)
    world = World(
        camera,
        textures.sky(
            (0.75, 0.85, 1.0), (1.0, 0.95, 0.85), (0.25, 0.2, 0.12), (0.8, 0.5, 0.6), 5.0, 22
        ),
    )
    litter = textures.mottled(rng, (0.2, 0.1, 0.04), (0.5, 0.3, 0.1), (1024, 1024), (60, 60))
    spots = [(0.6, 0.25, 0.05), (0.7, 0.42, 0.1), (0.35, 0.12, 0.04)]
    world.add(
        shapes.ground(30, 0.6, 30, 0.0), matte(textures.speckled(rng, litter, spots, 6000, 3))
    )
    path = textures.mottled(rng, (0.4, 0.34, 0.28), (0.58, 0.5, 0.4), (512, 512), (40, 6))
    world.add(shapes.quad((-1.3, 0.006, 0.6), (1.5, 0, 0), (1.6, 0, 22)), matte(path))
    bark = textures.mottled(rng, (0.12, 0.08, 0.06), (0.4, 0.32, 0.25), (512, 128), (10, 40))
    for x, z, r in (
        (-1.7, 4.4, 0.16),
        (1.5, 5.2, 0.2),
        (-2.8, 7.5, 0.22),
        (2.6, 8.5, 0.25),
        (-1.5, 11, 0.2),
        (3.0, 13, 0.25),
        (-4.5, 12, 0.3),
        (5.2, 11, 0.28),
    ):
        world.add(cylinder((x, -0.1, z), (x + 0.03 * z * rng.normal(), 6, z), r), matte(bark))
    for x, z, s in ((-5, 16, 3.2), (0.5, 20, 3.4), (6, 17, 3.0)):
        tree(world, rng, (x, 0, z), s, (0.5, 0.3, 0.06), 1800)
    warm = [(0.75, 0.3, 0.04), (0.8, 0.5, 0.06), (0.6, 0.12, 0.05), (0.45, 0.45, 0.08)]
    for start, end, count, length in (
        ((-0.5, 1.74, 1.0), (0.12, 1.5, 1.1), 34, 0.075),
        ((-0.5, 1.3, 1.2), (0.02, 1.22, 1.05), 22, 0.07),
        ((0.72, 1.85, 1.7), (0.22, 1.62, 1.75), 30, 0.085),
        ((0.9, 1.0, 2.3), (0.4, 1.3, 2.4), 26, 0.09),
    ):
        _twig(world, rng, np.array(start), np.array(end), count, length, warm)
    return world


def _twig(
    world: World,
    rng: np.random.Generator,
    start: np.ndarray,
    end: np.ndarray,
    count: int,
    length: float,
    palette: list,
) -> None:
    """A branch with side shoots, a leaf at the end of each."""
    t = np.linspace(0, 1, 8)[:, None]
    spine = start + t * (end - start) + np.concatenate([rng.normal(0, 0.012, (8, 3))])
    size = float(np.linalg.norm(end - start))
    bark = shiny((0.16, 0.09, 0.05), 0.4)
    world.add(shapes.strand(spine, 0.012 * size, 0.003 * size), bark)
    at = np.linspace(0.08, 1, count)
    roots = np.stack([np.interp(at, t[:, 0], spine[:, k]) for k in range(3)], axis=-1)
    out = np.cross(end - start, rng.normal(size=(count, 3)))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    out += 0.5 * (end - start) / size
    tips = roots + length * rng.uniform(0.3, 0.8, (count, 1)) * out
    share = np.linspace(0, 1, 4)[None, :, None]
    shoots = roots[:, None] * (1 - share) + tips[:, None] * share
    world.add(shapes.strands(shoots, 0.0022, 0.0011), bark)
    tints = np.array(palette)[rng.integers(len(palette), size=count)] * rng.uniform(
        0.8, 1.2, (count, 1)
    )
    leafage = shapes.leaves(
        rng,
        tips,
        out + (0, -0.5, 0),
        length * rng.uniform(0.7, 1.25, count),
        0.55,
        tints.clip(0, 0.9),
    )
    world.add(leafage, coloured(leafage))


def meadow(rng: np.random.Generator) -> World:
    """Grass and poppies at eye level, hills and trees behind."""
    camera = Camera(height=0.34, pitch=1, fov=44, near=0.8, far=3.2)
    world = World(
        camera,
        textures.sky(
            (0.35, 0.55, 0.95), (0.8, 0.88, 0.95), (0.15, 0.18, 0.06), (-0.6, 0.7, -0.1), 7.0
        ),
    )
    soil = textures.mottled(rng, (0.07, 0.12, 0.03), (0.22, 0.3, 0.08), (512, 512), (30, 30))
    world.add(shapes.ground(60, 0.2, 60, 0.0), matte(soil))
    hills = 2.4 * textures.cloud(rng, (60, 120), (2, 5), 3) * np.linspace(0, 1.6, 60)[:, None]
    field = textures.mottled(rng, (0.14, 0.26, 0.05), (0.45, 0.42, 0.14), (512, 512), (8, 14))
    world.add(shapes.terrain(hills - 0.3, 50, 9, 34), matte(field))
    for x, z, s in ((-3.4, 9, 1.5), (2.2, 12, 1.6), (5.0, 10, 1.4), (-7.0, 14, 2.2)):
        tree(world, rng, (x, 0, z), s, (0.12, 0.25, 0.06))
    for tone in ((0.13, 0.3, 0.05), (0.25, 0.42, 0.09), (0.42, 0.45, 0.15)):
        world.add(_blades(rng, 1500), shiny(tone, 0.35))
    for _ in range(46):
        z = 0.62 + 4.6 * rng.random() ** 1.4
        x = rng.uniform(-0.45, 0.45) * z
        colour = ((0.8, 0.05, 0.03), (0.8, 0.05, 0.03), (0.85, 0.8, 0.75), (0.25, 0.25, 0.75))[
            rng.integers(4)
        ]
        _flower(world, rng, np.array([x, 0.22 + 0.17 * rng.random(), z]), colour)
    return world


def _blades(rng: np.random.Generator, count: int) -> shapes.Strands:
    """Tapered blades that lean with the wind."""
    z = 0.55 + 6.5 * rng.random(count) ** 1.8
    x = rng.uniform(-0.52, 0.52, count) * z
    height = rng.uniform(0.14, 0.36, count)
    lean = rng.normal(0.06, 0.09, count), rng.normal(0, 0.06, count)
    t = np.linspace(0, 1, 6)[None]
    points = np.stack(
        [
            x[:, None] + lean[0][:, None] * t**2,
            height[:, None] * (t - 0.15 * t**3),
            z[:, None] + lean[1][:, None] * t**2,
        ],
        axis=-1,
    )
    return shapes.strands(points, rng.uniform(0.0012, 0.0026, count), 0.0003)


def _flower(world: World, rng: np.random.Generator, head: np.ndarray, colour: tuple) -> None:
    """A stem, a heart and seven petals."""
    foot = head * (1, 0, 1) + rng.normal(0, 0.03, 3) * (1, 0, 1)
    world.add(
        shapes.strand([foot, 0.5 * (foot + head) + rng.normal(0, 0.01, 3), head], 0.002, 0.0014),
        matte((0.2, 0.3, 0.08)),
    )
    turn = np.linspace(0, 2 * np.pi, 7, endpoint=False) + rng.uniform(0, 1)
    out = np.stack([np.cos(turn), 0.55 + 0 * turn, np.sin(turn)], axis=-1)
    petals = shapes.leaves(
        rng, np.repeat(head[None], 7, 0), out, 0.034, 0.9, shapes.varied(rng, colour, 7, 0.15), 0.1
    )
    world.add(petals, coloured(petals))
    world.add(Ball(tuple(head + (0, 0.004, 0)), 0.006), matte((0.1, 0.08, 0.02)))


def dandelions(rng: np.random.Generator) -> World:
    """Seed heads against the evening sun."""
    camera = Camera(height=0.3, pitch=0, fov=36, near=0.62, far=2.6)
    sky = textures.sky(
        (0.08, 0.1, 0.24),
        (0.42, 0.22, 0.13),
        (0.08, 0.08, 0.03),
        (0.35, 0.2, 1.0),
        0.9,
        15,
        (1.0, 0.75, 0.4),
    )
    world = World(
        camera, sky + textures.sky((0.05,) * 3, (0.05,) * 3, (0, 0, 0), (-0.5, 0.7, -0.8), 4.5, 20)
    )
    soil = textures.mottled(rng, (0.1, 0.12, 0.03), (0.3, 0.3, 0.09), (512, 512), (40, 40))
    world.add(shapes.ground(40, 0.2, 40, 0.0), matte(soil))
    for x, z, s in (
        (-3.2, 8.0, 1.1),
        (3.6, 9, 1.3),
        (0.6, 13, 1.5),
        (-6.5, 13, 1.9),
        (7.5, 14, 2.0),
    ):
        tree(world, rng, (x, 0, z), s, (0.2, 0.2, 0.05))
    for tone in ((0.2, 0.3, 0.06), (0.35, 0.38, 0.1)):
        world.add(_blades(rng, 1100), shiny(tone, 0.35))
    heads = [
        (-0.085, 0.315, 0.62, 0.052),
        (0.1, 0.355, 0.84, 0.056),
        (-0.28, 0.26, 1.25, 0.06),
        (0.36, 0.3, 1.5, 0.06),
    ]
    heads += [
        (x, 0.22 + 0.1 * rng.random(), z, 0.055)
        for x, z in ((-0.1, 1.9), (0.62, 2.3), (-0.7, 2.6), (0.2, 2.8), (-1.0, 3.4))
    ]
    for x, y, z, size in heads:
        _seed_head(world, rng, np.array([x, y, z]), size)
    return world


def _seed_head(world: World, rng: np.random.Generator, middle: np.ndarray, size: float) -> None:
    """A ball of stalks, each with a parasol of fine hairs."""
    foot = middle * (1, 0, 1) + (0.02, 0, 0.01)
    world.add(
        shapes.strand([foot, 0.5 * (foot + middle) + (0.008, 0, 0), middle], 0.0026, 0.002),
        matte((0.4, 0.36, 0.14)),
    )
    world.add(Ball(tuple(middle), 0.13 * size), matte((0.3, 0.22, 0.1)))
    count, hairs = 110, 12
    out = shapes.directions(rng, count) + rng.normal(0, 0.06, (count, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    crown = middle + 0.7 * size * out
    share = np.linspace(0.15, 1, 4)[None, :, None]
    stalks = middle + (crown - middle)[:, None] * share
    world.add(shapes.strands(stalks, 0.0003, 0.00025), matte((0.75, 0.68, 0.55)))
    side = np.cross(out, (0.3, 0.5, 0.8))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(out, side)
    turn = 2 * np.pi * np.arange(hairs) / hairs
    around = (
        np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * other[:, None]
    )
    tips = crown[:, None] + size * (0.3 * out[:, None] + 0.24 * around)
    share = np.linspace(0, 1, 3)[None, None, :, None]
    tufts = crown[:, None, None] * (1 - share) + tips[:, :, None] * share
    world.add(shapes.strands(tufts.reshape(-1, 3, 3), 0.00022, 0.0001), matte((0.92, 0.9, 0.85)))
