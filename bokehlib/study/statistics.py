"""Is one method better than another, or one recipe? Paired differences and intervals; no torch.

Several lenses of a scene err together, and so do all pictures of one trained network and all
ratings of one person: resampling single rows would make the interval far too narrow. Whole scenes
or raters are drawn instead, and whole training seeds where there are several.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000
CONFIDENCE = 0.95
VERDICTS = ("better", "worse", "no difference shown")


class Difference(NamedTuple):
    """Mean of first - second over all rows, its interval, and what it says of the first."""

    mean: float
    low: float
    high: float
    verdict: str  # one of VERDICTS


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    scenes: ArrayLike,
    seeds: ArrayLike | None = None,
    higher_is_better: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare two methods on the same pictures.

    The interval holds the middle `CONFIDENCE` of the mean differences of resamples, each of as
    many scenes, and as many seeds, as there are, drawn with replacement and independently of each
    other. A difference is shown where it leaves out zero.

    It speaks of other scenes, and of other trainings only with `seeds`: with one seed it compares
    these two networks, not their recipes. K scenes, or seeds, spread less than they would over
    again, and the fewer, the less is known of their spread: before the resampling their deviations
    from the mean are widened by sqrt(K / (K - 1)) t / z, Student's quantile of K - 1 degrees over
    the normal's.

    Args:
        first: (rows,) scores of the one method or recipe.
        second: (rows,) scores of the other on the same pictures, in the same order.
        scenes: (rows,) scene of each row, any labels; the lenses of a scene share one.
        seeds: (rows,) training seed of each row, paired between the two; None: one training.
        higher_is_better: True for PSNR and SSIM, False for LPIPS and DISTS.
        resamples: How many.
        seed: Of the resampling; the same arguments give the same interval.

    Raises:
        ValueError: Lengths differ, a score is not finite, fewer than two scenes, or a scene
            without a row for one of the seeds.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    scenes = np.asarray(scenes)
    seeds = np.zeros(len(scenes), dtype=int) if seeds is None else np.asarray(seeds)
    _check(a, b, scenes, seeds)
    low, high = _interval(*_cells(a - b, scenes, seeds), resamples, seed)
    better, worse = (low > 0, high < 0) if higher_is_better else (high < 0, low > 0)
    verdict = VERDICTS[0] if better else VERDICTS[1] if worse else VERDICTS[2]
    return Difference(float((a - b).mean()), low, high, verdict)


def _interval(
    totals: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """Bounds of the middle `CONFIDENCE` of the resampled means; totals and counts by `_cells`."""
    wider = _widened(totals, counts)
    means = _resampled(wider, counts, resamples, np.random.default_rng(seed))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = (float(bound) for bound in np.percentile(means, (tail, 100 - tail)))
    return low, high


def _widened(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Totals of the cells with the deviations of scenes and seeds widened; the mean stays."""
    from scipy import special  # here, so that scores can be read where it is not installed

    probability = (1 + CONFIDENCE) / 2
    mean, wider = totals.sum() / counts.sum(), totals
    for number, across in zip(totals.shape, (1, 0), strict=True):
        if number == 1:
            continue
        unsure = special.stdtrit(number - 1, probability) / special.ndtri(probability)
        factor = np.sqrt(number / (number - 1)) * unsure
        own = totals.sum(axis=across, keepdims=True) / counts.sum(axis=across, keepdims=True)
        wider = wider + counts * (factor - 1) * (own - mean)
    return wider


def _resampled(
    totals: np.ndarray, counts: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean difference of every resample, (resamples,)."""
    times_scene, times_seed = (
        rng.multinomial(n, np.full(n, 1 / n), size=resamples) for n in totals.shape
    )  # (resamples, scenes), (resamples, seeds): how often each was drawn
    total, count = (((times_scene @ cells) * times_seed).sum(axis=1) for cells in (totals, counts))
    return total / count


def _cells(
    values: np.ndarray, scenes: np.ndarray, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the rows of every scene and seed, (scenes, seeds) each."""
    names, scene = np.unique(scenes, return_inverse=True)
    trainings, training = np.unique(seeds, return_inverse=True)
    totals = np.zeros((len(names), len(trainings)))
    counts = np.zeros_like(totals)
    np.add.at(totals, (scene, training), values)
    np.add.at(counts, (scene, training), 1)
    if len(names) < 2:
        raise ValueError(f"scenes: found {len(names)}; accepted: 2 or more")
    if not counts.all():
        i, j = np.argwhere(counts == 0)[0]
        raise ValueError(
            f"seeds: found no row of scene {names[i]} for seed {trainings[j]}; "
            "accepted: every scene under every seed"
        )
    return totals, counts


def _check(a: np.ndarray, b: np.ndarray, scenes: np.ndarray, seeds: np.ndarray) -> None:
    shapes = [array.shape for array in (a, b, scenes, seeds)]
    if a.ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(f"scores, scenes, seeds: found {shapes}; accepted: one (rows,) for all")
    bad = int((~np.isfinite(a) | ~np.isfinite(b)).sum())
    if bad:
        raise ValueError(f"scores: found {bad} rows with NaN or infinite values; accepted: none")
