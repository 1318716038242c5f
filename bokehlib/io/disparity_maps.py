"""Disparity from every kind of file that people have: pictures, arrays, phones' photos. No torch.

The result is float32 (H, W) in [0, 1], 1 = nearest, and says what its ends stand for in metres
where the file tells. An invalid file raises an `InputError` of one line.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bokehlib.io import exr, images, portrait
from bokehlib.io.errors import InputError
from bokehlib.io.map_repair import fill_holes

KINDS = {  # how the values of a map are to be read
    "disparity": "in [0, 1], 1 = nearest",
    "relative": "any scale, larger = nearer: less their minimum, over their range",
    "inverse": "1/depth in any unit, 0 = infinitely far: over their maximum",
    "depth": "distance in any unit, larger = farther: 1/depth over its maximum",
}
_GREY = 4 / 255  # channels of a grey picture lie as close as this
ACCEPTED = (
    "an 8- or 16-bit grey PNG, a grey JPEG, a 32-bit float TIFF, .npy, .npz, .pfm or .exr of "
    "(H, W), in [0, 1], 1 = nearest, or a phone's photo with a depth map in it"
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
        filled: pixels that were unknown.
    """

    disparity: np.ndarray
    source: str
    depth_range: tuple[float, float] | None = None
    filled: int = 0


def read(
    path: str | Path, argument: str = "--disparity", kind: str = "", fill: bool = False
) -> DepthMap:
    """Read a disparity map.

    Args:
        path: Grey PNG or JPEG, float TIFF, .npy, .npz, .pfm, .exr, or a HEIC or JPEG with a
            phone's depth map.
        argument: What an error calls the file.
        kind: One of `KINDS`; "" takes a phone's map and a channel Z of an .exr as they say of
            themselves, everything else as "disparity".
        fill: Whether unknown pixels are filled, see `normalised`.

    Raises:
        InputError: Missing, broken or coloured, a HEIC without a map, or values that are not of
            that kind: unknown, outside [0, 1] or all the same.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    images.check_file(path, argument, ACCEPTED)
    if suffix == ".pfm":
        return normalised(_read_pfm(path, argument), kind, argument, path, fill=fill)
    if suffix == ".exr":
        try:
            values, farther = exr.read_map(path)
        except InputError as error:
            raise InputError(f"{argument}: {error}") from error
        kind = kind or ("depth" if farther else "")
        return normalised(values, kind, argument, path, fill=fill)
    if found := _of_phone(path, argument, kind, fill):
        return found
    levels = images.read_levels(path, argument, ACCEPTED)
    return normalised(levels, kind, argument, path, fill=fill)


def of_photo(
    path: str | Path,
    image: np.ndarray,
    argument: str = "--disparity",
    kind: str = "",
    fill: bool = False,
) -> tuple[np.ndarray, DepthMap]:
    """The map that is in the very file of a photo, and the photo without it.

    It is a phone's depth map, the depth channel of an .exr, or the grey right half of a picture
    whose left half is the photo.

    Args:
        path: The file.
        image: (H, W, 3) as it was read from it.
        argument: What an error calls the file.
        kind: One of `KINDS`, or "".
        fill: Whether unknown pixels are filled, see `normalised`.

    Returns:
        The photo, (H, W, 3) or (H, W/2, 3), and its map.

    Raises:
        InputError: It holds no map, or a broken one.
    """
    if Path(path).suffix.lower() == ".exr":
        return image, read(path, argument, kind, fill)
    if found := _of_phone(path, argument, kind, fill):
        return image, found
    half = image.shape[1] // 2
    left, right = image[:, :half], image[:, half:]
    if image.shape[1] % 2 or not half or np.ptp(right, axis=-1).max() > _GREY:
        raise InputError(
            f"{argument}: {path}: found the photo itself without a depth map in it; accepted: a "
            "phone's photo with one, or photo and grey map side by side, the map at the right"
        )
    depth = normalised(right.mean(axis=-1), kind, argument, path, fill=fill)
    return np.ascontiguousarray(left), depth


def _of_phone(path: str | Path, argument: str, kind: str, fill: bool) -> DepthMap | None:
    found = portrait.embedded(path, argument)
    if found is None:
        return None
    made = normalised(found.values, kind or found.kind, argument, path, found.metres, fill)
    return replace(made, source=found.source)


def normalised(
    values: np.ndarray,
    kind: str,
    argument: str,
    path: str | Path,
    metres: bool = True,
    fill: bool = False,
) -> DepthMap:
    """Values of a kind as disparity in [0, 1].

    Unknown are NaN and infinite values; of a depth NaN and 0, since infinity is as far as can be.

    Args:
        values: (H, W).
        kind: One of `KINDS`, "" for "disparity".
        argument: What an error calls the map.
        path: Where they come from.
        metres: Whether a depth is in m, or an inverse in 1/m; without it the range is unknown.
        fill: Whether unknown pixels are filled by `map_repair.fill_holes`.

    Raises:
        InputError: Values that are not of that kind, or unknown ones.
    """

    def refuse(found: str, accepted: str) -> InputError:
        return InputError(f"{argument}: {path}: found {found}; accepted: {accepted}")

    kind = kind or "disparity"
    values = np.asarray(values, dtype=np.float64)
    depth = kind == "depth"
    unknown = np.isnan(values) | (values == 0) if depth else ~np.isfinite(values)
    holes = int(unknown.sum())
    if holes == values.size or (holes and not fill):
        raise refuse(*_holes(holes, values.size, int((values == 0).sum()) if depth else 0, kind))
    if holes:
        values = fill_holes(values, ~unknown, np.fmax if depth else np.fmin)
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
    return DepthMap(values.astype(np.float32), source, span if metres else None, holes)


def _holes(count: int, pixels: int, zeros: int, kind: str) -> tuple[str, str]:
    """What is said of a map with unknown pixels: found and accepted."""
    what = f"{zeros} pixels of 0" if zeros else f"{count} NaN or infinite values"
    if count == pixels:
        return f"{what}, no pixel known", KINDS[kind]
    if zeros:
        cure = "above 0; --fill-holes where 0 means no measurement"
        return what, f"{cure}, another --disparity-kind where 0 means far"
    return what, f"finite values, {KINDS[kind]}; --fill-holes fills unknown pixels"


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
