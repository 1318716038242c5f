"""Disparity for data sets that have none, by a depth network, kept on disk beside the pictures.

Only ever when it is asked for: scores on estimated maps are of the network too, and a file beside
the maps names it. What is there already stays.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bokehlib.data.published_sets import ebb
from bokehlib.io import estimate, images
from bokehlib.io.errors import InputError

RECORD = "estimated.json"  # file of a map -> what made it
LAYOUTS = "the layout of EBB!, or a folder a scene with image.png"


@dataclass(frozen=True)
class Wanted:
    """A picture, and the file of its map: .npy, or a 16-bit .png."""

    image: Path
    place: Path


def wanted(root: Path) -> list[Wanted]:
    """Every picture of a set with the place of its map, by the set's layout.

    Raises:
        InputError: the folder has no layout that is known.
    """
    if pairs := ebb.input_pictures(root):
        return [Wanted(p, root / "depth" / f"{p.stem}_pred.npy") for p in pairs]
    scenes = sorted(p.parent for p in root.glob("*/image.png") if not p.parent.name.startswith("."))
    if not scenes:
        found = "no pictures in it" if root.is_dir() else "no such folder"
        raise InputError(f"PATH: found {root}, {found}; accepted: {LAYOUTS}")
    return [Wanted(scene / "image.png", scene / "disparity.png") for scene in scenes]


def fill(
    root: Path,
    model: str = estimate.MODEL,
    device: str = "cpu",
    download: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Estimate the maps that a data set lacks, 1 = nearest.

    Each is there whole or not at all, so a run that was stopped goes on.

    Args:
        root: of the set.
        model: as for `estimate.check`.
        device: "cpu" or "cuda".
        download: as for `estimate.check`.
        progress: show a bar.

    Returns:
        How many maps were "made" and "kept", and the "model".

    Raises:
        InputError: no known layout, a picture that cannot be read, or as `estimate.estimate`.
    """
    all_of_it = wanted(root)
    missing = [one for one in all_of_it if not one.place.is_file()]
    if missing:
        network = estimate.estimator(model, device, download)
        for one in tqdm(missing, desc="disparity", unit="image", disable=not progress):
            found = network(images.read_image(one.image, "image"))
            _write(one.place, found.disparity)
            _record(root, one.place, found.source)
    return {"made": len(missing), "kept": len(all_of_it) - len(missing), "model": model}


def _write(place: Path, disparity: np.ndarray) -> None:
    place.parent.mkdir(exist_ok=True)
    if place.suffix == ".png":
        images.write_disparity(place, disparity)
        return
    with images.replacing(place) as temporary:
        np.save(temporary, disparity.astype(np.float16))


def _record(root: Path, place: Path, source: str) -> None:
    file = root / RECORD
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known[place.relative_to(root).as_posix()] = source
    with images.replacing(file) as temporary:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
