"""Table 1 (right) and what stands behind it: mean opinion scores, tests, agreement and power."""

from itertools import combinations
from typing import Any

import pandas as pd

from bokehlib import statistics, study

ASPECTS = ("accuracy", "authenticity", "preference")  # columns (i), (ii) and (iii) of Table 1
RATING_KINDS = (
    dict.fromkeys(("rater", "experience", "case", "aspect", "method"), "str")
    | {"rating": "int64"}
    | dict.fromkeys(("place", "seconds"), "float64")
)
NO_RATINGS = pd.DataFrame(columns=[*RATING_KINDS]).astype(RATING_KINDS)
PLANNED = 50  # raters, as many as the paper's
CHANCE = 0.05  # of calling equal methods different, over all pairs of an aspect
PROBABILITY = 0.8  # with which a difference that is called detectable is shown
TESTED = 3  # raters without whom nothing is tested


def mean_opinions(ratings: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 1 (right): a row a method, its mean opinion score in every aspect with an interval.

    A method has a row if the paper rated it, if it renders on every machine, or if it was rated;
    those that the study does not know come last. An interval speaks of other raters and ends with
    the scale.

    Args:
        ratings: `Ratings.rows`.
        published: as read by `results.published("table1_ratings")`.
    """
    paper = published.pivot(index="method", columns="metric", values="value")
    rated = [*ratings["method"].drop_duplicates().sort_values()]
    known = {m for m, k in study.METHODS.items() if k.published in paper.index}
    shown = known.union(rated, study.EMBEDDED[1:])
    names = [m for m in study.METHODS if m in shown] + [m for m in rated if m not in study.METHODS]
    rows = []
    for name in names:
        method = study.METHODS.get(name, study.Method(name, ""))
        own = ratings[ratings["method"] == name]
        row: dict[str, Any] = {"method": method.label}
        for aspect in ASPECTS:
            row[f"{aspect}_paper"] = paper[aspect].get(method.published, float("nan"))
            row |= _mean_opinion(own[own["aspect"] == aspect], aspect)
        row["raters"] = own["rater"].nunique() or float("nan")
        row["ratings"] = len(own) or float("nan")
        rows.append(row)
    return pd.DataFrame(rows)


def _mean_opinion(own: pd.DataFrame, aspect: str) -> dict[str, float]:
    columns = (aspect, f"{aspect}_low", f"{aspect}_high")
    if own["rater"].nunique() < 2:
        alone = own["rating"].mean() if len(own) else float("nan")
        return dict(zip(columns, (alone, float("nan"), float("nan")), strict=True))
    found = statistics.mean_over_raters(own["rating"], own["rater"])
    return dict(zip(columns, (found.mean, max(found.low, 1), min(found.high, 5)), strict=True))


def agreement(ratings: pd.DataFrame, planned: int = PLANNED) -> pd.DataFrame:
    """A row an aspect: do raters tell the methods apart, do they agree, what would `planned` show?

    Friedman's test takes the raters who rated every method in that aspect. `detectable` is the
    smallest difference that Wilcoxon's test shows with `PROBABILITY` at Holm's strictest level,
    for the median over pairs of how much raters' differences spread, with as many cases a rater.

    Args:
        ratings: `Ratings.rows`.
        planned: how many raters to compute it for.
    """
    rows = []
    for aspect in ASPECTS:
        own = ratings[ratings["aspect"] == aspect]
        table = _by_rater(own).dropna()
        tested = len(table) >= TESTED and table.shape[1] > 2
        chi, p = statistics.friedman(table) if tested else (float("nan"), float("nan"))
        units = own.pivot(index="rater", columns=["case", "method"], values="rating")
        deviation = spread(own)
        row = {
            "aspect": aspect,
            "raters": own["rater"].nunique() or float("nan"),
            "ratings": len(own) or float("nan"),
            "friedman": chi,
            "friedman_p": p,
            "alpha": statistics.krippendorff_alpha(units) if len(own) else float("nan"),
            "deviation": deviation,
            "detectable": _detectable(deviation, table.shape[1], planned),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _detectable(deviation: float, methods: int, raters: int) -> float:
    if pd.isna(deviation):
        return deviation
    return statistics.detectable(deviation, raters, strictest(methods), PROBABILITY)


def strictest(methods: int) -> float:
    """The level that the smallest p of all pairs of so many methods must pass."""
    return CHANCE / max(methods * (methods - 1) // 2, 1)


def spread(ratings: pd.DataFrame) -> float:
    """Standard deviation of raters' differences between two methods, the median over pairs.

    Args:
        ratings: rows of one aspect.

    Returns:
        NaN where no pair has `TESTED` raters.
    """
    table = _by_rater(ratings)
    found = [(table[a] - table[b]).dropna() for a, b in combinations(table, 2)]
    return float(pd.Series([d.std() for d in found if len(d) >= TESTED], dtype=float).median())


def pairs(ratings: pd.DataFrame) -> pd.DataFrame:
    """A row an aspect and pair of methods: mean difference, its interval, Wilcoxon's p by Holm.

    Both are on the same raters and cases. The verdict is that of the corrected p, whose family
    are the pairs of an aspect.

    Args:
        ratings: `Ratings.rows`; without any, a row an aspect without numbers.
    """
    known = [*study.METHODS]
    rows = []
    for aspect in ASPECTS:
        own = ratings[ratings["aspect"] == aspect]
        names = sorted(own["method"].unique(), key=lambda m: known.index(m) if m in known else 99)
        block = [_pair(own, *pair) for pair in combinations(names, 2)] or [_pair(own, "", "")]
        frame = pd.DataFrame(block)
        frame["p"] = _corrected(frame["p"])
        shown = frame["p"] < CHANCE
        worse = shown & (frame["rating_difference"] < 0)
        verdicts = pd.Series("no difference shown", frame.index).mask(shown, "better")
        frame["rating_verdict"] = verdicts.mask(worse, "worse").where(frame["p"].notna(), None)
        rows.append(frame.assign(aspect=aspect)[["aspect", *frame]])
    return pd.concat(rows, ignore_index=True)


def _pair(own: pd.DataFrame, first: str, second: str) -> dict[str, Any]:
    one, other = (own[own["method"] == m].drop(columns="method") for m in (first, second))
    both = one.merge(other, on=["rater", "case", "aspect"], suffixes=("", "_other"))
    labels = [study.METHODS[m].label if m in study.METHODS else m for m in (first, second)]
    nothing = float("nan")
    row: dict[str, Any] = {"pair": " − ".join(labels) if first else ""}
    row["rating_difference"] = nothing
    row |= dict.fromkeys(("rating_low", "rating_high", "rating_verdict", "p", "raters"), nothing)
    if both.empty:
        return row
    difference = both["rating"] - both["rating_other"]
    row |= {"rating_difference": difference.mean(), "raters": both["rater"].nunique()}
    if row["raters"] >= TESTED:
        found = statistics.paired_difference(both["rating"], both["rating_other"], both["rater"])
        row |= {"rating_low": found.low, "rating_high": found.high}
        row["p"] = statistics.wilcoxon(difference.groupby(both["rater"]).mean())
    return row


def _corrected(p: pd.Series) -> pd.Series:
    tested = p.dropna()
    return pd.Series(statistics.holm(tested), tested.index).reindex(p.index)


def _by_rater(own: pd.DataFrame) -> pd.DataFrame:
    """A rater's mean rating of each method over the cases of one aspect: rater by method."""
    return own.pivot_table(index="rater", columns="method", values="rating", aggfunc="mean")
