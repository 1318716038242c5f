"""Style of the study's figures, grids of images, and the radius sweep; no file is read.

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

PAGE = 7.0  # width of a page, in inches
TALLEST, GAP, TITLE = 2.6, 0.06, 0.16  # row height, gap and title of an image grid, in inches
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


# --- Pictures --------------------------------------------------------------------------------


def image_grid(pictures: dict[str, Any]) -> Figure:
    """Rows of pictures with titles above them and without axes.

    Within a row all pictures have the same height and fill the page's width; a row is at most
    `TALLEST` high.

    Args:
        pictures: as read by `pictures.read`: title, note and rows of a label and cells, each with
            a title and an image (H, W[, 3]), uint8.
    """
    rows = pictures["rows"]
    labels = [textwrap.fill(row["label"].replace("_", " "), 16) for row in rows]
    margin = 0.16 * max(len(label.splitlines()) for label in labels)
    sizes, titles, bottoms, below = [], [], [], 0.25  # in inches, from the top
    for row in rows:
        shapes = [cell["image"].shape for cell in row["cells"]]
        aspects = np.array([shape[1] / shape[0] for shape in shapes])
        height = min(TALLEST, (PAGE - margin - GAP * (len(aspects) - 1)) / aspects.sum())
        fitting = int(LETTERS * height * aspects.min())
        titles.append([textwrap.wrap(cell["title"], fitting) for cell in row["cells"]])
        sizes.append((height, aspects * height))
        bottoms.append(below + TITLE * max(map(len, titles[-1])) + height)
        below = bottoms[-1] + GAP
    note = textwrap.fill(pictures["note"], 120)
    total = below + (0.14 * (note.count("\n") + 1) + 0.05 if note else 0.0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, total), facecolor="white")
        figure.text(0, 1 - 0.03 / total, pictures["title"], va="top", weight="bold")
        figure.text(0, 0.02 / total, note, va="bottom", fontsize=7)
        for n, (height, widths) in enumerate(sizes):
            y, high = 1 - bottoms[n] / total, height / total
            middle = ((margin / 2 - 0.02) / PAGE, y + high / 2)
            figure.text(*middle, labels[n], rotation=90, va="center", ha="center")
            lefts = margin + np.cumsum(widths + GAP) - widths - GAP
            for x, cell in enumerate(rows[n]["cells"]):
                axes = figure.add_axes((lefts[x] / PAGE, y, widths[x] / PAGE, high))
                axes.imshow(cell["image"], aspect="auto", cmap="gray", vmin=0, vmax=255)
                axes.set_title("\n".join(titles[n][x]), pad=2)
                axes.set_axis_off()
    return figure


def absent(reason: str) -> Figure:
    """A plain panel that says why a figure has not been made."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.9), facecolor="#f4f4f4")
        text = textwrap.fill(f"not run: {reason}", int(LETTERS * PAGE))
        figure.text(0.5, 0.5, text, ha="center", va="center", color="#444444")
    return figure
