"""The page of a user study: one HTML file with its pictures inside, and the key that it keeps.

The template is `page.html` with `page.css` and `page.js`, all put into one file.
"""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bokehlib.extras.user_study.ratings import ASPECTS, FORMS, KEY, Key
from bokehlib.io.errors import InputError
from bokehlib.io.images import FORMATS, read_image
from bokehlib.study.results import replacing

HERE = Path(__file__).parent
PHOTO = "input"  # stem of the file with the all-in-focus photo
ENCODINGS: dict[str, dict[str, Any]] = {  # the first that keeps the page small enough is taken
    "WebP, lossless": {"format": "WEBP", "lossless": True, "method": 4},
    "JPEG 95, 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
LARGEST = 20_000_000  # bytes of the page
CHECKED = 4  # pictures to rate, at least, for every attention check
_LAYOUT = f"a folder per case with {PHOTO}.png and one picture per method, named after it"


# --- Cases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One all-in-focus photo and what the methods made of it.

    Attributes:
        name: of the case; raters do not see it, but it is in their files.
        photo: (H, W, 3) sRGB in [0, 1].
        results: method -> (H, W, 3) sRGB in [0, 1].
    """

    name: str
    photo: np.ndarray
    results: dict[str, np.ndarray]


def read_cases(folder: Path) -> list[Case]:
    """Cases of a folder `<case>/{input,<method>,...}.png`, in the order of their names.

    Raises:
        InputError: no such folder, no case, or a photo is missing in one of them.
    """
    if not folder.is_dir():
        raise InputError(f"pictures: found no folder {folder}; accepted: {_LAYOUT}")
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
    if not found:
        raise InputError(f"pictures: found no case in {folder}; accepted: {_LAYOUT}")
    return [_read_case(path) for path in found]


def _read_case(folder: Path) -> Case:
    pictures: dict[str, np.ndarray] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in FORMATS):
        if path.stem in pictures:
            raise InputError(f"pictures: found {folder / path.stem} twice; accepted: once")
        pictures[path.stem] = read_image(path, "pictures")
    if PHOTO not in pictures:
        raise InputError(f"pictures: found no {PHOTO} in {folder}; accepted: {_LAYOUT}")
    return Case(folder.name, pictures.pop(PHOTO), pictures)


# --- The page --------------------------------------------------------------------------------


def build(
    cases: list[Case],
    title: str,
    form: str = "drawn",
    checks: int = 2,
    width: int = 1024,
    seed: int = 0,
) -> tuple[str, Key]:
    """The page and its key; the same arguments give the same bytes.

    Raters see the photo beside one picture at a time. Methods go by codes that are drawn anew for
    every case, the pictures carry no metadata. They are lossless where the page stays small
    enough, else in the next of `ENCODINGS`.

    Args:
        cases: every one with the same methods.
        title: that raters see.
        form: "drawn": one randomly drawn aspect per case, as in the paper; "all": all three.
        checks: attention checks per rater.
        width: px; wider pictures are scaled down, all alike.
        seed: of the codes.

    Raises:
        InputError: an unknown form, too many checks, a width below 16, an empty title, pictures
            that cannot be compared, or a page of more than `LARGEST` bytes.
    """
    if complaint := next(_complaints(cases, title, form, checks, width), ""):
        raise InputError(complaint)
    methods = sorted(cases[0].results)
    rng = np.random.default_rng(seed)
    drawn = {case.name: rng.permutation(900)[: len(methods)] + 100 for case in cases}
    codes = {name: dict(zip(methods, map(str, own), strict=True)) for name, own in drawn.items()}
    order = [methods[n] for n in rng.permutation(len(methods))]  # in every case: a Latin square
    unblinded = {name: {code: m for m, code in own.items()} for name, own in codes.items()}
    for encoding in ENCODINGS:
        shown = [_shown(case, codes[case.name], order, width, encoding) for case in cases]
        identity, page = _filled(title, form, checks, shown)
        if len(page.encode()) <= LARGEST:
            return page, Key(identity, title, form, checks, unblinded, encoding)
    raise InputError(
        f"pictures: found a page of {len(page.encode()) / 1e6:.0f} MB; accepted: up to "
        f"{LARGEST / 1e6:.0f} MB, with fewer cases or a smaller width"
    )


def write(folder: Path, page: str, key: Key) -> Path:
    """Write `<folder>/<study>/index.html` and the key beside it.

    Returns:
        The page.
    """
    place = folder / key.study
    for name, text in {"index.html": page, f"{key.study}{KEY}": key.text()}.items():
        with replacing(place / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return place / "index.html"


def _complaints(cases: list[Case], title: str, form: str, checks: int, width: int) -> Iterator[str]:
    """What makes these arguments of `build` no study."""
    methods = set(cases[0].results)
    if not title.strip():
        yield "title: found none; accepted: what raters shall read"
    if form not in FORMS:
        yield f"form: found {form!r}; accepted: {', '.join(FORMS)}"
    if len(methods) < 2:
        yield f"pictures: found {len(methods)} methods; accepted: two or more"
    if not 0 <= checks <= (most := len(cases) * len(methods) // CHECKED):
        yield f"checks: found {checks}; accepted: 0 to {most}, one in {CHECKED} pictures"
    if width < 16:
        yield f"width: found {width}; accepted: 16 px or more"
    for case in cases:
        if odd := methods ^ set(case.results):
            found = f"pictures: found {', '.join(sorted(odd))} in some cases alone"
            yield f"{found}; accepted: every method in every case"
        for method, picture in case.results.items():
            if picture.shape != case.photo.shape:
                found = f"pictures: {case.name}: found {picture.shape} for {method}"
                yield f"{found}; accepted: the shape of {PHOTO}, {case.photo.shape}"


def _shown(
    case: Case, codes: dict[str, str], order: list[str], width: int, encoding: str
) -> dict[str, Any]:
    """A case as the page holds it."""
    results = [
        {"code": codes[method], "image": _data_uri(case.results[method], width, encoding)}
        for method in order
    ]
    reference = _data_uri(case.photo, width, encoding)
    return {"name": case.name, "reference": reference, "results": results}


def _data_uri(picture: np.ndarray, width: int, encoding: str) -> str:
    image = Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    if image.width > width:
        size = width, max(1, round(width * image.height / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    file, options = io.BytesIO(), ENCODINGS[encoding]
    image.save(file, **options)
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{options['format'].lower()};base64,{data}"


def _filled(title: str, form: str, checks: int, shown: list[dict[str, Any]]) -> tuple[str, str]:
    """The study's id, a hash of all that raters are shown, and the page."""
    aspects = [{"key": k, "title": t, "words": words} for k, (t, words) in ASPECTS.items()]
    content = {"form": form, "checks": checks, "aspects": aspects, "cases": shown}
    digest = hashlib.sha256(json.dumps([title, content]).encode()).hexdigest()[:8]
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    identity = f"{slug or 'study'}-{digest}"
    # "<" could end the script element from inside a text.
    data = json.dumps({"id": identity, **content}, ensure_ascii=False).replace("<", "\\u003c")
    parts = {"TITLE": html.escape(title), "STUDY": data}
    parts |= {"STYLE": _template("page.css"), "SCRIPT": _template("page.js")}
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _template("page.html"))
    return identity, page


def _template(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").rstrip()
