"""Files of the study: scores with their stamps, the paper's numbers, tables, figures, pictures.

Everything is written to a temporary name and moved into place, and the same content always gives
the same bytes, so that a diff shows what changed. No torch: tables render on any machine.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from bokehlib import study
from bokehlib.data import PUBLISHED, protocol
from bokehlib.io.places import RESULTS
from bokehlib.io.weightfiles import painter
from bokehlib.study import tables
from bokehlib.study.provenance import agree, beside
from bokehlib.study.provenance import stamp as stamp  # whoever writes scores finds it here

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = ["dataset", "image", "method", "blur", "perturbation"]  # what makes a row one measurement
METRICS = ["psnr", "ssim", "lpips_alex", "lpips_squeeze", "lpips_vgg", "dists"]
COLUMNS = [*KEY, *METRICS, "seconds"]
PARTS = ("exact", "perturbed", "disturbed")  # of a score file: disparity true, by radius, by name
PICTURE_BYTES = 200_000  # a figure of photographs stays below this
PICTURE_QUALITY = 86  # of WebP: a quarter of the bytes of a PNG of half its pixels


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


def _write_stamped(path: Path, frame: pd.DataFrame, stamps: dict[str, Any]) -> None:
    _write(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    _write(path.with_suffix(".json"), json.dumps(stamps, indent=2) + "\n")


# --- What a score file stands for ------------------------------------------------------------


def score_parameters(dataset: str, method: str, part: str, smoke: bool) -> dict[str, Any]:
    """Parameters of a score run as its stamp holds them.

    Raises:
        ValueError: part is none of `PARTS`.
    """
    wrong = {
        "exact": {},
        "perturbed": {"radii": [*study.ROBUSTNESS_RADII], "blur": study.ROBUSTNESS_BLUR},
        "disturbed": {
            "disturbances": [*study.ROBUSTNESS_DISTURBANCES],
            "blur": study.ROBUSTNESS_BLUR,
        },
    }
    if part not in wrong:
        raise ValueError(f"part is {part!r}; known: {', '.join(PARTS)}")
    named = {"dataset": dataset, "method": method, "smoke": smoke} | protocol(dataset)
    if method in study.METHODS and study.METHODS[method].paints:
        named["inpainting"] = painter()
    return named | wrong[part]


def probe_parameters(probe: str, method: str, smoke: bool) -> dict[str, Any]:
    """Parameters of a run of `study.PROBES` as its stamp holds them."""
    found = study.PROBES[probe]
    changed = found.smoke if smoke else {}
    return {"method": method, "smoke": smoke, **found.parameters, **changed}


def _score_file(dataset: str, method: str, root: Path) -> Path:
    folder = dataset.replace("/", "_")  # a user's own is called folder:<path>
    return root / "scores" / folder / f"{method}.csv"


def read_stamp(
    dataset: str, method: str, part: str = "exact", root: Path = RESULTS
) -> dict[str, Any]:
    """Stamp of one of the `PARTS` of a score file; empty if there is none."""
    stamps = beside(_score_file(dataset, method, root))
    if part != "exact":
        return stamps.get(part, {})
    return {name: value for name, value in stamps.items() if name not in PARTS}


def scores_stand(
    dataset: str,
    method: str,
    part: str,
    weights_hash: str,
    data_hash: str,
    parameters: dict[str, Any],
    root: Path = RESULTS,
) -> bool:
    """Whether the score file is there and was made from these weights, data and parameters.

    Args:
        dataset: as in `study.DATASETS`, or a name of `study.PROBES`.
        method: as in `methods.METHODS`.
        part: one of `PARTS`; a probe has the exact one alone.
        weights_hash: SHA-256 over the method's weight files.
        data_hash: SHA-256 that stands for the data set.
        parameters: from `score_parameters` or `probe_parameters`.
        root: folder of results.
    """
    wanted = {"weights_sha256": weights_hash, "data_sha256": data_hash, "parameters": parameters}
    there = _score_file(dataset, method, root).exists()
    return there and agree(wanted, read_stamp(dataset, method, part, root))


def mixed_commits(scores: pd.DataFrame, root: Path = RESULTS) -> str:
    """One line that says so when the scores come from different commits, else ""."""
    used = scores.assign(part=_parts(scores["perturbation"]))
    parts = used[["dataset", "method", "part"]].drop_duplicates().to_numpy()
    stamps = [read_stamp(dataset, method, part, root) for dataset, method, part in parts]
    commits = sorted({found.get("commit", "")[:10] or "unknown" for found in stamps})
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
    text = dict.fromkeys(("dataset", "image", "method", "perturbation"), "str")
    kinds = text | {"blur": "int64"} | dict.fromkeys([*METRICS, "seconds"], "float64")
    frames = [pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values="") for file in files]
    empty = pd.DataFrame(columns=COLUMNS).astype(kinds)
    return pd.concat(frames, ignore_index=True) if frames else empty


def _sorted(scores: pd.DataFrame) -> pd.DataFrame:
    radius = pd.to_numeric(scores["perturbation"], errors="coerce")  # names follow the radii
    order = scores.assign(_radius=radius).sort_values([*KEY[:-1], "_radius", "perturbation"])
    return order[COLUMNS].reset_index(drop=True)


def _lost_metrics(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Metrics that the old rows of the same keys have and the new rows lack."""
    replaced = old.merge(new[KEY], on=KEY)
    return [m for m in METRICS if replaced[m].notna().any() and new[m].isna().any()]


def write_scores(
    rows: list[dict[str, Any]],
    stamp: dict[str, Any],
    dataset: str,
    method: str,
    part: str = "exact",
    root: Path = RESULTS,
) -> bool:
    """Write measurements and their stamp into `scores/<dataset>/<method>.{csv,json}`.

    Rows of the other parts stay; rows of this part stay where their key is not measured anew and
    their stamp names the same weights, data and parameters: a file never mixes two models.

    Args:
        rows: one dict a measurement, with the names of `COLUMNS`; absent metrics stay empty.
        stamp: from `stamp`.
        dataset: as in `study.DATASETS`.
        method: as in `methods.METHODS`.
        part: "exact" (perturbation 0), "perturbed" (another radius) or "disturbed" (a name).
        root: folder of results.

    Returns:
        False if nothing was written, because the file holds metrics that the new rows lack.

    Raises:
        ValueError: rows are missing, doubled, or of another data set, method or part.
    """
    new = pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"perturbation": "str"})
    _check_rows(new, dataset, method, part)
    path = _score_file(dataset, method, root)
    old = read_scores(dataset, method, root)
    if lost := _lost_metrics(old, new):
        print(f"{path.name} is kept: it holds {', '.join(lost)}, which this run lacks.")
        return False
    if not agree(stamp, read_stamp(dataset, method, part, root)):
        old = old[_parts(old["perturbation"]) != part]
    merged = pd.concat([old, new], ignore_index=True).drop_duplicates(KEY, keep="last")
    stamps = {name: read_stamp(dataset, method, name, root) for name in PARTS} | {part: stamp}
    exact = stamps.pop("exact")
    _write_stamped(path, _sorted(merged), exact | {name: s for name, s in stamps.items() if s})
    return True


def _check_rows(new: pd.DataFrame, dataset: str, method: str, part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; known: {', '.join(PARTS)}")
    if new.empty or (_parts(new["perturbation"]) != part).any():
        found = ", ".join(sorted(set(new["perturbation"]))) or "no rows"
        raise ValueError(f"perturbations of part {part!r}: found {found}")
    if set(new["dataset"]) != {dataset} or set(new["method"]) != {method}:
        raise ValueError(f"rows are of {set(new['dataset'])}, {set(new['method'])}")
    if new.duplicated(KEY).any():
        raise ValueError(f"{new.duplicated(KEY).sum()} rows repeat the key {', '.join(KEY)}")


def read_fitted(root: Path = RESULTS) -> pd.DataFrame:
    """How sets of `data.PUBLISHED` were measured, with `tables.FITTED_COLUMNS`, from the stamps."""
    rows = []
    for path in sorted(root.glob("scores/*/*.csv")):
        dataset, method = path.parent.name, path.stem
        if dataset in PUBLISHED:
            found = read_stamp(dataset, method, root=root)
            fitted = found.get("fitted", {})
            numbers = (fitted.get("aperture"), fitted.get("crossed_ssim"), found.get("left_out"))
            rows.append((dataset, method, *numbers))
    return pd.DataFrame(rows, columns=tables.FITTED_COLUMNS).astype(tables.FITTED_KINDS)


def read_speed(root: Path = RESULTS) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of the GPU benchmark, with `tables.SPEED_COLUMNS`, and the stamp of each part of it.

    Raises:
        ValueError: a file has other columns, or a combination occurs twice.
    """
    parts = {path.stem.removeprefix("speed-"): path for path in root.glob("scores/speed-*.csv")}
    frames = [tables.NO_SPEED]
    for part in sorted(parts):
        rows = pd.read_csv(
            parts[part], dtype=tables.SPEED_KINDS, keep_default_na=False, na_values=""
        )
        if list(rows.columns) != tables.SPEED_COLUMNS:
            raise ValueError(f"{parts[part].name} has columns {', '.join(rows.columns)}")
        frames.append(rows)
    rows = pd.concat(frames, ignore_index=True)
    if (doubled := rows.duplicated(tables.SPEED_KEY)).any():
        raise ValueError(f"speed: rows repeat {', '.join(rows.loc[doubled, 'what'])}")
    return rows, {part: beside(parts[part]) for part in sorted(parts)}


def write_speed(
    part: str, rows: list[dict[str, Any]], stamp: dict[str, Any], root: Path = RESULTS
) -> None:
    """Write one part of the benchmark, with `tables.SPEED_COLUMNS`, and its stamp."""
    frame = pd.DataFrame(rows, columns=tables.SPEED_COLUMNS).astype(tables.SPEED_KINDS)
    path = root / "scores" / f"speed-{part}.csv"
    _write_stamped(path, frame, stamp)


def read_probe(probe: str, root: Path = RESULTS) -> pd.DataFrame:
    """All rows of one of `study.PROBES`: method, then its columns; NaN where nothing was found."""
    pattern = _score_file(probe, "*", Path()).as_posix()
    kinds = {"method": "str", **study.PROBES[probe].columns}
    frames = [pd.read_csv(path).assign(method=path.stem) for path in sorted(root.glob(pattern))]
    frames = [frame[[*kinds]] for frame in frames] or [pd.DataFrame(columns=[*kinds])]
    return pd.concat(frames, ignore_index=True).astype(kinds)


def write_probe(
    rows: list[dict[str, Any]],
    stamp: dict[str, Any],
    probe: str,
    method: str,
    root: Path = RESULTS,
) -> None:
    """Write one method's rows of one of `study.PROBES` and their stamp into `scores/<probe>`."""
    frame = pd.DataFrame(rows, columns=[*study.PROBES[probe].columns])
    _write_stamped(_score_file(probe, method, root), frame, stamp)


# --- The paper's numbers, tables and figures --------------------------------------------------


def published(table: str = "") -> pd.DataFrame:
    """The paper's numbers, of one table or of all: table, dataset, method, metric, value.

    A table with another set in the place of the authors' has the numbers of theirs.
    """
    numbers = pd.read_csv(RESULTS / "published.csv")
    theirs = numbers[numbers["table"] == table.removesuffix("_rebuilt")]
    return theirs.reset_index(drop=True) if table else numbers


def write_table(frame: pd.DataFrame, name: str, root: Path = RESULTS, note: str = "") -> str:
    """Write `tables/<name>.csv` (numbers, empty where none), `.md` and `.tex` ("not run").

    Args:
        frame: from `tables.build`.
        name: of the table.
        root: folder of results.
        note: a sentence that ends the caption.

    Returns:
        The Markdown text.
    """
    path = root / "tables" / name
    shown = tables.markdown(frame, name, note)
    numbers = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    _write(path.with_suffix(".csv"), numbers)
    _write(path.with_suffix(".md"), shown)
    _write(path.with_suffix(".tex"), tables.latex(frame, name, note))
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
        style = {"quality": PICTURE_QUALITY, "method": 6}
        for dpi in (160, 140, 120, 100, 80):
            figure.savefig(temporary, format=suffix[1:], dpi=dpi, pil_kwargs=style)
            if temporary.stat().st_size < PICTURE_BYTES:
                break
    return path


def read_pictures(figure: str, root: Path = RESULTS) -> dict[str, Any]:
    """Index of `pictures/<figure>`, each cell with its image (H, W, 3) uint8; empty if absent."""
    folder = root / "pictures" / figure
    if not (folder / "index.json").exists():
        return {}
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    for row in index["rows"]:
        for cell in row["cells"]:
            with Image.open(folder / cell["file"]) as image:
                cell["image"] = np.asarray(image.convert("RGB"))
    return index
