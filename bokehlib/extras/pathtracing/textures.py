"""Procedural textures: (H, W, 3) float32 of linear reflectance, drawn from a generator."""

import numpy as np

Colour = tuple[float, float, float]


def noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Smooth random values in [0, 1] with `cells` (y, x) bumps across a map (H, W)."""
    values = rng.random((cells[0] + 1, cells[1] + 1))
    for axis, (n, cell) in enumerate(zip(size, cells, strict=True)):
        place = np.linspace(0, cell, n, endpoint=False)
        low = place.astype(int)
        share = place - low
        share = share * share * (3 - 2 * share)
        share = share.reshape(-1, 1) if axis == 0 else share.reshape(1, -1)
        first, second = (np.take(values, low + step, axis=axis) for step in (0, 1))
        values = first + (second - first) * share
    return values


def cloud(
    rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int], octaves: int = 5
) -> np.ndarray:
    """Noise of halving size and weight, (H, W) in [0, 1]."""
    total, weight, whole = np.zeros(size), 1.0, 0.0
    for octave in range(octaves):
        grid = (cells[0] << octave, cells[1] << octave)
        if min(s / g for s, g in zip(size, grid, strict=True)) < 1:
            break
        total += weight * noise(rng, size, grid)
        whole += weight
        weight /= 2
    return total / whole


def mix(share: np.ndarray, first: Colour, second: Colour) -> np.ndarray:
    """From one colour to another, (H, W, 3)."""
    share = np.clip(share, 0, 1)[..., None]
    return ((1 - share) * np.array(first) + share * np.array(second)).astype(np.float32)


def mottled(
    rng: np.random.Generator,
    first: Colour,
    second: Colour,
    size: tuple[int, int] = (512, 512),
    cells: tuple[int, int] = (6, 6),
    contrast: float = 2.5,
) -> np.ndarray:
    """Two colours in clouds: ground, plaster, water, bark."""
    return mix(0.5 + contrast * (cloud(rng, size, cells, 7) - 0.5), first, second)


def planks(rng: np.random.Generator, first: Colour, second: Colour, boards: int = 7) -> np.ndarray:
    """Boards along y with grain and dark gaps."""
    size = (1024, 128 * boards)
    grain = cloud(rng, size, (4, 40 * boards), 3)
    tone = np.repeat(rng.random(boards), 128)[None, :]
    rings = 0.5 + 0.5 * np.sin(25 * noise(rng, size, (3, 2 * boards)) + 8 * tone)
    wood = mix(0.5 * grain + 0.25 * rings + 0.35 * tone - 0.05, first, second)
    edge = np.minimum(np.arange(size[1]) % 128, 127 - np.arange(size[1]) % 128)
    return wood * np.where(edge < 3, 0.25, 1.0)[None, :, None].astype(np.float32)


def bricks(
    rng: np.random.Generator, first: Colour, second: Colour, mortar: Colour, rows: int = 16
) -> np.ndarray:
    """Bricks in a running bond, each of its own tone."""
    height, width = 48, 112
    y, x = np.mgrid[: rows * height, : (rows // 2) * width]
    row = y // height
    moved = (x + (row % 2) * (width // 2)) % ((rows // 2) * width)
    column = moved // width
    tone = rng.random((rows, rows // 2))[row, column]
    rough = cloud(rng, y.shape, (rows * 2, rows * 2), 4)
    wall = mix(0.75 * tone + 0.9 * (rough - 0.35), first, second)
    inside = (y % height > 4) & (moved % width > 4)
    return np.where(inside[..., None], wall, mix(rough, mortar, mortar)).astype(np.float32)


def checks(
    rng: np.random.Generator, first: Colour, second: Colour, cells: tuple[int, int], px: int = 96
) -> np.ndarray:
    """A board of squares with faint veins and dark joints."""
    y, x = np.mgrid[: cells[0] * px, : cells[1] * px]
    odd = (y // px + x // px) % 2
    veins = np.abs(cloud(rng, y.shape, (cells[0], cells[1]), 5) - 0.5)
    board = mix(odd.astype(float), first, second) * (0.75 + 1.2 * veins[..., None])
    joint = (y % px < 2) | (x % px < 2)
    return np.where(joint[..., None], 0.3 * board, board).clip(0, 0.9).astype(np.float32)


def stripes(
    rng: np.random.Generator, palette: list[Colour], count: int, size: tuple[int, int] = (64, 1024)
) -> np.ndarray:
    """Upright stripes of random widths and colours."""
    edges = np.sort(rng.random(count - 1)) * 0.6 + np.linspace(0, 0.4, count + 1)[1:-1]
    place = np.searchsorted(edges, np.linspace(0, 1, size[1], endpoint=False))
    colours = np.array(palette)[(rng.permutation(count) % len(palette))]
    weave = 0.85 + 0.3 * (noise(rng, size, (size[0] // 2, size[1] // 2)) - 0.5)
    return (colours[place][None] * weave[..., None]).astype(np.float32)


def speckled(
    rng: np.random.Generator, texture: np.ndarray, colours: list[Colour], count: int, px: float
) -> np.ndarray:
    """Round spots of about `px` radius strewn over a texture."""
    texture = texture.copy()
    height, width = texture.shape[:2]
    for _ in range(count):
        radius = px * rng.uniform(0.5, 1.5)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        part = texture[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
        inside = (rows + top - y) ** 2 + (columns + left - x) ** 2 < radius**2
        part[inside] = colours[int(rng.integers(len(colours)))]
    return texture


def printed(ink: np.ndarray, paper: Colour, colour: Colour) -> np.ndarray:
    """Ink in [0, 1] on paper."""
    return mix(ink, paper, colour)


def sky(
    zenith: Colour,
    horizon: Colour,
    ground: Colour,
    sun: tuple[float, float, float] = (0.4, 0.6, -0.4),
    strength: float = 0.0,
    width: float = 18.0,
    tint: Colour = (1.0, 0.93, 0.8),
) -> np.ndarray:
    """Radiance from all around, (64, 128, 3), for an environment map.

    Args:
        zenith: radiance from above.
        horizon: from the horizon.
        ground: from below.
        sun: where a soft light stands: right, up, ahead.
        strength: its radiance in the middle.
        width: its angular size in degrees, where it has fallen to 60 %.
        tint: its colour.
    """
    rows, columns = 64, 128
    polar = (np.arange(rows)[:, None] + 0.5) / rows * np.pi
    turn = (np.arange(columns)[None, :] + 0.5) / columns * 2 * np.pi
    # Mitsuba's map begins behind (-z) and turns towards +x, which is our left.
    left, ahead = np.sin(polar) * np.sin(turn), -np.sin(polar) * np.cos(turn)
    up = np.broadcast_to(np.cos(polar), left.shape)
    above = np.clip(up, 0, 1)[..., None] ** 0.6
    light = above * np.array(zenith) + (1 - above) * np.array(horizon)
    light = np.where(up[..., None] < 0, np.array(ground), light)
    to_sun = np.array(sun) / np.linalg.norm(sun)
    angle = np.degrees(
        np.arccos(np.clip(-left * to_sun[0] + up * to_sun[1] + ahead * to_sun[2], -1, 1))
    )
    glow = strength * np.exp(-0.5 * (angle / width) ** 2)
    return (light + glow[..., None] * np.array(tint)).astype(np.float32)
