"""The families of drawn cut-outs: each a short function from a generator to primitives.

Only `uniform` and `integers` are drawn, in a fixed order, so that a cut-out is the same on every
machine. Nothing reaches the edge of the 256 px square: a cut-out never ends in a straight cut.
"""

import math

import numpy as np

from bokehlib.synthesis.primitives import (
    CAPSULE,
    Primitives,
    along,
    blobs,
    leaf,
    placed,
    strands,
    union,
    wobble,
)

# --- Training ---------------------------------------------------------------------------------


def hair(rng: np.random.Generator) -> Primitives:
    """A head on shoulders whose hair leaves its outline."""
    size, y, x = rng.uniform(30, 44), rng.uniform(85, 112), rng.uniform(110, 146)
    head = blobs(y, x, size, rng.uniform(0.75, 1.3), rng.uniform(0, 3), wobble=wobble(rng, 1, 0.2))
    count = int(rng.integers(120, 320))
    start = rng.uniform(-math.pi, 0.35, count)
    flow = rng.uniform(-1.2, 1.2)
    locks = strands(
        y + 0.8 * size * np.sin(start),
        x + 0.8 * size * np.cos(start),
        start + rng.uniform(-0.5, 0.5, count),
        size * rng.uniform(0.5, 2.4, count),
        flow + rng.uniform(-1.1, 1.1, count),
        rng.uniform(0.4, 1.0, count),
        0.35,
    )
    shoulders = blobs(y + 1.8 * size, x, size, rng.uniform(0.6, 0.9), math.pi / 2)
    return union(head, locks, shoulders)


def leaves(rng: np.random.Generator) -> Primitives:
    """Twigs with pointed leaves on both sides."""
    parts = []
    for _ in range(int(rng.integers(2, 6))):
        root = rng.uniform(150, 250)
        twig = strands(
            root,
            rng.uniform(50, 206),
            rng.uniform(-2.4, -0.7),
            root * rng.uniform(0.6, 0.95),
            rng.uniform(-1, 1),
            rng.uniform(1, 2.5),
            0.4,
            pieces=12,
        )
        count = int(rng.integers(8, 26))
        y, x, angle = along(twig, rng.uniform(0.1, 1, count))
        length = rng.uniform(16, 52, count)
        side = rng.integers(0, 2, count) * 2 - 1
        angle = angle + side * rng.uniform(0.4, 1.2, count)
        parts += [twig, *leaf(y, x, angle, length, length * rng.uniform(0.1, 0.24, count))]
    return union(*parts)


def wires(rng: np.random.Generator) -> Primitives:
    """Sagging wires between two masts, their arms, and what hangs from the wires."""
    count = int(rng.integers(5, 15))
    left, right = rng.uniform(10, 45), rng.uniform(211, 246)
    tilt = rng.uniform(-0.25, 0.25) + rng.uniform(-0.06, 0.06, count)
    sag = rng.uniform(0.05, 0.5, count)
    cables = strands(
        rng.uniform(30, 200, count),
        left,
        tilt + sag / 2,
        (right - left) * (1 + sag**2 / 24) / np.cos(tilt),
        -sag,
        rng.uniform(0.35, 1.1, count),
        rng.uniform(0.35, 1.1, count),
        pieces=24,
    )
    foot, height = rng.uniform(3, 6, 2), rng.uniform(180, 238, 2)
    masts = strands(248, np.array([left, right]), -math.pi / 2, height, 0, foot, 1.5, pieces=6)
    arms = strands(
        rng.uniform(20, 120, 6),
        np.repeat([left, right], 3),
        rng.integers(0, 2, 6) * math.pi + rng.uniform(-0.3, 0.3, 6),
        rng.uniform(15, 60, 6),
        0,
        1.6,
        0.5,
    )
    where = rng.integers(0, len(cables[1]), 8)
    hanging = blobs(
        cables[1][where, 0] + 4,
        cables[1][where, 1],
        rng.uniform(2, 8, 8),
        sides=rng.integers(2, 7, 8),
        turn=rng.uniform(0, 3, 8),
    )
    return union(cables, masts, arms, hanging)


def glass(rng: np.random.Generator) -> Primitives:
    """Panes and vessels that let light through, with brighter rims and thin rods."""
    count = int(rng.integers(2, 6))
    size = rng.uniform(25, 65, count)
    y, x = placed(rng, 1.4 * size)
    shape = {
        "stretch": rng.uniform(1, 1.7, count),
        "turn": rng.uniform(0, 3, count),
        "sides": rng.integers(2, 7, count),
        "wobble": wobble(rng, count, 0.12),
    }
    body = blobs(y, x, size, opacity=rng.uniform(0.2, 0.65, count), **shape)
    width, strength = rng.uniform(1.2, 4, count), rng.uniform(0.6, 0.95, count)
    rim = blobs(y, x, size, width=width, opacity=strength, **shape)
    rods = int(rng.integers(2, 8))
    straws = strands(
        rng.uniform(40, 216, rods),
        rng.uniform(40, 216, rods),
        rng.uniform(-3, 3, rods),
        rng.uniform(60, 160, rods),
        rng.uniform(-0.3, 0.3, rods),
        rng.uniform(0.4, 2.5, rods),
        0.5,
        rng.uniform(0.6, 1, rods),
        pieces=12,
    )
    return union(body, rim, straws)


def rods(rng: np.random.Generator) -> Primitives:
    """Sheaves of bars and tubes, some bent, each sheaf with a direction and a thickness."""
    sheaves = []
    for _ in range(int(rng.integers(1, 4))):
        count = int(rng.integers(2, 12))
        angle, length = rng.uniform(-math.pi, math.pi), rng.uniform(90, 230)
        apart = np.linspace(-1, 1, count) * rng.uniform(20, 110) + rng.uniform(-3, 3, count)
        y = 128 + apart * math.cos(angle) - length / 2 * math.sin(angle)
        x = 128 - apart * math.sin(angle) - length / 2 * math.cos(angle)
        spread, bend = rng.uniform(0, 0.2, 2)
        sheaves.append(
            strands(
                y,
                x,
                angle + rng.uniform(-spread, spread, count),
                length * rng.uniform(0.7, 1, count),
                rng.uniform(-bend, bend, count),
                math.exp(rng.uniform(math.log(0.9), math.log(6))),
                math.exp(rng.uniform(math.log(0.9), math.log(6))),
                pieces=16,
            )
        )
    return union(*sheaves)


# --- Evaluation -------------------------------------------------------------------------------


def fur(rng: np.random.Generator) -> Primitives:
    """An animal's head and body with short dense fur, ears and whiskers."""
    y, x, size = rng.uniform(92, 108), rng.uniform(108, 148), rng.uniform(36, 44)
    lean = rng.uniform(-0.5, 0.5)
    cy = np.array([y, y + 1.5 * size, y - 0.85 * size, y - 0.85 * size])
    cx = np.array([x, x + lean * size, x - 0.55 * size, x + 0.55 * size])
    r = size * np.array([1, 1.35, 0.42, 0.42])
    turn = np.array([0, 0, 1.2, 1.9])
    body = blobs(cy, cx, r, np.array([1.1, 1, 1.5, 1.5]), turn, wobble=wobble(rng, 4, 0.1))
    count = int(rng.integers(500, 900))
    part = rng.integers(0, 7, count) // 2  # head, body and ears twice as often as the last ear
    start = rng.uniform(-math.pi, math.pi, count)
    inner = r[part] * rng.uniform(0.7, 0.95, count)
    coat = strands(
        cy[part] + inner * np.sin(start),
        cx[part] + inner * np.cos(start),
        start + rng.uniform(-0.7, 0.7, count),
        rng.uniform(9, 24, count),
        rng.uniform(-1, 1, count),
        rng.uniform(0.5, 1, count),
        0.35,
        pieces=4,
    )
    side = np.repeat([-1, 1], 5)
    whiskers = strands(
        y + 0.3 * size,
        x + side * 0.3 * size,
        math.pi / 2 - side * (math.pi / 2 + rng.uniform(-0.5, 0.3, 10)),
        rng.uniform(50, 90, 10),
        rng.uniform(-0.4, 0.4, 10),
        0.7,
        0.35,
        pieces=12,
    )
    return union(body, coat, whiskers)


def fern(rng: np.random.Generator) -> Primitives:
    """Fronds: a bent rachis with pinnae that shorten to the tip, each with leaflets."""
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        rachis = strands(
            rng.uniform(210, 250),
            rng.uniform(80, 176),
            rng.uniform(-2.3, -0.8),
            rng.uniform(150, 215),
            rng.uniform(-1, 1),
            rng.uniform(1, 1.8),
            0.4,
            pieces=16,
        )
        t = np.repeat(np.linspace(0.12, 0.98, int(rng.integers(16, 28))), 2)
        side = np.tile([-1.0, 1.0], len(t) // 2)
        y, x, angle = along(rachis, t)
        length = rng.uniform(45, 75) * np.minimum(1, 3 * t) * (1.05 - t)
        angle = angle + side * rng.uniform(0.95, 1.2)
        droop = -side * rng.uniform(0.1, 0.6)
        parts += [rachis, strands(y, x, angle, length, droop, 0.6, 0.35, pieces=6)]
        for u in np.linspace(0.15, 0.95, 9):
            reach = (0.3 * (1.1 - u)) * length + 1
            base = angle + droop * u / 2
            y_u, x_u = y + u * length * np.sin(base), x + u * length * np.cos(base)
            for turn in (-0.9, 0.9):
                parts += leaf(y_u, x_u, angle + droop * u + turn, reach, 0.18 * reach)
    return union(*parts)


def fence(rng: np.random.Generator) -> Primitives:
    """A panel of chain link between posts and rails, with barbs on top."""
    gap, wire, bow = rng.uniform(16, 34), rng.uniform(0.5, 1.1), rng.uniform(-0.12, 0.12)
    left, right = rng.uniform(8, 40), rng.uniform(216, 248)
    top, bottom = rng.uniform(20, 70), rng.uniform(215, 245)
    count = int(640 // gap)
    offset = (np.arange(count) - count / 2) * gap + rng.uniform(0, gap)
    down = math.pi / 2 - bow / 2
    lines = [
        strands(0, 128 + offset, down + lean, 360, bow, wire, wire, pieces=60)[1]
        for lean in (-0.7, 0.7)
    ]
    mesh = np.concatenate(lines)
    middle = CAPSULE.centre(mesh)
    inside = (np.abs(middle - [(top + bottom) / 2, (left + right) / 2])
              < [(bottom - top) / 2, (right - left) / 2]).all(1)  # fmt: skip
    thick = rng.uniform(2, 5)
    posts = strands(
        bottom + 6, np.array([left, right]), -math.pi / 2, bottom - top + 16, 0, thick, thick
    )
    bars = strands(
        np.array([top, bottom]), left, 0, right - left, 0, 0.5 * thick, 0.5 * thick, pieces=12
    )
    barbs = int(rng.integers(8, 24))
    spikes = strands(
        top,
        rng.uniform(left, right, barbs),
        rng.uniform(-2.4, -0.7, barbs),
        rng.uniform(6, 16, barbs),
        0,
        0.7,
        0.35,
        pieces=2,
    )
    return union((CAPSULE, mesh[inside]), posts, bars, spikes)


def bubbles(rng: np.random.Generator) -> Primitives:
    """Soap bubbles: thin bodies, stronger rims, two highlights each."""
    count = int(rng.integers(6, 16))
    size = rng.uniform(9, 52, count)
    y, x = placed(rng, 1.1 * size)
    light = rng.uniform(-2.6, -0.6)
    body = blobs(y, x, size, opacity=rng.uniform(0.2, 0.5, count))
    width, strength = rng.uniform(1, 2.5, count), rng.uniform(0.55, 0.85, count)
    rim = blobs(y, x, size, width=width, softness=2.0, opacity=strength)
    glow = blobs(y, x, 0.86 * size, width=0.2 * size, softness=0.2 * size, opacity=0.6)
    spots = [
        blobs(
            y + sign * 0.6 * size * math.sin(light),
            x + sign * 0.6 * size * math.cos(light),
            share * size,
            2.0,
            light + math.pi / 2,
            softness=2.0,
            opacity=0.95,
        )
        for sign, share in ((1, 0.17), (-1, 0.08))
    ]
    return union(body, rim, glow, *spots)
