"""Reading OpenEXR pictures, half or float; whatever is wrong with one is an `InputError`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from bokehlib.errors import InputError

_DEPTHS = ("Z", "V", "Y", "R")  # names under which a renderer writes a depth, best first


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
