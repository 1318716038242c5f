"""The figure of the user study: mean opinion scores, and the power that more raters give."""

import textwrap

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bokehlib import statistics, study
from bokehlib.figures import PAGE, STYLE, absent
from bokehlib.extras.user_study.tests import (
    ASPECTS,
    PLANNED,
    PROBABILITY,
    mean_opinions,
    spread,
    strictest,
)

RATERS = (10, 20, PLANNED)
OTHER = "#777777"  # a method that the study does not know


def ratings(rows: pd.DataFrame, published: pd.DataFrame, demo: bool = False) -> Figure:
    """Mean opinion scores by aspect, and what differences how many raters would show.

    Left, a panel an aspect: a method's mean with its interval, and the paper's number as a ring.
    Right, the probability that Wilcoxon's test shows a true difference at Holm's strictest level,
    a line a number of raters, for the spread of these ratings' differences.

    Args:
        rows: `Ratings.rows`.
        published: as read by `results.published("table1_ratings")`.
        demo: "demo" is written across it.
    """
    if rows.empty:
        return absent("Nobody has rated any picture.")
    table = mean_opinions(rows, published)
    table = table[table["ratings"].notna()].iloc[::-1]
    with matplotlib.rc_context(STYLE):
        size = (PAGE, max(2.2, 1.1 + 0.28 * len(table)))
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        panels = figure.subplots(1, len(ASPECTS) + 1, width_ratios=[*(1,) * len(ASPECTS), 1.5])
        for axes, aspect in zip(panels, ASPECTS, strict=False):
            _opinions(axes, table, aspect)
            axes.set_title(aspect, loc="left")
        labels = [textwrap.fill(label, 16) for label in table["method"]]
        panels[0].set_yticks(range(len(table)), labels)
        _power(panels[-1], rows)
        figure.supxlabel("bars: 95 % over raters; rings: the paper", size=7, x=0.4)
        if demo:
            mark = {"size": 28, "rotation": 12, "color": "#c00000", "alpha": 0.3}
            figure.text(0.5, 0.55, "demo: nobody rated anything", mark, ha="center", va="center")
    return figure


def _opinions(axes: Axes, table: pd.DataFrame, aspect: str) -> None:
    colours = {method.label: method.colour for method in study.METHODS.values()}
    for place, row in enumerate(table.to_dict("records")):
        colour, mean = colours.get(row["method"], OTHER), row[aspect]
        axes.plot(row[f"{aspect}_paper"], place, "o", mfc="none", mec="#999999", markersize=6)
        axes.plot([row[f"{aspect}_low"], row[f"{aspect}_high"]], [place] * 2, color=colour)
        axes.plot(mean, place, "o", color=colour, markersize=3.5)
    axes.set(xlim=(0.9, 5.1), ylim=(-0.6, len(table) - 0.4), xticks=range(1, 6), yticks=[])


def _power(axes: Axes, rows: pd.DataFrame) -> None:
    """A line for each of `RATERS`, for the median over aspects of how differences spread."""
    spreads = [spread(rows[rows["aspect"] == aspect]) for aspect in ASPECTS]
    deviation = pd.Series(spreads).median()
    axes.set_ylim(0, 1.02)
    axes.set_title("probability of showing it", loc="left")
    if not deviation > 0:
        axes.text(0.5, 0.5, "too few raters", transform=axes.transAxes, ha="center")
        return
    alpha = strictest(rows["method"].nunique())
    widest = statistics.detectable(deviation, min(RATERS), alpha, 0.95)
    differences = np.linspace(0, widest, 40)
    for number, raters in enumerate(RATERS):
        chances = [statistics.power(d, deviation, raters, alpha) for d in differences]
        (line,) = axes.plot(differences, chances, color="#1b6ca8")
        line.set_alpha(0.4 + 0.3 * number)
        place = (statistics.detectable(deviation, raters, alpha, PROBABILITY), PROBABILITY)
        axes.plot(*place, "o", color="#1b6ca8", markersize=2.5)
        axes.annotate(f"{raters}", place, (4, -8), textcoords="offset points", size=7)
    axes.axhline(PROBABILITY, color="#bbbbbb", linewidth=0.6, zorder=0)
    axes.set_xlabel("true difference, by raters")
