"""Where must a renderer guess? PSNR of every method by the origin of a pixel's light."""

import math
from typing import Any

import pandas as pd

from bokehlib import study
from bokehlib.study.tables.measured import difference, methods

GIVEN = "layered"  # the render that the default gets and corrects
CREDITED = "bokehdiff-mini"
KEY = ["image", "blur", "origin"]
_KINDS = {"method": "str", **study.PROBES["origins"].columns}
NO_ORIGINS = pd.DataFrame(columns=[*_KINDS]).astype(_KINDS)


def origins(found: pd.DataFrame) -> pd.DataFrame:
    """A row a class of `study.ORIGINS` and method, with its difference to `GIVEN`.

    Args:
        found: as read by `results.read_probe("origins")`.
    """
    rows = [
        {"origin": origin, "method": study.METHODS[name].label, **_row(part, name)}
        for origin in study.ORIGINS
        for part in [found[found["origin"] == origin]]
        for name in methods(found)
    ]
    return pd.DataFrame(rows)


def _row(part: pd.DataFrame, name: str) -> dict[str, Any]:
    own, given = part[part["method"] == name], part[part["method"] == GIVEN]
    both = own.merge(given if name != GIVEN else given[:0], on=KEY, suffixes=("", "_other"))
    images = len(own.drop_duplicates(["image", "blur"]))
    return {"psnr": own["psnr"].mean(), **difference(both, "psnr"), "images": images}


def credited(table: pd.DataFrame) -> str:
    """One sentence, what the prior of `CREDITED` is credited for; "" without measurements.

    Args:
        table: from `origins`.
    """
    label = study.METHODS[CREDITED].label
    own = table[table["method"] == label].set_index("origin")
    gains = {origin: _gain(row) for origin, row in own.iterrows() if not _unknown(row)}
    if not gains:
        return ""
    prior = "; ".join(f"{o} {gains[o]}" for o in study.FROM_THE_PRIOR if o in gains)
    rest = "; ".join(f"{o} {gain}" for o, gain in gains.items() if o not in study.FROM_THE_PRIOR)
    return (
        f"To the prior of {label} is credited, over {study.METHODS[GIVEN].label}: {prior}. "
        f"Not to it: {rest}."
    )


def _unknown(row: pd.Series) -> bool:
    return math.isnan(row["psnr_difference"])


def _gain(row: pd.Series) -> str:
    if row["psnr_verdict"] is None or pd.isna(row["psnr_verdict"]):
        return f"{row['psnr_difference']:+.2f} dB"
    return f"{row['psnr_difference']:+.2f} dB ({row['psnr_verdict']})"
