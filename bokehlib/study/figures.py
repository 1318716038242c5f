"""The study's figures: measurements or pictures in, a matplotlib figure out; no file is read.

One style for all: sizes in inches as printed, text of 8 points, colours of `methods.METHODS`.
Figures are made without pyplot, so that no window system and no global state takes part.
"""

import io
import re
import textwrap
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bokehlib import study
from bokehlib.study.radius_fit import ABSOLUTE, RELATIVE, allowed

COLUMN, PAGE = 3.4, 7.0  # width of a column and of a page, in inches
TALLEST, GAP, TITLE = 2.6, 0.06, 0.16  # of a strip: row height, gap, room for titles, in inches
LETTERS = 16  # of a line of text, in an inch
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "bokehlib",  # else every run names its clip paths differently
}
_HUNDREDTHS = re.compile(r"([1-9]\d*\.\d\d)\d+")  # of a point; scales of letters are below 1


def svg(figure: Figure) -> str:
    """A figure as text, to a hundredth of a point and without its date."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return _HUNDREDTHS.sub(r"\1", drawn.getvalue())


# --- Asked and measured blur ------------------------------------------------------------------

# side of the focus -> label, colour, marker, and a shift that keeps the two sides apart
SIDES = {
    "near": ("nearer than the focus", "#7b3294", "o", 0.95),
    "far": ("farther than the focus", "#008837", "^", 1.05),
}
SMALLEST = 0.5  # px, on the logarithmic axis
WAYS = {"moment": "from the spread of a square's light", "edge": "from the rise of an edge"}


def radius_sweep(sweeps: pd.DataFrame) -> Figure:
    """Measured blur radius against the one asked for, a panel a method.

    The line is a perfect lens, the band what `radius_fit.allowed` allows. What could not be
    measured has no point; a radius below `SMALLEST` is drawn there.

    Args:
        sweeps: as read by `results.read_probe("radius")`.
    """
    names = [m for m in study.METHODS if m in set(sweeps["method"])]
    if not names:
        return absent("No method's blur has been measured.")
    sweeps = sweeps.assign(**sweeps[[*WAYS]].clip(lower=SMALLEST))
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        size = (PAGE, 0.5 + 2.9 * rows)
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            _sweep(axes, sweeps[sweeps["method"] == name])
            axes.set_title(study.METHODS[name].label, loc="left")
        axes.set_ylim(SMALLEST / 1.1, 1.4 * sweeps[["asked", *WAYS]].max(axis=None))
        band = f"band: {100 * RELATIVE:.0f} % or {ABSOLUTE} px around it; no point: not measurable"
        figure.supxlabel(f"blur radius asked for (px)\nline: a perfect lens; {band}", size=8)
        figure.supylabel("blur radius measured (px)", size=8)
        handles = [_radii(side, way, label=True) for way in WAYS for side in SIDES]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _radii(side: str, way: str, x: Any = (), y: Any = (), label: bool = False) -> Line2D:
    """Filled markers for the moment; open ones for the edge, larger: the two often agree."""
    words, colour, marker, shift = SIDES[side]
    fill, size = (colour, 3.5) if way == "moment" else ("none", 6)
    line = Line2D(shift * np.asarray(x), y, color=colour, marker=marker, linestyle="none")
    line.set(markersize=size, markeredgewidth=0.9, markerfacecolor=fill)
    line.set_label(f"{words}, {WAYS[way]}" if label else "")
    return line


def _sweep(axes: Axes, rows: pd.DataFrame) -> None:
    ends = (rows["asked"].min() / 1.25, rows["asked"].max() * 1.25)
    asked = np.geomspace(ends[0], ends[1], 100)
    axes.set(xscale="log", yscale="log", xlim=ends)
    wide = allowed(asked)
    axes.fill_between(asked, asked - wide, asked + wide, color="#dddddd", linewidth=0)
    axes.plot(ends, ends, color="#888888", linewidth=0.8)
    for side in SIDES:
        of_side = rows[rows["side"] == side]
        for way in WAYS:
            axes.add_line(_radii(side, way, of_side["asked"], of_side[way]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=2))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


# --- The cost of the attention ---------------------------------------------------------------

# (what, radius) of the benchmark -> label, colour and marker, dearest first
COSTS: dict[tuple[str, int | None], tuple[str, str, str]] = {
    ("pisa-published", None): ("published layer", "#d95f02", "s"),
    ("pisa-reference", None): ("dense reference", "#8c6bb1", "D"),
    ("plain", None): ("plain attention", "#222222", "x"),
    ("pisa", 16): ("PISA, radius 16", "#08306b", "v"),
    ("pisa", 8): ("PISA, radius 8", "#1b6ca8", "^"),
    ("pisa", 4): ("PISA, radius 4", "#4f9bd0", "o"),
    ("pisa", 2): ("PISA, radius 2", "#8fc1e6", "."),
}
DIRECTIONS = {"forward": "forward", "both": "forward and backward"}
GUIDES = {1: "∝ N", 2: "∝ N²"}  # slope -> label


def pisa_scaling(benchmark: pd.DataFrame, device: str = "") -> Figure:
    """Milliseconds of the attention against the number of tokens N, a line for each of `COSTS`.

    All lines have the number of heads that was measured at the most sizes.

    Args:
        benchmark: rows as read by `results.read_speed`.
        device: on which they were measured.
    """
    rows = benchmark[benchmark["what"].isin([what for what, _ in COSTS])]
    rows = rows.dropna(subset=["milliseconds", "tokens", "heads"])
    if rows.empty:
        return absent("The attention has not been timed on a GPU.")
    heads = rows.drop_duplicates(["tokens", "heads"])["heads"].mode()[0]
    sides = rows["tokens"].str.split("x", expand=True).astype(int)
    rows = rows.assign(count=sides[0] * sides[1])[rows["heads"] == heads]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 3.2), layout="constrained", facecolor="white")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, (direction, label) in zip(panels, DIRECTIONS.items(), strict=True):
            _costs(axes, rows[rows["direction"] == direction])
            axes.set_title(label, loc="left")
        for axes in panels:
            _guides(axes, rows)
        panels[0].set_ylabel("milliseconds")
        figure.supxlabel(
            f"tokens N ({heads} heads; radius: the largest, in tokens)\n{device}", fontsize=8
        )
        handles = [_cost(what, radius) for what, radius in COSTS]
        figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _cost(what: str, radius: int | None, x: Any = (), y: Any = ()) -> Line2D:
    label, colour, marker = COSTS[what, radius]
    return Line2D(x, y, color=colour, marker=marker, markersize=4, label=label)


def _costs(axes: Axes, rows: pd.DataFrame) -> None:
    for what, radius in COSTS:
        of_line = rows["what"] == what
        if radius is not None:
            of_line &= rows["radius"] == radius
        medians = rows[of_line].groupby("count")["milliseconds"].median()
        axes.add_line(_cost(what, radius, medians.index, medians))
    if rows.empty:
        axes.text(0.05, 0.9, "not run", transform=axes.transAxes)


def _guides(axes: Axes, rows: pd.DataFrame) -> None:
    """Log axes around all rows, and the slopes N and N² that end at their right edge.

    The axes are so high that both guides end apart: N starts at the lower left corner, N² ends
    at the upper right one.
    """
    left, right = 0.8 * rows["count"].min(), 1.25 * rows["count"].max()
    low = 0.5 * rows["milliseconds"].min()
    high = max(2 * rows["milliseconds"].max(), 4 * low * right / left)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    axes.xaxis.set_major_locator(LogLocator(base=4))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    for (slope, label), end in zip(GUIDES.items(), (low * right / left, high), strict=True):
        start = end * (left / right) ** slope
        axes.plot([left, right], [start, end], color="#bbbbbb", linewidth=0.6, zorder=0)
        axes.annotate(
            *(label, (right, end)),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color="#777777",
            annotation_clip=False,
        )


# --- Pictures --------------------------------------------------------------------------------


def strip(pictures: dict[str, Any]) -> Figure:
    """Rows of pictures with titles above them and without axes.

    Within a row all pictures have the same height and fill the page's width; a row is at most
    `TALLEST` high.

    Args:
        pictures: as read by `results.read_pictures`: title, note and rows of a label and cells,
            each with a title and an image (H, W, 3), uint8.
    """
    rows = pictures["rows"]
    margin = max(0.16 * len(_label(row).splitlines()) for row in rows)
    aspects = [
        [cell["image"].shape[1] / cell["image"].shape[0] for cell in row["cells"]] for row in rows
    ]
    heights = [min(TALLEST, (PAGE - margin - GAP * (len(row) - 1)) / sum(row)) for row in aspects]
    sizes = [np.array(row) * height for row, height in zip(aspects, heights, strict=True)]
    titled = [
        TITLE * max(len(_lines(cell["title"], widths)) for cell in row["cells"])
        for row, widths in zip(rows, sizes, strict=True)
    ]
    note = textwrap.fill(pictures["note"], 120)
    below = 0.14 * (note.count("\n") + 1) + 0.05 if note else 0.0
    total = 0.25 + sum(heights) + sum(titled) + GAP * len(rows) + below
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, total), facecolor="white")
        figure.text(0, 1 - 0.03 / total, pictures["title"], va="top", weight="bold")
        figure.text(0, 0.02 / total, note, va="bottom", fontsize=7)
        top = total - 0.25
        for row, widths, height, title in zip(rows, sizes, heights, titled, strict=True):
            top -= title + height
            _row(figure, row, widths, (margin, top, height))
            top -= GAP
    return figure


def _row(
    figure: Figure, row: dict[str, Any], widths: np.ndarray, place: tuple[float, float, float]
) -> None:
    """Draw one row; place = left, bottom and height in inches."""
    left, bottom, height = place
    page = np.array([PAGE, figure.get_figheight()])
    x, y = (left / 2 - 0.02, bottom + height / 2) / page
    figure.text(x, y, _label(row), rotation=90, va="center", ha="center")
    for cell, width in zip(row["cells"], widths, strict=True):
        (x, y), (wide, high) = np.array([[left, bottom], [width, height]]) / page
        axes = figure.add_axes((x, y, wide, high))
        axes.imshow(cell["image"], aspect="auto")
        axes.set_title("\n".join(_lines(cell["title"], widths)), pad=2)
        axes.set_axis_off()
        left += width + GAP


def _label(row: dict[str, Any]) -> str:
    """A row's label in lines that break between words, as names of scenes do too."""
    return textwrap.fill(row["label"].replace("_", " "), 16)


def _lines(title: str, widths: np.ndarray) -> list[str]:
    """A title in lines that fit the narrowest picture of a row; none if it is empty."""
    return textwrap.wrap(title, int(LETTERS * widths.min()))


def absent(reason: str, width: float = PAGE) -> Figure:
    """A plain panel that says why a figure has not been made."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 0.9), facecolor="#f4f4f4")
        text = textwrap.fill(f"not run: {reason}", int(LETTERS * width))
        figure.text(0.5, 0.5, text, ha="center", va="center", color="#444444")
    return figure
