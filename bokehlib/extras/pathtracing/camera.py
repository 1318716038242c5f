"""The camera's optics: blur radii of a thin lens, and disparity that is affine in 1/z.

A point at distance z along the optical axis, seen through a lens of radius R focused on f, becomes
a disc of radius K |1/z - 1/f| pixels, K = R W / (2 tan(fov_x / 2)). Disparity is nearest/z, so the
same radius is `aperture * |disparity - focus|` with aperture K/nearest and focus nearest/f.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RADII = (5.0, 11.0, 20.0)  # px, largest blur of the three lens openings
FOCUSES = ("near", "far")


@dataclass(frozen=True)
class Camera:
    """Where a scene is seen from: x to the right, y up, depth ahead, in metres.

    Attributes:
        height: of the eye above y = 0.
        pitch: degrees by which the camera looks down.
        fov: horizontal field of view in degrees.
        near, far: distances along the optical axis that the two lenses are focused on.
    """

    height: float
    pitch: float
    fov: float
    near: float
    far: float

    @property
    def origin(self) -> np.ndarray:
        """The middle of the lens, (3,)."""
        return np.array([0.0, self.height, 0.0])

    @property
    def forward(self) -> np.ndarray:
        """The optical axis, (3,), of length 1."""
        angle = math.radians(self.pitch)
        return np.array([0.0, -math.sin(angle), math.cos(angle)])

    def focus(self, which: str) -> float:
        """Distance that a lens of `FOCUSES` is focused on."""
        return {"near": self.near, "far": self.far}[which]

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Distance of points (..., 3) along the optical axis."""
        return (points - self.origin) @ self.forward


def pixel_focal(width: int, fov: float) -> float:
    """Focal length in pixels of a picture `width` wide that spans `fov` degrees."""
    return width / (2 * math.tan(math.radians(fov) / 2))


def blur_radius(depth: np.ndarray, focus: float, strength: float) -> np.ndarray:
    """Radius in px of a point's disc at distance `depth`; strength is K, in px m."""
    return strength * np.abs(1 / depth - 1 / focus)


def strengths(depth: np.ndarray, camera: Camera, radii: Sequence[float] = RADII) -> list[float]:
    """K of each lens opening: with it the most blurred pixel under either focus has its radius.

    Args:
        depth: (H, W), distance along the optical axis, infinite where there is nothing.
        camera: with its two focus distances.
        radii: px, one an opening.
    """
    most = max(float(blur_radius(depth, camera.focus(f), 1.0).max()) for f in FOCUSES)
    return [radius / most for radius in radii]


def lens_radius(strength: float, width: int, fov: float) -> float:
    """R of a lens whose K is `strength`, in metres."""
    return strength / pixel_focal(width, fov)


def disparity_of(depth: np.ndarray) -> tuple[np.ndarray, float]:
    """Disparity nearest/z in [0, 1] of a depth map, and the nearest distance."""
    nearest = float(depth.min())
    return nearest / depth, nearest


def lens_of(strength: float, focus: float, nearest: float) -> tuple[float, float]:
    """Focus as a disparity, and aperture in px of blur radius per unit of disparity."""
    return nearest / focus, strength / nearest


def lenses(number: int) -> list[tuple[str, int]]:
    """Focus and opening of a scene's six pictures in the order of their numbers.

    Even scenes begin with the near focus, odd ones with the far one, so that the one lens a scene
    that robustness is measured with looks at both.
    """
    order = FOCUSES if number % 2 == 0 else FOCUSES[::-1]
    return [(focus, level) for focus in order for level in range(len(RADII))]
