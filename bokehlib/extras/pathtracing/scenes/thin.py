"""Scenes of hair, wire and spokes."""

import math

import numpy as np

from bokehlib.extras.pathtracing import lettering, shapes, textures
from bokehlib.extras.pathtracing.camera import Camera
from bokehlib.extras.pathtracing.scenes.parts import bush, cylinder, tree
from bokehlib.extras.pathtracing.shapes import Ball, Strands
from bokehlib.extras.pathtracing.world import World, matte, metal, shiny


def hair(rng: np.random.Generator) -> World:
    """Long hair in the wind, seen from behind, before a park."""
    camera = Camera(height=1.5, pitch=4, fov=38, near=1.25, far=5.0)
    light = textures.sky(
        (0.5, 0.65, 0.9), (0.95, 0.9, 0.85), (0.25, 0.22, 0.18), (-0.7, 0.6, -0.2), 8.0, 20
    )
    world = World(camera, light)
    lawn = textures.mottled(rng, (0.12, 0.22, 0.05), (0.35, 0.42, 0.12), (1024, 1024), (40, 40))
    world.add(shapes.ground(40, 0.5, 30, 0.0), matte(lawn))
    path = textures.mottled(rng, (0.45, 0.38, 0.3), (0.62, 0.55, 0.45), (512, 512), (60, 8))
    world.add(shapes.quad((0.2, 0.005, 0.5), (1.3, 0, 0), (2.2, 0, 20)), matte(path))
    for x, z, size in (
        (-2.4, 7.0, 1.5),
        (3.4, 9, 1.9),
        (-4.6, 12, 2.2),
        (1.0, 15, 2.4),
        (6.0, 14, 2.0),
    ):
        tree(world, rng, (x, 0, z), size, (0.16, 0.3, 0.07))
    for x, z, colour in (
        (1.9, 5.0, (0.7, 0.1, 0.12)),
        (2.5, 5.4, (0.8, 0.55, 0.1)),
        (-1.6, 5.8, (0.6, 0.2, 0.5)),
    ):
        bush(world, rng, (x, 0.25, z), 0.32, colour, 260)
    skin, head = (0.62, 0.38, 0.27), np.array([-0.1, 1.48, 1.3])
    world.add(shapes.ellipsoid(head, (0.085, 0.115, 0.1)), matte(skin))
    world.add(cylinder((-0.1, 1.25, 1.31), (-0.1, 1.42, 1.3), 0.045), matte(skin))
    world.add(shapes.ellipsoid((-0.1, 1.12, 1.32), (0.24, 0.15, 0.12)), matte((0.55, 0.08, 0.1)))
    for wisp, count, thin in ((False, 2600, 0.0011), (True, 110, 0.0008)):
        points, radii = _locks(rng, head, count, wisp), rng.uniform(0.7, 1.3, count) * thin
        tones = ((0.2, 0.08, 0.03), (0.34, 0.16, 0.06), (0.5, 0.28, 0.11))
        for tone, chosen in enumerate(np.array_split(rng.permutation(count), len(tones))):
            lock = shapes.strands(points[chosen], radii[chosen], radii[chosen] / 3)
            world.add(lock, shiny(tones[tone], 0.3))
    return world


def _locks(rng: np.random.Generator, head: np.ndarray, count: int, wisp: bool) -> np.ndarray:
    """Control points (count, 12, 3): combed down from the scalp, blown to the right."""
    roots = shapes.directions(rng, 3 * count)
    roots = roots[(roots[:, 1] > -0.25) & (roots[:, 2] < 0.75)]
    roots = roots[rng.choice(len(roots), count, replace=len(roots) < count)]
    points = [head + roots * (0.084, 0.114, 0.099)]
    speed = 0.8 * roots + rng.normal(0, 0.35 if wisp else 0.1, roots.shape)
    length = rng.uniform(0.25, 0.42, (count, 1)) * (1.1 if wisp else 1)
    curl, phase = rng.uniform(0.02, 0.10, (count, 1)), rng.uniform(0, 6.28, (count, 1))
    for step in range(11):
        wind = 0.035 * step * (1.6 if wisp else 1.0)
        speed = 0.8 * speed + np.array([wind, -0.42 + (0.25 if wisp else 0.0), -0.04])
        turn = 0.9 * step + phase
        speed += curl * np.concatenate([np.sin(turn), 0 * turn, np.cos(turn)], axis=1)
        new = points[-1] + length / 11 * speed / np.linalg.norm(speed, axis=1, keepdims=True)
        off = (new - head) / (0.09, 0.12, 0.105)
        inside = np.maximum(1 / np.linalg.norm(off, axis=1, keepdims=True), 1)
        points.append(head + (new - head) * inside)
    return np.stack(points, axis=1)


def fence(rng: np.random.Generator) -> World:
    """A chain-link fence before a playground with a painted wall."""
    camera = Camera(height=1.2, pitch=5, fov=42, near=1.0, far=4.2)
    world = World(
        camera,
        textures.sky((0.5, 0.7, 1.0), (0.95, 0.95, 0.95), (0.3, 0.28, 0.25), (0.6, 0.8, -0.5), 4.5),
    )
    tiles = textures.checks(rng, (0.55, 0.3, 0.22), (0.62, 0.4, 0.3), (24, 24), 64)
    world.add(shapes.ground(14, 0.4, 14.4, 0.0, 2.0), matte(tiles))
    palette = [
        (0.75, 0.2, 0.12),
        (0.9, 0.62, 0.1),
        (0.1, 0.4, 0.55),
        (0.85, 0.8, 0.7),
        (0.15, 0.5, 0.3),
    ]
    mural = np.repeat(textures.stripes(rng, palette, 26), 4, axis=0)
    word = lettering.line("BOKEH", 110, 0.75)
    top, left = 70, 260
    part = mural[top : top + word.shape[0], left : left + word.shape[1]]
    part[...] = part * (1 - word[..., None]) + np.array([0.04, 0.05, 0.12]) * word[..., None]
    world.add(shapes.quad((-3.6, 0, 6.2), (7.6, 0, -0.9), (0, 2.3, 0)), matte(mural))
    for x, z, size, colour in (
        (-0.75, 3.0, 0.2, (0.8, 0.12, 0.1)),
        (0.35, 4.2, 0.26, (0.9, 0.7, 0.1)),
        (1.2, 3.6, 0.16, (0.1, 0.3, 0.7)),
        (-1.35, 4.6, 0.3, (0.2, 0.55, 0.25)),
    ):
        world.add(Ball((x, size, z), size), shiny(colour, 0.12))
    for x in (-2.2, 2.35):
        tree(world, rng, (x, 0, 7.6), 1.5, (0.2, 0.36, 0.1))
    galvanised = metal((0.62, 0.64, 0.66), 0.35)
    world.add(_mesh_wire(1.0, 0.062, 0.0032, (-0.75, 0.75), (0.62, 1.62)), galvanised)
    world.add(cylinder((0.43, 0.3, 1.03), (0.43, 1.9, 1.03), 0.021), galvanised)
    return world


def _mesh_wire(
    z: float, cell: float, radius: float, x: tuple[float, float], y: tuple[float, float]
) -> Strands:
    """Zigzag wires that hook into their neighbours."""
    count, turns = int((x[1] - x[0]) / cell), int((y[1] - y[0]) / cell * 2)
    wires = []
    for wire in range(count):
        points = []
        for turn in range(turns):
            side = 1 if (turn + wire) % 2 else -1
            place = (x[0] + cell * (wire + side * 0.56), y[0] + turn * cell / 2, z + side * 0.004)
            points += [place, place]
        wires.append(points[1:-1])
    return shapes.strands(np.array(wires), radius, radius)


def wheel(rng: np.random.Generator) -> World:
    """A bicycle leans on a brick wall that runs away from us."""
    camera = Camera(height=0.62, pitch=6, fov=40, near=1.32, far=3.2)
    world = World(
        camera,
        textures.sky((0.7, 0.8, 1.0), (0.9, 0.85, 0.8), (0.3, 0.28, 0.25), (-0.2, 0.8, -0.9), 6.0),
    )
    wall = textures.bricks(rng, (0.3, 0.1, 0.06), (0.62, 0.27, 0.16), (0.55, 0.5, 0.45), 24)
    world.add(
        shapes.quad((-2.6, 0, 1.7), (9.0, 0, 5.5), (0, 3.6, 0)), matte(np.tile(wall, (1, 2, 1)))
    )
    paving = textures.checks(rng, (0.3, 0.3, 0.29), (0.42, 0.41, 0.38), (16, 16), 64)
    world.add(shapes.ground(12, 0.3, 12.3, 0.0, 1.5), matte(paving))
    for x, size in ((-0.22, 0.34), (1.1, 0.34)):
        z = 1.38 + 0.5 * (x + 0.22)
        _wheel(world, (x, size + 0.02, z), size, 36)
    _frame(world)
    for x, z, colour in ((-0.85, 1.9, (0.75, 0.15, 0.2)), (2.4, 3.9, (0.85, 0.6, 0.1))):
        world.add(
            shapes.lathe(
                [(0.0, 0.0), (0.11, 0.0), (0.15, 0.24), (0.13, 0.24), (0.11, 0.2), (0, 0.2)],
                (x, 0, z),
                48,
            ),
            matte((0.5, 0.2, 0.11)),
        )
        bush(world, rng, (x, 0.42, z), 0.2, colour, 160)
    return world


def _frame(world: World) -> None:
    """Tubes, bars and saddle between the two wheels."""
    paint = shiny((0.05, 0.3, 0.28), 0.1)
    hub, rear, seat, crank, head = (
        np.array(p)
        for p in (
            (-0.22, 0.36, 1.38),
            (1.1, 0.36, 2.04),
            (0.78, 0.86, 1.88),
            (0.56, 0.32, 1.77),
            (-0.02, 0.78, 1.48),
        )
    )
    for start, end, radius in (
        (hub, head, 0.012),
        (head, crank, 0.017),
        (head, seat, 0.015),
        (seat, crank, 0.016),
        (seat, rear, 0.009),
        (crank, rear, 0.01),
    ):
        world.add(cylinder(start, end, radius), paint)
    world.add(
        shapes.strand(
            [head, head + (0.03, 0.12, 0), head + (-0.12, 0.16, -0.18), head + (-0.02, 0.1, -0.3)],
            0.011,
        ),
        metal((0.75, 0.75, 0.76)),
    )
    world.add(
        shapes.ellipsoid(seat + (0.02, 0.05, 0), (0.13, 0.03, 0.07)), shiny((0.12, 0.06, 0.03), 0.3)
    )


def _wheel(world: World, centre: tuple[float, float, float], size: float, spokes: int) -> None:
    """Tyre, rim, hub and crossed spokes, about an axis that points at us."""
    x, y, z = centre
    turn = np.linspace(0, 2 * math.pi, 73)
    ring = np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn) + 0], axis=-1)
    ring[:, 2] = 0.5 * ring[:, 0]  # as the wall runs
    for share, radius, material in (
        (1.0, 0.019, matte((0.03, 0.03, 0.03))),
        (0.94, 0.012, metal((0.75, 0.75, 0.77))),
    ):
        world.add(shapes.strand(ring * size * share + centre, radius), material)
    angle = 2 * math.pi * np.arange(spokes) / spokes
    offset = np.where(np.arange(spokes) % 4 < 2, 1.2, -1.2)
    side = np.where(np.arange(spokes) % 2, 0.03, -0.03)
    inner = np.stack([np.cos(angle + offset), np.sin(angle + offset), 0 * angle], axis=-1) * 0.025
    outer = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1) * size * 0.93
    inner[:, 2], outer[:, 2] = side + 0.5 * inner[:, 0], 0.5 * outer[:, 0]
    t = np.linspace(0, 1, 4)[None, :, None]
    spans = inner[:, None] * (1 - t) + outer[:, None] * t + centre
    world.add(shapes.strands(spans, 0.0016, 0.0016), metal((0.8, 0.8, 0.82), 0.3))
    world.add(cylinder((x, y, z - 0.045), (x, y, z + 0.045), 0.022), metal((0.6, 0.6, 0.62)))
