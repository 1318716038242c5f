"""Is one method better than another, or one recipe? Intervals, tests, agreement, power; no torch.

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


class Mean(NamedTuple):
    """A mean over all rows and its interval."""

    mean: float
    low: float
    high: float


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


def mean_over_raters(
    ratings: ArrayLike, raters: ArrayLike, resamples: int = RESAMPLES, seed: int = 0
) -> Mean:
    """Mean of all ratings, with the interval that other raters of the same kind would fill.

    Whole raters are drawn, widened and resampled as the scenes of `paired_difference` are.

    Args:
        ratings: (rows,) numbers.
        raters: (rows,) who gave each, any labels.
        resamples: How many.
        seed: Of the resampling.

    Raises:
        ValueError: Lengths differ, a rating is not finite, or fewer than two raters.
    """
    values, raters = np.asarray(ratings, dtype=float), np.asarray(raters)
    _check(values, np.zeros(len(values)), raters, raters)
    cells = _cells(values, raters, np.zeros(len(raters), dtype=int))
    return Mean(float(values.mean()), *_interval(*cells, resamples, seed))


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


# --- Ratings: tests, agreement, power ---------------------------------------------------------

WILCOXON_EFFICIENCY = 3 / np.pi  # of t's observations: what the signed ranks make of normal ones
EXACT = 9  # raters: the exact test of more takes seconds, and the approximation is good
LEVELS = ("nominal", "ordinal", "interval")


def friedman(table: ArrayLike) -> tuple[float, float]:
    """Friedman's chi square and its p: is any method rated otherwise than the rest?

    Args:
        table: (raters, methods), a rater's mean of each method; two raters and three methods at
            least.

    Returns:
        (0, 1) where every rater rates all methods alike.
    """
    from scipy import stats

    values = np.asarray(table, dtype=float)
    if np.ptp(values, axis=1).max() == 0:
        return 0.0, 1.0
    found = stats.friedmanchisquare(*values.T)
    return float(found.statistic), float(found.pvalue)


def wilcoxon(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed ranks, zeros ranked as by Pratt; 1 if all are zero.

    By all signs for up to `EXACT` raters, by the normal approximation for more.

    Args:
        differences: (raters,), of a rater's means of two methods.
    """
    from scipy import stats

    # Means of a few whole numbers that are equal may differ in the last bit.
    values = np.round(np.asarray(differences, dtype=float), 9)
    if not values.any():
        return 1.0
    method = "auto" if len(values) <= EXACT else "asymptotic"
    return float(stats.wilcoxon(values, zero_method="pratt", method=method).pvalue)


def holm(p: ArrayLike) -> np.ndarray:
    """P values adjusted by Holm's step-down for their number, (tests,), in the same order."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def krippendorff_alpha(table: ArrayLike, level: str = "ordinal") -> float:
    """Krippendorff's alpha: 1 = all raters agree, 0 = as much as by chance.

    1 - observed / expected disagreement, from the coincidences of values within units
    (Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011).

    Args:
        table: (raters, units), NaN where a rater did not rate a unit.
        level: one of `LEVELS`: how far apart two values are.

    Returns:
        NaN if no unit has two ratings, or all ratings are the same.

    Raises:
        ValueError: unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"level: found {level!r}; accepted: {', '.join(LEVELS)}")
    ratings = np.asarray(table, dtype=float)
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(axis=0)  # (units, values)
    counts = counts[counts.sum(axis=1) > 1]
    per_unit = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    coincidences = (pairs / (per_unit - 1)[:, None, None]).sum(axis=0)  # (values, values)
    totals = coincidences.sum(axis=0)
    apart = _distances(values, totals, level)
    expected = (np.outer(totals, totals) * apart).sum()
    if expected == 0:
        return float("nan")
    return float(1 - (totals.sum() - 1) * (coincidences * apart).sum() / expected)


def _distances(values: np.ndarray, totals: np.ndarray, level: str) -> np.ndarray:
    """Squared distance of every two values, (values, values)."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "ordinal":  # how many ratings lie between them, half of both ends counted
        values = np.cumsum(totals) - totals / 2
    return (values[:, None] - values[None, :]) ** 2


def power(difference: float, deviation: float, raters: int, alpha: float) -> float:
    """Probability that Wilcoxon's test shows a true difference, on its right side.

    That of the paired t test (two-sided, noncentral t) with as many observations as the signed
    ranks are worth under normal differences, 3 / pi of them.

    Args:
        difference: true mean difference between two methods, 0 or more, in points of the scale.
        deviation: standard deviation of the raters' differences, above 0.
        raters: how many, three or more.
        alpha: level of the test, already divided by the number of tests.
    """
    from scipy import special

    worth = WILCOXON_EFFICIENCY * raters
    critical = -special.stdtrit(worth - 1, alpha / 2)
    shift = difference / deviation * np.sqrt(worth)
    return float(1 - special.nctdtr(worth - 1, shift, critical))


def detectable(deviation: float, raters: int, alpha: float, probability: float = 0.8) -> float:
    """The smallest true difference that `power` shows with that probability, in points.

    Args:
        deviation: standard deviation of the raters' differences; 0 gives 0.
        raters: how many, three or more.
        alpha: level of the test, already divided by the number of tests.
        probability: wanted.
    """
    low, high = 0.0, 1.0  # in deviations
    while power(high, 1.0, raters, alpha) < probability:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        enough = power(middle, 1.0, raters, alpha) >= probability
        low, high = (low, middle) if enough else (middle, high)
    return deviation * high
