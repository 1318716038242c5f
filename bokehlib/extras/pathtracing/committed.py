"""The data set of the linear originals: small pictures, disparity, lenses, hashes, and its card.

A folder a scene: `sharp.avif`, the six truths `<focus>_<level>.avif`, all clipped to [0, 1] and
encoded with gamma 2.2 in 8 bits, and `disparity.png` of 16 bits. `manifest.json` names every
file's hash, every lens, every picture's noise floor and what its encoding costs.
"""

import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bokehlib.extras.pathtracing import card
from bokehlib.extras.pathtracing.camera import disparity_of, lens_of, lenses
from bokehlib.extras.pathtracing.jobs import SHARP, display
from bokehlib.extras.pathtracing.originals import read_description, read_scene
from bokehlib.io.errors import InputError

STEP = 17  # of 65535: disparity is kept in 3,855 levels, well below 0.02 px of any radius
QUALITIES = (60, 68, 74, 79, 83, 86, 88, 90, 92, 94, 95, 96, 97, 98, 99, 100)  # of AVIF
SHEET = "contact.webp"
REST = 10_000  # bytes a scene of the manifest, the card and the contact sheet
SPEED = 6  # of its encoder


def write(originals: Path, out: Path, megabytes: float, cores: int = 1) -> Iterator[str]:
    """Write the data set; lines for a reader.

    Every picture is encoded at the lowest quality whose error is below one bound, and the bound is
    the strictest under which all files together stay below `megabytes`.

    Raises:
        InputError: the originals are not there, or not even the coarsest encoding is small enough.
    """
    description = read_description(originals)
    temporary = out.with_name(f".{os.getpid()}-{out.name}")
    try:
        tasks = [(originals, e, n, temporary) for n, e in enumerate(description["scenes"])]
        scenes = _by_cores(cores, tasks)
        budget = (
            1e6 * megabytes
            - REST * len(scenes)
            - sum(f.stat().st_size for f in temporary.rglob("*.png"))
        )
        bound = _bound([ladder for _, ladders in scenes for ladder in ladders.values()], budget)
        entries = [_settle(entry, ladders, bound, temporary) for entry, ladders in scenes]
        manifest = {key: value for key, value in description.items() if key != "scenes"}
        manifest |= {"encoding_bound_db": round(bound, 2), "scenes": entries}
        (temporary / "manifest.json").write_text(_compact(manifest), encoding="utf-8", newline="\n")
        (temporary / "README.md").write_text(card.text(manifest), encoding="utf-8", newline="\n")
        sheet = contact_sheet(temporary, [entry["name"] for entry in entries])
        sheet.save(temporary / SHEET, quality=45, method=6)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    floors = [floor for entry in entries for floor in entry["noise_floor_db"].values()]
    yield f"{len(entries)} scenes, {size / 1e6:.2f} MB in {out}"
    yield f"noise floor {min(floors):.2f} dB or more, encoding {bound:.2f} dB or more"


def contact_sheet(out: Path, names: list[str]) -> Image.Image:
    """All scenes, two in a row: each all in focus, and at its widest with either focus."""
    width, height, gap = 192, 128, 4
    rows = -(-len(names) // 2)
    sheet = Image.new("RGB", (6 * width + gap, rows * (height + gap)), (255, 255, 255))
    for n, name in enumerate(names):
        for column, picture in enumerate((SHARP, "near_2", "far_2")):
            with Image.open(out / name / f"{picture}.avif") as opened:
                small = opened.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            left = n % 2 * (3 * width + gap) + column * width
            sheet.paste(small, (left, n // 2 * (height + gap)))
    return sheet


Ladder = list[tuple[float, bytes]]  # dB of the encoding error and the file, at every quality
Scene = tuple[dict[str, Any], dict[str, Ladder]]


def _by_cores(cores: int, tasks: list[tuple[Path, dict[str, Any], int, Path]]) -> list[Scene]:
    """`_scene` of every task, in order, by so many processes."""
    if cores < 2:
        return [_scene(*task) for task in tasks]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(cores, len(tasks)), mp_context=context) as pool:
        return [*pool.map(_scene, *zip(*tasks, strict=True))]


def _scene(originals: Path, entry: dict[str, Any], number: int, out: Path) -> Scene:
    """A scene's entry of the manifest, its disparity written, its pictures at all qualities."""
    arrays = read_scene(originals, entry)
    folder = out / entry["name"]
    folder.mkdir(parents=True)
    disparity, nearest = disparity_of(arrays.pop("depth").astype(np.float64))
    levels = (np.rint(disparity * 65535 / STEP) * STEP).astype(np.uint16)
    Image.fromarray(levels).save(folder / "disparity.png", optimize=True)
    made = [
        {"target": f"{focus}_{level}.avif", "focus": focus, "level": level}
        | dict(
            zip(("focus_disparity", "aperture"), _lens(entry, focus, level, nearest), strict=True)
        )
        for focus, level in lenses(number)
    ]
    clipped = {name: round(float((light.max(-1) > 1).mean()), 4) for name, light in arrays.items()}
    kept = {key: value for key, value in entry.items() if key != "file"}
    ladders = {name: _ladder(display(light)) for name, light in arrays.items()}
    return kept | {"nearest": nearest, "clipped": clipped, "lens": made}, ladders


def _lens(entry: dict[str, Any], focus: str, level: int, nearest: float) -> tuple[float, float]:
    found = lens_of(entry["strengths"][level], entry["focus"][focus], nearest)
    return round(found[0], 6), round(found[1], 4)


def _ladder(picture: np.ndarray) -> Ladder:
    """A picture at every quality that is worth its bytes, coarsest first."""
    levels = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    found: Ladder = []
    for quality in QUALITIES:
        file = io.BytesIO()
        levels.save(file, "AVIF", quality=quality, subsampling="4:4:4", speed=SPEED)
        read = np.asarray(Image.open(file).convert("RGB"), dtype=np.float64) / 255
        error = -10 * np.log10(np.mean((read - picture) ** 2))
        found.append((float(error), file.getvalue()))
    return found


def _least(ladder: Ladder, bound: float) -> tuple[float, bytes]:
    """The smallest file whose error is below the bound, else the best one."""
    good = [step for step in ladder if step[0] >= bound]
    return min(good, key=lambda step: len(step[1])) if good else max(ladder, key=lambda s: s[0])


def _bound(ladders: list[Ladder], budget: float) -> float:
    """The strictest bound in dB under which all files together fit."""
    best = max(max(step[0] for step in ladder) for ladder in ladders)
    lowest = min(ladder[0][0] for ladder in ladders)
    for bound in np.arange(best, lowest, -0.05):
        chosen = [_least(ladder, bound) for ladder in ladders]
        if sum(len(step[1]) for step in chosen) <= budget:
            return min(float(bound), min(step[0] for step in chosen))
    raise InputError(f"--megabytes: found {budget / 1e6:.2f} for the pictures; accepted: more")


def _settle(
    entry: dict[str, Any], ladders: dict[str, Ladder], bound: float, out: Path
) -> dict[str, Any]:
    """Write a scene's pictures; its entry with the hashes of all files."""
    from bokehlib.data import file_hash

    folder, errors = out / entry["name"], {}
    for name, ladder in ladders.items():
        errors[name], content = _least(ladder, bound)
        (folder / f"{name}.avif").write_bytes(content)
    rounded = {name: round(error, 2) for name, error in errors.items()}
    hashes = {file.name: file_hash(file) for file in sorted(folder.iterdir())}
    return entry | {"encoding_db": rounded, "files": hashes}


def _compact(manifest: dict[str, Any]) -> str:
    """JSON with a line a scene."""
    head = {key: value for key, value in manifest.items() if key != "scenes"}
    lines = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in head.items()]
    scenes = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in manifest["scenes"])
    return "{\n" + ",\n".join([*lines, f'"scenes":[\n{scenes}\n]']) + "\n}\n"
