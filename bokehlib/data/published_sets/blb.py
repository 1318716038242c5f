"""BLB, level 5: Blender scenes, each seen at ten focus distances (Sec. A.3).

A folder a scene: `image.exr`, `depth.exr`, `bokeh_LL_FF.exr` for level LL and focus FF, and
`info.json` with `focus_distances`, in the units of the depth, and `blur_parameters`, a level's
blur radius in px per unit of 1/depth. Disparity and lens are divided by the scene's largest
1/depth, which leaves every radius as it is and brings disparity into [0, 1].
"""

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib.data.published_sets.shots import Contents, Reading, Shot, same_size
from bokehlib.io.errors import InputError
from bokehlib.io.exr import read_colour, read_depth

LEVEL = 4  # counted from 0: "level 5"
EXPECTED = 100  # pictures: ten scenes at ten focus distances
GAMMA = 2.2
SKY = 65504.0  # the largest half float: where there is nothing
INFO = "info.json"
Scene = tuple[np.ndarray, np.ndarray, float]


def recognise(root: Path) -> bool:
    """True if a folder holds scenes of this layout."""
    return any(root.glob(f"*/{INFO}")) or any(root.glob("*/bokeh_*.exr"))


def contents(root: Path, exposure: str = "none") -> Contents:
    """Scenes by name, focus distances inner; `blur` is the number of the focus distance."""
    found = Contents(EXPECTED)
    scene = lru_cache(maxsize=1)(_scene)  # a scene's pictures come in turn and share its image
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        count = len(list(folder.glob(f"bokeh_{LEVEL:02d}_*.exr")))
        if not count and not (folder / INFO).exists():
            continue
        try:
            focuses, blur = _info(folder / INFO)
            count = len(focuses)
            scene(folder)
        except InputError as error:
            found.fault(str(error), count)
            continue
        found.shots += [_shot(scene, folder, n, focus, blur) for n, focus in enumerate(focuses)]
    return found


def _shot(
    scene: Callable[[Path], Scene], folder: Path, number: int, focus: float, blur: float
) -> Shot:
    def read() -> Reading:
        image, disparity, nearest = scene(folder)
        path = folder / f"bokeh_{LEVEL:02d}_{number:02d}.exr"
        target = display(read_colour(path))
        same_size(path, target, image, "image.exr")
        return Reading(image, disparity, target, 1 / focus / nearest, blur * nearest)

    return Shot(folder.name, number, read)


def display(light: np.ndarray) -> np.ndarray:
    """Linear light to an encoded picture: clipped to [0, 1] and raised to 1/2.2 (B23)."""
    return np.clip(light, 0, 1) ** np.float32(1 / GAMMA)


def _scene(folder: Path) -> Scene:
    """Image, disparity in [0, 1] and the largest 1/depth (B24)."""
    image = display(read_colour(folder / "image.exr"))
    path = folder / "depth.exr"
    depth = read_depth(path)
    same_size(path, depth, image, "image.exr")
    inverse = np.where(depth >= SKY, 0, 1 / depth).astype(np.float32)
    nearest = float(inverse.max())
    if nearest == 0:
        raise InputError(f"{path}: found nothing nearer than {SKY:g}; accepted: depths of a scene")
    return image, inverse / np.float32(nearest), nearest


def _info(path: Path) -> tuple[list[float], float]:
    """The focus distances and the blur of the level.

    Raises:
        InputError: naming the file, the key, what was found and what is accepted.
    """
    accepted = '{"focus_distances": [...], "blur_parameters": [...]}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{path}: found no such file; accepted: {accepted}") from None
    except ValueError as error:
        raise InputError(f"{path}: found no JSON ({error}); accepted: {accepted}") from None
    focuses = _numbers(path, content, "focus_distances")
    blurs = _numbers(path, content, "blur_parameters")
    if len(blurs) <= LEVEL:
        raise InputError(
            f'{path}: key "blur_parameters": found {len(blurs)} levels; '
            f"accepted: {LEVEL + 1} or more"
        )
    return focuses, blurs[LEVEL]


def _numbers(path: Path, content: Any, key: str) -> list[float]:
    values = content.get(key) if isinstance(content, dict) else None
    where = f'{path}: key "{key}"'
    accepted = "a list of numbers above 0"
    if not isinstance(values, list) or not values:
        absent = not isinstance(content, dict) or key not in content
        found = "nothing" if absent else json.dumps(values)[:60]
        raise InputError(f"{where}: found {found}; accepted: {accepted}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or math.isnan(value) or value <= 0:
            raise InputError(f"{where}: found {json.dumps(value)[:60]}; accepted: {accepted}")
    return [float(value) for value in values]
