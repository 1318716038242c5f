"""How well is the picture rendered round strands? PSNR inside the band, by kind of disparity."""

import pandas as pd

from bokehlib import study
from bokehlib.tables.measured import methods

_KINDS = {"method": "str", **study.PROBES["strands"].columns}
NO_STRANDS = pd.DataFrame(columns=[*_KINDS]).astype(_KINDS)


def strands(bands: pd.DataFrame) -> pd.DataFrame:
    """A row a method, a column an error of `study.STRAND_ERRORS`: mean PSNR over images, in dB.

    Args:
        bands: as read by `results.read_probe("strands")`.
    """
    names = methods(bands)
    means = bands.groupby(["method", "perturbation"])["psnr"].mean().unstack("perturbation")
    means = means.reindex(index=names, columns=[*study.STRAND_ERRORS]).astype("float64")
    table = means.rename(columns=study.STRAND_ERRORS).reset_index(drop=True)
    table.columns.name = None
    table.insert(0, "method", [study.METHODS[name].label for name in names])
    counts = bands.groupby("method")["image"].nunique().reindex(names).fillna(0)
    return table.assign(images=counts.to_numpy())
