"""What a scene consists of, as plain data: shapes, materials, light. No Mitsuba here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bokehlib.extras.pathtracing.camera import Camera
from bokehlib.extras.pathtracing.shapes import Mesh, Shape

VERTEX = "vertex"  # the colour of a mesh's vertices
Paint = Sequence[float] | np.ndarray | str  # a colour, a texture (H, W, 3), or VERTEX


@dataclass(frozen=True)
class Thing:
    """A shape, the plugin of its material, and its light, RGB radiance or a texture of it."""

    shape: Shape
    material: dict[str, Any]
    light: Paint | None = None


@dataclass
class World:
    """A scene.

    Attributes:
        camera: it is seen by.
        sky: radiance from all around, (H, W, 3).
        lamps: whether lamps are seen: their light is then sampled more often.
        depth: the longest path of light, in segments.
    """

    camera: Camera
    sky: np.ndarray
    lamps: bool = False
    depth: int = 3
    things: list[Thing] = field(default_factory=list)

    def add(self, shape: Shape, material: dict[str, Any]) -> None:
        """Put a thing into the scene."""
        self.things.append(Thing(shape, material))

    def shine(self, shape: Shape, light: Paint) -> None:
        """Put a lamp into the scene."""
        self.lamps = True
        self.things.append(Thing(shape, matte((0.0, 0.0, 0.0)), light))


def matte(paint: Paint) -> dict[str, Any]:
    """A diffuse material, the same on both sides."""
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": paint}}


def coloured(mesh: Mesh) -> dict[str, Any]:
    """Diffuse in the colours of a mesh's vertices."""
    return matte(VERTEX if mesh.colours is not None else (0.5, 0.5, 0.5))


def shiny(paint: Paint, roughness: float = 0.15) -> dict[str, Any]:
    """Diffuse under a clear coat."""
    plastic = {"type": "roughplastic", "diffuse_reflectance": paint, "alpha": roughness}
    return {"type": "twosided", "bsdf": plastic | {"nonlinear": False}}


def metal(colour: Sequence[float], roughness: float = 0.25) -> dict[str, Any]:
    """Brushed metal."""
    conductor = {"type": "roughconductor", "specular_reflectance": tuple(colour)}
    return {"type": "twosided", "bsdf": conductor | {"alpha": roughness, "material": "none"}}


def glass() -> dict[str, Any]:
    """A thin pane: it reflects and lets through, and bends nothing."""
    return {"type": "thindielectric"}
