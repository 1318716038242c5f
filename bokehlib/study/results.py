"""Files of the study: scores with their provenance, the paper's numbers, tables and figures.

Every file is written to a temporary name and moved into place, and the same content always gives
the same bytes, so that a diff shows what changed. No torch: tables render on any machine.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bokehlib import study
from bokehlib.data import protocol
from bokehlib.io.places import RESULTS
from bokehlib.io.weightfiles import painter
from bokehlib.study.provenance import load_provenance, same_provenance
from bokehlib.study.tables import latex, markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = ["dataset", "image", "method", "blur", "perturbation"]  # what makes a row one measurement
METRICS = ["psnr", "ssim", "lpips_alex", "lpips_squeeze", "lpips_vgg", "dists"]
COLUMNS = [*KEY, *METRICS, "seconds"]
PARTS = ("exact", "perturbed", "disturbed")  # of a score file: no error, by radius, by name
PICTURE_BYTES = 200_000  # a figure of photographs stays below this
WEBP: dict[str, Any] = {
    "quality": 86,
    "method": 6,
}  # a quarter of the bytes of a PNG of half its pixels


def resolve(results: str = "", smoke: bool = False) -> Path:
    """Folder of results: the given one, else `places.RESULTS`, where smoke runs keep apart."""
    if results:
        return Path(results).absolute()
    return RESULTS / "runs" / "smoke" if smoke else RESULTS


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_rows(path: Path, frame: pd.DataFrame, provenance: dict[str, Any]) -> None:
    """Write a CSV with six digits and its provenance as JSON beside it."""
    _write(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    _write(path.with_suffix(".json"), json.dumps(provenance, indent=2) + "\n")


# --- Provenance of a score file --------------------------------------------------------------


def score_parameters(dataset: str, method: str, part: str, smoke: bool) -> dict[str, Any]:
    """Parameters of a score run, as its provenance holds them.

    Raises:
        ValueError: part is none of `PARTS`.
    """
    _check_part(part)
    errors: dict[str, dict[str, Any]] = {
        "exact": {},
        "perturbed": {"radii": [*study.ROBUSTNESS_RADII], "blur": study.ROBUSTNESS_BLUR},
        "disturbed": {
            "disturbances": [*study.ROBUSTNESS_DISTURBANCES],
            "blur": study.ROBUSTNESS_BLUR,
        },
    }
    named = {"dataset": dataset, "method": method, "smoke": smoke} | protocol(dataset)
    if method in study.METHODS and study.METHODS[method].paints:
        named["inpainting"] = painter()
    return named | errors[part]


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; known: {', '.join(PARTS)}")


def probe_parameters(probe: str, method: str, smoke: bool) -> dict[str, Any]:
    """Parameters of a run of `study.PROBES`, as its provenance holds them."""
    found = study.PROBES[probe]
    changed = found.smoke if smoke else {}
    return {"method": method, "smoke": smoke, **found.parameters, **changed}


def _score_file(dataset: str, method: str, root: Path) -> Path:
    folder = dataset.replace("/", "_")  # a user's own is called folder:<path>
    return root / "scores" / folder / f"{method}.csv"


def read_provenance(
    dataset: str, method: str, part: str = "exact", root: Path = RESULTS
) -> dict[str, Any]:
    """Provenance of one of the `PARTS` of a score file; empty if there is none."""
    found = load_provenance(_score_file(dataset, method, root))
    if part != "exact":
        return found.get(part, {})
    return {name: value for name, value in found.items() if name not in PARTS}


def is_up_to_date(
    dataset: str,
    method: str,
    part: str,
    weights_hash: str,
    data_hash: str,
    parameters: dict[str, Any],
    root: Path = RESULTS,
) -> bool:
    """Whether a score file exists and was made from these weights, data and parameters.

    Args:
        dataset: as in `study.DATASETS`, or a name of `study.PROBES`.
        method: as in `methods.METHODS`.
        part: one of `PARTS`; a probe has the exact one alone.
        weights_hash: SHA-256 over the method's weight files.
        data_hash: SHA-256 of the data set.
        parameters: from `score_parameters` or `probe_parameters`.
        root: folder of results.
    """
    wanted = {"weights_sha256": weights_hash, "data_sha256": data_hash, "parameters": parameters}
    exists = _score_file(dataset, method, root).exists()
    return exists and same_provenance(wanted, read_provenance(dataset, method, part, root))


def mixed_commits(scores: pd.DataFrame, root: Path = RESULTS) -> str:
    """One line that says so when the scores come from different commits, else ""."""
    used = scores.assign(part=_parts(scores["perturbation"]))
    parts = used[["dataset", "method", "part"]].drop_duplicates().to_numpy()
    found = [read_provenance(dataset, method, part, root) for dataset, method, part in parts]
    commits = sorted({one.get("commit", "")[:10] or "unknown" for one in found})
    return f"Rows come from different commits: {', '.join(commits)}." if len(commits) > 1 else ""


def _parts(perturbation: pd.Series) -> pd.Series:
    """Which of `PARTS` each text of the column `perturbation` belongs to."""
    radius = pd.to_numeric(perturbation, errors="coerce")
    parts = pd.Series("perturbed", perturbation.index, "str")
    return parts.mask(radius == 0, "exact").mask(radius.isna(), "disturbed")


# --- Scores ----------------------------------------------------------------------------------


def read_scores(
    dataset: str | None = None, method: str | None = None, root: Path = RESULTS
) -> pd.DataFrame:
    """All measurements of the given data set and method, or of all; metrics in float64.

    `perturbation` is text: a signed radius in pixels, "0" for none, or a name.
    """
    pattern = _score_file(dataset or "*", method or "*", Path()).as_posix()
    files = sorted(file for file in root.glob(pattern) if file.parent.name not in study.PROBES)
    kinds = dict.fromkeys(COLUMNS, "str") | dict.fromkeys([*METRICS, "seconds"], "float64")
    kinds["blur"] = "int64"
    frames = [pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values="") for file in files]
    empty = pd.DataFrame(columns=COLUMNS).astype(kinds)
    return pd.concat(frames, ignore_index=True) if frames else empty


def write_scores(
    rows: list[dict[str, Any]],
    provenance: dict[str, Any],
    dataset: str,
    method: str,
    part: str = "exact",
    root: Path = RESULTS,
) -> bool:
    """Write measurements and provenance into `scores/<dataset>/<method>.{csv,json}`.

    Rows of the other parts stay; rows of this part stay where their key is not measured anew and
    their provenance names the same weights, data and parameters: a file never mixes two models.

    Args:
        rows: one dict per measurement, with the names of `COLUMNS`; absent metrics stay empty.
        provenance: from `provenance.provenance`.
        dataset: as in `study.DATASETS`.
        method: as in `methods.METHODS`.
        part: "exact" (perturbation 0), "perturbed" (another radius) or "disturbed" (a name).
        root: folder of results.

    Returns:
        False if nothing was written, because the file holds metrics that the new rows miss.

    Raises:
        ValueError: rows are missing, doubled, or of another data set, method or part.
    """
    new = pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"perturbation": "str"})
    _check_rows(new, dataset, method, part)
    path, old = _score_file(dataset, method, root), read_scores(dataset, method, root)
    replaced = old.merge(new[KEY], on=KEY)
    if lost := [m for m in METRICS if replaced[m].notna().any() and new[m].isna().any()]:
        print(f"{path.name} is kept: it holds {', '.join(lost)}, which this run lacks.")
        return False
    if not same_provenance(provenance, read_provenance(dataset, method, part, root)):
        old = old[_parts(old["perturbation"]) != part]
    merged = pd.concat([old, new], ignore_index=True).drop_duplicates(KEY, keep="last")
    merged["radius"] = pd.to_numeric(merged["perturbation"], errors="coerce")  # names come last
    merged = merged.sort_values([*KEY[:-1], "radius", "perturbation"])[COLUMNS]
    if part == "exact":
        kept = load_provenance(path)
        provenance = provenance | {name: kept[name] for name in PARTS if name in kept}
    else:
        provenance = load_provenance(path) | {part: provenance}
    write_rows(path, merged, provenance)
    return True


def _check_rows(new: pd.DataFrame, dataset: str, method: str, part: str) -> None:
    _check_part(part)
    if new.empty or (_parts(new["perturbation"]) != part).any():
        found = ", ".join(sorted(set(new["perturbation"]))) or "no rows"
        raise ValueError(f"perturbations of part {part!r}: found {found}")
    if set(new["dataset"]) != {dataset} or set(new["method"]) != {method}:
        raise ValueError(f"rows are of {set(new['dataset'])}, {set(new['method'])}")
    if new.duplicated(KEY).any():
        raise ValueError(f"{new.duplicated(KEY).sum()} rows repeat the key {', '.join(KEY)}")


def read_probe(probe: str, root: Path = RESULTS) -> pd.DataFrame:
    """All rows of one of `study.PROBES`: method, then its columns; NaN where nothing was found."""
    pattern = _score_file(probe, "*", Path()).as_posix()
    kinds = {"method": "str", **study.PROBES[probe].columns}
    frames = [pd.read_csv(path).assign(method=path.stem) for path in sorted(root.glob(pattern))]
    frames = [frame[[*kinds]] for frame in frames] or [pd.DataFrame(columns=[*kinds])]
    return pd.concat(frames, ignore_index=True).astype(kinds)


def write_probe(
    rows: list[dict[str, Any]],
    provenance: dict[str, Any],
    probe: str,
    method: str,
    root: Path = RESULTS,
) -> None:
    """Write one method's rows of one of `study.PROBES` into `scores/<probe>/<method>.csv`."""
    frame = pd.DataFrame(rows, columns=[*study.PROBES[probe].columns])
    write_rows(_score_file(probe, method, root), frame, provenance)


# --- The paper's numbers, tables and figures --------------------------------------------------


def published(table: str = "") -> pd.DataFrame:
    """The paper's numbers, of one table or of all: table, dataset, method, metric, value.

    A table with another set in the place of the authors' has the numbers of theirs.
    """
    numbers = pd.read_csv(RESULTS / "published.csv")
    theirs = numbers[numbers["table"] == table.removesuffix("_rebuilt")]
    return theirs.reset_index(drop=True) if table else numbers


def write_table(frame: pd.DataFrame, name: str, root: Path = RESULTS, caption: str = "") -> str:
    """Write `tables/<name>.csv` (numbers, empty where none), `.md` and `.tex` ("not run").

    Returns:
        The Markdown text.
    """
    path = root / "tables" / name
    shown = markdown(frame, name, caption)
    numbers = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    _write(path.with_suffix(".csv"), numbers)
    _write(path.with_suffix(".md"), shown)
    _write(path.with_suffix(".tex"), latex(frame, name, caption))
    return shown


def write_figure(figure: "Figure", name: str, root: Path = RESULTS, suffix: str = ".svg") -> Path:
    """Write `figures/<name>.svg` or `.webp`, without dates, so that two runs agree to the byte.

    A WebP, for photographs, is drawn at up to 160 dpi, at fewer if it would exceed `PICTURE_BYTES`.
    """
    import matplotlib  # here, so that scores can be written where it is not installed

    from bokehlib.study.figures import STYLE, svg

    path = (root / "figures" / name).with_suffix(suffix)
    with replacing(path) as temporary, matplotlib.rc_context(STYLE):
        if suffix == ".svg":
            temporary.write_text(svg(figure), encoding="utf-8")
            return path
        for dpi in (160, 140, 120, 100, 80):
            figure.savefig(temporary, format=suffix[1:], dpi=dpi, pil_kwargs=WEBP)
            if temporary.stat().st_size < PICTURE_BYTES:
                break
    return path
