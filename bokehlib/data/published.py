"""The data sets that others hold: which there are, where they lie, where to get them.

A set is looked for as `<name>` or under one of its own names in the folder BOKEHLIB_DATA, then in
`BUILT`. No torch here, and no picture is read.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bokehlib.io.errors import InputError
from bokehlib.io.places import cache_folder

BUILT = cache_folder() / "data"
SEARCH_RANGE = (2.0, 200.0)  # px per unit of disparity, for an aperture that is not known
SEARCH_GRID = 12  # apertures in it
SEARCH_STEPS = 8  # of the golden section that follows
RENDERING = (  # needs bokehlib[render]
    "`python -m bokehlib.extras.pathtracing render --out ORIGINALS`, then "
    "`python -m bokehlib.extras.pathtracing pack ORIGINALS --out bokehlib/data/rendered`"
)
CHECK = "`python -m bokehlib data check PATH`"


@dataclass(frozen=True)
class Published:
    """One way to measure on a data set that others hold.

    Attributes:
        folder: its folder's name.
        aliases: other names that its folder may have.
        source: where to get it, and under what terms.
        exposure: how the input's mean is brought to the truth's, one of `exposure.ALIGNMENTS`.
        aperture: "known", "searched" for one that fits the whole set best, or the name of the set
            whose searched aperture is taken.
    """

    folder: str
    aliases: tuple[str, ...]
    source: str
    exposure: str = "none"
    aperture: str = "known"


def _ebb(exposure: str, aperture: str = "searched") -> Published:
    source = (
        "the last 294 pairs of the training part of EBB!, CC BY-NC-SA 4.0, from "
        "https://people.ee.ethz.ch/~ihnatova/pynet-bokeh.html (newer links stand in the issues of "
        "https://github.com/aiff22/PyNET-Bokeh); disparities, 1 = nearest, from Depth Anything V2"
    )
    aliases = ("EBB_Val294", "EBB", "EBB!")
    return Published("ebb_val294", aliases, source, exposure, aperture)


PUBLISHED = {
    "ebb_val294": _ebb("channels"),
    "ebb_val294-global": _ebb("global"),
    "ebb_val294-original": _ebb("none"),
    "ebb_val294-original-borrowed": _ebb("none", "ebb_val294"),
    "blb_level5": Published(
        "blb_level5",
        ("BLB",),
        "BLB by the authors of BokehMe, linked from https://github.com/JuewenPeng/BokehMe (Google "
        "Drive folder 1URpab6AXQsNTqcBcighF73w5pFlvM0Ej)",
    ),
    "synbokeh300": Published(
        "synbokeh300",
        (),
        "never released; `python -m bokehlib data build --photos FOLDER --foregrounds FOLDER` "
        "makes one of your own photographs and RGBA cut-outs",
    ),
}


def protocol(name: str) -> dict[str, Any]:
    """How a set of `PUBLISHED` is measured, as a stamp holds it; nothing for another set."""
    if name not in PUBLISHED:
        return {}
    known = PUBLISHED[name]
    found: dict[str, Any] = {"exposure": known.exposure, "aperture": known.aperture}
    if known.aperture == "searched":
        found["search"] = [*SEARCH_RANGE, SEARCH_GRID, SEARCH_STEPS]
    return found


def find_published(name: str) -> Path | None:
    """The folder of a set of `PUBLISHED`, or None if it is not here."""
    known = PUBLISHED[name]
    own = os.environ.get("BOKEHLIB_DATA", "")
    for place in [Path(own), BUILT] if own else [BUILT]:
        for folder in (known.folder, *known.aliases):
            if (place / folder).is_dir():
                return place / folder
    return None


def absence(name: str) -> str:
    """One line for a set that is not here: where it was looked for, and its source.

    Also for `rendered`, which is nobody's but made by commands.
    """
    if name == "rendered":
        return f"rendered: not here; made by {RENDERING}"
    own = os.environ.get("BOKEHLIB_DATA", "")
    folder = PUBLISHED[name].folder
    return (
        f"{folder}: not here; accepted: a folder of that name in BOKEHLIB_DATA ({own or 'unset'}) "
        f"or {BUILT}; source: {PUBLISHED[name].source}; {CHECK} says what is missing"
    )


def published_root(name: str) -> Path:
    """The folder of a set of `PUBLISHED`.

    Raises:
        InputError: it is not here.
    """
    root = find_published(name)
    if root is None:
        raise InputError(absence(name))
    return root
