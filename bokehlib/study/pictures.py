"""Pictures of the study's image grids: which methods render each, and their folders on disk.

`write` fills `pictures/<figure>` with small WebPs and an index.json, `read` returns them for
`figures.image_grid`. Importing and planning need no torch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from bokehlib import data, methods
from bokehlib.data.demo_photos import stereo_files
from bokehlib.study.provenance import provenance
from bokehlib.study.results import RESULTS, WEBP
from bokehlib.study.trainings import trained_name

# What renders on every machine, but the layers alone: the default shows them, corrected.
SHOWN = ("scatter", "bokehdiff-mini-paper", "bokehdiff-mini")
ABLATED = tuple(
    trained_name(recipe, 0) for recipe in ("no_coc", "no_softmax_q", "no_occlusion", "full")
)
FIGURES: dict[str, tuple[str, ...]] = {  # -> methods that render its pictures
    **dict.fromkeys(("fig1_teaser", "fig5_qualitative", "fig6_focal_stack"), SHOWN),
    **{"figS2_samples": (), "figS3_synthesis": (), "figS4_aperture_sweep": SHOWN},
    **{"figS9_ablation": ABLATED, "shallow_inputs": SHOWN},
}
OF_SCENES = ("figS2_samples", "figS3_synthesis", "figS9_ablation")  # not of photographs
MISSING = {"figS1_misalignment": "needs EBB! Val294, which is not part of this version"}

Cell = tuple[str, np.ndarray]  # title; (H, W, 3) or (H, W), uint8


def ready(among: tuple[str, ...] = SHOWN) -> list[str]:
    """Names of the methods that miss nothing."""
    return [name for name in among if not methods.lacks(name)]


def missing(figure: str) -> str:
    """Why the pictures of a figure cannot be made, "" if they can.

    Raises:
        KeyError: unknown figure.
    """
    if figure not in FIGURES and figure not in MISSING:
        raise KeyError(f"unknown figure {figure!r}; known: {', '.join([*FIGURES, *MISSING])}")
    return MISSING.get(figure, "")


def _made_from(figure: str) -> dict[str, Any]:
    """What decides the pictures: methods, and hashes over their weights and over the data."""
    names = ready(FIGURES[figure])
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


def is_up_to_date(figure: str, root: Path = RESULTS) -> bool:
    """Whether its pictures are there, in full size, made from these weights and data."""
    index = root / "pictures" / figure / "index.json"
    if missing(figure) or not index.exists():
        return False
    made = json.loads(index.read_text(encoding="utf-8"))["stamp"]
    return all(made.get(name) == value for name, value in _made_from(figure).items())


def picture(values: Any, width: int = 0) -> np.ndarray:
    """8-bit picture of a tensor (1, C, H, W) or an array (H, W[, 3]) in [0, 1].

    Args:
        values: one colour channel gives (H, W).
        width: px at most; 0 keeps the size.
    """
    shown = np.asarray(values)
    if shown.ndim == 4:
        shown = shown[0, 0] if shown.shape[1] == 1 else np.moveaxis(shown[0], 0, -1)
    levels = np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    height, wide = levels.shape[:2]
    if not 0 < width < wide:
        return levels
    size = width, round(width * height / wide)
    return np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.LANCZOS))


def write(
    figure: str,
    title: str,
    note: str,
    rows: list[tuple[str, list[Cell]]],
    root: Path = RESULTS,
    smoke: bool = False,
) -> Path:
    """Write the pictures of a figure into `pictures/<figure>`; an old folder stays until then.

    Args:
        figure: a key of `FIGURES`.
        title: of the figure.
        note: below it.
        rows: label and cells of each.
        root: folder of results.
        smoke: whether the pictures are tiny; they never count as up to date.
    """
    made = _made_from(figure)
    asked = made["parameters"] | {"smoke": smoke}
    hashes = made["weights_sha256"], made["data_sha256"]
    made_by = provenance(asked, 0, *hashes, methods.resolve_device("auto"))
    folder = root / "pictures" / figure
    temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
    temporary.mkdir(parents=True)
    try:
        listed = []
        for y, (label, cells) in enumerate(rows):
            for x, (_, levels) in enumerate(cells):
                Image.fromarray(levels).save(temporary / f"{y}-{x}.webp", **WEBP)
            named = [{"file": f"{y}-{x}.webp", "title": t} for x, (t, _) in enumerate(cells)]
            listed.append({"label": label, "cells": named})
        index = {"title": title, "note": note, "rows": listed, "stamp": made_by}
        text = json.dumps(index, indent=1, ensure_ascii=False)
        (temporary / "index.json").write_text(text + "\n", encoding="utf-8", newline="\n")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read(figure: str, root: Path = RESULTS) -> dict[str, Any]:
    """Index of `pictures/<figure>`, each cell with its image (H, W, 3) uint8; empty if absent."""
    folder = root / "pictures" / figure
    if not (folder / "index.json").exists():
        return {}
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    for row in index["rows"]:
        for cell in row["cells"]:
            with Image.open(folder / cell["file"]) as image:
                cell["image"] = np.asarray(image.convert("RGB"))
    return index


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
    for place, (title, values) in zip(places, shown.items(), strict=True):
        coloured = values.ndim == 3
        drawn = place.imshow(values.clip(0, 1) if coloured else values, **style)
        if not coloured:
            figure.colorbar(drawn, ax=place, fraction=0.05)
        place.set_title(title, fontsize=9)
        place.set_axis_off()
    return figure
