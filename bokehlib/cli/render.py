"""The command `render`: one picture, a series of them, or a folder of photos."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib import methods
from bokehlib.cli.render_folder import of_folder
from bokehlib.cli.render_options import Job, check
from bokehlib.io import animation, images, photographic, photos, processes, progress
from bokehlib.io.errors import InputError

Load = Callable[..., Callable[..., Any]]  # `methods.load`


def run(arguments: argparse.Namespace) -> int:
    """Render, and print one line of JSON, for a folder one a photo.

    Photos of a folder that cannot be rendered are named on stderr, and the others are rendered.
    Several processes share a folder; the first of them prints.

    Returns:
        The exit code: 2 if a photo of a folder could not be rendered.

    Raises:
        InputError: An argument or a file is invalid.
    """
    load = lru_cache(maxsize=1)(methods.load)  # photos of a folder share it
    if not Path(arguments.image).is_dir():
        print(json.dumps(_one(arguments, load)))
        return 0
    made = processes.spread(of_folder(arguments), lambda photo: _of_folder(photo, load))
    if processes.is_main():
        for report in made:
            if "error" not in report:
                print(json.dumps(report))
        for complaint in dict.fromkeys(r["error"] for r in made if "error" in r):
            print(complaint, file=sys.stderr)
    return 2 if any("error" in report for report in made) else 0


def _of_folder(arguments: argparse.Namespace, load: Load) -> dict[str, Any]:
    """What was reported of one photo, or the "error" in a line."""
    try:
        return {"image": Path(arguments.image).name} | _one(arguments, load)
    except InputError as error:
        return {"error": " ".join(str(error).split())}


def _one(arguments: argparse.Namespace, load: Load) -> dict[str, Any]:
    job = check(arguments)
    if arguments.save_disparity:
        images.write_disparity(
            arguments.save_disparity, job.depth.disparity, argument="--save-disparity"
        )
    height, width = job.depth.disparity.shape
    first = job.frames[0]
    report: dict[str, Any] = {"method": job.method, "width": width, "height": height}
    if job.is_series:
        report |= _series(job, load)
    else:
        with progress.elapsed(f"rendering {Path(arguments.image).name} with {job.method}"):
            picture, seconds = _renderer(job, load)(first)
        photos.write(job.out, picture, job.photo.bits, job.photo.icc)
        report |= {"focus_disparity": round(first.focus, 6), "aperture": first.aperture}
        report["seconds"] = round(seconds, 3)
    if any(job.spread):
        report["focus_range"] = [round(reach, 6) for reach in job.spread]
    if job.clipped:
        report["clipped_pixels"] = job.clipped
    if job.depth.filled:
        report["filled_pixels"] = job.depth.filled
    if job.orientation:
        report["disparity_orientation"] = job.orientation
    return report


def _series(job: Job, load: Load) -> dict[str, Any]:
    seconds: list[float] = []

    def begin() -> Callable[[animation.Frame], np.ndarray]:
        render = _renderer(job, load)

        def picture(frame: animation.Frame) -> np.ndarray:
            made, spent = render(frame)
            seconds.append(spent)
            return made

        return picture

    settings: dict[str, Any] = {"method": job.method, "weights": methods.weights_hash(job.method)}
    settings |= {"seed": job.seed, "spread": job.spread, "bits": job.photo.bits}
    name = animation.key(job.photo, job.depth.disparity, job.frames, settings)
    rendered = animation.make(begin, job.frames, job.out, name, job.photo.bits, job.photo.icc)
    return {
        "focus_disparity": [round(frame.focus, 6) for frame in job.frames],
        "aperture": [round(frame.aperture, 6) for frame in job.frames],
        "rendered": rendered,
        "frames": str(animation.frames_folder(job.out, name)),
        "sheet": str(animation.contact_sheet(job.out)),
        "seconds": round(sum(seconds), 3),
    }


def _renderer(job: Job, load: Load) -> Callable[[animation.Frame], tuple[np.ndarray, float]]:
    """A frame to its picture (H, W, 3) and the seconds that took."""
    import torch

    from bokehlib.evaluation.scoring import timed
    from bokehlib.optics import Lens

    renderer = load(job.method, device=job.device)
    device = methods.resolve_device(job.device)
    white = max(float(job.photo.image.max()), 1.0)  # brightest of the photo, as a level
    image = torch.from_numpy(job.photo.image / np.float32(white)).permute(2, 0, 1)[None].to(device)

    def render(frame: animation.Frame) -> tuple[np.ndarray, float]:
        below, above = job.spread
        low, high = frame.focus - below, frame.focus + above
        flat = photographic.flatten(job.depth.disparity, frame.focus, low, high)
        disparity = torch.from_numpy(flat)[None, None].to(device)  # (1, 1, H, W)
        torch.manual_seed(job.seed)
        with torch.inference_mode():
            lens = Lens(frame.focus, frame.aperture)
            picture, seconds = timed(renderer, image, disparity, lens)
        return picture[0].permute(1, 2, 0).float().cpu().numpy() * np.float32(white), seconds

    return render
