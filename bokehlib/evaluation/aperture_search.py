"""The one aperture that fits a method to a data set that does not say its own (Sec. A.3, B).

The aperture with the greatest mean SSIM over the whole set: a logarithmic grid, then a golden
section round its best point, never a choice per picture. As in the paper it is chosen on the
pictures that are scored; the cross-selected figure says what that is worth: each half of the set
at the aperture that was chosen on the other half alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from bokehlib.data import SEARCH_GRID, SEARCH_RANGE, SEARCH_STEPS
from bokehlib.evaluation.metrics import Measure
from bokehlib.io import processes
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens

if TYPE_CHECKING:
    from bokehlib.data.datasets import Sample

Renderer = Callable[[torch.Tensor, torch.Tensor, Lens], torch.Tensor]
GOLDEN = (math.sqrt(5) - 1) / 2
DIGITS = 4  # significant ones of an aperture, so that the printed one is the one measured


@dataclass(frozen=True)
class Fitted:
    """Result of a search.

    Attributes:
        aperture: px per unit of disparity, one for the whole set.
        ssim: mean over the set at this aperture.
        crossed_apertures: chosen on the second half, for the first, and the other way round; NaN
            where there is a single picture.
        crossed_ssim: mean over the set, each half at its own of these.
    """

    aperture: float
    ssim: float
    crossed_apertures: tuple[float, float]
    crossed_ssim: float


def best_aperture(
    renderer: Renderer,
    samples: Sequence["Sample"],
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Fitted:
    """Search the aperture of a renderer on a data set.

    Args:
        renderer: A callable (image, disparity, lens) -> image.
        samples: Of a set whose apertures are unknown; the focus is theirs.
        device: Where the renderer gets its tensors.
        progress: Show a bar with the time left.

    Raises:
        InputError: A sample's aperture is known, or there is none.
    """
    curve = _Curve(renderer, samples, Measure(device, networks=False))
    grid = np.geomspace(*SEARCH_RANGE, SEARCH_GRID)
    apertures = [_rounded(aperture) for aperture in grid]
    curve.measure(range(len(samples)), apertures, progress)
    if not len(samples):
        raise InputError("samples: found none; accepted: one or more")
    whole = range(len(samples))
    best = _climb(curve, apertures, whole)
    halves = whole[: len(whole) // 2], whole[len(whole) // 2 :]
    if not halves[0]:
        return Fitted(best, curve.mean(best, whole), (math.nan, math.nan), math.nan)
    chosen = _climb(curve, apertures, halves[1]), _climb(curve, apertures, halves[0])
    crossed = [len(h) * curve.mean(k, h) for h, k in zip(halves, chosen, strict=True)]
    return Fitted(best, curve.mean(best, whole), chosen, sum(crossed) / len(whole))


class _Curve:
    """SSIM by aperture and picture, each measured once."""

    def __init__(self, renderer: Renderer, samples: Sequence["Sample"], measure: Measure):
        self.renderer, self.samples, self.measure_ssim = renderer, samples, measure
        self.known: dict[tuple[float, int], float] = {}

    def measure(
        self, chosen: Sequence[int], apertures: Sequence[float], progress: bool = False
    ) -> None:
        """Measure the chosen pictures at apertures not known yet, each process its part of them."""
        missing = [n for n in chosen if any((k, n) not in self.known for k in apertures)]
        bar = ("grid of apertures", progress)
        for found in processes.spread(missing, lambda n: self._measured(n, apertures), *bar):
            self.known |= found

    @torch.inference_mode()
    def _measured(self, index: int, apertures: Sequence[float]) -> dict[tuple[float, int], float]:
        """One picture, read once."""
        sample = self.samples[index]
        if not math.isnan(sample.lens.aperture):
            raise InputError(
                f"aperture of {sample.name}: found {sample.lens.aperture:g} px, which the data set "
                "says; accepted: a search where it is unknown"
            )
        device = self.measure_ssim.device
        image, disparity = sample.image.to(device), sample.disparity.to(device)
        found = {}
        for aperture in apertures:
            if (aperture, index) not in self.known:
                prediction = self.renderer(image, disparity, Lens(sample.lens.focus, aperture))
                found[aperture, index] = self.measure_ssim(prediction, sample.target)["ssim"]
        return found

    def mean(self, aperture: float, chosen: Sequence[int]) -> float:
        """Mean SSIM over the chosen pictures."""
        self.measure(chosen, [aperture])
        return float(np.mean([self.known[aperture, index] for index in chosen]))


def _climb(curve: _Curve, grid: Sequence[float], chosen: Sequence[int]) -> float:
    """The best aperture for the chosen pictures: of the grid, then between its neighbours."""
    tried = {aperture: curve.mean(aperture, chosen) for aperture in grid}
    place = max(range(len(grid)), key=lambda n: tried[grid[n]])
    low, high = (math.log(grid[min(max(n, 0), len(grid) - 1)]) for n in (place - 1, place + 1))

    def value(position: float) -> float:
        aperture = _rounded(math.exp(position))
        tried[aperture] = curve.mean(aperture, chosen)
        return tried[aperture]

    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    values = [value(position) for position in inner]
    for _ in range(SEARCH_STEPS - 2):
        if values[0] >= values[1]:
            high = inner[1]
            inner = [high - GOLDEN * (high - low), inner[0]]
            values = [value(inner[0]), values[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + GOLDEN * (high - low)]
            values = [values[1], value(inner[1])]
    return max(tried, key=lambda aperture: tried[aperture])


def _rounded(aperture: float) -> float:
    return float(f"{aperture:.{DIGITS}g}")
