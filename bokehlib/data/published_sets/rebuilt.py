"""SYNBOKEH300 rebuilt: scenes that our synthesis made of a user's own photographs (Sec. A.3).

A folder a scene with `image.png`, `disparity.png` and the truths, and `manifest.json`, which says
how each was made, through which lenses, and what its pictures look like.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib.data import fingerprints
from bokehlib.data.published_sets.shots import Contents, Reading, Shot, same_size
from bokehlib.io.errors import InputError
from bokehlib.io.images import read_disparity, read_image

MANIFEST = "manifest.json"
EXPECTED = 1200  # pictures: 300 scenes through four lenses


def recognise(root: Path) -> bool:
    """True if a folder holds a set of this layout."""
    return (root / MANIFEST).is_file()


def contents(root: Path, exposure: str = "none") -> Contents:
    """Scenes by name, lenses inner."""
    found = Contents(EXPECTED)
    try:
        scenes = read_manifest(root)["scenes"]
        for scene in scenes:
            name, lenses, images = scene["name"], scene["lens"], scene["images"]
            found.shots += [
                Shot(name, blur, partial(_read, root / name, lens, images))
                for blur, lens in enumerate(lenses)
            ]
    except InputError as error:
        found.fault(str(error))
    except (KeyError, TypeError) as error:
        found.fault(f"{root / MANIFEST}: found no {error}; accepted: what `data build` writes")
    return found


def read_manifest(root: Path) -> dict[str, Any]:
    """Inputs of the set.

    Raises:
        InputError: it is not JSON.
    """
    path = root / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        accepted = "what `data build` writes"
        raise InputError(f"{path}: found no JSON ({error}); accepted: {accepted}") from None


def _read(folder: Path, lens: dict[str, Any], images: dict[str, dict]) -> Reading:
    image, target = (read_image(folder / name, "picture") for name in ("image.png", lens["target"]))
    disparity = read_disparity(folder / "disparity.png", "disparity")
    read = {"image.png": image, lens["target"]: target, "disparity.png": disparity}
    for name, picture in read.items():
        same_size(folder / name, picture, image, "image.png")
        scale, kind = (65535, np.uint16) if name == "disparity.png" else (255, np.uint8)
        pixels = np.rint(picture.astype(np.float64) * scale).astype(kind)
        if not fingerprints.matches(pixels, images[name]):
            raise InputError(
                f"{folder / name}: found another picture than the manifest's; accepted: a fresh "
                f"one, made by `data build` when {folder.name} is deleted"
            )
    return Reading(image, disparity, target, lens["focus_disparity"], lens["aperture"])
