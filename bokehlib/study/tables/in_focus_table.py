"""Does what is in focus stay as it is? PSNR of every method by region of the picture."""

import pandas as pd

from bokehlib import study
from bokehlib.study.tables.measured import by_kind

MARK = 42.0  # dB, for the regions "constant" and "in focus"
_KINDS = {"method": "str", **study.PROBES["focus"].columns}
NO_FOCUS = pd.DataFrame(columns=[*_KINDS]).astype(_KINDS)


def in_focus(focus: pd.DataFrame) -> pd.DataFrame:
    """A row per method, a column per region of `study.FOCUS_REGIONS`: mean PSNR over images, in dB.

    Args:
        focus: as read by `results.read_probe("focus")`.
    """
    return by_kind(focus, "region", study.FOCUS_REGIONS)


def pictures_in(focus: pd.DataFrame) -> str:
    """One sentence, how many images each region was found in; "" without measurements."""
    counts = focus.groupby("region")["image"].nunique().reindex([*study.FOCUS_REGIONS]).dropna()
    if counts.empty:
        return ""
    listed = "; ".join(f"{region}: {count:.0f}" for region, count in counts.items())
    return f"Images: {listed}."
