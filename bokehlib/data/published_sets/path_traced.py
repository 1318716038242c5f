"""`rendered`: path-traced scenes, as `bokehlib.extras.pathtracing` packed them into the library.

A folder a scene with `sharp.avif`, the truths and `disparity.png`, and a `manifest.json` that
names each file's SHA-256 and each lens.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from bokehlib.data import RENDERED, absence, file_hash
from bokehlib.data.published_sets.shots import Contents, Reading, Shot, same_size
from bokehlib.io.errors import InputError
from bokehlib.io.images import read_disparity, read_image

MANIFEST = "manifest.json"


def contents(root: Path = RENDERED) -> Contents:
    """Scenes in the order of the manifest, lenses inner.

    Raises:
        InputError: no manifest, or not one of this layout.
    """
    path = root / MANIFEST
    if not path.exists():
        raise InputError(absence("rendered"))
    try:
        scenes = json.loads(path.read_text(encoding="utf-8"))["scenes"]
        shots = [
            Shot(scene["name"], blur, partial(_read, root / scene["name"], lens, scene["files"]))
            for scene in scenes
            for blur, lens in enumerate(scene["lens"])
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        accepted = "what `python -m bokehlib.extras.pathtracing pack` writes"
        raise InputError(f"rendered: {path}: found {error!r}; accepted: {accepted}") from None
    return Contents(len(shots), shots)


def _read(folder: Path, lens: dict[str, Any], hashes: dict[str, str]) -> Reading:
    names = "sharp.avif", "disparity.png", lens["target"]
    for name in names:
        file = folder / name
        found = file_hash(file) if file.is_file() else "no such file"
        if found != hashes[name]:
            raise InputError(
                f"rendered: {file}: found {found[:12]}; accepted: the file with SHA-256 "
                f"{hashes[name][:12]}... of the manifest"
            )
    image, target = (read_image(folder / name, "picture") for name in names[::2])
    disparity = read_disparity(folder / "disparity.png", "disparity")
    same_size(folder / names[1], disparity, image, names[0])
    same_size(folder / names[2], target, image, names[0])
    return Reading(image, disparity, target, lens["focus_disparity"], lens["aperture"])
