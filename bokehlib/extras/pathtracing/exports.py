"""The linear originals as OpenEXR: by name, or in the layout in which BLB was published."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib.extras.pathtracing.camera import FOCUSES, RADII
from bokehlib.extras.pathtracing.jobs import SHARP
from bokehlib.extras.pathtracing.originals import read_description, read_scene
from bokehlib.io.errors import InputError

BLB_LEVELS = 5
SKY = 65504.0  # the largest half float: where there is nothing


def write(originals: Path, out: Path, layout: str) -> int:
    """Write all scenes; how many EXR files that makes.

    Args:
        originals: what `render` wrote.
        out: a folder, with a folder a scene.
        layout: "exr": `sharp.exr`, `near_0.exr` ... and `depth.exr`; "blb": `image.exr`,
            `depth.exr`, `bokeh_LL_FF.exr` and `info.json`. BLB has five levels and is measured at
            the last: ours are its last three, the two before them are named but not rendered.

    Raises:
        InputError: no originals, or no package openexr.
    """
    description = read_description(originals)
    count = 0
    for entry in description["scenes"]:
        arrays = read_scene(originals, entry)
        folder = out / entry["name"]
        folder.mkdir(parents=True, exist_ok=True)
        names = blb_names() if layout == "blb" else {name: name for name in arrays}
        for name, target in names.items():
            pixels = arrays[name]
            _write_exr(folder / f"{target}.exr", np.where(np.isfinite(pixels), pixels, SKY))
            count += 1
        if layout == "blb":
            (folder / "info.json").write_text(json.dumps(blb_info(entry), indent=1) + "\n")
    return count


def blb_names() -> dict[str, str]:
    """Our name of a picture -> BLB's, of the pictures that we have."""
    first = BLB_LEVELS - len(RADII)
    pictures = {
        f"{focus}_{level}": f"bokeh_{first + level:02d}_{number:02d}"
        for number, focus in enumerate(FOCUSES)
        for level in range(len(RADII))
    }
    return {SHARP: "image", "depth": "depth"} | pictures


def blb_info(entry: dict[str, Any]) -> dict[str, list[float]]:
    """Focus distances, and blur of each level in px per unit of 1/depth.

    The levels below ours halve the blur from one to the next.
    """
    found = list(entry["strengths"])
    lower = [found[0] / 2**n for n in range(BLB_LEVELS - len(found), 0, -1)]
    focuses = [entry["focus"][which] for which in FOCUSES]
    return {"focus_distances": focuses, "blur_parameters": lower + found}


def _write_exr(path: Path, pixels: np.ndarray) -> None:
    """Colour (H, W, 3) as half floats R, G, B; depth (H, W) as float Z."""
    try:
        import OpenEXR
    except ImportError as error:
        needs = "an environment with bokehlib[study]"
        raise InputError(f"{path}: found no package openexr; accepted: {needs}") from error
    colour = pixels.ndim == 3
    kind = np.float16 if colour else np.float32
    names = dict(zip("RGB", np.moveaxis(pixels, -1, 0), strict=True)) if colour else {"Z": pixels}
    channels = {name: np.ascontiguousarray(plane, dtype=kind) for name, plane in names.items()}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))
