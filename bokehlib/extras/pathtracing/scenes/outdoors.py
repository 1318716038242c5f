"""Scenes of a street at night and of a harbour."""

import numpy as np

from bokehlib.extras.pathtracing import lettering, shapes, textures
from bokehlib.extras.pathtracing.camera import Camera
from bokehlib.extras.pathtracing.scenes.parts import cylinder
from bokehlib.extras.pathtracing.shapes import Ball
from bokehlib.extras.pathtracing.world import World, matte, metal, shiny


def street(rng: np.random.Generator) -> World:
    """A railing at dusk, lamps and signs along a wet street."""
    camera = Camera(height=1.35, pitch=3, fov=42, near=1.2, far=6.0)
    dusk = textures.sky(
        (0.2, 0.26, 0.5),
        (0.6, 0.38, 0.36),
        (0.08, 0.08, 0.1),
        (-0.6, 0.7, -0.7),
        4.0,
        26,
        (0.7, 0.8, 1.0),
    )
    world = World(camera, dusk)
    asphalt = textures.mottled(rng, (0.05, 0.05, 0.055), (0.13, 0.13, 0.14), (512, 512), (30, 30))
    world.add(shapes.ground(20, 0.6, 40, 0.0), shiny(asphalt, 0.2))
    _houses(world, rng)
    for number in range(6):
        z, side = 4.2 + 3.2 * number, -1 if number % 2 else 1
        x = side * 2.3
        world.add(cylinder((x, 0, z), (x, 2.75, z), 0.04), metal((0.3, 0.3, 0.3)))
        world.shine(Ball((x, 2.84, z), 0.12), (6.0, 4.2, 2.3))
    for x, z, tint in (
        (-0.9, 14.0, (6.0, 5.6, 4.8)),
        (-0.3, 14.0, (6.0, 5.6, 4.8)),
        (0.7, 9.5, (5.0, 0.35, 0.25)),
        (1.35, 9.5, (5.0, 0.35, 0.25)),
    ):
        world.shine(Ball((x, 0.6, z), 0.1), tint)
    for x, z, low in ((-0.6, 14, 0.95), (1.02, 9.6, 0.95)):
        world.add(shapes.box((x, low, z + 0.9), (1.25, 1.0, 1.6)), shiny((0.12, 0.14, 0.2), 0.1))
    for word, place, right, up, tint in (
        ("HOTEL", (-3.35, 1.5, 9.2), (0, 0, 3.0), 0.8, (2.4, 0.5, 0.6)),
        ("BAR", (3.35, 1.3, 11.2), (0, 0, -2.0), 0.8, (0.4, 1.7, 2.3)),
    ):
        ink = lettering.line(word, 48, 0.6)[..., None] * np.array(tint)
        board = shapes.turned(shapes.quad(place, right, (0, up, 0)))
        world.shine(board, (ink + 0.015).astype(np.float32))
    _garland(world, rng)
    _railing(world)
    return world


def _houses(world: World, rng: np.random.Generator) -> None:
    """Two rows of brick houses, most windows lit."""
    tones = ((0.45, 0.3, 0.23), (0.42, 0.38, 0.34), (0.38, 0.22, 0.17))
    walls = [textures.bricks(rng, (0.22, 0.13, 0.1), tone, (0.3, 0.27, 0.25), 16) for tone in tones]
    for side in (-1, 1):
        for number in range(7):
            z = 4.5 + 3.6 * number
            height, wall = rng.uniform(3.5, 6.5), walls[int(rng.integers(len(walls)))]
            x = side * 3.4
            world.add(shapes.quad((x, 0, z), (0, 0, 3.6), (0, height, 0)), matte(wall))
            world.add(shapes.quad((x, 0, z), (side * 4, 0, 0), (0, height, 0)), matte(wall))
            for level in range(1, int(height)):
                if rng.random() < 0.7:
                    tint = ((1.0, 0.75, 0.4), (1.0, 0.85, 0.6), (0.7, 0.85, 1.0))[rng.integers(3)]
                    pane = shapes.quad(
                        (x - side * 0.01, level, z + rng.uniform(0.4, 2.2)),
                        (0, 0, 0.8),
                        (0, 0.6, 0),
                    )
                    pane = shapes.turned(pane) if side < 0 else pane
                    world.shine(pane, tuple(1.3 * c for c in tint))


def _garland(world: World, rng: np.random.Generator) -> None:
    """Bulbs on a wire that hangs across the street close to us."""
    at = np.linspace(-1.0, 1.1, 12)
    wire = np.stack([at, 1.62 + 0.1 * (at - 0.1) ** 2, 1.75 + 0.35 * at], axis=-1)
    world.add(shapes.strand(wire, 0.004), matte((0.02, 0.02, 0.02)))
    for number, point in enumerate(wire):
        tint = ((3.5, 2.2, 0.9), (3.4, 0.9, 0.6), (0.9, 2.6, 1.2), (0.9, 1.6, 3.4))[number % 4]
        world.add(cylinder(point, point - (0, 0.03, 0), 0.009), matte((0.03, 0.03, 0.03)))
        world.shine(Ball(tuple(point - (0, 0.05, 0)), 0.024), tint)


def _railing(world: World) -> None:
    """Wrought iron with curls."""
    iron = shiny((0.06, 0.07, 0.07), 0.2)
    for y in (0.98, 1.16):
        world.add(cylinder((-0.8, y, 1.1), (0.8, y, 1.25), 0.009), iron)
    for x in np.linspace(-0.75, 0.75, 19):
        z = 1.175 + 0.094 * x
        world.add(cylinder((x, 0.6, z), (x, 1.2, z), 0.0045), iron)
        world.add(Ball((x, 1.205, z), 0.009), iron)
    turn = np.linspace(0, 3.6 * np.pi, 30)
    for x in np.linspace(-0.71, 0.71, 18):
        size = 0.038 * (1 - turn / turn[-1] * 0.85)
        curl = np.stack(
            [x + size * np.cos(turn), 1.07 + size * np.sin(turn), 1.175 + 0.094 * x + 0 * turn],
            axis=-1,
        )
        world.add(shapes.strand(curl, 0.0028, 0.002), iron)


def harbour(rng: np.random.Generator) -> World:
    """Shrouds and rope close by, boats on the water, a lighthouse."""
    camera = Camera(height=1.6, pitch=4, fov=42, near=1.15, far=7.0)
    world = World(
        camera,
        textures.sky((0.3, 0.5, 0.9), (0.9, 0.85, 0.8), (0.15, 0.2, 0.25), (0.7, 0.7, -0.3), 7.0),
    )
    waves = 0.05 * (textures.cloud(rng, (300, 300), (60, 50), 3) - 0.5)
    water = textures.mottled(rng, (0.02, 0.12, 0.16), (0.06, 0.24, 0.28), (512, 512), (30, 20))
    world.add(shapes.terrain(waves, 60, 1.2, 60), shiny(water, 0.18))
    hills = (
        textures.cloud(rng, (20, 160), (2, 9), 3) * np.sin(np.linspace(0, np.pi, 20))[:, None] * 5
    )
    shore = textures.mottled(rng, (0.2, 0.28, 0.14), (0.45, 0.42, 0.28), (256, 512), (6, 20))
    world.add(shapes.terrain(hills - 0.6, 80, 36, 48), matte(shore))
    for x, z, size, hull, sail, yaw in (
        (-1.6, 6.6, 0.9, (0.6, 0.1, 0.08), (0.85, 0.82, 0.75), 20),
        (1.9, 8.5, 1.1, (0.08, 0.2, 0.4), (0.85, 0.5, 0.15), -35),
        (0.1, 13, 1.2, (0.8, 0.8, 0.78), (0.75, 0.2, 0.15), 70),
        (-5, 16, 1.3, (0.1, 0.3, 0.25), (0.85, 0.82, 0.75), 10),
        (6.2, 19, 1.4, (0.7, 0.5, 0.1), (0.8, 0.8, 0.8), 150),
    ):
        _boat(world, (x, 0.0, z), size, hull, sail, yaw)
    bands = np.repeat(
        np.tile(np.array([[(0.8, 0.1, 0.08)], [(0.85, 0.85, 0.82)]], dtype=np.float32), (3, 4, 1)),
        32,
        axis=0,
    )
    world.add(shapes.lathe([(0.75, 0), (0.5, 4.2)], (-6.5, 0, 24), 48), matte(bands))
    world.add(
        shapes.lathe(
            [(0.0, 4.2), (0.7, 4.2), (0.7, 4.35), (0.35, 4.4), (0.35, 4.9), (0.45, 4.95), (0, 5.4)],
            (-6.5, 0, 24),
            32,
        ),
        matte((0.12, 0.12, 0.14)),
    )
    _rigging(world)
    return world


def _boat(world: World, foot: tuple, size: float, hull: tuple, sail: tuple, yaw: float) -> None:
    """A hull, a mast, two sails and stays."""
    t = np.linspace(-1, 1, 21)[:, None]
    turn = np.linspace(0, np.pi, 13)[None]
    beam = 0.3 * (1 - np.abs(t) ** 2.5) + 0.002
    across, down = beam * np.cos(turn), -0.32 * np.sin(turn) * (1 - 0.5 * t**2) + 0.28 + 0.08 * t**2
    vertices = np.stack([np.broadcast_to(t, across.shape), down, across], axis=-1).reshape(-1, 3)
    faces = shapes.terrain(np.zeros((21, 13)), 1, 0, 1).faces
    world.add(shapes.moved(shapes.Mesh(vertices, faces), foot, yaw, size), shiny(hull, 0.15))

    def at(x: float, y: float) -> np.ndarray:
        return shapes.moved(
            shapes.Mesh(np.array([[x, y, 0.0]]), faces[:0]), foot, yaw, size
        ).vertices[0]

    world.add(cylinder(at(0.1, 0.1), at(0.1, 2.3), 0.022 * size), matte((0.45, 0.3, 0.15)))
    for corners in (
        ((0.05, 0.5), (0.05, 2.2), (-0.85, 0.5)),
        ((0.17, 0.45), (0.12, 1.9), (0.92, 0.42)),
    ):
        world.add(
            shapes.Mesh(np.stack([at(*c) for c in corners]), np.array([[0, 1, 2]]), smooth=False),
            matte(sail),
        )
    for end in ((1.0, 0.38), (-1.0, 0.38)):
        world.add(shapes.strand([at(0.1, 2.3), at(*end)], 0.006 * size), matte((0.1, 0.1, 0.1)))


def _rigging(world: World) -> None:
    """Shrouds with ratlines, a spar, and a hanging rope with its fibres."""
    tarred, hemp = matte((0.12, 0.09, 0.06)), matte((0.6, 0.48, 0.3))
    world.add(cylinder((0.5, 0.9, 1.32), (0.56, 2.6, 1.32), 0.035), shiny((0.5, 0.3, 0.13), 0.2))
    feet, top = np.linspace(-0.62, 0.12, 5), np.array([0.5, 2.75, 1.3])
    ends = [np.array([x, 0.95, 1.12 + 0.05 * n]) for n, x in enumerate(feet)]
    for end in ends:
        world.add(shapes.strand([end, top], 0.0055), tarred)
    for y in np.arange(1.05, 2.4, 0.105):
        share = (y - 0.95) / (top[1] - 0.95)
        row = [end + share * (top - end) for end in ends]
        sagging = [p - (0, 0.006 * (n % 2), 0) for n, p in enumerate(row)]
        world.add(shapes.strand(sagging, 0.0032), tarred)
    t = np.linspace(0, 1, 40)
    path = np.stack([-0.6 + 1.15 * t, 1.72 - 0.42 * np.sin(np.pi * t), 1.05 + 0.12 * t], axis=-1)
    for phase in (0.0, 2.1, 4.2):
        twist = np.stack([0 * t, np.cos(60 * t + phase), np.sin(60 * t + phase)], axis=-1)
        world.add(shapes.strand(path + 0.005 * twist, 0.0052), hemp)
