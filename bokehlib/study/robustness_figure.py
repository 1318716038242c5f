"""Fig. 7: what wrong disparities cost every method. Measurements in, a matplotlib figure out."""

import textwrap

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bokehlib import study
from bokehlib.study.figures import PAGE, STYLE, absent

QUARTILES = [0.25, 0.5, 0.75]
METRICS = {"psnr": "PSNR (dB) ↑", "lpips_alex": "LPIPS-Alex ↓"}
OTHERS = "#c4c4c4"
COLUMN = 1.1  # in, wide enough for the longest word of a label


def robustness(scores: pd.DataFrame) -> Figure:
    """Fig. 7: PSNR and LPIPS-Alex against the error of the disparity, a column per method.

    Above, a line over the radii by which it was eroded or dilated: the median over the pictures,
    with the quartiles as a band, and in grey the medians of the other methods. Below, median and
    quartiles of what each picture gains or loses by each of `study.ROBUSTNESS_DISTURBANCES`. A
    method appears once it has measurements under a wrong disparity; what they are held against
    comes from the exact ones of the same lens.

    Args:
        scores: as read by `results.read_scores`, of one data set.
    """
    wrong = scores[scores["perturbation"] != "0"]
    names = [name for name in study.METHODS if name in set(wrong["method"])]
    if not names:
        return absent("No method has been measured under a wrong disparity.")
    shown = scores.merge(wrong[["method", "blur"]].drop_duplicates(), on=["method", "blur"])
    shown = shown.assign(radius=pd.to_numeric(shown["perturbation"], errors="coerce"))
    with matplotlib.rc_context(STYLE):
        size = max(PAGE, 0.7 + COLUMN * len(names)), 6.6
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        grid = figure.subplots(2 * len(METRICS), len(names), sharey="row", squeeze=False)
        for (curves, changes), (metric, label) in zip(_pairs(grid), METRICS.items(), strict=True):
            for above, below, name in zip(curves, changes, names, strict=True):
                _curve(above, shown, metric, name)
                _changes(below, shown, metric, name)
            curves[0].set_ylabel(label)
            changes[0].set_ylabel(f"change of\n{label}")
        for axes, name in zip(grid[0], names, strict=True):
            title = textwrap.fill(study.METHODS[name].label, 14)
            axes.set_title(title, loc="left", weight="bold", size=7)
        for upper in (*grid[0], *grid[2]):
            upper.tick_params(labelbottom=False)
        figure.align_ylabels(grid[:, 0])
        figure.supxlabel(_NOTE, size=7)
    return figure


_NOTE = (
    "rows 1, 2: disparity eroded (−) or dilated (+) by … pixels; grey: the other methods\n"
    "rows 3, 4: other errors, each picture against itself at the exact disparity\n"
    "line, point: median over the pictures; band, bar: quartiles"
)


def _pairs(grid: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The row of curves and the row of changes of each metric."""
    return list(zip(grid[: len(METRICS)], grid[len(METRICS) :], strict=True))


def _quartiles(rows: pd.DataFrame, metric: str) -> list[pd.Series]:
    groups = rows.dropna(subset=["radius"]).groupby("radius")[metric]
    return [groups.quantile(q).dropna() for q in QUARTILES]


def _curve(axes: Axes, shown: pd.DataFrame, metric: str, name: str) -> None:
    measured = set(shown["method"])
    for other in [m for m in study.METHODS if m in measured and m != name]:
        _, middle, _ = _quartiles(shown[shown["method"] == other], metric)
        axes.plot(middle.index, middle, color=OTHERS, linewidth=0.7, zorder=1)
    low, middle, high = _quartiles(shown[shown["method"] == name], metric)
    colour = study.METHODS[name].colour
    axes.fill_between(low.index, low, high, color=colour, alpha=0.25, linewidth=0, zorder=2)
    axes.plot(middle.index, middle, color=colour, marker="o", markersize=2.5, zorder=3)
    radii = sorted(shown["radius"].dropna().unique())
    axes.set_xticks(radii, [_signed(r) if abs(r) in (0, max(radii)) else "" for r in radii])
    if len(middle) < 2:
        _not_run(axes)


def _signed(radius: float) -> str:
    return f"{radius:+g}".replace("-", "−") if radius else "0"


def _changes(axes: Axes, shown: pd.DataFrame, metric: str, name: str) -> None:
    """A point and a bar over each named error."""
    labels = study.ROBUSTNESS_DISTURBANCES
    own = shown[shown["method"] == name]
    table = own.pivot(index=["image", "blur"], columns="perturbation", values=metric)
    table = table.reindex(columns=["0", *labels])
    changes = table[[*labels]].sub(table["0"], axis="index")
    low, middle, high = changes.quantile(QUARTILES).to_numpy()
    axes.axhline(0, color="#999999", linewidth=0.6, zorder=0)
    bars, colour = (middle - low, high - middle), study.METHODS[name].colour
    axes.errorbar(range(len(labels)), middle, bars, color=colour, fmt="o", markersize=3)
    axes.set_xticks(range(len(labels)), labels.values(), rotation=90, size=6)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    if np.isnan(middle).all():
        _not_run(axes)


def _not_run(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center")
