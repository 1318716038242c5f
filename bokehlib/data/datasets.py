"""Data sets: scenes with disparity, lenses and their true pictures, read lazily from disk.

`synbokeh-mini` is built once from its manifest and then read like any `folder:<path>`: one folder a
scene with image.png, disparity.png, lens.json and the targets that lens.json names. A renderer
is always fed what is on disk: 8-bit pictures, 16-bit disparity.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from bokehlib.data import (
    BUILT,
    DATASETS,
    FOLDER,
    LENSES,
    PUBLISHED,
    find_published,
    fingerprints,
    manifest,
    synbokeh,
)
from bokehlib.data.published_sets import Contents, open_set, path_traced
from bokehlib.data.published_sets.rebuilt import read_manifest
from bokehlib.io.errors import InputError
from bokehlib.io.images import match_size, read_disparity, read_image
from bokehlib.optics import Lens

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
RENDERED = "rendered"
SMOKE_SIDE = 96  # px, the long side of a picture in a smoke run
SMOKE_LENSES = (0, 2)
SMOKE_PICTURES = 2  # of a published set


@dataclass(frozen=True)
class Sample:
    """One measurement to make.

    Attributes:
        name: of the scene.
        blur: number of the lens within its scene.
        image: (1, 3, H, W), sRGB in [0, 1], all in focus.
        disparity: (1, 1, H, W) in [0, 1], 1 = nearest.
        lens: floats.
        target: (1, 3, H, W), the true picture.
    """

    name: str
    blur: int
    image: torch.Tensor
    disparity: torch.Tensor
    lens: Lens
    target: torch.Tensor


@dataclass(frozen=True)
class Shot:
    """One line of a lens.json: the scene's folder, which lens, and its picture."""

    folder: Path
    blur: int
    target: str
    lens: Lens


class FolderSet(Sequence[Sample]):
    """Scenes in folders, in the order of their names, lenses inner."""

    def __init__(
        self,
        shots: Sequence[Shot],
        shrink: bool = False,
        check: Callable[[Path], None] | None = None,
    ):
        """Read `shots`; `shrink` to smoke size; `check` every picture file before it is used."""
        self.shots, self.shrink, self.check = shots, shrink, check
        self._last: tuple[Path | None, Any] = (None, None)

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.shots)

    def __getitem__(self, index):
        """Sample number `index`, or a set of those in a slice."""
        if isinstance(index, slice):
            return FolderSet(self.shots[index], self.shrink, self.check)
        shot = self.shots[index]
        image, disparity = self._scene(shot.folder)
        target = self._read(shot.folder / shot.target, f"{LENSES} target")
        if target.shape != image.shape:
            raise InputError(
                f"{shot.folder / LENSES}: target {shot.target}: found {_size(target)} pixels; "
                f"accepted: the size of image.png, {_size(image)}"
            )
        arrays = image, disparity, target
        return _sample(shot.folder.name, shot.blur, arrays, shot.lens, self.shrink)

    def _scene(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        if self._last[0] != folder:  # lenses of a scene come in turn and share its picture
            image = self._read(folder / "image.png", "image")
            file = folder / "disparity.png"
            if self.check:
                self.check(file)
            disparity = read_disparity(file, "disparity")
            height, width = image.shape[:2]
            disparity = match_size(disparity, height, width, f"disparity {file}")
            self._last = folder, (image, disparity)
        return self._last[1]

    def _read(self, file: Path, argument: str) -> np.ndarray:
        if self.check:
            self.check(file)
        return read_image(file, argument)


class PublishedSet(Sequence[Sample]):
    """Pictures of a set of `data.PUBLISHED`, those aside that cannot be used.

    Attributes:
        left_out: how many those are.
        faults: one line each for what is wrong.
    """

    def __init__(self, contents: Contents, shrink: bool = False):
        """The proved contents; `shrink` to smoke size."""
        self._contents, self.shrink = contents, shrink
        self.left_out, self.faults = contents.left_out, contents.faults

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._contents.shots)

    def __getitem__(self, index):
        """Sample number `index`, or a set of those in a slice."""
        if isinstance(index, slice):
            part = replace(self._contents, shots=self._contents.shots[index])
            return PublishedSet(part, self.shrink)
        shot = self._contents.shots[index]
        read = shot.read()
        arrays = read.image, read.disparity, read.target
        lens = Lens(read.focus, read.aperture)
        return _sample(shot.name, shot.blur, arrays, lens, self.shrink)


def _sample(
    name: str, blur: int, arrays: tuple[np.ndarray, ...], lens: Lens, shrink: bool
) -> Sample:
    """Image, disparity and target, (H, W, 3) or (H, W), as one sample; `shrink` to smoke size."""
    height, width = arrays[0].shape[:2]
    shaped = [array.reshape(height, width, -1) for array in arrays]
    tensors = [torch.from_numpy(array).permute(2, 0, 1)[None] for array in shaped]
    if shrink:
        factor = SMOKE_SIDE / max(height, width)
        size = [max(1, round(n * factor)) for n in (height, width)]
        tensors = [
            F.interpolate(t, size=size, mode="bilinear", antialias=True).clamp(0, 1)
            for t in tensors
        ]
        lens = lens.scaled(factor)
    image, disparity, target = (tensor.contiguous() for tensor in tensors)
    return Sample(name, blur, image, disparity, lens, target)


def load_dataset(name: str, smoke: bool = False) -> FolderSet | PublishedSet:
    """A data set by name; its pictures are read when asked for.

    Args:
        name: `synbokeh-mini`, `rendered`, one of `data.PUBLISHED`, or `folder:<path>` for your own.
        smoke: the first scene alone, shrunk to 96 px, with two of its lenses; of a published set
            its first two pictures.

    Raises:
        InputError: for an unknown name, a set that is not here, or a folder with a fault.
    """
    if name == synbokeh.NAME:
        frozen = manifest()
        names = [scene["name"] for scene in frozen["scenes"]][: 1 if smoke else None]
        root = BUILT / name
        synbokeh.build(frozen, root, names)
        shots = [shot for scene in names for shot in read_lenses(root / scene)]
        return FolderSet(_few(shots) if smoke else shots, smoke, _frozen_check(frozen))
    if name == RENDERED:
        found = path_traced.contents()
        if smoke:
            first = [shot for shot in found.shots if shot.name == found.shots[0].name]
            found = replace(found, shots=[shot for shot in first if shot.blur in SMOKE_LENSES])
        return PublishedSet(found, smoke)
    if name.startswith(FOLDER):
        folders = scene_folders(Path(name.removeprefix(FOLDER)))[: 1 if smoke else None]
        shots = [shot for folder in folders for shot in read_lenses(folder)]
        return FolderSet(_few(shots) if smoke else shots, smoke)
    if name in PUBLISHED:
        return PublishedSet(open_set(name, SMOKE_PICTURES if smoke else None), smoke)
    accepted = f"{synbokeh.NAME}, {RENDERED}, {', '.join(PUBLISHED)} or folder:<path>"
    if name in DATASETS:
        raise InputError(f"dataset {name}: not here; accepted: {accepted}")
    raise InputError(f"dataset {name!r}: unknown; accepted: {accepted}")


def scene_folders(root: Path) -> list[Path]:
    """The folders of a data set, sorted by name.

    Raises:
        InputError: if there is none.
    """
    folders = sorted(path for path in root.glob("*") if path.is_dir() and path.name[0] != ".")
    if not folders:
        found = "no folder in it" if root.is_dir() else "no such folder"
        raise InputError(f"dataset {FOLDER}{root}: found {found}; accepted: one folder a scene")
    return folders


def read_lenses(folder: Path) -> list[Shot]:
    """Lenses of lens.json.

    Raises:
        InputError: naming the file, the key, what was found and what is accepted.
    """
    file = folder / LENSES
    accepted = (
        '{"lens": [{"target": "bokeh_0.png", "focus_disparity": 0.89, "aperture": 17.4}, ...]}'
    )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{file}: found no such file; accepted: {accepted}") from None
    except ValueError as error:
        raise InputError(f"{file}: found no JSON ({error}); accepted: {accepted}") from None
    lenses = content.get("lens") if isinstance(content, dict) else None
    if not isinstance(lenses, list) or not lenses:
        raise InputError(f'{file}: key "lens": found {_short(lenses)}; accepted: {accepted}')
    return [_shot(folder, blur, lens) for blur, lens in enumerate(lenses)]


def _shot(folder: Path, blur: int, lens: Any) -> Shot:
    def complain(key: str, accepted: str) -> InputError:
        found = _short(lens.get(key, "nothing")) if isinstance(lens, dict) else _short(lens)
        where = f'{folder / LENSES}: lens {blur}, key "{key}"'
        return InputError(f"{where}: found {found}; accepted: {accepted}")

    def number(key: str, high: float, accepted: str) -> float:
        value = lens.get(key) if isinstance(lens, dict) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise complain(key, accepted)
        if not math.isfinite(value) or not 0 <= value <= high:
            raise complain(key, accepted)
        return float(value)

    target = lens.get("target") if isinstance(lens, dict) else None
    if not isinstance(target, str) or not (folder / target).is_file():
        raise complain("target", "the name of a picture in that folder")
    focus = number("focus_disparity", 1, "a disparity from 0 to 1")
    aperture = number("aperture", math.inf, "px of blur radius per unit of disparity, 0 or more")
    return Shot(folder, blur, target, Lens(focus, aperture))


def _few(shots: Sequence[Shot]) -> list[Shot]:
    return [shot for shot in shots if shot.blur in SMOKE_LENSES]


def _frozen_check(frozen: dict) -> Callable[[Path], None]:
    images = {scene["name"]: scene["images"] for scene in frozen["scenes"]}

    def check(file: Path) -> None:
        scale, kind = (65535, np.uint16) if file.name == "disparity.png" else (255, np.uint8)
        read = read_disparity if file.name == "disparity.png" else read_image
        pixels = np.rint(read(file).astype(np.float64) * scale).astype(kind)
        if not fingerprints.matches(pixels, images[file.parent.name][file.name]):
            raise InputError(
                f"{synbokeh.NAME}: {file}: found another picture than the frozen one; accepted: "
                f"a fresh build, made when {file.parent} is deleted"
            )

    return check


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _short(value: Any) -> str:
    text = value if value == "nothing" else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def training_photos(folders: Iterable[str | Path]) -> list[torch.Tensor]:
    """Photographs to train on, from folders and all below them, as uint8 (3, H, W).

    Pictures with transparency are cut-outs and left out.

    Raises:
        InputError: for a folder without photographs, and for a photograph that `synbokeh-mini`,
            or a rebuilt `synbokeh300`, is made of: what measures is never trained on.
    """
    from PIL import Image

    measured = dict.fromkeys(_hashes(manifest()), synbokeh.NAME)
    if rebuilt := find_published("synbokeh300"):
        measured |= dict.fromkeys(_hashes(read_manifest(rebuilt)), "synbokeh300")
    photos: list[torch.Tensor] = []
    for folder in map(Path, folders):
        before = len(photos)
        for file in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTOS):
            with Image.open(file) as picture:
                if picture.has_transparency_data:
                    continue
            pixels = synbokeh.read_photo(file)
            hashes = (synbokeh.file_hash(file), fingerprints.photo_hash(pixels))
            if used := [measured[key] for key in hashes if key in measured]:
                raise InputError(
                    f"photos: {file}: found a photograph of {used[0]}; accepted: "
                    "photographs that nothing is measured on"
                )
            photos.append(torch.from_numpy(pixels).permute(2, 0, 1))
        if len(photos) == before:
            raise InputError(f"photos: {folder}: found none; accepted: {', '.join(PHOTOS)}")
    return photos


def _hashes(made_of: dict[str, Any]) -> set[str]:
    return {photo[key] for photo in made_of["photos"] for key in ("sha256", "pixels")}
