"""A photographer's lens in the units of this library: millimetres, f-numbers and metres. No torch.

A disparity map stands for metres by the two distances of its ends,

    1/z = 1/far + disparity * (1/near - 1/far),

near for disparity 1 and far (which may be infinite) for disparity 0. The aperture then follows
from the thin lens, see `aperture`; without these distances it does not follow at all, as a
relative map gives only the order and the proportions of what lies between its ends.
"""

import math
from dataclasses import dataclass
from typing import Any

FILM_DIAGONAL = math.hypot(36, 24)  # mm, of the film that "35 mm equivalent" refers to


@dataclass(frozen=True)
class Camera:
    """Lens data from a photo's EXIF; None where it says nothing.

    Attributes:
        focal_length: in mm.
        f_number: focal length over the diameter of the aperture.
        focal_length_35mm: the one that has the same view on 36 x 24 mm film, in mm.
    """

    focal_length: float | None = None
    f_number: float | None = None
    focal_length_35mm: float | None = None

    def sensor_width(self, height: int, width: int) -> float | None:
        """Longer side of the sensor in mm from the 35 mm equivalent, which compares diagonals.

        Args:
            height: of the whole picture in pixels; a cropped one gives too large a sensor.
            width: the same.

        Returns:
            None where EXIF holds no equivalent.
        """
        if not self.focal_length or not self.focal_length_35mm:
            return None
        diagonal = FILM_DIAGONAL * self.focal_length / self.focal_length_35mm
        return diagonal * max(height, width) / math.hypot(height, width)


def distance(disparity: float, near: float, far: float = math.inf) -> float:
    """Metres that a disparity stands for, `math.inf` where it is infinitely far.

    Args:
        disparity: in [0, 1].
        near: metres that disparity 1 stands for, above 0.
        far: metres that disparity 0 stands for, above near.
    """
    inverse = 1 / far + disparity * (1 / near - 1 / far)
    return 1 / inverse if inverse else math.inf


def blur_radius(
    depth: float, focus: float, focal_length: float, f_number: float, pixel: float
) -> float:
    """Radius in pixels of the disc that a thin lens makes of a point (geometrical optics).

    f^2 / (2 N (z_f - f)) * |1 - z_f / z| / p.

    Args:
        depth: z, metres from the lens, may be infinite.
        focus: z_f, metres from the lens to what is sharp, beyond the focal length.
        focal_length: f in mm.
        f_number: N.
        pixel: p, side of a pixel on the sensor in mm.
    """
    sharp = 1000 * focus  # mm
    share = abs(1 - focus / depth)
    return focal_length**2 / (2 * f_number * (sharp - focal_length)) * share / pixel


def aperture(
    focus: float,
    focal_length: float,
    f_number: float,
    pixel: float,
    near: float,
    far: float = math.inf,
) -> float:
    """Blur radius in pixels per unit of disparity, so that Eq. 4 gives `blur_radius`.

    f^2 z_f / (2 N (z_f - f) p) * (1/near - 1/far).

    Args:
        focus: the disparity that is sharp, in [0, 1].
        focal_length: f in mm.
        f_number: N, above 0.
        pixel: p, side of a pixel on the sensor in mm.
        near: metres that disparity 1 stands for, above 0.
        far: metres that disparity 0 stands for, above near; may be infinite.

    Raises:
        ValueError: the focus lies at or within the focal length, where no lens is sharp.
    """
    sharp = distance(focus, near, far)
    if 1000 * sharp <= focal_length:
        raise ValueError(f"focus at {1000 * sharp:.4g} mm is within the focal length")
    ratio = 1 / (1 - focal_length / (1000 * sharp))  # z_f / (z_f - f), 1 where both are infinite
    return focal_length**2 / (2 * f_number * pixel) * ratio * (1 / near - 1 / far) / 1000


def flatten(disparity: Any, focus: float, low: float, high: float) -> Any:
    """Bring all disparities from `low` to `high` into focus and shift the others after them.

    d - clip(d - focus, low - focus, high - focus): the range becomes the focus itself, so that its
    blur is exactly 0; what is nearer or farther loses the same distance, so that disparity stays
    continuous and keeps its order. With low = high = focus nothing changes.

    Args:
        disparity: in [0, 1], array or tensor.
        focus: the disparity that is sharp.
        low: at most the focus.
        high: at least the focus.
    """
    if low == high:
        return disparity
    within = (disparity >= low) & (disparity <= high)
    shifted = disparity - (disparity - focus).clip(low - focus, high - focus)
    shifted[within] = focus  # exactly, whatever rounding does
    return shifted
