"""Measuring any renderer, a callable (image, disparity, lens) -> image, by the same code."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from bokehlib.data.perturb import disturb
from bokehlib.evaluation.metrics import METRICS, Measure
from bokehlib.io import processes
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens

if TYPE_CHECKING:
    from bokehlib.data.datasets import Sample

Renderer = Callable[[torch.Tensor, torch.Tensor, Lens], torch.Tensor]


@torch.inference_mode()
def score(
    renderer: Renderer,
    samples: Sequence["Sample"],
    metrics: Measure,
    method: str,
    dataset: str,
    perturbation: int | str = 0,
    progress: bool = True,
    aperture: float | None = None,
) -> list[dict[str, Any]]:
    """Render every sample and compare it with the truth, each process its part of them.

    Args:
        renderer: The method to measure; it gets its tensors on the device of `metrics`.
        samples: From `bokehlib.data.datasets.load_dataset`.
        metrics: The metrics that this machine can compute.
        method: Name for the rows.
        dataset: Name for the rows.
        perturbation: Radius in pixels by which the disparity is dilated (> 0) or eroded (< 0), or
            a name of `disturb.DISTURBANCES`; the focus stays that of the true disparity.
        progress: Show a progress bar with the time left.
        aperture: One for all samples, of a set that does not say its own; see `aperture_search`.

    Returns:
        One row a sample, in the order of samples: dataset, image, method, blur, perturbation, the
        metrics (NaN where one could not be computed) and seconds, the wall time of the renderer.

    Raises:
        InputError: An aperture is missing where the set does not say it, or given where it does.
    """

    def row(index: int) -> dict[str, Any]:
        sample = samples[index]
        disparity = disturb(sample.disparity, perturbation).to(metrics.device)
        image = sample.image.to(metrics.device)
        lens = _with_aperture(sample, aperture)
        prediction, seconds = timed(renderer, image, disparity, lens)
        values = metrics(prediction, sample.target)
        return {
            "dataset": dataset,
            "image": sample.name,
            "method": method,
            "blur": sample.blur,
            "perturbation": perturbation,
            **{name: values.get(name, math.nan) for name in METRICS},
            "seconds": seconds,
        }

    return processes.spread(range(len(samples)), row, f"{method} on {dataset}", progress)


def _with_aperture(sample: "Sample", aperture: float | None) -> Lens:
    unknown = math.isnan(sample.lens.aperture)
    if unknown and aperture is not None:
        return replace(sample.lens, aperture=aperture)
    if not unknown and aperture is None:
        return sample.lens
    found, accepted, said = (
        ("none", "one for all", "does not say it")
        if aperture is None
        else (f"{aperture:g}", "none", "says it")
    )
    raise InputError(
        f"aperture of {sample.name}: found {found}; accepted: {accepted}, since the data set {said}"
    )


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
