"""Disparity from every kind of file that people have: pictures, arrays, phones' photos. No torch.

The result is float32 (H, W) in [0, 1], 1 = nearest, and says what its ends stand for in metres
where the file tells. Whatever is wrong with a file is an `InputError` of one line.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokehlib.io import exr, images, portrait
from bokehlib.io.errors import InputError

KINDS = {  # how the values of a map are to be read
    "disparity": "in [0, 1], 1 = nearest",
    "relative": "any scale, larger = nearer: less their minimum, over their range",
    "inverse": "1/depth in any unit, 0 = infinitely far: over their maximum",
    "depth": "distance in any unit, larger = farther: 1/depth over its maximum",
}
_GREY = 4 / 255  # channels of a grey picture lie as close as this
ACCEPTED = (
    "an 8- or 16-bit grey PNG, a grey JPEG, .npy, .pfm or .exr of (H, W), in [0, 1], 1 = nearest, "
    "or a phone's photo with a depth map in it"
)
_TURN = (
    "other values with --disparity-kind relative (larger = nearer), inverse (1/depth) or depth "
    "(larger = farther)"
)


@dataclass(frozen=True)
class DepthMap:
    """A disparity map.

    Attributes:
        disparity: (H, W) float32 in [0, 1], 1 = nearest.
        source: what it was made from and how, in one phrase.
        depth_range: metres that disparity 1 and 0 stand for (1/depth runs evenly in between), or
            None where nothing says so, as in every relative map.
    """

    disparity: np.ndarray
    source: str
    depth_range: tuple[float, float] | None = None


def read(path: str | Path, argument: str = "--disparity", kind: str = "") -> DepthMap:
    """Read a disparity map.

    Args:
        path: Grey PNG or JPEG, .npy, .pfm, .exr, or a HEIC or JPEG with a phone's depth map.
        argument: What an error calls the file.
        kind: One of `KINDS`; "" takes a phone's map and a channel Z of an .exr as they say of
            themselves, everything else as "disparity".

    Raises:
        InputError: Missing, broken or coloured, a HEIC without a map, or values that are not of
            that kind: NaN, infinite (but for a depth), outside [0, 1] or all the same.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    images.check_file(path, argument, ACCEPTED)
    if suffix == ".npy":
        return normalised(images.read_array(path, argument, ACCEPTED), kind, argument, path)
    if suffix == ".pfm":
        return normalised(_read_pfm(path, argument), kind, argument, path)
    if suffix == ".exr":
        try:
            values, farther = exr.read_map(path)
        except InputError as error:
            raise InputError(f"{argument}: {error}") from error
        return normalised(values, kind or ("depth" if farther else ""), argument, path)
    if found := _of_phone(path, argument, kind):
        return found
    levels = images.read_disparity(path, argument, ACCEPTED)
    return normalised(levels, kind, argument, path)


def of_photo(
    path: str | Path, image: np.ndarray, argument: str = "--disparity", kind: str = ""
) -> tuple[np.ndarray, DepthMap]:
    """The map that is in the very file of a photo, and the photo without it.

    It is a phone's depth map, the depth channel of an .exr, or the grey right half of a picture
    whose left half is the photo.

    Args:
        path: The file.
        image: (H, W, 3) as it was read from it.
        argument: What an error calls the file.
        kind: One of `KINDS`, or "".

    Returns:
        The photo, (H, W, 3) or (H, W/2, 3), and its map.

    Raises:
        InputError: It holds no map, or a broken one.
    """
    if Path(path).suffix.lower() == ".exr":
        return image, read(path, argument, kind)
    if found := _of_phone(path, argument, kind):
        return image, found
    half = image.shape[1] // 2
    left, right = image[:, :half], image[:, half:]
    if image.shape[1] % 2 or not half or np.ptp(right, axis=-1).max() > _GREY:
        raise InputError(
            f"{argument}: {path}: found the photo itself without a depth map in it; accepted: a "
            "phone's photo with one, or photo and grey map side by side, the map at the right"
        )
    depth = normalised(right.mean(axis=-1), kind, argument, path)
    return np.ascontiguousarray(left), depth


def _of_phone(path: str | Path, argument: str, kind: str) -> DepthMap | None:
    found = portrait.embedded(path, argument)
    if found is None:
        return None
    made = normalised(found.values, kind or found.kind, argument, path, found.metres)
    return DepthMap(made.disparity, found.source, made.depth_range)


def normalised(
    values: np.ndarray, kind: str, argument: str, path: str | Path, metres: bool = True
) -> DepthMap:
    """Values of a kind as disparity in [0, 1].

    Args:
        values: (H, W).
        kind: One of `KINDS`, "" for "disparity".
        argument: What an error calls the map.
        path: Where they come from.
        metres: Whether a depth is in m, or an inverse in 1/m; without it the range is unknown.

    Raises:
        InputError: Values that are not of that kind.
    """

    def refuse(found: str, accepted: str) -> InputError:
        return InputError(f"{argument}: {path}: found {found}; accepted: {accepted}")

    kind = kind or "disparity"
    values = np.asarray(values, dtype=np.float64)
    bad = int((np.isnan(values) if kind == "depth" else ~np.isfinite(values)).sum())
    if bad:
        raise refuse(f"{bad} NaN or infinite values", f"finite values, {KINDS[kind]}")
    low, high = float(values.min()), float(values.max())
    shown = f"values from {low:.6g} to {high:.6g}"
    source, span = f"{path}, {KINDS[kind]}", None
    if kind == "disparity":
        if low < 0 or high > 1:
            raise refuse(shown, f"{KINDS[kind]}; {_TURN}")
    elif kind == "relative":
        if low == high:
            raise refuse(f"one value everywhere, {low:.6g}", KINDS[kind])
        values = (values - low) / (high - low)
    elif kind == "inverse":
        if low < 0 or high == 0:
            raise refuse(shown, f"0 or more, {KINDS[kind]}")
        values, span = values / high, (1 / high, math.inf)
    else:
        if low <= 0 or low == math.inf:
            raise refuse(shown, f"above 0, {KINDS[kind]}")
        values, span = low / values, (low, math.inf)
    return DepthMap(values.astype(np.float32), source, span if metres else None)


def _read_pfm(path: Path, argument: str) -> np.ndarray:
    """A grey portable float map: three lines of text, then rows from the lowest to the highest."""
    accepted = "a grey .pfm: Pf, width and height, scale, then as many floats"
    try:
        with path.open("rb") as file:
            kind, size, scale = (file.readline(80).split() for _ in range(3))
            width, height = (int(word) for word in size)
            order = "<" if float(scale[0]) < 0 else ">"  # its sign is the order of bytes
            body = file.read()
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{argument}: {path}: found no .pfm header; accepted: {accepted}"
        ) from error
    if kind != [b"Pf"] or min(width, height) < 1 or len(body) != 4 * width * height:
        found = f"{b' '.join(kind)[:9]!r}, {width}x{height} and {len(body)} bytes"
        raise InputError(f"{argument}: {path}: found {found}; accepted: {accepted}")
    return np.frombuffer(body, f"{order}f4").reshape(height, width)[::-1]
