"""How well is the picture rendered round strands? PSNR inside the band, by kind of disparity."""

import pandas as pd

from bokehlib import study
from bokehlib.study.tables.measured import by_kind, methods

_KINDS = {"method": "str", **study.PROBES["strands"].columns}
NO_STRANDS = pd.DataFrame(columns=[*_KINDS]).astype(_KINDS)


def strands(bands: pd.DataFrame) -> pd.DataFrame:
    """A row per method, a column per error of `study.STRAND_ERRORS`: mean PSNR over images, in dB.

    Args:
        bands: as read by `results.read_probe("strands")`.
    """
    table = by_kind(bands, "perturbation", study.STRAND_ERRORS)
    counts = bands.groupby("method")["image"].nunique().reindex(methods(bands)).fillna(0)
    return table.assign(images=counts.to_numpy())
