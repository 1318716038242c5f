"""The page of a user study: one HTML file with its pictures inside, and the key that it keeps.

The template is `page.html` with `page.css`, `plan.js` and `page.js`, all put into one file.
"""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bokehlib.errors import InputError
from bokehlib.extras.user_study.ratings import ASPECTS, FORMS, KEY, Key
from bokehlib.results import replacing
from bokehlib.extras.user_study.cases import Case, check

HERE = Path(__file__).parent
FORMATS: dict[str, dict[str, Any]] = {  # the first that keeps the page small enough is taken
    "WebP, lossless": {"format": "WEBP", "lossless": True, "method": 4},
    "JPEG 95, 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
LARGEST = 20_000_000  # bytes of the page
CHECKED = 4  # pictures to rate, at least, for every attention check


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
    every case, the pictures carry no metadata. They are kept to the bit where the page stays small
    enough, else in the next of `FORMATS`.

    Args:
        cases: every one with the same methods.
        title: that raters see.
        form: "drawn": one randomly drawn aspect a case, as in the paper; "all": all three.
        checks: attention checks a rater meets.
        width: px; wider pictures are made smaller, all alike.
        seed: of the codes.

    Raises:
        InputError: an unknown form, too many checks, a width below 16, an empty title, pictures
            that cannot be compared, or a page of more than `LARGEST` bytes.
    """
    check(cases)
    _check_arguments(cases, title, form, checks, width)
    methods = sorted(cases[0].results)
    rng = np.random.default_rng(seed)
    drawn = {case.name: rng.permutation(900)[: len(methods)] + 100 for case in cases}
    codes = {name: [*map(str, own)] for name, own in drawn.items()}
    order = [methods[n] for n in rng.permutation(len(methods))]  # in every case: a Latin square
    unblinded = {name: dict(zip(own, methods, strict=True)) for name, own in codes.items()}
    for pictures in FORMATS:
        shown = [_shown(case, unblinded[case.name], order, width, pictures) for case in cases]
        identity, page = _filled(title, form, checks, shown)
        if len(page.encode()) <= LARGEST:
            return page, Key(identity, title, form, checks, unblinded, pictures)
    raise InputError(
        f"pictures: found a page of {len(page.encode()) / 1e6:.0f} MB; accepted: up to "
        f"{LARGEST / 1e6:.0f} MB, with fewer cases or a smaller width"
    )


def _shown(
    case: Case, codes: dict[str, str], order: list[str], width: int, pictures: str
) -> dict[str, Any]:
    """A case as the page holds it."""
    code_of = {method: code for code, method in codes.items()}
    results = [
        {"code": code_of[method], "image": _data_uri(case.results[method], width, pictures)}
        for method in order
    ]
    reference = _data_uri(case.photo, width, pictures)
    return {"name": case.name, "reference": reference, "results": results}


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


def _check_arguments(cases: list[Case], title: str, form: str, checks: int, width: int) -> None:
    if not title.strip():
        raise InputError("title: found none; accepted: what raters shall read")
    if form not in FORMS:
        raise InputError(f"form: found {form!r}; accepted: {', '.join(FORMS)}")
    most = len(cases) * len(cases[0].results) // CHECKED
    if not 0 <= checks <= most:
        raise InputError(
            f"checks: found {checks}; accepted: 0 to {most}, one in {CHECKED} pictures"
        )
    if width < 16:
        raise InputError(f"width: found {width}; accepted: 16 px or more")


def _data_uri(picture: np.ndarray, width: int, pictures: str) -> str:
    """A picture, at most so wide, in one of `FORMATS`."""
    image = Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    if image.width > width:
        size = width, max(1, round(width * image.height / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    file, options = io.BytesIO(), FORMATS[pictures]
    image.save(file, **options)
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{options['format'].lower()};base64,{data}"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "study"


def _filled(title: str, form: str, checks: int, shown: list[dict[str, Any]]) -> tuple[str, str]:
    """The study's id, which changes with whatever raters meet, and the page."""
    aspects = [{"key": k, "title": t, "words": words} for k, (t, words) in ASPECTS.items()]
    content = {"form": form, "checks": checks, "aspects": aspects, "cases": shown}
    digest = hashlib.sha256(json.dumps([title, content]).encode()).hexdigest()
    identity = f"{_slug(title)}-{digest[:8]}"
    # "<" could end the script element from inside a text.
    data = json.dumps({"id": identity, **content}, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _template("page.css"),
        "SCRIPT": _template("plan.js") + "\n" + _template("page.js"),
        "STUDY": data,
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _template("page.html"))
    return identity, page


def _template(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").rstrip()
