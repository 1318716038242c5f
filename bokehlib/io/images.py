"""Pictures and disparity maps, from file to array and back.

Images are float32 (H, W, 3), sRGB-encoded, in [0, 1]; disparity is float32 (H, W) in [0, 1],
1 = nearest. An invalid file raises an `InputError` of one line.
"""

import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from bokehlib.io.errors import InputError
from bokehlib.io.portrait import is_heif, open_heif

FORMATS: dict[str, dict[str, Any]] = {  # suffix -> how Pillow writes it
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
ROUNDED = 0.03  # of the aspect ratio, by which a map may differ from its photo
TEMPORARY = ".bokehlib-"  # how the name of a file begins that is being written

_PICTURE = "an opaque PNG, JPEG, WebP, TIFF or HEIC picture"
_MAP = (
    "an 8- or 16-bit grey PNG, a grey JPEG, a 32-bit float TIFF, or a .npy or .npz array of "
    "(H, W), in [0, 1], 1 = nearest"
)
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, Image.DecompressionBombError),
)
_GREY_TOLERANCE = 4  # of 255: what JPEG does to the channels of a grey picture


def read_image(path: str | Path, argument: str = "IMAGE") -> np.ndarray:
    """Read a picture as displayed: EXIF orientation is honoured, grey becomes three channels.

    Args:
        path: 8-bit picture, or 16-bit grey; the first frame of an animation.
        argument: What an error calls the file.

    Returns:
        (H, W, 3) float32, sRGB-encoded, in [0, 1].

    Raises:
        InputError: Missing, unreadable, truncated, not a picture or with transparent pixels.
    """
    return to_array(open_picture(path, argument, _PICTURE), path, argument, _PICTURE)


def to_array(picture: Image.Image, path: str | Path, argument: str, accepted: str) -> np.ndarray:
    """An opened picture as (H, W, 3) float32, as `read_image` gives it.

    Raises:
        InputError: It has transparent pixels or 32 bits a pixel.
    """
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A").getextrema()
        if alpha != (255, 255):
            found = f"transparent pixels, alpha from {alpha[0]} to {alpha[1]} of 255"
            raise InputError(_complain(argument, path, found, accepted))
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture, dtype=np.float32) / 65535
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode in ("I", "F"):
        raise InputError(_complain(argument, path, "32 bits a pixel", accepted))
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def read_disparity(
    path: str | Path, argument: str = "--disparity", accepted: str = _MAP
) -> np.ndarray:
    """Read a disparity map from a grey picture or an array; `disparity_maps.read` takes more.

    Args:
        path: As for `read_levels`.
        argument: What an error calls the file.
        accepted: What an error says would do.

    Returns:
        (H, W) float32 in [0, 1], 1 = nearest.

    Raises:
        InputError: Missing, unreadable, truncated, coloured, or with values that are NaN, infinite
            or outside [0, 1].
    """
    return _in_range(read_levels(path, argument, accepted), path, argument, accepted)


def read_levels(path: str | Path, argument: str, accepted: str) -> np.ndarray:
    """The values of a one-channel picture or array, in any range, NaN included.

    Args:
        path: 8- or 16-bit grey PNG or grey JPEG (full scale becomes 1), a 32-bit float TIFF, a .npy
            file or a .npz file with one array.
        argument: What an error calls the file.
        accepted: What an error says would do.

    Returns:
        (H, W) float32.

    Raises:
        InputError: Missing, unreadable, truncated or coloured.
    """
    if Path(path).suffix.lower() in (".npy", ".npz"):
        return read_array(path, argument, accepted)
    picture = open_picture(path, argument, accepted)
    if picture.mode.startswith("I;16"):
        return np.asarray(picture, dtype=np.float32) / 65535
    if picture.mode == "F":
        return np.array(picture, dtype=np.float32)
    if picture.mode == "I":
        raise InputError(_complain(argument, path, "32-bit whole numbers", accepted))
    channels = np.asarray(picture.convert("RGB"), dtype=np.int16)
    spread = int(np.ptp(channels, axis=-1).max())
    if spread > _GREY_TOLERANCE:
        found = f"a colour picture, channels up to {spread} of 255 apart"
        raise InputError(_complain(argument, path, found, accepted))
    return channels.mean(axis=-1, dtype=np.float32) / 255


def _in_range(array: np.ndarray, path: str | Path, argument: str, accepted: str) -> np.ndarray:
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise InputError(_complain(argument, path, f"{bad} NaN or infinite values", accepted))
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        found = f"values from {low:.6g} to {high:.6g}"
        raise InputError(_complain(argument, path, found, accepted))
    return array


def match_size(
    disparity: np.ndarray, height: int, width: int, argument: str = "--disparity"
) -> np.ndarray:
    """Resize a disparity map bilinearly to its image if only the size differs.

    Args:
        disparity: (h, w) in [0, 1].
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        argument: What an error calls the map.

    Returns:
        (height, width) float32 in [0, 1].

    Raises:
        InputError: The aspect ratio is neither within 3 % of the image's (networks round sizes to
            multiples of 14 or 32) nor that of a size one pixel away.
    """
    h, w = disparity.shape
    if (h, w) == (height, width):
        return disparity
    off_w, off_h = abs(w - h * width / height), abs(h - w * height / width)
    if off_w > max(1.0, ROUNDED * w) and off_h > max(1.0, ROUNDED * h):
        raise InputError(
            f"{argument}: found {w}x{h} pixels for an image of {width}x{height}; "
            f"accepted: any size within {ROUNDED:.0%} of the image's aspect ratio"
        )
    smooth = Image.fromarray(disparity).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(smooth), 0, 1)


def check_output(
    path: str | Path, argument: str = "--out", suffixes: Iterable[str] = tuple(FORMATS)
) -> Path:
    """Make sure, before any work, that a picture can be written there.

    Raises:
        InputError: Unknown suffix, a folder, or a folder that is missing or not writable.
    """
    path = Path(path)
    accepted = f"a file in a writable folder, ending in {', '.join(suffixes)}"
    if path.suffix.lower() not in suffixes:
        raise InputError(_complain(argument, path, f"suffix {path.suffix!r}", accepted))
    if path.is_dir():
        raise InputError(_complain(argument, path, "a folder", accepted))
    if not path.parent.is_dir():
        raise InputError(_complain(argument, path, f"no folder {path.parent}", accepted))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(_complain(argument, path, "a folder that is write-protected", accepted))
    return path


def write_image(path: str | Path, image: np.ndarray, argument: str = "--out") -> None:
    """Write a picture with 8 bits a channel, rounded; the suffix decides the format.

    Args:
        path: Where to; an old file is replaced only once the new one is complete.
        image: (H, W, 3), sRGB-encoded; clipped to [0, 1].
        argument: What an error calls the file.

    Raises:
        InputError: The place or the format cannot take the picture; nothing is left behind.
    """
    path = check_output(path, argument)
    levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    _save(path, Image.fromarray(levels), argument)


def write_disparity(path: str | Path, disparity: np.ndarray, argument: str = "--out") -> None:
    """Write a disparity map (H, W) in [0, 1] as a 16-bit grey PNG; otherwise as `write_image`."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(_complain(argument, path, f"suffix {path.suffix!r}", ".png"))
    levels = np.round(np.clip(disparity, 0, 1) * 65535).astype(np.uint16)
    _save(check_output(path, argument), Image.fromarray(levels), argument)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` on success and vanishes on failure."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _save(path: Path, picture: Image.Image, argument: str) -> None:
    try:
        with replacing(path) as temporary:
            picture.save(temporary, **FORMATS[path.suffix.lower()])
    except (OSError, ValueError) as error:
        size = f"{picture.width}x{picture.height}"
        accepted = f"a place and a format that can hold {size} pixels"
        raise InputError(_complain(argument, path, str(error), accepted)) from error


def open_picture(path: str | Path, argument: str, accepted: str) -> Image.Image:
    """The decoded first frame, upright, of any picture that Pillow or pillow-heif reads.

    Raises:
        InputError: Missing, unreadable, truncated or not a picture.
    """
    check_file(path, argument, accepted)
    if is_heif(path):
        open_heif(path, argument)
    try:
        with Image.open(path) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except Image.UnidentifiedImageError as error:
        raise InputError(_complain(argument, path, "not a picture", accepted)) from error
    except _BROKEN as error:
        found = f"a broken or truncated file ({error})"
        raise InputError(_complain(argument, path, found, accepted)) from error


def read_array(path: str | Path, argument: str, accepted: str) -> np.ndarray:
    """The numbers of a .npy file, or of the one array of a .npz file, as (H, W) float32.

    Axes of length 1 around the map are dropped: (1, H, W) and (H, W, 1) are (H, W).

    Raises:
        InputError: Missing, truncated, not numbers, several arrays or not one map.
    """
    check_file(path, argument, accepted)
    try:
        array = np.load(path, allow_pickle=False)
        if isinstance(array, np.lib.npyio.NpzFile):
            with array as archive:
                if len(archive.files) != 1:
                    found = f"{len(archive.files)} arrays: {', '.join(archive.files)}"[:200]
                    raise InputError(_complain(argument, path, found, ".npz with one array"))
                array = archive[archive.files[0]]
    except InputError:
        raise
    except _BROKEN as error:
        found = f"a broken or truncated {Path(path).suffix} file ({error})"
        raise InputError(_complain(argument, path, found, accepted)) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        found = f"{getattr(array, 'dtype', 'no')} values"
        raise InputError(_complain(argument, path, found, accepted))
    flat = array.reshape([n for n in array.shape if n != 1]) if array.ndim > 2 else array
    if flat.ndim != 2 or flat.size == 0:
        raise InputError(_complain(argument, path, f"shape {array.shape}", accepted))
    return flat.astype(np.float32)


def check_file(path: str | Path, argument: str, accepted: str) -> None:
    """Make sure that a file is there.

    Raises:
        InputError: It is not, or is no regular file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(_complain(argument, path, "no such file", accepted))
    if not path.is_file():
        raise InputError(_complain(argument, path, "not a regular file", accepted))


def _complain(argument: str, path: str | Path, found: str, accepted: str) -> str:
    return f"{argument}: {path}: found {found}; accepted: {accepted}"
