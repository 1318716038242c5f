"""Where weight files lie. Nothing is ever downloaded from here, and torch is not needed."""

import os
from pathlib import Path

from bokehlib.io.errors import InputError

EMBEDDED = Path(__file__).parents[1] / "weights"
LAMA = "big-lama.pt"  # what paints hidden backgrounds, if the user has it


def find_weights(file: str) -> Path | None:
    """Path of a weight file: the folder BOKEHLIB_WEIGHTS first, then bokehlib/weights.

    Returns:
        None if it is in neither.
    """
    given = os.environ.get("BOKEHLIB_WEIGHTS")
    folders = ([Path(given)] if given else []) + [EMBEDDED]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def need_weights(file: str) -> Path:
    """`find_weights`, or an InputError that names the missing file."""
    path = find_weights(file)
    if path is None:
        raise InputError(f"weights: {file} is neither in BOKEHLIB_WEIGHTS nor in bokehlib/weights")
    return path


def painter() -> str:
    """Name of the inpainting backend: "LaMa" if its weights are found, else "OpenCV"."""
    return "LaMa" if find_weights(LAMA) else "OpenCV"
