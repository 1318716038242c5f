"""Letters as strokes, to be drawn at any size without a font."""

from itertools import pairwise

import numpy as np

# Points "xy" on a grid 5 wide and 7 high; a bar lifts the pen.
STROKES = {
    "A": "00 26 40|12 32",
    "B": "00 06 36 45 44 33 03|33 42 41 30 00",
    "C": "45 36 16 05 01 10 30 41",
    "D": "00 06 26 44 42 20 00",
    "E": "46 06 00 40|03 33",
    "F": "46 06 00|03 33",
    "G": "45 36 16 05 01 10 30 41 43 23",
    "H": "00 06|40 46|03 43",
    "I": "20 26|10 30|16 36",
    "J": "46 41 30 10 01",
    "K": "00 06|46 03 40",
    "L": "06 00 40",
    "M": "00 06 23 46 40",
    "N": "00 06 40 46",
    "O": "10 01 05 16 36 45 41 30 10",
    "P": "00 06 36 45 44 33 03",
    "Q": "10 01 05 16 36 45 41 30 10|22 40",
    "R": "00 06 36 45 44 33 03|23 40",
    "S": "45 36 16 05 04 13 33 42 41 30 10 01",
    "T": "20 26|06 46",
    "U": "06 01 10 30 41 46",
    "V": "06 20 46",
    "W": "06 10 23 30 46",
    "X": "00 46|06 40",
    "Y": "06 23 46|23 20",
    "Z": "06 46 00 40",
    " ": "",
}


def glyph(letter: str, height: int, weight: float = 0.5) -> np.ndarray:
    """Ink of one letter, (height, about 0.7 height), in [0, 1].

    Args:
        letter: of `STROKES`.
        height: in pixels, with the space between two lines.
        weight: half a stroke's width in steps of the grid.
    """
    step = height / 9
    width = round(6.4 * step)
    y, x = np.mgrid[:height, :width]
    place = np.stack([x / step - 1.2, 7.5 - y / step], axis=-1)
    nearest = np.full((height, width), 99.0)
    for line in filter(None, STROKES[letter].split("|")):
        points = np.array([[int(c) for c in point] for point in line.split()], dtype=float)
        for start, end in pairwise(points):
            along = end - start
            share = np.clip(((place - start) @ along) / (along @ along), 0, 1)
            off = np.linalg.norm(place - start - share[..., None] * along, axis=-1)
            nearest = np.minimum(nearest, off)
    return np.clip((weight - nearest) * step + 0.5, 0, 1)


def line(text: str, height: int, weight: float = 0.5) -> np.ndarray:
    """Ink of a line of text, (height, W)."""
    return np.hstack([glyph(letter, height, weight) for letter in text])


def page(rng: np.random.Generator, size: tuple[int, int], height: int) -> np.ndarray:
    """A page of made-up words under a heading; ink (H, W) in [0, 1]."""
    ink = np.zeros(size)
    letters = [*"EEEAAOOIUTNRSHLDCMPG"]
    glyphs = {letter: glyph(letter, height) for letter in {*letters, " "}}
    margin = 2 * height
    title = line("BLUR AND LIGHT", 2 * height, 0.7)[:, : size[1] - 2 * margin]
    ink[margin : margin + 2 * height, margin : margin + title.shape[1]] = title
    for top in range(margin + 3 * height, size[0] - margin - height, height):
        left = margin
        while left < size[1] - margin - 8 * height:
            for letter in [*rng.choice(letters, rng.integers(2, 9)), " "]:
                drawn = glyphs[letter]
                ink[top : top + height, left : left + drawn.shape[1]] = drawn
                left += drawn.shape[1]
        if rng.random() < 0.12:
            ink[top : top + height, margin + int(rng.integers(8, 20)) * height :] = 0
    return ink
