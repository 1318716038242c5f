"""Linear originals: the pictures as half floats with depths and a description, in a few files."""

import json
import multiprocessing
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib.extras.pathtracing import NAME, SIZE
from bokehlib.extras.pathtracing.camera import FOCUSES, RADII, lens_radius, strengths
from bokehlib.extras.pathtracing.jobs import (
    EMITTED,
    HALVES,
    PICTURES,
    Plan,
    half,
    noise_floor,
    passes_done,
)
from bokehlib.io.errors import InputError

DESCRIPTION = "originals.json"
FILES = 6
LARGEST = 15_000_000  # bytes a file


def gather(plan: Plan, out: Path) -> dict[str, Any]:
    """Average all passes and write the originals into `out`; their description.

    Raises:
        InputError: a picture has no pass in both halves.
        ValueError: a picture has values that are not finite, or a file would be too large.
    """
    out.mkdir(parents=True, exist_ok=True)
    groups = np.array_split(np.array(plan.scenes), min(FILES, len(plan.scenes)))
    tasks = [
        (plan, out / f"originals_{n}.npz", [*map(str, group)]) for n, group in enumerate(groups)
    ]
    if plan.cores > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(plan.cores, FILES), mp_context=context) as pool:
            described = [*pool.map(_write, *zip(*tasks, strict=True))]
    else:
        described = [_write(*task) for task in tasks]
    description = {
        "name": NAME,
        "seed": plan.seed,
        "size": [*SIZE],
        "radii": [*RADII],
        "samples_a_pass": plan.samples,
        "emitted_factor": EMITTED,
        "halves": HALVES,
        "mitsuba": _version("mitsuba"),
        "drjit": _version("drjit"),
        "python": platform.python_version(),
        "scenes": [entry for entries in described for entry in entries],
    }
    (out / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return description


def _write(plan: Plan, path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Write the originals of some scenes into one file; what they are."""
    from bokehlib.extras.pathtracing import scenes

    arrays: dict[str, np.ndarray] = {}
    described = []
    for scene in names:
        entry, pictures = _scene(plan, scene, scenes.build(scene, plan.seed))
        arrays |= {f"{scene}.{name}": array for name, array in pictures.items()}
        described.append(entry | {"file": path.name})
    np.savez_compressed(path, allow_pickle=False, **arrays)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: found {path.stat().st_size} bytes; accepted: {LARGEST}")
    return described


def _scene(plan: Plan, scene: str, world: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a scene's pictures are, and the pictures and the depth themselves."""
    folder = plan.out / scene
    depth = np.load(folder / "depth.npy")
    camera = world.camera
    found = strengths(depth, camera)
    arrays: dict[str, np.ndarray] = {"depth": depth}
    floors, passes = {}, {}
    for name in PICTURES:
        count = min(passes_done(folder, name, which) for which in range(HALVES))
        if not count:
            raise InputError(f"{folder}: found no two halves of {name}; accepted: a finished run")
        halves = [half(folder, name, which, count) for which in range(HALVES)]
        mean = np.mean(halves, axis=0)
        if not np.isfinite(mean).all():
            raise ValueError(f"{scene}/{name}: found values that are not finite")
        arrays[name] = mean.astype(np.float16)
        floors[name], passes[name] = round(noise_floor(*halves), 3), count
    entry = {
        "name": scene,
        "fov": camera.fov,
        "focus": {which: camera.focus(which) for which in FOCUSES},
        "strengths": found,
        "lens_radii": [lens_radius(strength, SIZE[1], camera.fov) for strength in found],
        "lamps": world.lamps,
        "path_segments": world.depth,
        "passes": passes,
        "noise_floor_db": floors,
    }
    return entry, arrays


def read_description(folder: Path) -> dict[str, Any]:
    """What `gather` said of the originals in a folder.

    Raises:
        InputError: there are none.
    """
    path = folder / DESCRIPTION
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        accepted = "a folder that `python -m bokehlib.extras.pathtracing render` wrote"
        raise InputError(f"ORIGINALS: {path}: found {error}; accepted: {accepted}") from None


def read_scene(folder: Path, entry: dict[str, Any]) -> dict[str, np.ndarray]:
    """A scene's pictures, linear (H, W, 3) float32, and its depth (H, W)."""
    with np.load(folder / entry["file"]) as file:
        names: Sequence[str] = [n for n in file.files if n.startswith(f"{entry['name']}.")]
        return {name.split(".", 1)[1]: file[name].astype(np.float32) for name in names}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
