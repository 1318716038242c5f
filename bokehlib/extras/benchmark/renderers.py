"""All methods in one run on one machine: the duration of one picture, at two sizes."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import bokehlib
from bokehlib import methods
from bokehlib.data import demo_photos
from bokehlib.extras.benchmark.timing import Row, wall_seconds
from bokehlib.optics import Lens, circle_of_confusion

SIZES = {"384x256": (256, 384), "1536x1024": (1024, 1536)}  # height, width
SMOKE = {"48x32": (32, 48)}
MEAN_RADIUS, WIDE = 15.0, 1536  # px over a photograph of that width; in proportion at others
SECONDS, FEWEST, MOST = 4.0, 3, 7  # as many repeats as fit into the seconds, within these
WORST = "scatter"  # timed with the largest disc everywhere, too
NOT_TIMED = ("input",)


def photo(size: tuple[int, int], device: str) -> tuple[Tensor, Tensor, Lens]:
    """Image, disparity and the lens that gives them their mean radius."""
    image, disparity = (
        F.interpolate(t, size, mode="bilinear", antialias=True).clamp(0, 1).to(device)
        for t in demo_photos.motorcycle().tensors()
    )
    focus = float(disparity.median())
    mean = float(circle_of_confusion(disparity, Lens(focus, 1.0)).mean())
    return image, disparity, Lens(focus, MEAN_RADIUS * size[1] / WIDE / mean)


def worst(disparity: Tensor, lens: Lens) -> Tensor:
    """A flat disparity whose every disc is as large as the photograph's largest."""
    farthest_off = (disparity - lens.focus).abs().argmax()
    return torch.full_like(disparity, float(disparity.flatten()[farthest_off]))


@torch.inference_mode()
def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """One row per method that is ready and size; see `timing`.

    Args:
        device: "cuda" or "cpu".
        smoke: one tiny size.
        note: gets "threads", of the CPU, and "mean_radius", "largest_radius" in px by size.
    """
    note["threads"] = torch.get_num_threads()
    for name in [name for name in methods.ready() if name not in NOT_TIMED]:
        render = bokehlib.load(name, device=device)
        for label, size in (SMOKE if smoke else SIZES).items():
            image, disparity, lens = photo(size, device)
            radius = circle_of_confusion(disparity, lens)
            note.setdefault("mean_radius", {})[label] = round(float(radius.mean()), 3)
            note.setdefault("largest_radius", {})[label] = round(float(radius.amax()), 3)
            took = median(partial(render, image, disparity, lens))
            yield Row(f"{name}-{label}-{device}", milliseconds=took)
            if name == WORST:
                took = median(partial(render, image, worst(disparity, lens), lens))
                yield Row(f"{name}-worst-{label}-{device}", milliseconds=took)


def median(render: Callable[[], Any]) -> float:
    """Median wall time of a picture after a first one, in milliseconds."""
    wall_seconds(render)
    first = wall_seconds(render)
    count = min(MOST, max(FEWEST, int(SECONDS / first)))
    return 1e3 * statistics.median([first, *(wall_seconds(render) for _ in range(count - 1))])
