"""The command `render`: one picture, or a series of them."""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from bokehlib import images, lenses, methods, photofiles, series
from bokehlib.render_options import Job, check


def run(arguments: argparse.Namespace) -> int:
    """Render, and print one line of JSON.

    Raises:
        InputError: Whatever is wrong with arguments or files.
    """
    job = check(arguments)
    if arguments.save_disparity:
        images.write_disparity(
            arguments.save_disparity, job.depth.disparity, argument="--save-disparity"
        )
    height, width = job.depth.disparity.shape
    first = job.frames[0]
    report: dict[str, Any] = {"method": job.method, "width": width, "height": height}
    if job.is_series:
        report |= _series(job)
    else:
        picture, seconds = _renderer(job)(first)
        photofiles.write(job.out, picture, job.photo.bits, job.photo.icc)
        report |= {"focus_disparity": round(first.focus, 6), "aperture": first.aperture}
        report["seconds"] = round(seconds, 3)
    if any(job.spread):
        report["focus_range"] = [round(reach, 6) for reach in job.spread]
    if job.clipped:
        report["clipped_pixels"] = job.clipped
    print(json.dumps(report))
    return 0


def _series(job: Job) -> dict[str, Any]:
    seconds: list[float] = []

    def load() -> Callable[[series.Frame], np.ndarray]:
        render = _renderer(job)

        def picture(frame: series.Frame) -> np.ndarray:
            made, spent = render(frame)
            seconds.append(spent)
            return made

        return picture

    settings: dict[str, Any] = {"method": job.method, "weights": methods.weights_hash(job.method)}
    settings |= {"seed": job.seed, "spread": job.spread, "bits": job.photo.bits}
    name = series.key(job.photo, job.depth.disparity, settings)
    rendered = series.make(load, job.frames, job.out, name, job.photo.bits, job.photo.icc)
    folder, sheet = series.places(job.out)
    return {
        "focus_disparity": [round(frame.focus, 6) for frame in job.frames],
        "aperture": [round(frame.aperture, 6) for frame in job.frames],
        "rendered": rendered,
        "frames": str(folder),
        "sheet": str(sheet),
        "seconds": round(sum(seconds), 3),
    }


def _renderer(job: Job) -> Callable[[series.Frame], tuple[np.ndarray, float]]:
    """A frame to its picture (H, W, 3) and the seconds that took."""
    import torch

    from bokehlib.evaluation import timed
    from bokehlib.optics import Lens

    renderer = methods.load(job.method, device=job.device)
    device = methods.resolve_device(job.device)
    white = max(float(job.photo.image.max()), 1.0)  # brightest of the photo, as a level
    image = torch.from_numpy(job.photo.image / np.float32(white)).permute(2, 0, 1)[None].to(device)

    def render(frame: series.Frame) -> tuple[np.ndarray, float]:
        below, above = job.spread
        low, high = frame.focus - below, frame.focus + above
        flat = lenses.flatten(job.depth.disparity, frame.focus, low, high)
        disparity = torch.from_numpy(flat)[None, None].to(device)  # (1, 1, H, W)
        torch.manual_seed(job.seed)
        with torch.inference_mode():
            lens = Lens(frame.focus, frame.aperture)
            picture, seconds = timed(renderer, image, disparity, lens)
        return picture[0].permute(1, 2, 0).float().cpu().numpy() * np.float32(white), seconds

    return render
