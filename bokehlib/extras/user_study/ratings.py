"""CSV files of ratings, as the page saves them: read, checked, unblinded. No torch.

A study's folder holds one `<study>.key.json`, which says which picture came from which method,
and the raters' files beside it, each of one or several raters. Files and rows that cannot be
used are named with the reason.
"""

import csv
import io
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bokehlib.io.errors import InputError

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
FORMS = {"drawn": 1, "all": len(ASPECTS)}  # in how many aspects a picture is rated
CHECK = "check"  # in the place of an aspect: a rating that was asked for
COLUMNS = (
    *("study", "rater", "session", "experience", "screen", "case", "aspect", "result"),
    *("place", "rating", "seconds", "shown", "time"),
)
NEEDED = ("study", "rater", "session", "case", "aspect", "result", "rating")
KINDS = (  # of the columns of `Ratings.rows`
    dict.fromkeys(("rater", "experience", "case", "aspect", "method"), "str")
    | {"rating": "int64"}
    | dict.fromkeys(("place", "seconds"), "float64")
)
KEY = ".key.json"
USED = ("complete", "incomplete")  # of the statuses of a sheet: its ratings count


@dataclass(frozen=True)
class Key:
    """What a page does not tell its raters.

    Attributes:
        study: id, of the page and of every row of ratings.
        title: of the page.
        form: one of `FORMS`.
        checks: attention checks per rater.
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
        """The content of its file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Ratings:
    """The content of a folder of ratings.

    Attributes:
        rows: one per rating that counts, with the columns of `KINDS`; `rater` is one session.
        sheets: one per rater and file: file, rater, status, ratings, remarks.
    """

    rows: pd.DataFrame
    sheets: pd.DataFrame

    def summary(self) -> str:
        """One or two sentences that count the sheets and name those that do not count."""
        if self.sheets.empty:
            return "No sheet of ratings is there."
        counts = self.sheets["status"].value_counts()
        used = [f"{counts[s]} {s}" for s in USED if s in counts]
        text = f"Sheets: {len(self.sheets)}; counted: {' and '.join(used) or 'none'}."
        rest = self.sheets[~self.sheets["status"].isin(USED)]
        named = [f"{sheet.file} ({sheet.status})" for sheet in rest.itertuples()]
        return f"{text} Left out: {', '.join(named)}." if named else text


@dataclass
class _Sheet:
    """All rows of one rater in one file."""

    file: str
    rater: str = ""
    session: str = ""
    status: str = "damaged"
    rows: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    began: str = ""


# --- Reading ---------------------------------------------------------------------------------


def find(ratings: str, root: Path) -> Path:
    """The folder `ratings/<name>` under a folder of results, else that path.

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
    """Read and check all files of a folder; no ratings if there is no folder, or no file in it.

    A sheet's status is one of: complete; incomplete (its ratings count); inattentive (more checks
    failed than allowed); double (the same session again, or a second session of one rater);
    another study; damaged (no rating can be read). A row with an invalid value is named in the
    remarks and does not count, nor does a second row about the same picture and aspect.

    Args:
        folder: with one key and the CSV files.
        failures: attention checks that a rater may fail.

    Raises:
        InputError: files without a key, with several, or with one that cannot be read.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
    keys = [path for path in files if path.name.endswith(KEY)]
    files = [path for path in files if path not in keys]
    key = _read_key(folder, keys) if files else None
    sheets = [sheet for path in files if key for sheet in _sheets(path, key, failures)]
    _mark_doubles(sheets)
    used = [row for s in sheets if s.status in USED for row in s.rows]
    listed = [(s.file, s.rater, s.status, len(s.rows), "; ".join(s.remarks)) for s in sheets]
    return Ratings(
        pd.DataFrame(used, columns=[*KINDS]).astype(KINDS),
        pd.DataFrame(listed, columns=["file", "rater", "status", "ratings", "remarks"]),
    )


def _read_key(folder: Path, keys: list[Path]) -> Key:
    if len(keys) != 1:
        names = ", ".join(path.name for path in keys) or "none"
        raise InputError(f"ratings: {folder}: found for a key {names}; accepted: one <study>{KEY}")
    try:
        key = Key(**json.loads(keys[0].read_text(encoding="utf-8")))
        sound = key.expected > 0 and key.checks >= 0
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"ratings: found no key in {keys[0]}; accepted: the file unchanged")
    return key


def _sheets(path: Path, key: Key, failures: int) -> list[_Sheet]:
    """The sheets of a file; one of status "damaged" if there is none."""
    try:
        lines = _lines(path)
    except (OSError, ValueError, csv.Error) as error:
        return [_Sheet(path.name, remarks=[str(error)])]
    sessions: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        sessions.setdefault(line["session"], []).append(line)
    return [_sheet(path.name, own, key, failures) for own in sessions.values()]


def _lines(path: Path) -> list[dict[str, str]]:
    """Every row with its `line` in the file, also of a CSV that a spreadsheet saved again.

    Raises:
        ValueError: not a CSV file of ratings.
    """
    if path.suffix.lower() != ".csv":
        raise ValueError("not a CSV file")
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    table = csv.DictReader(
        io.StringIO(text),
        delimiter=";" if first.count(";") > first.count(",") else ",",
        restval="",
    )
    if missing := [name for name in NEEDED if name not in (table.fieldnames or ())]:
        raise ValueError(f"no column {', '.join(missing)}")
    lines = [
        {name: row.get(name, "").strip() for name in COLUMNS} | {"line": str(table.line_num)}
        for row in table
    ]
    if not lines:
        raise ValueError("no rating in it")
    return lines


# --- Checking --------------------------------------------------------------------------------


def _sheet(file: str, lines: list[dict[str, str]], key: Key, failures: int) -> _Sheet:
    """Check the rows of one rater and judge their sheet."""
    sheet = _Sheet(file, lines[0]["rater"], lines[0]["session"], began=lines[0]["time"])
    if strange := {line["study"] for line in lines} - {key.study}:
        sheet.status = "another study"
        sheet.remarks.append(f"{', '.join(sorted(strange))}; accepted: {key.study}")
        return sheet
    seen: dict[tuple[str, ...], str] = {}
    checks: list[bool] = []
    for line in lines:
        is_check = line["aspect"] == CHECK
        what = (line["case"], line["aspect"], line["result"], line["screen"] * is_check)
        if wrong := _wrong(line, key):
            sheet.remarks.append(f"line {line['line']}: {wrong}")
            continue
        if what in seen:
            sheet.remarks.append(f"line {line['line']}: repeats line {seen[what]}")
        elif is_check:
            checks.append(line["result"] == f"choose {line['rating']}")
        else:
            sheet.rows.append(_row(line, key))
        seen.setdefault(what, line["line"])
    sheet.status = _status(sheet, checks, failures, key)
    return sheet


def _wrong(line: dict[str, str], key: Key) -> str:
    """What is invalid in a row, in one phrase; "" if nothing is."""
    if line["rating"] not in ("1", "2", "3", "4", "5"):
        return f"rating {line['rating'] or 'missing'}; accepted: 1 to 5"
    if line["aspect"] not in (*ASPECTS, CHECK):
        return f"aspect {line['aspect']!r}; accepted: {', '.join([*ASPECTS, CHECK])}"
    if line["case"] not in key.cases:
        return f"case {line['case']!r} is not in the key"
    if line["aspect"] != CHECK and line["result"] not in key.cases[line["case"]]:
        return f"result {line['result']!r} is not in the key"
    return ""


def _row(line: dict[str, str], key: Key) -> dict[str, Any]:
    numbers = {name: pd.to_numeric(line[name], errors="coerce") for name in ("place", "seconds")}
    same = {name: line[name] for name in ("experience", "case", "aspect", "rating")}
    method = key.cases[line["case"]][line["result"]]
    return {"rater": line["session"], "method": method, **same, **numbers}


def _status(sheet: _Sheet, checks: list[bool], failures: int, key: Key) -> str:
    """The status of a sheet by its rows, with the reason added to its remarks."""
    if not sheet.rows:
        sheet.remarks.append("no rating in it")
        return "damaged"
    if (failed := checks.count(False)) > failures:
        sheet.remarks.append(f"{failed} of {key.checks} attention checks failed")
        return "inattentive"
    wanted = {"ratings": (len(sheet.rows), key.expected), "checks": (len(checks), key.checks)}
    missing = [f"{n} of {of} {what}" for what, (n, of) in wanted.items() if n < of]
    sheet.remarks += missing
    return "incomplete" if missing else "complete"


def _mark_doubles(sheets: list[_Sheet]) -> None:
    """Count the fullest sheet of a session, and the first session of a rater."""
    usable = [sheet for sheet in sheets if sheet.status in USED]
    for name, order in {
        "session": lambda s: (-len(s.rows), s.file),
        "rater": lambda s: (s.began, s.file),
    }.items():
        first: dict[str, _Sheet] = {}
        for sheet in sorted((s for s in usable if s.status in USED), key=order):
            kept = first.setdefault(getattr(sheet, name), sheet)
            if kept is not sheet:
                sheet.status = "double"
                sheet.remarks.append(f"{name} of {kept.rater} in {kept.file}")
