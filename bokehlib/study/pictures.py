"""The pictures of the study's strips on disk, for `figures.strip` to put side by side.

`make(figure, root)` fills `pictures/<figure>` with small WebPs and an index.json. Importing and
planning need no torch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from bokehlib import data, methods
from bokehlib.data.demo_photos import stereo_files
from bokehlib.study import results
from bokehlib.study.qualitative import LACKING, OF_SCENES, STRIPS, Cell, methods_of

QUALITY = 86  # of WebP, as of the figures: a seventh of a PNG, and the figures show no difference

# --- In notebooks ----------------------------------------------------------------------------


def panels(maps: Mapping[str, Any], **style: Any) -> Figure:
    """Pictures and maps side by side under their titles, maps with a colour bar.

    Args:
        maps: title -> (H, W) or (H, W, 3), array or tensor, also with leading axes of length 1
            and with the channels first.
        **style: of `imshow`, for the maps.
    """
    shown = {title: np.asarray(values).squeeze() for title, values in maps.items()}
    shown = {t: np.moveaxis(p, 0, -1) if p.shape[0] == 3 else p for t, p in shown.items()}
    tallest = max(picture.shape[0] / picture.shape[1] for picture in shown.values())
    figure = Figure(figsize=(2.5 * len(maps), 2.2 * tallest + 0.4), layout="constrained")
    places = figure.subplots(1, len(maps), squeeze=False)[0]
    for place, (title, picture) in zip(places, shown.items(), strict=True):
        coloured = picture.ndim == 3
        drawn = place.imshow(picture.clip(0, 1) if coloured else picture, **style)
        if not coloured:
            figure.colorbar(drawn, ax=place, fraction=0.05)
        place.set_title(title, fontsize=9)
        place.set_axis_off()
    return figure


# --- The door --------------------------------------------------------------------------------


def _check(figure: str) -> None:
    if figure not in STRIPS and figure not in LACKING:
        known = ", ".join([*STRIPS, *LACKING])
        raise KeyError(f"unknown figure {figure!r}; known: {known}")


def lacks(figure: str) -> str:
    """Why the pictures of a figure cannot be made, "" if they can.

    Raises:
        KeyError: unknown figure.
    """
    _check(figure)
    return LACKING.get(figure, "")


def _made_from(figure: str) -> dict[str, Any]:
    """What decides the pictures: methods, and hashes over their weights and over the data."""
    names = methods_of(figure)
    weights = hashlib.sha256("".join(map(methods.weights_hash, names)).encode()).hexdigest()
    files = [*data.photo_paths().values(), *stereo_files()]
    contents = hashlib.sha256("".join(map(data.file_hash, files)).encode())
    if figure in OF_SCENES:
        contents.update(data.data_hash("synbokeh-mini").encode())
    return {
        "parameters": {"figure": figure, "methods": names, "smoke": False},
        "weights_sha256": weights if names else "",
        "data_sha256": contents.hexdigest(),
    }


def stands(figure: str, root: Path = results.RESULTS) -> bool:
    """Whether its pictures are there, in full size, made from these weights and data."""
    index = root / "pictures" / figure / "index.json"
    if lacks(figure) or not index.exists():
        return False
    stamp = json.loads(index.read_text(encoding="utf-8"))["stamp"]
    return all(stamp.get(name) == value for name, value in _made_from(figure).items())


def make(figure: str, root: Path = results.RESULTS, smoke: bool = False) -> Path:
    """Render the pictures of a figure into `pictures/<figure>`; an old folder stays until then.

    Returns:
        The folder.

    Raises:
        KeyError: unknown figure.
        ValueError: what it needs is not there.
    """
    if missing := lacks(figure):
        raise ValueError(f"{figure} {missing}")
    strip = STRIPS[figure](smoke)
    made = _made_from(figure)
    stamp = results.stamp(
        made["parameters"] | {"smoke": smoke},
        seed=0,
        weights=made["weights_sha256"],
        data=made["data_sha256"],
        device=methods.resolve_device("auto"),
    )
    folder = root / "pictures" / figure
    with _replacing(folder) as temporary:
        rows = list(_write(temporary, strip.rows))
        index = {"title": strip.title, "note": strip.note, "rows": rows, "stamp": stamp}
        text = json.dumps(index, indent=1, ensure_ascii=False)
        (temporary / "index.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    return folder


def _write(folder: Path, rows: Sequence[tuple[str, list[Cell]]]) -> Iterator[dict[str, Any]]:
    for y, (label, cells) in enumerate(rows):
        for x, (_, picture) in enumerate(cells):
            levels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
            Image.fromarray(levels).save(folder / f"{y}-{x}.webp", quality=QUALITY, method=6)
        listed = [{"file": f"{y}-{x}.webp", "title": cell[0]} for x, cell in enumerate(cells)]
        yield {"label": label, "cells": listed}


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its place if the block ends without an error."""
    temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
