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

import numpy as np
from PIL import Image

from bokehlib.errors import InputError
from bokehlib.ratings import ASPECTS, FORMS, KEY, Key
from bokehlib.results import replacing
from bokehlib.user_study.cases import Case, check

HERE = Path(__file__).parent
QUALITY = 95  # of WebP: no trace that a rater could see
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
    every case, the pictures carry no metadata.

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
    codes = {
        case.name: [str(n) for n in rng.permutation(900)[: len(methods)] + 100] for case in cases
    }
    order = rng.permutation(len(methods))  # the same in every case, for the Latin square
    shown = [
        {
            "name": case.name,
            "reference": _data_uri(case.photo, width),
            "results": [
                {"code": codes[case.name][i], "image": _data_uri(case.results[methods[i]], width)}
                for i in order
            ],
        }
        for case in cases
    ]
    aspects = [{"key": k, "title": t, "words": words} for k, (t, words) in ASPECTS.items()]
    content = {"form": form, "checks": checks, "aspects": aspects, "cases": shown}
    digest = hashlib.sha256(json.dumps([title, content]).encode()).hexdigest()
    identity = f"{_slug(title)}-{digest[:8]}"
    unblinded = {name: dict(zip(own, methods, strict=True)) for name, own in codes.items()}
    page = _filled(title, {"id": identity, **content})
    if len(page.encode()) > LARGEST:
        raise InputError(
            f"pictures: found a page of {len(page.encode()) / 1e6:.0f} MB; accepted: up to "
            f"{LARGEST / 1e6:.0f} MB, with fewer cases or a smaller width"
        )
    return page, Key(identity, title, form, checks, unblinded)


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


def _data_uri(picture: np.ndarray, width: int) -> str:
    """A picture as WebP, at most so wide."""
    image = Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    if image.width > width:
        size = width, max(1, round(width * image.height / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "study"


def _filled(title: str, content: dict) -> str:
    # "<" could end the script element from inside a text.
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _template("page.css"),
        "SCRIPT": _template("plan.js") + "\n" + _template("page.js"),
        "STUDY": data,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _template("page.html"))


def _template(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").rstrip()
