"""OpenEXR pictures, half or float, in linear light; whatever is wrong is an `InputError`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from bokehlib.io.errors import InputError

_DEPTHS = ("Z", "V", "Y", "R")  # names under which a renderer writes a depth, best first
_FARTHER = ("Z", "V")  # a distance; the others may be anything


def read_colour(path: Path) -> np.ndarray:
    """The channels R, G, B as (H, W, 3) float32, linear light, as they are in the file.

    Raises:
        InputError: Missing, truncated, not EXR, without these channels, or NaN or infinite.
    """
    accepted = "an OpenEXR picture with the channels R, G and B"
    channels = _channels(path, accepted)
    if not {"R", "G", "B"} <= set(channels):
        raise _complain(path, f"channels {', '.join(sorted(channels)) or 'none'}", accepted)
    colour = np.stack([channels[name] for name in "RGB"], axis=-1)
    bad = int((~np.isfinite(colour)).sum())
    if bad:
        raise _complain(path, f"{bad} NaN or infinite values", "finite light")
    return colour


def read_depth(path: Path) -> np.ndarray:
    """The depth channel (Z, V, Y or R) as (H, W) float32; it may be infinite.

    Raises:
        InputError: Missing, truncated, not EXR, without such a channel, NaN, zero or negative.
    """
    accepted = f"an OpenEXR picture with a channel {', '.join(_DEPTHS)}"
    channels = _channels(path, accepted)
    named = [channels[name] for name in _DEPTHS if name in channels]
    if not named:
        raise _complain(path, f"channels {', '.join(sorted(channels)) or 'none'}", accepted)
    bad = int((~(named[0] > 0)).sum())
    if bad:
        raise _complain(path, f"{bad} depths that are NaN, zero or negative", "depths above 0")
    return named[0]


def read_map(path: Path) -> tuple[np.ndarray, bool]:
    """A map of one channel (Z, V, Y or R), and whether it is a depth by that name (Z or V).

    Returns:
        (H, W) float32 as it is in the file, and True where larger means farther.

    Raises:
        InputError: Missing, truncated, not EXR, coloured or without such a channel.
    """
    accepted = f"a grey OpenEXR picture with a channel {', '.join(_DEPTHS)}"
    channels = _channels(path, accepted)
    name = next((name for name in _DEPTHS if name in channels), "")
    if not name:
        raise _complain(path, f"channels {', '.join(sorted(channels)) or 'none'}", accepted)
    others = [channels[other] for other in "GB" if other in channels] if name == "R" else []
    if not all(np.array_equal(channels["R"], other) for other in others):
        raise _complain(path, "a colour picture", accepted)
    return channels[name], name in _FARTHER


def write_colour(path: Path, light: np.ndarray) -> None:
    """Write linear light (H, W, 3) as float32 channels R, G, B, losslessly compressed.

    Raises:
        InputError: The package openexr is missing.
        OSError: The place cannot take it.
    """
    try:
        import OpenEXR
    except ImportError as error:
        needs = "an environment with bokehlib[study]"
        raise _complain(path, "no package openexr, which writes it", needs) from error
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    channels = {"RGB": np.ascontiguousarray(light, dtype=np.float32)}
    try:
        with _silent(), OpenEXR.File(header, channels) as file:
            file.write(str(path))
    except RuntimeError as error:
        raise OSError(f"OpenEXR cannot write: {error}") from error


def _channels(path: Path, accepted: str) -> dict[str, np.ndarray]:
    """All channels of the first part by the last word of their names, float32."""
    try:
        import OpenEXR
    except ImportError as error:
        needs = "an environment with bokehlib[study]"
        raise _complain(path, "no package openexr, which reads it", needs) from error
    if not path.is_file():
        raise _complain(path, "no such file", accepted)
    try:
        with _silent(), OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: np.array(c.pixels) for name, c in file.channels().items()}
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise _complain(path, "a broken or truncated file, or no OpenEXR", accepted) from error
    return {name.rpartition(".")[2]: c.astype(np.float32) for name, c in channels.items()}


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the library's own complaints, printed in Python and past it, off stdout and stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with redirect_stdout(StringIO()):
            yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)


def _complain(path: Path, found: str, accepted: str) -> InputError:
    return InputError(f"{path}: found {found}; accepted: {accepted}")
