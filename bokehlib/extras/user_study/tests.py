"""Statistics of ratings: mean opinion scores, tests, agreement and power. No torch."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from bokehlib import study
from bokehlib.study.statistics import paired_difference
from bokehlib.study.tables.measured import ASPECTS

PLANNED = 50  # raters, as many as the paper's
CHANCE = 0.05  # of calling equal methods different, over all pairs of an aspect
PROBABILITY = 0.8  # with which a difference that is called detectable is shown
TESTED = 3  # raters without whom nothing is tested
EXACT = 9  # raters: the exact test of more takes seconds, and the approximation is good
WILCOXON_EFFICIENCY = 3 / np.pi  # asymptotic, relative to the t test, for normal differences


# --- Mean opinion scores ---------------------------------------------------------------------


def mean_opinions(ratings: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 1 (right): the mean opinion score of every method in every aspect, with an interval.

    A method has a row if the paper rated it, if it renders on every machine, or if it was rated.

    Args:
        ratings: `Ratings.rows`.
        published: as read by `results.published("table1_ratings")`.
    """
    paper = published.pivot(index="method", columns="metric", values="value")
    known = {m for m, k in study.METHODS.items() if k.published in paper.index}
    rows = []
    for name in ordered(known.union(ratings["method"], study.EMBEDDED[1:])):
        method = study.METHODS.get(name, study.Method(name, ""))
        own = ratings[ratings["method"] == name]
        row: dict[str, Any] = {"method": method.label}
        for aspect in ASPECTS:
            rated = own[own["aspect"] == aspect]
            names = (aspect, f"{aspect}_low", f"{aspect}_high")
            row[f"{aspect}_paper"] = paper[aspect].get(method.published, np.nan)
            row |= zip(names, mean_over_raters(rated["rating"], rated["rater"]), strict=True)
            row |= {name: np.clip(row[name], 1, 5) for name in names}  # an interval ends there
        row |= {"raters": own["rater"].nunique() or np.nan, "ratings": len(own) or np.nan}
        rows.append(row)
    return pd.DataFrame(rows)


def ordered(methods: Iterable[str]) -> list[str]:
    """Methods in the order of the study; those that it does not know come last."""
    known = {name: place for place, name in enumerate(study.METHODS)}
    return sorted(methods, key=lambda name: (known.get(name, len(known)), name))


def label(method: str) -> str:
    """The label of a method, or its name if the study does not know it."""
    return study.METHODS[method].label if method in study.METHODS else method


def mean_over_raters(ratings: ArrayLike, raters: ArrayLike) -> tuple[float, float, float]:
    """Mean and the bounds of its 95 % interval, which speaks of other raters.

    Whole raters are resampled, as the scenes of `paired_difference` are.

    Args:
        ratings: (rows,) ratings or differences of ratings.
        raters: (rows,) who gave each, any labels.

    Returns:
        No bounds (NaN) with one rater, nothing without any.
    """
    values, raters = np.asarray(ratings, dtype=float), np.asarray(raters)
    if len(np.unique(raters)) < 2:
        return (values.mean() if len(values) else np.nan), np.nan, np.nan
    return paired_difference(values, np.zeros(len(values)), raters)[:3]


# --- Tests -----------------------------------------------------------------------------------


def friedman(means: pd.DataFrame) -> tuple[float, float]:
    """Friedman's chi square and its p: is any method rated otherwise than the rest?

    Args:
        means: (raters, methods), a rater's mean rating of each method.

    Returns:
        (0, 1) where every rater rates all methods alike; NaN for fewer than `TESTED` raters or
        three methods.
    """
    if len(means) < TESTED or means.shape[1] < 3:
        return np.nan, np.nan
    if means.nunique(axis=1).max() == 1:
        return 0.0, 1.0
    found = stats.friedmanchisquare(*means.to_numpy().T)
    return float(found.statistic), float(found.pvalue)


def wilcoxon(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros ranked as by Pratt; 1 if all are zero.

    Args:
        differences: (raters,), of a rater's means of two methods.

    Returns:
        NaN for fewer than `TESTED` raters.
    """
    # Means of a few whole numbers that are equal may differ in the last bit.
    values = np.round(np.asarray(differences, dtype=float), 9)
    if len(values) < TESTED:
        return np.nan
    if not values.any():
        return 1.0
    method = "auto" if len(values) <= EXACT else "asymptotic"
    return float(stats.wilcoxon(values, zero_method="pratt", method=method).pvalue)


def holm(p: pd.Series) -> pd.Series:
    """P values adjusted by Holm's step-down for their number; NaN is no test and stays."""
    tested = p.dropna()
    adjusted = multipletests(tested, method="holm")[1]
    return pd.Series(adjusted, tested.index, dtype=float).reindex(p.index)


# --- Agreement and power ---------------------------------------------------------------------


def alpha(units: ArrayLike) -> float:
    """Krippendorff's alpha on an ordinal scale: 1 = all raters agree, 0 = as much as by chance.

    Args:
        units: (raters, pictures) ratings, NaN where a rater did not rate a picture.

    Returns:
        NaN if no picture has two ratings, or all ratings are the same.
    """
    try:
        return float(krippendorff.alpha(np.asarray(units, float), level_of_measurement="ordinal"))
    except ValueError:
        return np.nan


def spread(means: pd.DataFrame) -> float:
    """Standard deviation over raters of the difference of two methods, the median over pairs.

    Args:
        means: (raters, methods), NaN where a rater did not rate a method.

    Returns:
        NaN where no pair has `TESTED` raters.
    """
    differences = [(means[a] - means[b]).dropna() for a, b in combinations(means, 2)]
    found = [d.std() for d in differences if len(d) >= TESTED]
    return float(np.median(found)) if found else np.nan


def power(difference: float, deviation: float, raters: int, level: float) -> float:
    """Probability that Wilcoxon's test shows a true difference, on its right side.

    That of the paired t test with `WILCOXON_EFFICIENCY` times as many observations.

    Args:
        difference: true mean difference between two methods, 0 or more, in points of the scale.
        deviation: standard deviation of the raters' differences; 0 shows any difference.
        raters: how many, three or more.
        level: of the two-sided test, already divided by the number of tests.
    """
    if deviation == 0:
        return float(difference > 0)
    worth = WILCOXON_EFFICIENCY * raters
    found = TTestPower().power(difference / deviation, worth, level / 2, alternative="larger")
    return float(found)


def detectable(deviation: float, raters: int, level: float, probability: float) -> float:
    """The smallest true difference that `power` shows with that probability, in points.

    Args:
        deviation: standard deviation of the raters' differences; NaN gives NaN.
        raters: how many, three or more.
        level: of the two-sided test, already divided by the number of tests.
        probability: wanted.
    """
    high = 1.0  # in deviations
    while power(high, 1.0, raters, level) < probability:
        high *= 2
    # By a root of our own: `TTestPower.solve_power` stops when the power is 4e-6 off.
    found = optimize.brentq(lambda d: power(d, 1.0, raters, level) - probability, 0.0, high)
    return deviation * found
