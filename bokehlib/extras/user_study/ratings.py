"""Sheets of ratings, as the page of `50_user_study_build` saves them: read, checked, unblinded.

A study's folder holds one `<study>.key.json`, which says which picture came from which method, and
the raters' sheets beside it, CSV or JSON, one or several raters a file. Whatever cannot be used is
named; nothing is left out in silence. No torch.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bokehlib.errors import InputError
from bokehlib.extras.user_study.tests import NO_RATINGS, RATING_KINDS

ASPECTS = {  # key -> title, and the paper's own words (Sec. 4.2)
    "accuracy": (
        "Accuracy",
        "e.g., the edge should be the same blurry as the surface on which it is located",
    ),
    "authenticity": (
        "Authenticity",
        "e.g., the blurriness should change gradually with respect to the distance from focal "
        "plane",
    ),
    "preference": ("Preference", "simply preference as users"),
}
FORMS = {"drawn": 1, "all": len(ASPECTS)}  # how many aspects a picture is rated in
SCALE = (1, 5)
CHECK = "check"  # in the place of an aspect: a rating that was asked for
COLUMNS = (
    *("study", "rater", "session", "experience", "screen", "case", "aspect", "result"),
    *("place", "rating", "seconds", "shown", "time"),
)
NEEDED = ("study", "rater", "session", "case", "aspect", "result", "rating")
KEY = ".key.json"
SHEETS = (".csv", ".json")
EMPTY_SHEET = "no rating in it"
USED = ("complete", "incomplete")  # of the statuses of a sheet: its ratings count


@dataclass(frozen=True)
class Key:
    """What a page does not tell its raters.

    Attributes:
        study: id, of the page and of every sheet.
        title: of the page.
        form: one of `FORMS`.
        checks: how many attention checks a rater meets.
        cases: case -> code of a picture -> method.
        pictures: how they are encoded in the page.
    """

    study: str
    title: str
    form: str
    checks: int
    cases: dict[str, dict[str, str]]
    pictures: str = ""

    @property
    def expected(self) -> int:
        """Ratings of one rater, the checks aside."""
        return FORMS[self.form] * sum(map(len, self.cases.values()))

    def text(self) -> str:
        """As it stands in the file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Ratings:
    """What a folder of sheets holds.

    Attributes:
        rows: one a rating that counts, with `tables.RATING_KINDS`; `rater` is one session.
        sheets: one a rater and file: file, rater, status, ratings, remarks.
        demo: the folder or a file has "demo" in its name.
    """

    rows: pd.DataFrame
    sheets: pd.DataFrame
    demo: bool = False

    def name(self, artefact: str) -> str:
        """That of a table or figure made of these ratings: what a demo made says so."""
        return f"{artefact}_demo" if self.demo else artefact

    def marked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, with a first column that says "demo" where the ratings are one."""
        return frame.assign(source="demo")[["source", *frame]] if self.demo else frame

    def summary(self) -> str:
        """One or two sentences that count the sheets and name those that do not count."""
        if self.sheets.empty:
            return "No sheet of ratings is there."
        counts = self.sheets["status"].value_counts()
        used = [f"{counts[s]} {s}" for s in USED if s in counts]
        parts = [f"Sheets: {len(self.sheets)}; counted: {' and '.join(used) or 'none'}."]
        rest = self.sheets[~self.sheets["status"].isin(USED)]
        if not rest.empty:
            named = [f"{sheet.file} ({sheet.status})" for sheet in rest.itertuples()]
            parts.append(f"Left out: {', '.join(named)}.")
        return " ".join(parts)


# --- Reading ---------------------------------------------------------------------------------


def find(ratings: str, root: Path) -> Path:
    """The folder: one of that name in `ratings/` under a folder of results, else that path.

    Raises:
        InputError: a path that is no folder.
    """
    named = root / "ratings" / ratings
    if re.fullmatch(r"[\w-]+", ratings) or named.is_dir():
        return named
    if not Path(ratings).is_dir():
        raise InputError(f"ratings: found no folder {ratings}; accepted: a folder of rating files")
    return Path(ratings)


def read(folder: Path, failures: int = 0) -> Ratings:
    """Read and check all sheets of a folder; without the folder, or a sheet in it, no ratings.

    A sheet's status is one of: complete; incomplete (its ratings count); inattentive (more checks
    failed than allowed); double (of another file, or a second go of one rater); another study;
    damaged (no rating can be read). A row that cannot be right is named in the remarks and does
    not count; nor does a second row about the same thing.

    Args:
        folder: with one key and the sheets.
        failures: attention checks that a rater may fail.

    Raises:
        InputError: sheets without a key, with several, or with one that cannot be read.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
    keys = [path for path in files if path.name.endswith(KEY)]
    files = [path for path in files if path not in keys]
    demo = any(map(_is_demo, [folder.name, *(path.name for path in files)]))
    if not files:
        return Ratings(NO_RATINGS, _listed([]), demo)
    key = _read_key(folder, keys)
    sheets = [sheet for path in files for sheet in _sheets(path, key, failures)]
    _mark_doubles(sheets)
    return Ratings(_counted(sheets), _listed(sheets), demo)


def _is_demo(name: str) -> bool:
    return bool(re.search(r"(?<![a-z])demo(?![a-z])", name.lower()))


def _read_key(folder: Path, keys: list[Path]) -> Key:
    if len(keys) != 1:
        found = ", ".join(path.name for path in keys) or "none"
        raise InputError(
            f"ratings: found in {folder} {found} for a key; accepted: one <study>{KEY}, which "
            "50_user_study_build writes beside its page"
        )
    try:
        key = Key(**json.loads(keys[0].read_text(encoding="utf-8")))
        sound = key.expected > 0 and key.checks >= 0
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"ratings: {keys[0]}: found no key in it; accepted: the file unchanged")
    return key


@dataclass
class _Sheet:
    """All rows of one rater in one file."""

    file: str
    rater: str
    session: str
    rows: list[dict[str, Any]]
    status: str
    remarks: list[str]
    began: str = ""


def _sheets(path: Path, key: Key, failures: int) -> Iterator[_Sheet]:
    """The sheets of a file; one of status "damaged" if there is none."""
    try:
        lines, remarks = _lines(path)
    except _Damage as damage:
        yield _Sheet(path.name, "", "", [], "damaged", [str(damage)])
        return
    sessions: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for place, line in lines:
        sessions.setdefault(line["session"], []).append((place, line))
    for session, own in sessions.items():
        yield _sheet(path.name, session, own, remarks, key, failures)


class _Damage(Exception):
    """Why a file holds no sheet."""


def _lines(path: Path) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """(where it stands, its cells as text) of every row, and remarks on the file."""
    if path.suffix.lower() not in SHEETS:
        raise _Damage(f"not a sheet; accepted: {', '.join(SHEETS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        read = _csv_lines if path.suffix.lower() == ".csv" else _json_lines
        header, lines, remarks = read(text)
    except (OSError, ValueError, csv.Error, TypeError, AttributeError, KeyError) as error:
        raise _Damage(f"cannot be read: {' '.join(str(error).split())[:100]}") from None
    if missing := [name for name in NEEDED if name not in header]:
        raise _Damage(f"no column {', '.join(missing)}")
    if not lines:
        raise _Damage(EMPTY_SHEET)
    if foreign := [repr(name) for name in header if name not in COLUMNS]:
        remarks.append(f"foreign column {', '.join(foreign)} not used")
    return lines, remarks


def _csv_lines(text: str) -> tuple[list[str], list, list[str]]:
    """Of a CSV, also one that a spreadsheet saved again with semicolons."""
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    header, *table = list(csv.reader(io.StringIO(text), delimiter=delimiter)) or [[]]
    header = [name.strip() for name in header]
    if doubled := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"column {', '.join(sorted(doubled))} is there twice")
    lines, remarks = [], []
    for number, cells in enumerate(table, start=2):
        if len(cells) == len(header):
            cells = [cell.strip() for cell in cells]
            lines.append((f"line {number}", dict(zip(header, cells, strict=True))))
        elif cells:
            remarks.append(f"line {number}: {len(cells)} of {len(header)} cells")
    return header, lines, remarks


def _json_lines(text: str) -> tuple[list[str], list, list[str]]:
    rows = json.loads(text)["rows"]
    header = dict.fromkeys(name for row in rows for name in row)
    lines = [
        (f"row {number}", {name: str(row.get(name, "")).strip() for name in header})
        for number, row in enumerate(rows, start=1)
    ]
    return [*header] if rows else [*NEEDED], lines, []


# --- Checking --------------------------------------------------------------------------------


def _sheet(
    file: str,
    session: str,
    lines: list[tuple[str, dict[str, str]]],
    remarks: list[str],
    key: Key,
    failures: int,
) -> _Sheet:
    first = lines[0][1]
    sheet = _Sheet(file, first["rater"], session, [], "damaged", [*remarks])
    if strange := {line["study"] for _, line in lines} - {key.study}:
        sheet.status = "another study"
        sheet.remarks.append(f"{', '.join(sorted(strange))}; accepted: {key.study}")
        return sheet
    seen: dict[tuple[str, ...], str] = {}
    checks: list[bool] = []
    for place, line in lines:
        what = tuple(line[name] for name in ("case", "aspect", "result"))
        what += (line.get("screen", ""),) * (line["aspect"] == CHECK)
        if wrong := _wrong(line, key):
            sheet.remarks.append(f"{place}: {wrong}")
            continue
        if what in seen:
            sheet.remarks.append(f"{place}: says again what {seen[what]} says")
        elif line["aspect"] == CHECK:
            checks.append(line["result"] == f"choose {line['rating']}")
        else:
            sheet.rows.append(_row(line, key))
        seen.setdefault(what, place)
    sheet.began = min((line.get("time", "") for _, line in lines), default="")
    sheet.status = _status(sheet, checks, failures, key)
    return sheet


def _status(sheet: _Sheet, checks: list[bool], failures: int, key: Key) -> str:
    """The sheet's status by what it holds, with its reason added to the remarks."""
    if not sheet.rows:
        sheet.remarks.append(EMPTY_SHEET)
        return "damaged"
    if (failed := checks.count(False)) > failures:
        sheet.remarks.append(f"{failed} of {key.checks} attention checks failed")
        return "inattentive"
    wanted = {"ratings": (len(sheet.rows), key.expected), "checks": (len(checks), key.checks)}
    missing = [f"{n} of {of} {what}" for what, (n, of) in wanted.items() if n < of]
    sheet.remarks += missing
    return "incomplete" if missing else "complete"


def _wrong(line: dict[str, str], key: Key) -> str:
    """What cannot be right about a row, in one phrase; "" if nothing."""
    if not re.fullmatch(rf"[{SCALE[0]}-{SCALE[1]}]", line["rating"]):
        return f"rating {line['rating'] or 'missing'}; accepted: {SCALE[0]} to {SCALE[1]}"
    if line["aspect"] not in (*ASPECTS, CHECK):
        return f"aspect {line['aspect']!r}; accepted: {', '.join([*ASPECTS, CHECK])}"
    if line["case"] not in key.cases:
        return f"case {line['case']!r} is not in the key"
    if line["aspect"] != CHECK and line["result"] not in key.cases[line["case"]]:
        return f"result {line['result']!r} is not in the key"
    return ""


def _row(line: dict[str, str], key: Key) -> dict[str, Any]:
    numbers = {
        name: pd.to_numeric(line.get(name), errors="coerce") for name in ("place", "seconds")
    }
    return {
        "rater": line["session"],
        "experience": line.get("experience", ""),
        "case": line["case"],
        "aspect": line["aspect"],
        "method": key.cases[line["case"]][line["result"]],
        "rating": int(line["rating"]),
        **numbers,
    }


def _mark_doubles(sheets: list[_Sheet]) -> None:
    """Of sheets of one session the fullest counts, of several goes of one rater the first."""
    usable = [sheet for sheet in sheets if sheet.status in USED]
    kept: dict[str, _Sheet] = {}
    for sheet in sorted(usable, key=lambda s: (s.session, -len(s.rows), s.file)):
        _keep(kept, sheet.session, sheet, "the same answers")
    of_rater: dict[str, _Sheet] = {}
    for sheet in sorted(kept.values(), key=lambda s: (s.began, s.file)):
        _keep(of_rater, sheet.rater, sheet, "a second go")


def _keep(kept: dict[str, _Sheet], name: str, sheet: _Sheet, why: str) -> None:
    if (first := kept.setdefault(name, sheet)) is not sheet:
        sheet.status = "double"
        sheet.remarks.append(f"{why} of {first.rater} in {first.file}")


def _counted(sheets: list[_Sheet]) -> pd.DataFrame:
    used = [row for s in sheets if s.status in USED for row in s.rows]
    return pd.DataFrame(used, columns=[*RATING_KINDS]).astype(RATING_KINDS)


def _listed(sheets: list[_Sheet]) -> pd.DataFrame:
    listed = [(s.file, s.rater, s.status, len(s.rows), "; ".join(s.remarks)) for s in sheets]
    return pd.DataFrame(listed, columns=["file", "rater", "status", "ratings", "remarks"])
