"""Scenes at a table and on a floor."""

import numpy as np

from bokehlib.extras.pathtracing import lettering, shapes, textures
from bokehlib.extras.pathtracing.camera import Camera
from bokehlib.extras.pathtracing.scenes.parts import cylinder
from bokehlib.extras.pathtracing.shapes import Ball
from bokehlib.extras.pathtracing.world import World, glass, matte, metal, shiny

BOWL = [(0.0, 0.092), (0.02, 0.095), (0.037, 0.115), (0.041, 0.14), (0.037, 0.17), (0.031, 0.2)]
FOOT = [
    (0.0, 0.002),
    (0.034, 0.003),
    (0.012, 0.008),
    (0.004, 0.02),
    (0.0035, 0.08),
    (0.008, 0.09),
    (0.0, 0.094),
]


# Outlines of chessmen, (radius, height) in metres.
PAWN = [(0.0, 0.0), (0.03, 0.0), (0.03, 0.01), (0.02, 0.018), (0.011, 0.045), (0.018, 0.052)]
PAWN += [(0.009, 0.056), (0.017, 0.07), (0.013, 0.084), (0.0, 0.087)]
TOWER = [(0.0, 0.0), (0.034, 0.0), (0.034, 0.014), (0.022, 0.024), (0.018, 0.075)]
TOWER += [(0.026, 0.082), (0.026, 0.105), (0.016, 0.105), (0.016, 0.096), (0.0, 0.096)]
QUEEN = [(0.0, 0.0), (0.036, 0.0), (0.036, 0.014), (0.022, 0.03), (0.012, 0.09), (0.024, 0.105)]
QUEEN += [(0.012, 0.11), (0.02, 0.15), (0.01, 0.155), (0.009, 0.168), (0.0, 0.172)]
CHESSMEN = [  # file, rank, outline, white
    *((2, 1, QUEEN, True), (5, 0, PAWN, True), (3, 2, PAWN, True), (6, 2, TOWER, True)),
    *((1, 3, TOWER, False), (5, 3, QUEEN, False), (4, 5, PAWN, False), (2, 5, PAWN, True)),
    *((7, 5, PAWN, False), (0, 6, QUEEN, True), (3, 7, TOWER, False), (6, 7, QUEEN, False)),
    (1, 7, PAWN, False),
]


def room(rng: np.random.Generator, world: World, wall: tuple, z: float) -> None:
    """A plastered wall behind everything."""
    plaster = textures.mottled(rng, tuple(0.8 * c for c in wall), wall, (512, 512), (4, 6), 1.5)
    world.add(shapes.quad((-6, -2, z), (12, 0, 0), (0, 7, 0)), matte(plaster))


def studio(warm: float = 1.0) -> np.ndarray:
    """Light of a bright room with a large window to the left, behind us."""
    return textures.sky(
        (0.55, 0.55, 0.58),
        (0.5, 0.48, 0.45),
        (0.2, 0.17, 0.15),
        (-0.8, 0.6, -0.7),
        7.0,
        24,
        (1.0, 0.95, 0.86 * warm),
    )


def glasses(rng: np.random.Generator) -> World:
    """Wine glasses on a table, lamps on a string behind."""
    camera = Camera(height=0.22, pitch=8, fov=38, near=0.62, far=2.9)
    world = World(camera, 0.8 * studio(0.9), depth=6)
    wood = textures.planks(rng, (0.16, 0.07, 0.03), (0.5, 0.28, 0.12), 14)
    world.add(shapes.ground(1.8, 0.25, 2.2, 0.0), shiny(wood, 0.2))
    room(rng, world, (0.12, 0.2, 0.24), 3.2)
    wine = ((0.35, 0.02, 0.05), (0.75, 0.5, 0.12), (0.55, 0.12, 0.14), (0.35, 0.02, 0.05))
    for (x, z), colour in zip(
        ((-0.1, 0.62), (0.13, 0.86), (-0.3, 1.15), (0.34, 1.45)), wine, strict=True
    ):
        outer = shapes.rounded(BOWL)
        world.add(shapes.lathe(outer, (x, 0, z), 96), glass())
        world.add(shapes.lathe(shapes.rounded(FOOT), (x, 0, z), 64), glass())
        filled = [(0.97 * r, h) for r, h in outer if h < 0.145]
        world.add(shapes.lathe([*filled, (0.0, filled[-1][1])], (x, 0, z), 96), shiny(colour, 0.05))
    for x, z, colour in (
        (-0.62, 1.75, (0.08, 0.25, 0.1)),
        (0.05, 1.85, (0.3, 0.12, 0.03)),
        (0.7, 1.95, (0.06, 0.18, 0.3)),
    ):
        bottle = shapes.rounded(
            [(0.0, 0), (0.045, 0.0), (0.045, 0.2), (0.016, 0.26), (0.016, 0.33), (0.0, 0.33)], 80
        )
        world.add(shapes.lathe(bottle, (x, 0, z), 64), shiny(colour, 0.06))
    for x, z in ((0.02, 0.52), (0.06, 0.56), (0.27, 0.66), (0.22, 0.6), (-0.22, 0.8)):
        world.add(
            Ball((x, 0.012, z), 0.012),
            shiny((0.16, 0.25, 0.05) if x < 0.2 else (0.3, 0.04, 0.1), 0.08),
        )
    at = np.linspace(-1.3, 1.3, 15)
    wire = np.stack([at, 0.3 + 0.12 * np.cos(3.1 * at) ** 2, 2.9 + 0 * at], axis=-1)
    world.add(shapes.strand(wire, 0.004), matte((0.03, 0.03, 0.03)))
    for number, point in enumerate(wire):
        tint = ((1.0, 0.72, 0.35), (1.0, 0.6, 0.25), (1.0, 0.85, 0.6))[number % 3]
        world.shine(Ball(tuple(point - (0, 0.035, 0)), 0.024), tuple(5.0 * c for c in tint))
    return world


def pages(rng: np.random.Generator) -> World:
    """An open book that runs away from us, a pencil, a cup, a shelf."""
    camera = Camera(height=0.33, pitch=18, fov=42, near=0.55, far=1.5)
    world = World(camera, 0.75 * studio())
    wood = textures.planks(rng, (0.3, 0.16, 0.07), (0.62, 0.4, 0.2), 7)
    world.add(shapes.ground(2.2, 0.1, 1.9, 0.0), shiny(wood, 0.3))
    for side in (-1, 1):
        ink = lettering.page(rng, (1150, 800), 25)
        paper = textures.printed(ink, (0.78, 0.75, 0.68), (0.05, 0.04, 0.05))
        t = np.linspace(0, 1, 24)
        height = 0.012 + 0.026 * np.sin(np.pi * t**0.6) * (1 - 0.3 * t)
        heights = np.repeat(height[None] if side > 0 else height[None, ::-1], 4, axis=0)
        sheet = shapes.terrain(heights, 0.3, 0.4, 0.84)
        world.add(shapes.moved(sheet, (side * 0.15 - 0.03, 0, 0)), matte(paper))
    world.add(shapes.box((-0.03, 0.004, 0.62), (0.63, 0.008, 0.46)), matte((0.35, 0.06, 0.08)))
    world.add(
        cylinder((0.0, 0.058, 0.47), (0.2, 0.05, 0.72), 0.0045, 6), shiny((0.85, 0.55, 0.05), 0.1)
    )
    world.add(
        shapes.strand([(0.0, 0.058, 0.47), (-0.012, 0.0585, 0.455)], 0.0045, 0.0006),
        matte((0.6, 0.42, 0.26)),
    )
    _cup_and_glasses(world)
    _shelf(world, rng, 1.75)
    return world


def _cup_and_glasses(world: World) -> None:
    """A cup with its handle, and spectacles of wire."""
    cup = shapes.rounded(
        [
            (0.0, 0.0),
            (0.034, 0.0),
            (0.044, 0.04),
            (0.045, 0.09),
            (0.041, 0.09),
            (0.04, 0.02),
            (0, 0.015),
        ],
        80,
    )
    world.add(shapes.lathe(cup, (0.36, 0, 1.0), 64), shiny((0.1, 0.32, 0.42), 0.08))
    handle = [(0.4, 0.075, 1.0), (0.435, 0.075, 1.0), (0.44, 0.03, 1.0), (0.4, 0.025, 1.0)]
    world.add(shapes.strand(handle, 0.006), shiny((0.1, 0.32, 0.42), 0.08))
    turn = np.linspace(0, 2 * np.pi, 25)
    for x in (-0.36, -0.29):
        ring = np.stack(
            [x + 0.028 * np.cos(turn), 0.012 + 0.02 * np.sin(turn) + 0.02, 0.98 + 0 * turn], axis=-1
        )
        world.add(shapes.strand(ring, 0.0016), metal((0.7, 0.55, 0.3)))
    world.add(
        shapes.strand([(-0.262, 0.04, 0.98), (-0.2, 0.045, 1.05), (-0.16, 0.005, 1.14)], 0.0014),
        metal((0.7, 0.55, 0.3)),
    )


def _shelf(world: World, rng: np.random.Generator, z: float) -> None:
    """Spines of books with their titles."""
    palette = [
        (0.5, 0.08, 0.08),
        (0.1, 0.25, 0.4),
        (0.65, 0.5, 0.2),
        (0.12, 0.3, 0.15),
        (0.7, 0.65, 0.55),
        (0.2, 0.12, 0.25),
    ]
    titles = ["OPTICS", "LENSES", "LIGHT", "DEPTH", "COLOUR", "SHADOW", "FOCUS"]
    x = -1.1
    while x < 1.1:
        width, height = rng.uniform(0.05, 0.1), rng.uniform(0.28, 0.42)
        colour = palette[int(rng.integers(len(palette)))]
        word = lettering.line(titles[int(rng.integers(len(titles)))], 40, 0.8)
        ink = np.zeros((60, 260))
        ink[10:50, 20 : 20 + word.shape[1]] = word[:, :240]
        spine = textures.printed(np.rot90(ink), colour, (0.85, 0.75, 0.45))
        world.add(shapes.quad((x, 0.0, z - 0.001), (width, 0, 0), (0, height, 0)), matte(spine))
        world.add(
            shapes.box((x + width / 2, height / 2, z + 0.1), (width, height, 0.2)), matte(colour)
        )
        x += width + 0.004
    world.add(shapes.quad((-3, -0.5, z + 0.25), (6, 0, 0), (0, 3, 0)), matte((0.3, 0.24, 0.18)))


def chess(rng: np.random.Generator) -> World:
    """Chessmen on a board that runs away from us, a curtain behind."""
    camera = Camera(height=0.26, pitch=15, fov=40, near=0.55, far=1.35)
    world = World(camera, 0.8 * studio(0.9))
    board = textures.checks(rng, (0.7, 0.6, 0.42), (0.14, 0.07, 0.04), (8, 8))
    world.add(shapes.quad((-0.44, 0.0, 0.4), (0.88, 0, 0.12), (-0.12, 0, 0.98)), shiny(board, 0.12))
    cloth = textures.mottled(rng, (0.1, 0.2, 0.16), (0.15, 0.28, 0.22), (256, 256), (20, 20))
    world.add(shapes.ground(6, 0.1, 3.0, -0.01), matte(cloth))
    folds = textures.stripes(
        rng, [(0.55, 0.12, 0.1), (0.62, 0.2, 0.12), (0.45, 0.08, 0.09), (0.75, 0.6, 0.4)], 40
    )
    world.add(shapes.quad((-2, -0.5, 2.4), (4, 0, 0), (0, 2.5, 0)), matte(folds))
    first, ahead = np.array([0.11, 0, 0.015]), np.array([-0.015, 0, 0.1225])
    corner = np.array([-0.44, 0, 0.4]) + 0.5 * (first + ahead)
    ivory, ebony = shiny((0.78, 0.68, 0.5), 0.1), shiny((0.1, 0.045, 0.03), 0.1)
    for x, z, shape, white in CHESSMEN:
        material = ivory if white else ebony
        place = corner + x * first + z * ahead
        world.add(shapes.lathe(shapes.rounded(shape, 110), place, 56), material)
    top = corner + 2 * first + ahead + (0, 0.177, 0)
    world.add(Ball(tuple(top), 0.008), ivory)
    world.add(
        shapes.strand(
            [
                (-0.3, -0.005, 0.42),
                (-0.1, 0.004, 0.47),
                (0.05, 0.003, 0.44),
                (0.2, 0.003, 0.5),
                (0.42, -0.005, 0.47),
            ],
            0.0012,
        ),
        metal((0.8, 0.65, 0.35)),
    )
    return world


def fur(rng: np.random.Generator) -> World:
    """Three woolly creatures on a floor, bunting on the wall."""
    camera = Camera(height=0.42, pitch=10, fov=42, near=0.9, far=2.3)
    world = World(camera, 0.7 * studio(1.1))
    world.add(
        shapes.ground(6, 0.2, 3.6, 0.0, 2.0),
        shiny(textures.planks(rng, (0.35, 0.22, 0.12), (0.68, 0.5, 0.3), 10), 0.25),
    )
    dots = np.full((512, 512, 3), (0.55, 0.68, 0.66), dtype=np.float32)
    spotted = textures.speckled(rng, dots, [(0.8, 0.78, 0.7), (0.35, 0.52, 0.55)], 260, 8)
    world.add(shapes.quad((-4, 0, 3.6), (8, 0, 0), (0, 4, 0), 2.0), matte(spotted))
    for x, z, size, colour in (
        (-0.17, 0.95, 0.13, (0.75, 0.32, 0.08)),
        (0.28, 1.4, 0.17, (0.16, 0.38, 0.55)),
        (-0.42, 2.1, 0.22, (0.62, 0.2, 0.35)),
    ):
        _creature(world, rng, np.array([x, 1.12 * size, z]), size, colour)
    at = np.linspace(-2, 2, 17)
    line = np.stack([at, 0.74 - 0.1 * np.sin(np.pi * (at + 2) / 2) ** 2, 3.0 + 0 * at], axis=-1)
    world.add(shapes.strand(line, 0.006), matte((0.8, 0.78, 0.7)))
    palette = [(0.8, 0.25, 0.15), (0.85, 0.65, 0.15), (0.2, 0.45, 0.35), (0.25, 0.3, 0.6)]
    for number in range(16):
        a, b = line[number], line[number + 1]
        flag = shapes.Mesh(
            np.stack([a, b, 0.5 * (a + b) - (0, 0.22, 0)]), np.array([[0, 1, 2]]), smooth=False
        )
        world.add(flag, matte(palette[number % 4]))
    for x, z, colour in (
        (0.05, 0.72, (0.7, 0.1, 0.1)),
        (0.6, 2.3, (0.85, 0.65, 0.1)),
        (0.12, 2.8, (0.2, 0.5, 0.3)),
    ):
        world.add(shapes.box((x, 0.045, z), (0.09, 0.09, 0.09), 30 * z), matte(colour))
    return world


def _creature(
    world: World, rng: np.random.Generator, middle: np.ndarray, size: float, colour: tuple
) -> None:
    """A ball with fur and two eyes."""
    body = 0.72 * size
    world.add(Ball(tuple(middle), body), matte(tuple(0.5 * c for c in colour)))
    count = 2600
    out = shapes.directions(rng, count)
    length = size * rng.uniform(0.3, 0.5, (count, 1))
    bend = rng.normal(0, 0.3, (count, 3)) + (0.1, -0.55, 0)
    t = np.linspace(0, 1, 5)[None, :, None]
    points = (
        middle
        + body * out[:, None]
        + length[:, None] * (out[:, None] * t + bend[:, None] * t**2 / 2)
    )
    points[..., 1] = np.maximum(points[..., 1], 0.003)
    thick = size * rng.uniform(0.006, 0.011, count)
    for tone, chosen in zip(
        (0.75, 1.0, 1.25), np.array_split(rng.permutation(count), 3), strict=True
    ):
        shade = tuple(min(0.9, tone * c) for c in colour)
        world.add(shapes.strands(points[chosen], thick[chosen], thick[chosen] / 4), matte(shade))
    for side in (-0.3, 0.3):
        eye = middle + size * np.array([side, 0.28, -0.86])
        world.add(Ball(tuple(eye), 0.17 * size), shiny((0.85, 0.85, 0.82), 0.05))
        world.add(
            Ball(tuple(eye + size * np.array([0.02, 0, -0.1])), 0.09 * size),
            shiny((0.02, 0.02, 0.02), 0.05),
        )
