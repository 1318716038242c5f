"""The embedded data: photographs, and the manifest of `synbokeh-mini`. No torch here."""

import csv
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from bokehlib.data.published import (
    BUILT,
    PUBLISHED,
    SEARCH_GRID,
    SEARCH_RANGE,
    SEARCH_STEPS,
    absence,
    find_published,
    protocol,
)
from bokehlib.io.errors import InputError

__all__ = [
    "BUILT",
    "DATASETS",
    "ORIGINS",
    "PUBLISHED",
    "RENDERED",
    "SEARCH_GRID",
    "SEARCH_RANGE",
    "SEARCH_STEPS",
    "absence",
    "data_hash",
    "file_hash",
    "find_published",
    "manifest",
    "photo_paths",
    "protocol",
]

DATASETS = {  # name -> label in tables
    "synbokeh-mini": "SYNBOKEH-mini (embedded, synthetic)",
    "synbokeh300": "SYNBOKEH300 (rebuilt)",
    "rendered": "path-traced scenes",
    "ebb_val294": "EBB Val294",
    "blb_level5": "BLB level 5",
}
HERE = Path(__file__).parent
MANIFEST = HERE / "synbokeh-mini.json"
RENDERED = HERE / "rendered"
ORIGINS = HERE / "origins"  # of the light in every pixel of `synbokeh-mini`, by its true layers
INSTALLED = {  # photographs inside the wheels of packages that the study needs anyway
    "skimage": tuple(
        f"data/{name}"
        for name in (
            "astronaut.png",
            "brick.png",
            "coffee.png",
            "gravel.png",
            "motorcycle_left.png",
            "rocket.jpg",
        )
    ),
    "sklearn": ("datasets/images/china.jpg",),
}
FOLDER = "folder:"
LENSES = "lens.json"


def photo_paths() -> dict[str, Path]:
    """Name -> file of every embedded photograph, in the order that the manifest counts them.

    Raises:
        InputError: if a package that brings some of them is not installed.
    """
    paths: dict[str, Path] = {}
    for package, files in INSTALLED.items():
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"synbokeh-mini: package {package} is not installed, and its photographs are "
                "needed; accepted: an environment with bokehlib[study]"
            )
        root = Path(spec.submodule_search_locations[0])
        paths |= {f"{package}/{Path(file).name}": root / file for file in files}
    with open(HERE / "photos" / "LICENSES.csv", newline="", encoding="utf-8") as table:
        own = [row["file"] for row in csv.DictReader(table)]
    return paths | {f"photos/{file}": HERE / "photos" / file for file in own}


def manifest() -> dict:
    """What `synbokeh-mini` consists of, as frozen."""
    return json.loads(MANIFEST.read_text(encoding="utf-8"))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data_hash(name: str) -> str:
    """Hash that changes when a data set does, without reading its pictures.

    Of `synbokeh-mini` and `rendered` the manifest's, of `folder:<path>` that of its files' names
    and sizes and of every lens.json, of a published set that of its files' names and sizes and of
    every lens.json, info.json and manifest.json; "" for a set that is not here.
    """
    if name == "synbokeh-mini":
        return file_hash(MANIFEST)
    if name == "rendered":
        made = RENDERED / "manifest.json"
        return file_hash(made) if made.is_file() else ""
    if name in PUBLISHED:
        found = find_published(name)
        return _tree_hash(found, "**/*") if found else ""
    return _tree_hash(Path(name.removeprefix(FOLDER)), "*/*") if name.startswith(FOLDER) else ""


def _tree_hash(root: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in root.glob(pattern) if p.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
        if path.name in (LENSES, "info.json", "manifest.json"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
