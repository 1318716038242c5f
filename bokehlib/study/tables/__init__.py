"""The tables as data frames: our measurements beside the paper's numbers, and their text.

A frame holds numbers alone and nothing where nothing was measured; `markdown` and `latex` show
such a cell as "not run". A paper's number stands only in a column that ends in `_paper`. Every
table has one place: `quality_tables`, `ablation_tables`, `claims_table`, `in_focus_table`,
`origins_table`, `strands_table`, `latents_table`, `speed_table`; those of ratings are made by
the notebook 41_user_study.
"""

import pandas as pd

from bokehlib.study.tables.ablation_tables import BEYOND, PHYSICS, ablation, beyond, physics
from bokehlib.study.tables.claims_table import claims
from bokehlib.study.tables.in_focus_table import NO_FOCUS, in_focus, pictures_in
from bokehlib.study.tables.latents_table import NO_LATENTS, latents, trained_how
from bokehlib.study.tables.origins_table import NO_ORIGINS, credited, origins
from bokehlib.study.tables.quality_tables import (
    FITTED_COLUMNS,
    FITTED_KINDS,
    NO_FITTED,
    QUALITY,
    not_measured,
    quality,
)
from bokehlib.study.tables.speed_table import (
    NO_SPEED,
    PLACES,
    SPEED_COLUMNS,
    SPEED_KEY,
    SPEED_KINDS,
    SPEED_PLANNED,
    measured_on,
    speed,
)
from bokehlib.study.tables.strands_table import NO_STRANDS, strands
from bokehlib.study.tables.text import CAPTIONS, WORDS, display, latex, markdown

__all__ = [
    "BEYOND",
    "CAPTIONS",
    "FITTED_COLUMNS",
    "FITTED_KINDS",
    "NO_FITTED",
    "NO_FOCUS",
    "NO_LATENTS",
    "NO_ORIGINS",
    "NO_SPEED",
    "NO_STRANDS",
    "PHYSICS",
    "PLACES",
    "QUALITY",
    "SPEED_COLUMNS",
    "SPEED_KEY",
    "SPEED_KINDS",
    "SPEED_PLANNED",
    "WORDS",
    "ablation",
    "beyond",
    "build",
    "claims",
    "credited",
    "display",
    "in_focus",
    "latents",
    "latex",
    "markdown",
    "measured_on",
    "not_measured",
    "origins",
    "physics",
    "pictures_in",
    "quality",
    "speed",
    "strands",
    "trained_how",
]


def build(
    name: str,
    scores: pd.DataFrame,
    published: pd.DataFrame,
    benchmark: pd.DataFrame = NO_SPEED,
    focus: pd.DataFrame = NO_FOCUS,
    fitted: pd.DataFrame = NO_FITTED,
    bands: pd.DataFrame = NO_STRANDS,
    copies: pd.DataFrame = NO_LATENTS,
    light: pd.DataFrame = NO_ORIGINS,
) -> pd.DataFrame:
    """The table of that name, by one of the functions of this package.

    Raises:
        KeyError: unknown table.
    """
    if name in QUALITY:
        return quality(name, scores, published, fitted)
    if name == "table2_ablation":
        return ablation(scores, published)
    if name == "table2b_physics":
        return physics(scores)
    if name == "table2c_beyond":
        return beyond(scores)
    if name == "claims":
        return claims(scores)
    if name == "in_focus":
        return in_focus(focus)
    if name == "origins":
        return origins(light)
    if name == "strands":
        return strands(bands)
    if name == "latents":
        return latents(copies)
    if name == "speed":
        return speed(scores, benchmark)
    raise KeyError(f"unknown table {name!r}; known: {', '.join(CAPTIONS)}")
