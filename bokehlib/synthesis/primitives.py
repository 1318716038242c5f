"""Primitives of drawn cut-outs: tapered strokes and star-convex outlines, as rows of numbers.

Lengths are pixels of a 256 px square, positions (y, x), angles radians with 0 = towards +x and
pi/2 = towards +y (down).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SIDE = 256
HARMONICS = 5  # of a blob's outline, from the second on


@dataclass(frozen=True)
class Kind:
    """A kind of primitive: the names of its numbers, and which of them are lengths."""

    columns: tuple[str, ...]
    lengths: tuple[int, ...]

    def scale(self, factor: float) -> np.ndarray:
        """Factor for every column that resizes a primitive by `factor`."""
        scale = np.ones(len(self.columns))
        scale[list(self.lengths)] = factor
        return scale

    def centre(self, rows: np.ndarray) -> np.ndarray:
        """Middle of every primitive, (n, 2)."""
        if self is CAPSULE:
            return (rows[:, :2] + rows[:, 2:4]) / 2
        return rows[:, :2]

    def reach(self, rows: np.ndarray) -> np.ndarray:
        """Largest distance from the middle at which a primitive can be seen, (n,)."""
        if self is CAPSULE:
            return np.hypot(*(rows[:, :2] - rows[:, 2:4]).T) / 2 + rows[:, 4:6].max(1)
        grown = 1 + np.abs(rows[:, 9::2]).sum(1)
        return rows[:, 2] * grown / np.minimum(rows[:, 3], 1) + rows[:, 5] / 2 + rows[:, 7]

    def far(self, rows: np.ndarray) -> np.ndarray:
        """How far from the square's middle a primitive goes, along y or x, (n,)."""
        if self is CAPSULE:
            ends = np.abs(rows[:, :4] - SIDE / 2) + rows[:, [4, 4, 5, 5]]
            return ends.max(1, initial=0)
        return np.abs(rows[:, :2] - SIDE / 2).max(1, initial=0) + self.reach(rows)


CAPSULE = Kind(("y0", "x0", "y1", "x1", "r0", "r1", "opacity"), tuple(range(6)))
_OUTLINE = (f"{what}{k + 2}" for k in range(HARMONICS) for what in ("amount", "phase"))
BLOB = Kind(
    ("y", "x", "size", "stretch", "turn", "width", "sides", "softness", "opacity", *_OUTLINE),
    (0, 1, 2, 5, 7),
)
Primitives = Mapping[Kind, np.ndarray]  # kind -> (n, columns)


def union(*rows: tuple[Kind, np.ndarray]) -> Primitives:
    """Collect rows of both kinds, less what would be cut off straight by the square's edge."""
    collected = {}
    for kind in (CAPSULE, BLOB):
        own = np.concatenate([np.zeros((0, len(kind.columns)))] + [r for k, r in rows if k is kind])
        collected[kind] = own[kind.far(own) < SIDE / 2 - 1]
    return collected


def placed(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """Positions (2, n) at which discs of the given sizes lie inside the square."""
    return SIDE / 2 + rng.uniform(-1, 1, (2, len(size))) * (SIDE / 2 - size - 4)


def strands(y, x, angle, length, bend, r0, r1, opacity=1.0, pieces=8) -> tuple[Kind, np.ndarray]:
    """Tapered curves from (y, x) whose direction turns by `bend` over their length."""
    columns = np.broadcast_arrays(*np.atleast_1d(y, x, angle, length, bend, r0, r1, opacity))
    y, x, angle, length, bend, r0, r1, opacity = (column[:, None] for column in columns)
    t = np.arange(pieces + 1) / pieces
    direction = angle + bend * t[:-1]
    step = length / pieces
    ys = y + np.concatenate([0 * y, np.cumsum(step * np.sin(direction), 1)], 1)
    xs = x + np.concatenate([0 * x, np.cumsum(step * np.cos(direction), 1)], 1)
    r = r0 + (r1 - r0) * t
    rows = [ys[:, :-1], xs[:, :-1], ys[:, 1:], xs[:, 1:], r[:, :-1], r[:, 1:]]
    rows.append(np.broadcast_to(opacity, rows[0].shape))
    return CAPSULE, np.stack(rows, -1).reshape(-1, 7)


def blobs(
    y, x, size, stretch=1.0, turn=0.0, width=0.0, sides=0, softness=1.0, opacity=1.0, wobble=()
) -> tuple[Kind, np.ndarray]:
    """Star-convex outlines; `stretch` > 1 narrows them across `turn`, `width` > 0 makes rings."""
    given = np.atleast_1d(y, x, size, stretch, turn, width, sides, softness, opacity)
    rows = np.stack(np.broadcast_arrays(*given), -1).astype(float)
    harmonics = np.zeros((len(rows), 2 * HARMONICS))
    if len(wobble):
        harmonics[:] = wobble
    return BLOB, np.concatenate([rows, harmonics], 1)


def wobble(rng: np.random.Generator, count: int, amount: float) -> np.ndarray:
    """Random harmonics (count, 2 * HARMONICS), falling off as 1/k."""
    k = np.arange(2, 2 + HARMONICS)
    amounts = rng.uniform(-1, 1, (count, HARMONICS)) * amount / k
    phases = rng.uniform(0, 2 * math.pi, (count, HARMONICS))
    return np.stack([amounts, phases], -1).reshape(count, -1)


def along(curve: tuple[Kind, np.ndarray], t: np.ndarray) -> tuple[np.ndarray, ...]:
    """Position and direction (y, x, angle) at t in [0, 1] along a single curve of strands."""
    rows = curve[1]
    i = np.minimum((t * len(rows)).astype(int), len(rows) - 1)
    part = (t * len(rows) - i)[:, None]
    at = rows[i, :2] * (1 - part) + rows[i, 2:4] * part
    step = rows[i, 2:4] - rows[i, :2]
    return at[:, 0], at[:, 1], np.arctan2(step[:, 0], step[:, 1])


def leaf(y, x, angle, length, half_width, opacity=1.0) -> list[tuple[Kind, np.ndarray]]:
    """Pointed leaves from their stalk outwards: two tapered strokes each."""
    middle = 0.4 * length
    tip = strands(
        y + middle * np.sin(angle), x + middle * np.cos(angle), angle, length - middle, 0.2,
        half_width, 0.3, opacity, pieces=4,
    )  # fmt: skip
    return [strands(y, x, angle, middle, 0, 0.4, half_width, opacity, pieces=3), tip]
