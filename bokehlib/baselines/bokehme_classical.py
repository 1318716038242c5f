"""BokehMe's classical renderer with all its options: apertures, highlights, no occlusion.

Every pixel spreads its light over its aperture with the weight

    w = (1/2 + tanh(4 (e - t)) / 2) D / (r^2 + 0.2)     for |dy|, |dx| <= int(r) + 1

at the distance t, where r is its blur radius and e the radius of the aperture in that direction:
r itself for a disc, and r sin(b) / sin(a + b) for n blades, with b = pi/2 - pi/n and a the angle
from the last corner. D = 1 - q + q tanh((1 + t - e) / 5) darkens the middle of a donut. A pixel of
radius 0 stays where it is.

`classical.scattering` is the same for discs, and the method `scatter`; there a radius of exactly 0
leaves 0.07 % of itself in each neighbour, as in the published kernel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bokehlib.baselines.compiled import add_up, machine_code
from bokehlib.optics import HAS_TRITON

LARGEST = 1e100  # px; a disc's weight, 1/r^2, must not underflow


@dataclass(frozen=True)
class Aperture:
    """The shape of an aperture.

    Attributes:
        blades: corners of the polygon, 3 or more; 0 = a disc.
        turn: radians by which the polygon is turned.
        donut: 0 to 0.5, how dark the middle is.

    Raises:
        ValueError: one of them is outside its range.
    """

    blades: int = 0
    turn: float = 0.0
    donut: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.blades != 0 and self.blades < 3:
            raise ValueError(f"blades: found {self.blades}; accepted: 0 (a disc), 3 or more")
        if not 0 <= self.donut <= 0.5:
            raise ValueError(f"donut: found {self.donut}; accepted: 0 to 0.5")
        if not math.isfinite(self.turn):
            raise ValueError(f"turn: found {self.turn}; accepted: a finite number of radians")


def render(
    image: Tensor, defocus: Tensor, gamma: float, aperture: Aperture | None = None
) -> Tensor:
    """The classical render, computed on the CPU in double, the same for any number of threads.

    Args:
        image: (B, 3, H, W), sRGB in [0, 1] or above where highlights are enhanced.
        defocus: (B, 1, H, W), signed blur radius in px.
        gamma: linear light is image ** gamma.
        aperture: its shape; None = a disc.

    Returns:
        (B, 3, H, W), not clamped, like the image.
    """
    shape = aperture or Aperture()
    pictures = []
    for picture, signed in zip(image, defocus, strict=True):
        light = picture.cpu().double().clamp(min=0).pow(gamma).permute(1, 2, 0).contiguous().numpy()
        radius = np.ascontiguousarray(signed[0].cpu().double().abs().clamp(max=LARGEST).numpy())

        def spread(start: int, stop: int, first: int, part: np.ndarray, light=light, radius=radius):
            options = shape.blades, shape.turn, shape.donut
            spreading()(light, radius, *options, start, stop, first, part)

        sums = add_up(spread, _reaches(radius), np.zeros((*radius.shape, 4)))
        encoded = (sums[..., :3] / sums[..., 3:]) ** (1 / gamma)
        pictures.append(torch.from_numpy(encoded).permute(2, 0, 1).to(image))
    return torch.stack(pictures)


def dilated(defocus: Tensor) -> Tensor:
    """The largest whole-numbered defocus whose disc covers a pixel, (B, 1, H, W) like defocus.

    On a CPU in double: that is the definition. On a GPU a kernel finds the same in float32.

    Args:
        defocus: signed blur radius in px; discs are closed, and numbers are cut towards 0.
    """
    if _by_kernel(defocus):
        from bokehlib.baselines import bokehme_kernel

        return bokehme_kernel.dilated(defocus)
    maps = []
    for signed in defocus:
        blur = np.ascontiguousarray(signed[0].cpu().double().numpy())

        def spread(start: int, stop: int, first: int, part: np.ndarray, blur=blur):
            covering()(blur, start, stop, first, part)

        maps.append(add_up(spread, _reaches(np.abs(blur)), np.trunc(blur), np.maximum))
    return torch.from_numpy(np.stack(maps))[:, None].to(defocus)


def _by_kernel(defocus: Tensor) -> bool:
    return defocus.is_cuda and HAS_TRITON


def enhance(image: Tensor, disparity: Tensor, focus: Tensor) -> Tensor:
    """Brighten highlights that are out of focus by up to 40 %, as a photo has clipped them."""
    blurred = torch.tanh(200 * ((disparity - focus).square() - 0.01)).clamp(0, 1)
    bright = torch.tanh(10 * (image - 220 / 255)).clamp(0, 1)
    return image * (1 + 0.4 * blurred * bright)


def _reaches(radius: np.ndarray) -> np.ndarray:
    rows = np.arange(len(radius))
    reach = np.minimum(radius.max(axis=1), max(radius.shape)).astype(np.int64) + 1
    return np.stack((rows - reach, rows + reach), axis=1)


def _spread_rows(
    light: np.ndarray,
    radius: np.ndarray,
    blades: int,
    turn: float,
    donut: float,
    start: int,
    stop: int,
    first: int,
    sums: np.ndarray,
) -> None:
    """Add the apertures of the source rows start..stop to sums, whose row 0 is row `first`."""
    height, width = radius.shape
    slant = math.pi / 2 - math.pi / max(blades, 1)
    for y in range(start, stop):
        for x in range(width):
            r = radius[y, x]
            reach = int(min(r, max(height, width))) + 1 if r > 0 else 0
            energy = 1 / (r * r + 0.2)
            for row in range(max(y - reach, 0), min(y + reach + 1, height)):
                for column in range(max(x - reach, 0), min(x + reach + 1, width)):
                    t = math.sqrt((row - y) ** 2 + (column - x) ** 2)
                    e = r
                    if blades:
                        angle = abs(math.atan2(row - y, column - x) + turn) % (2 * math.pi / blades)
                        e = r * math.sin(slant) / math.sin(angle + slant)
                    w = energy
                    if r > 0 and e - t < 5:
                        w /= 1 + math.exp(-8 * (e - t))
                    if donut:
                        w *= 1 - donut + donut * math.tanh((1 + t - e) / 5)
                    for channel in range(3):
                        sums[row - first, column, channel] += w * light[y, x, channel]
                    sums[row - first, column, 3] += w


def _cover_rows(blur: np.ndarray, start: int, stop: int, first: int, largest: np.ndarray) -> None:
    """Raise `largest`, whose row 0 is row `first`, to what the discs of rows start..stop hold."""
    height, width = blur.shape
    for y in range(start, stop):
        for x in range(width):
            r = min(abs(blur[y, x]), float(height + width))
            value = np.trunc(blur[y, x])
            for row in range(max(y - int(r), 0), min(y + int(r) + 1, height)):
                half = int(math.sqrt(r * r - (row - y) ** 2))
                for column in range(max(x - half, 0), min(x + half + 1, width)):
                    if largest[row - first, column] < value:
                        largest[row - first, column] = value


def spreading() -> Callable[..., None]:
    """`_spread_rows` as machine code."""
    signature = "void(f8[:, :, ::1], f8[:, ::1], i8, f8, f8, i8, i8, i8, f8[:, :, ::1])"
    return machine_code(_spread_rows, signature)


def covering() -> Callable[..., None]:
    """`_cover_rows` as machine code."""
    return machine_code(_cover_rows, "void(f8[:, ::1], i8, i8, i8, f8[:, ::1])")
