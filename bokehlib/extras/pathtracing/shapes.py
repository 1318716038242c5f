"""Geometry as arrays: x to the right, y up, z ahead, in metres."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Mesh:
    """Triangles: vertices (N, 3), faces (M, 3), uv (N, 2) and colours (N, 3) where there are."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None
    colours: np.ndarray | None = None
    smooth: bool = True


@dataclass(frozen=True)
class Strands:
    """Round curves: control points (S, P, 3) of cubic B-splines, and their radii (S, P)."""

    points: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True)
class Ball:
    """A sphere."""

    centre: tuple[float, float, float]
    radius: float


Shape = Mesh | Strands | Ball


def normals(mesh: Mesh) -> np.ndarray:
    """Unit normals of the vertices (N, 3), the mean of the faces around, by their areas.

    A vertex of no face with an area looks up: Mitsuba's own would be NaN there.
    """
    a, b, c = (mesh.vertices[mesh.faces[:, n]] for n in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros_like(mesh.vertices, dtype=float)
    for n in range(3):
        np.add.at(total, mesh.faces[:, n], across)
    size = np.linalg.norm(total, axis=1, keepdims=True)
    up = np.array([0.0, 1.0, 0.0])
    return np.where(size > 1e-18, total / np.maximum(size, 1e-18), up)


def solid(mesh: Mesh) -> np.ndarray:
    """The faces that have an area, (M, 3)."""
    a, b, c = (mesh.vertices[mesh.faces[:, n]] for n in range(3))
    return mesh.faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-14]


def joined(meshes: Iterable[Mesh]) -> Mesh:
    """Several meshes as one; all have the same attributes."""
    meshes = list(meshes)
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])

    def stack(name: str) -> np.ndarray | None:
        first = getattr(meshes[0], name)
        return None if first is None else np.concatenate([getattr(m, name) for m in meshes])

    faces = np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    return Mesh(vertices, faces, stack("uv"), stack("colours"), meshes[0].smooth)


def painted(mesh: Mesh, colour: ArrayLike) -> Mesh:
    """The mesh with one colour, or one a vertex."""
    colours = np.broadcast_to(np.asarray(colour, dtype=float), mesh.vertices.shape)
    return Mesh(mesh.vertices, mesh.faces, mesh.uv, colours, mesh.smooth)


def moved(mesh: Mesh, offset: ArrayLike, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
    """Scaled, turned about the upright axis by degrees, then moved."""
    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    vertices = scale * mesh.vertices @ turn.T + np.asarray(offset)
    return Mesh(vertices, mesh.faces, mesh.uv, mesh.colours, mesh.smooth)


def turned(mesh: Mesh) -> Mesh:
    """The mesh with its other side out: a lamp shines on one side alone."""
    return Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.uv, mesh.colours, mesh.smooth)


def _lattice(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid of vertices, row-major."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return np.stack([a, b, c, b, d, c], axis=-1).reshape(-1, 3)


def quad(corner: ArrayLike, right: ArrayLike, up: ArrayLike, repeat: float = 1.0) -> Mesh:
    """A parallelogram from its corner; its texture runs along right (u) and up (v)."""
    corner, right, up = (np.asarray(p, dtype=float) for p in (corner, right, up))
    vertices = np.stack([corner, corner + right, corner + up, corner + right + up])
    uv = repeat * np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=float)
    return Mesh(vertices, _lattice(2, 2), uv, smooth=False)


def ground(width: float, near: float, far: float, y: float = 0.0, repeat: float = 1.0) -> Mesh:
    """A level floor across `width`, from `near` to `far` ahead."""
    return quad((-width / 2, y, near), (width, 0, 0), (0, 0, far - near), repeat)


def terrain(heights: np.ndarray, width: float, near: float, far: float) -> Mesh:
    """A floor whose heights (rows ahead, columns to the right) are given in metres."""
    rows, columns = heights.shape
    z, x = np.meshgrid(
        np.linspace(near, far, rows), np.linspace(-width / 2, width / 2, columns), indexing="ij"
    )
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    vertices = np.stack([x, heights, z], axis=-1).reshape(-1, 3)
    return Mesh(vertices, _lattice(rows, columns), np.stack([u, v], axis=-1).reshape(-1, 2))


def box(centre: ArrayLike, size: ArrayLike, yaw: float = 0.0) -> Mesh:
    """A block, turned about the upright axis."""
    faces = []
    for axis in range(3):
        for side in (-0.5, 0.5):
            first, second = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            corner = side * np.eye(3)[axis] - (first + second) / 2
            faces.append(quad(corner, first, second))
    whole = joined(faces)
    sized = Mesh(whole.vertices * np.asarray(size), whole.faces, whole.uv, smooth=False)
    return moved(sized, centre, yaw)


def lathe(profile: Sequence[tuple[float, float]], centre: ArrayLike, steps: int = 64) -> Mesh:
    """A surface of revolution about the upright axis; profile: (radius, height), upwards."""
    outline = np.asarray(profile, dtype=float)
    turn = np.linspace(0, 2 * math.pi, steps + 1)
    radius, height = outline[:, :1], outline[:, 1:]
    shape = len(outline), steps + 1
    vertices = np.stack(
        [radius * np.cos(turn), np.broadcast_to(height, shape), radius * np.sin(turn)], axis=-1
    )
    v, u = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1]), indexing="ij")
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    return Mesh(vertices.reshape(-1, 3) + np.asarray(centre), _lattice(*shape), uv)


def rounded(profile: Sequence[tuple[float, float]], count: int = 60) -> list[tuple[float, float]]:
    """A profile as a smooth curve through about its points (Catmull-Rom)."""
    points = np.asarray([profile[0], *profile, profile[-1]], dtype=float)
    places = np.linspace(0, len(profile) - 1.0001, count)
    index, t = places.astype(int), (places % 1)[:, None]
    a, b, c, d = (points[index + k] for k in range(4))
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return [(max(float(r), 0.0), float(h)) for r, h in curve]


def ellipsoid(centre: ArrayLike, radii: ArrayLike, steps: int = 48) -> Mesh:
    """A ball of three radii."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, steps // 2 + 1)
    profile = [(float(np.cos(a)), float(np.sin(a))) for a in angle]
    whole = lathe(profile, (0, 0, 0), steps)
    return Mesh(whole.vertices * np.asarray(radii) + np.asarray(centre), whole.faces, whole.uv)


def strand(points: ArrayLike, radius: float, end: float | None = None) -> Strands:
    """One curve that begins and ends at its first and last point, perhaps tapering to `end`."""
    path = np.asarray(points, dtype=float)[None]
    return strands(path, radius, radius if end is None else end)


def strands(points: np.ndarray, start: np.ndarray | float, end: np.ndarray | float) -> Strands:
    """Many curves (S, P, 3) that reach their ends and taper from one radius to another."""
    # One step more at either end brings a cubic B-spline to its end points exactly.
    first, last = (2 * points[:, a] - points[:, b] for a, b in ((0, 1), (-1, -2)))
    path = np.concatenate([first[:, None], points, last[:, None]], axis=1)
    share = np.linspace(0, 1, path.shape[1])
    start, end = (np.broadcast_to(np.asarray(r, dtype=float), len(path)) for r in (start, end))
    return Strands(path, start[:, None] * (1 - share) + end[:, None] * share)


def leaves(
    rng: np.random.Generator,
    roots: np.ndarray,
    along: np.ndarray,
    length: np.ndarray | float,
    width: float,
    colours: np.ndarray,
    droop: float = 0.3,
) -> Mesh:
    """Bent leaves.

    Args:
        rng: turns each about its own axis.
        roots: (N, 3), where they grow.
        along: (N, 3), where they point.
        length: in metres, one or (N,).
        width: as a share of the length.
        colours: (N, 3).
        droop: by how much of their length the tips hang.
    """
    count = len(roots)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, rng.normal(size=(count, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    size = np.broadcast_to(np.asarray(length, dtype=float), count)[:, None, None]
    t = np.linspace(0, 1, 7)
    half = width / 2 * np.sin(math.pi * t**0.8) ** 0.9 + 0.004
    spine = along[:, None] * t[:, None] + np.array([0, -droop, 0]) * t[:, None] ** 2
    fold = np.cross(along, side)[:, None] * (0.35 * half)[:, None]
    edges = [spine + s * side[:, None] * half[:, None] + abs(s) * fold for s in (-1, 0, 1)]
    vertices = roots[:, None, None] + size[..., None] * np.stack(edges, axis=2)  # (N, 7, 3, 3)
    faces = _lattice(7, 3)[None] + 21 * np.arange(count)[:, None, None]
    shade = np.array([1.0, 0.8, 1.0])[None, None, :, None]
    tint = np.broadcast_to(colours[:, None, None] * shade, vertices.shape)
    return Mesh(vertices.reshape(-1, 3), faces.reshape(-1, 3), None, tint.reshape(-1, 3))


def directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Unit vectors in all directions, evenly strewn, (count, 3)."""
    n = np.arange(count) + 0.5
    up = 1 - 2 * n / count
    turn = n * math.pi * (3 - math.sqrt(5)) + rng.uniform(0, 2 * math.pi)
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), up, flat * np.sin(turn)], axis=-1)


def varied(rng: np.random.Generator, colour: ArrayLike, count: int, by: float) -> np.ndarray:
    """Copies of a colour, each a little lighter, darker and of another hue, (count, 3)."""
    light = rng.uniform(1 - by, 1 + by, (count, 1))
    return np.clip(
        np.asarray(colour) * light * rng.uniform(1 - by / 3, 1 + by / 3, (count, 3)), 0, 0.95
    )
