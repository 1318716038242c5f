"""Asked against measured blur radius, summed up as lines. No torch: what it reads is a table."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

MEASURES = ("moment", "edge")
RELATIVE, ABSOLUTE = 0.15, 1.5  # the mark of a point: this share, or px, whichever is wider


class Fit(NamedTuple):
    """A straight line through asked and measured radii, and the worst point against its mark."""

    slope: float
    intercept: float  # px
    worst: float  # largest |measured - asked| / max(15 % of asked, 1.5 px)


def allowed(asked: ArrayLike) -> np.ndarray:
    """By how many pixels a measured radius may miss one asked for, in pixels."""
    return np.maximum(RELATIVE * np.asarray(asked), ABSOLUTE)


def fit(rows: Iterable[dict[str, Any]], measured: str = "moment") -> Fit:
    """The least-squares line measured = slope * asked + intercept, and the worst point.

    The marks: slope from 0.95 to 1.05, intercept from -1 to 1 px, worst at most 1, which says
    that every point is within 15 % or 1.5 px, whichever is wider.

    Args:
        rows: From `radius.sweep`, of two asked radii at least.
        measured: "moment" or "edge".

    Returns:
        The fit; NaN throughout if one of the radii could not be measured.
    """
    points = np.array([(row["asked"], row[measured]) for row in rows], dtype=float)
    asked, found = points.T
    if not np.isfinite(found).all():
        return Fit(math.nan, math.nan, math.nan)
    slope, intercept = np.polyfit(asked, found, 1)
    worst = np.abs(found - asked) / allowed(asked)
    return Fit(float(slope), float(intercept), float(worst.max()))


def summary(sweeps: pd.DataFrame) -> pd.DataFrame:
    """A row a method, side and way of measuring: the fit, and the mean share of light kept.

    Args:
        sweeps: as read by `results.read_probe("radius")`.

    Returns:
        Columns method, side, measure, slope, intercept (px), worst (1 = at the mark) and light.
    """
    rows = [
        {"method": method, "side": side, "measure": measure}
        | fit(group.to_dict("records"), measure)._asdict()
        | {"light": group["light"].mean()}
        for (method, side), group in sweeps.groupby(["method", "side"], sort=False)
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=["method", "side", "measure", *Fit._fields, "light"])
