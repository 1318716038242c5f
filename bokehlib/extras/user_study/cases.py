"""What raters are shown: a photo that is sharp everywhere and what each method made of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bokehlib.errors import InputError
from bokehlib.images import FORMATS, read_image

PHOTO = "input"  # stem of the file with the all-in-focus photo
_LAYOUT = f"a folder a case with {PHOTO}.png and one picture a method, named after it"


@dataclass(frozen=True)
class Case:
    """One photo and what the methods made of it.

    Attributes:
        name: of the case; raters do not see it, but it stands in their sheets.
        photo: (H, W, 3) sRGB in [0, 1].
        results: method -> (H, W, 3) sRGB in [0, 1].
    """

    name: str
    photo: np.ndarray
    results: dict[str, np.ndarray]


def read_cases(folder: Path) -> list[Case]:
    """Cases of a folder `<case>/{input,<method>,...}.png`, in the order of their names.

    Raises:
        InputError: no such folder, no case, a photo or a method is missing in one of them, or the
            pictures of a case differ in size.
    """
    if not folder.is_dir():
        raise InputError(f"pictures: found no folder {folder}; accepted: {_LAYOUT}")
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
    cases = [_read_case(path) for path in found]
    if not cases:
        raise InputError(f"pictures: found no case in {folder}; accepted: {_LAYOUT}")
    check(cases)
    return cases


def _read_case(folder: Path) -> Case:
    pictures: dict[str, np.ndarray] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in FORMATS):
        if path.stem in pictures:
            raise InputError(f"pictures: found {folder / path.stem} twice; accepted: one of a name")
        pictures[path.stem] = read_image(path, "pictures")
    if PHOTO not in pictures:
        raise InputError(f"pictures: found no {PHOTO} in {folder}; accepted: {_LAYOUT}")
    return Case(folder.name, pictures.pop(PHOTO), pictures)


def check(cases: list[Case]) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: methods differ between cases, fewer than two, or sizes differ within a case.
    """
    wanted = set(cases[0].results)
    if len(wanted) < 2:
        raise InputError(f"pictures: found {len(wanted)} methods; accepted: two or more")
    for case in cases:
        if odd := wanted ^ set(case.results):
            raise InputError(
                f"pictures: found {', '.join(sorted(odd))} in some cases and not in others "
                f"({cases[0].name}, {case.name}); accepted: every method in every case"
            )
        for method, picture in case.results.items():
            if picture.shape != case.photo.shape:
                raise InputError(
                    f"pictures: {case.name}: found {_size(picture)} pixels for {method}; "
                    f"accepted: the size of {PHOTO}, {_size(case.photo)}"
                )


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
