"""What every layout comes down to: shots that are read when asked for, and faults."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bokehlib.io.errors import InputError

UNKNOWN = float("nan")  # the aperture of a set that does not say it


@dataclass(frozen=True)
class Reading:
    """One measurement to make, as arrays.

    Attributes:
        image: (H, W, 3) float32, sRGB-encoded in [0, 1], all in focus.
        disparity: (H, W) float32 in [0, 1], 1 = nearest.
        target: (H, W, 3), the true picture.
        focus: disparity that is sharp.
        aperture: px of this image per unit of disparity; `UNKNOWN` if the set does not say it.
    """

    image: np.ndarray
    disparity: np.ndarray
    target: np.ndarray
    focus: float
    aperture: float = UNKNOWN


@dataclass(frozen=True)
class Shot:
    """One picture of a set: its scene, its lens's number, and how it is read."""

    name: str
    blur: int
    read: Callable[[], Reading]


@dataclass
class Contents:
    """What a folder holds.

    Attributes:
        expected: how many pictures the whole set has.
        shots: those that can be read, in order.
        faults: one line each for what is wrong.
        left_out: how many pictures the faults cost.
        top_nearer: in how many of the pictures that were read the upper third is nearer, on
            average, than the lower; in most scenes it is the sky that is above.
    """

    expected: int
    shots: list[Shot] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left_out: int = 0
    top_nearer: int = 0

    def fault(self, reason: str, pictures: int = 1) -> None:
        """Note what is wrong and how many pictures that costs."""
        self.faults.append(reason)
        self.left_out += pictures

    def proved(self, progress: Callable[[list[Shot]], Iterable[Shot]] = list) -> "Contents":
        """The same with every shot read once; those that cannot be read become faults."""
        sound = Contents(self.expected, [], [*self.faults], self.left_out)
        for shot in progress(self.shots):
            try:
                disparity = shot.read().disparity
            except InputError as error:
                sound.fault(str(error))
                continue
            sound.shots.append(shot)
            third = max(1, len(disparity) // 3)
            sound.top_nearer += bool(disparity[:third].mean() > disparity[-third:].mean())
        return sound


def same_size(path: Path, found: np.ndarray, image: np.ndarray, what: str) -> None:
    """Make sure that a picture has the size of its scene's image.

    Raises:
        InputError: naming the file.
    """
    if found.shape[:2] != image.shape[:2]:
        sizes = [f"{x.shape[1]}x{x.shape[0]}" for x in (found, image)]
        raise InputError(
            f"{path}: found {sizes[0]} pixels; accepted: the size of {what}, {sizes[1]}"
        )
