"""Data sets in the layouts in which others published them, as arrays. No torch.

`open_set(name)` reads every file of a set once: what cannot be used is left out and named, the
rest is there to be measured on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from bokehlib.data import absence, data_hash
from bokehlib.data.published import BUILT, PUBLISHED, published_root
from bokehlib.data.published_sets import blb, ebb, rebuilt
from bokehlib.data.published_sets.shots import Contents, Reading, Shot
from bokehlib.io.errors import InputError

__all__ = ["LAYOUTS", "Contents", "Reading", "Shot", "check", "open_set"]

LAYOUTS = {"ebb_val294": ebb, "blb_level5": blb, "synbokeh300": rebuilt}  # by folder


def open_set(name: str, few: int | None = None, progress: bool = True) -> Contents:
    """What a set of `PUBLISHED` holds, all of it proved readable.

    Args:
        name: of the set.
        few: look at its first pictures alone.
        progress: show a bar with the time left.

    Raises:
        InputError: it is not here, or nothing in it can be used.
    """
    known = PUBLISHED[name]
    root = published_root(name)
    found = LAYOUTS[known.folder].contents(root, known.exposure)
    found.shots = found.shots[:few]
    found = found.proved(_bar(name, progress))
    if not found.shots:
        first = found.faults[0] if found.faults else f"{root}: found nothing of its layout"
        raise InputError(f"{name}: nothing in it can be used: {first}")
    return found


def check(path: str | Path, progress: bool = True) -> tuple[list[str], bool]:
    """What a folder holds of the published sets, what is missing, and its source.

    Args:
        path: the folder of one set, or of several under their names.
        progress: show a bar with the time left.

    Returns:
        Lines for a reader, and whether nothing that is there had to be left out.

    Raises:
        InputError: no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        raise InputError(f"PATH: found {found} {root}; accepted: a folder of data sets")
    lines, whole = [], True
    for folder, layout in LAYOUTS.items():
        known = PUBLISHED[folder]
        places = [root / name for name in (folder, *known.aliases)]
        here = [place for place in [*places, root] if place.is_dir() and layout.recognise(place)]
        if not here:
            lines.append(f"{folder}: not here; source: {known.source}; put it into {places[0]}")
            continue
        found = layout.contents(here[0]).proved(_bar(folder, progress))
        lines += _report(folder, here[0], found)
        whole = whole and not found.faults
    if not data_hash("rendered"):
        lines.append(absence("rendered"))
    return lines, whole


def _report(folder: str, place: Path, found: Contents) -> Iterator[str]:
    usable = f"{len(found.shots)} of {found.expected} pictures can be used"
    yield f"{folder}: {usable}, {found.left_out} left out, in {place}"
    names = (folder, *PUBLISHED[folder].aliases)
    if place.name not in names:
        yield f"  to be found it has to be called {folder} and lie in BOKEHLIB_DATA or {BUILT}"
    elif place.parent != BUILT:
        yield f"  found with BOKEHLIB_DATA={place.parent.resolve()}"
    absent = found.expected - len(found.shots) - found.left_out
    if absent > 0:
        yield f"  {absent} pictures are missing; source: {PUBLISHED[folder].source}"
    if 2 * found.top_nearer > len(found.shots):
        yield (
            f"  in {found.top_nearer} of them the upper third is nearer than the lower: is the "
            "disparity the wrong way round? 1 has to be nearest"
        )
    for fault in found.faults:
        yield f"  left out: {fault}"


def _bar(name: str, progress: bool) -> Callable[[list[Shot]], Iterator[Shot]]:
    from tqdm import tqdm

    return lambda shots: tqdm(shots, desc=f"reading {name}", unit="picture", disable=not progress)
