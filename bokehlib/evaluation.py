"""Measuring any renderer, a callable (image, disparity, lens) -> image, by the same code."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from bokehlib.metrics import METRICS, Measure
from bokehlib.optics import Lens

if TYPE_CHECKING:
    from bokehlib.datasets import Sample

Renderer = Callable[[torch.Tensor, torch.Tensor, Lens], torch.Tensor]


@torch.inference_mode()
def score(
    renderer: Renderer,
    samples: Sequence["Sample"],
    metrics: Measure,
    method: str,
    dataset: str,
    perturbation: int = 0,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Render every sample and compare it with the truth.

    Args:
        renderer: Whatever is measured; it gets its tensors on the device of `metrics`.
        samples: From `bokehlib.datasets.load_dataset`.
        metrics: The metrics that this machine can compute.
        method: Name for the rows.
        dataset: Name for the rows.
        perturbation: Radius in pixels by which the disparity is dilated (> 0) or eroded (< 0);
            the focus stays that of the true disparity.
        progress: Show a progress bar with the time left.

    Returns:
        One row a sample, in the order of samples: dataset, image, method, blur, perturbation, the
        metrics (NaN where one could not be computed) and seconds, the wall time of the renderer.
    """
    rows = []
    for sample in tqdm(samples, desc=f"{method} on {dataset}", unit="image", disable=not progress):
        disparity = perturb_disparity(sample.disparity, perturbation).to(metrics.device)
        image = sample.image.to(metrics.device)
        prediction, seconds = timed(renderer, image, disparity, sample.lens)
        values = metrics(prediction, sample.target)
        rows.append(
            {
                "dataset": dataset,
                "image": sample.name,
                "method": method,
                "blur": sample.blur,
                "perturbation": perturbation,
                **{name: values.get(name, math.nan) for name in METRICS},
                "seconds": seconds,
            }
        )
    return rows


def timed(
    renderer: Renderer, image: torch.Tensor, disparity: torch.Tensor, lens: Lens
) -> tuple[torch.Tensor, float]:
    """The rendered picture and the wall time in seconds that it took, on a CPU or a GPU."""
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    start = time.perf_counter()
    prediction = renderer(image, disparity, lens)
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return prediction, time.perf_counter() - start


def perturb_disparity(disparity: torch.Tensor, radius: int) -> torch.Tensor:
    """Grow or shrink what is near, as a wrong disparity map does (Fig. 7).

    The kernel is OpenCV's ellipse of side 2 |radius| + 1; nothing comes in from outside.

    Args:
        disparity: (B, 1, H, W).
        radius: In pixels; > 0 dilates (the largest in the kernel), < 0 erodes (the smallest),
            0 changes nothing.

    Returns:
        (B, 1, H, W) of the same dtype, on the same device.
    """
    if radius == 0:
        return disparity
    kernel = elliptic_kernel(abs(radius))[None, None]  # (1, 1, side, side)
    extreme, outside = (
        (ndimage.maximum_filter, -math.inf) if radius > 0 else (ndimage.minimum_filter, math.inf)
    )
    values = disparity.cpu().numpy()
    result = extreme(values, footprint=kernel, mode="constant", cval=outside)
    return torch.from_numpy(result).to(disparity)


def elliptic_kernel(radius: int) -> np.ndarray:
    """OpenCV's MORPH_ELLIPSE as booleans (2 radius + 1, 2 radius + 1).

    Each row is as wide as the circle there, rounded (so the kernel is not quite symmetric under
    transposition).
    """
    steps = np.arange(-radius, radius + 1)
    half_width = np.rint(np.sqrt(radius**2 - steps**2))  # of each row
    return np.abs(steps) <= half_width[:, None]
