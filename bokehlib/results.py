"""Files of the study: scores with their stamps, the paper's numbers, tables, figures, pictures.

Everything is written to a temporary name and moved into place, and the same content always gives
the same bytes, so that a diff shows what changed. No torch: tables render on any machine.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from bokehlib import study, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
KEY = ["dataset", "image", "method", "blur", "perturbation"]  # what makes a row one measurement
METRICS = ["psnr", "ssim", "lpips_alex", "lpips_squeeze", "lpips_vgg", "dists"]
COLUMNS = [*KEY, *METRICS, "seconds"]
MEASURED_WITH = (
    *("torch", "triton", "diffusers", "torchmetrics", "lpips", "DISTS-pytorch", "numba", "numpy"),
)
PICTURE_BYTES = 700_000  # a figure of photographs stays below this


def resolve(results: str = "", smoke: bool = False) -> Path:
    """Folder of results: the given one, else the repository's, where smoke runs keep apart."""
    if results:
        return ROOT / results
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


# --- Stamps: where numbers come from ---------------------------------------------------------


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    except FileNotFoundError:  # git is not installed
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _commit() -> str:
    """Commit of the code, with "+" where library or notebooks differ from it; "" outside git.

    A copy of the code outside git is told its commit by BOKEHLIB_COMMIT.
    """
    if given := os.environ.get("BOKEHLIB_COMMIT"):
        return given
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "bokehlib", "notebooks")
    return commit + "+" if commit and changed else commit


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def stamp(
    parameters: dict[str, Any],
    seed: int,
    weights: str,
    data: str,
    device: str,
    wall_seconds: float | None = None,
) -> dict[str, Any]:
    """What made a result: commit, versions, device, parameters, seed, SHA-256 hashes and time.

    Args:
        parameters: what was asked for, see `measurement`.
        seed: of every random generator that took part.
        weights: SHA-256 over the method's weight files, "" if it has none.
        data: SHA-256 that stands for the data set.
        device: "cpu", or the name of the accelerator.
        wall_seconds: how long the whole run took; `study --fresh` adds them up.
    """
    versions = {"python": platform.python_version()} | {p: _version(p) for p in MEASURED_WITH}
    return {
        "commit": _commit(),
        "versions": {name: found for name, found in versions.items() if found},
        "device": device,
        "parameters": parameters,
        "seed": seed,
        "weights_sha256": weights,
        "data_sha256": data,
        "wall_seconds": None if wall_seconds is None else round(wall_seconds, 1),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def measurement(dataset: str, method: str, perturbed: bool, smoke: bool) -> dict[str, Any]:
    """Parameters of a score run as its stamp holds them."""
    exact = {"dataset": dataset, "method": method, "smoke": smoke}
    if not perturbed:
        return exact
    return exact | {"radii": list(study.ROBUSTNESS_RADII), "blur": study.ROBUSTNESS_BLUR}


def _score_file(dataset: str, method: str, root: Path) -> Path:
    folder = dataset.replace("/", "_")  # a user's own is called folder:<path>
    return root / "scores" / folder / f"{method}.csv"


def _stamps(scores: Path) -> dict[str, Any]:
    path = scores.with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_stamp(
    dataset: str, method: str, perturbed: bool = False, root: Path = RESULTS
) -> dict[str, Any]:
    """Stamp of one part of a score file; empty if there is none."""
    stamps = _stamps(_score_file(dataset, method, root))
    if perturbed:
        return stamps.get("perturbed", {})
    return {name: value for name, value in stamps.items() if name != "perturbed"}


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    decisive = ("weights_sha256", "data_sha256", "parameters")
    return all(name in one and one[name] == other.get(name) for name in decisive)


def scores_stand(
    dataset: str,
    method: str,
    perturbed: bool,
    weights_hash: str,
    data_hash: str,
    parameters: dict[str, Any],
    root: Path = RESULTS,
) -> bool:
    """Whether the score file is there and was made from these weights, data and parameters."""
    wanted = {"weights_sha256": weights_hash, "data_sha256": data_hash, "parameters": parameters}
    there = _score_file(dataset, method, root).exists()
    return there and _agree(wanted, read_stamp(dataset, method, perturbed, root))


def mixed_commits(scores: pd.DataFrame, root: Path = RESULTS) -> str:
    """One line that says so when the scores come from different commits, else ""."""
    used = scores.assign(perturbed=scores["perturbation"] != "0")
    parts = used[["dataset", "method", "perturbed"]].drop_duplicates().to_numpy()
    stamps = [read_stamp(dataset, method, part, root) for dataset, method, part in parts]
    commits = sorted({found.get("commit", "")[:10] or "unknown" for found in stamps})
    return f"Rows come from different commits: {', '.join(commits)}." if len(commits) > 1 else ""


# --- Scores ----------------------------------------------------------------------------------


def read_scores(
    dataset: str | None = None, method: str | None = None, root: Path = RESULTS
) -> pd.DataFrame:
    """All measurements of the given data set and method, or of all; metrics in float64.

    `perturbation` is text: a signed radius in pixels, "0" for none, or a name.
    """
    pattern = _score_file(dataset or "*", method or "*", Path()).as_posix()
    files = sorted(root.glob(pattern))
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

    Rows of the other part stay; rows of this part stay where their key is not measured anew and
    their stamp names the same weights, data and parameters: a file never mixes two models.

    Args:
        rows: one dict a measurement, with the names of `COLUMNS`; absent metrics stay empty.
        stamp: from `stamp`.
        dataset: as in `study.DATASETS`.
        method: as in `study.METHODS`.
        part: "exact" (perturbation 0) or "perturbed" (any other).
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
    perturbed = part == "perturbed"
    if not _agree(stamp, read_stamp(dataset, method, perturbed, root)):
        old = old[(old["perturbation"] != "0") != perturbed]
    merged = pd.concat([old, new], ignore_index=True).drop_duplicates(KEY, keep="last")
    stamps = _stamps(path)
    other = {"perturbed": stamps["perturbed"]} if "perturbed" in stamps else {}
    stamps = stamps | {"perturbed": stamp} if perturbed else stamp | other
    _write(path, _sorted(merged).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    _write(path.with_suffix(".json"), json.dumps(stamps, indent=2) + "\n")
    return True


def _check_rows(new: pd.DataFrame, dataset: str, method: str, part: str) -> None:
    if part not in ("exact", "perturbed"):
        raise ValueError(f"part is {part!r}; known: exact, perturbed")
    exact = new["perturbation"] == "0"
    if new.empty or not (exact if part == "exact" else ~exact).all():
        found = ", ".join(sorted(set(new["perturbation"]))) or "no rows"
        raise ValueError(f"perturbations of part {part!r}: found {found}")
    if set(new["dataset"]) != {dataset} or set(new["method"]) != {method}:
        raise ValueError(f"rows are of {set(new['dataset'])}, {set(new['method'])}")
    if new.duplicated(KEY).any():
        raise ValueError(f"{new.duplicated(KEY).sum()} rows repeat the key {', '.join(KEY)}")


def read_speed(root: Path = RESULTS) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of the GPU benchmark, with `tables.SPEED_COLUMNS`, and the stamp of each part of it.

    Raises:
        ValueError: a file has other columns, or a combination stands there twice.
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
    return rows, {part: _stamps(parts[part]) for part in sorted(parts)}


def write_speed(
    part: str, rows: list[dict[str, Any]], stamp: dict[str, Any], root: Path = RESULTS
) -> None:
    """Write one part of the benchmark, with `tables.SPEED_COLUMNS`, and its stamp."""
    frame = pd.DataFrame(rows, columns=tables.SPEED_COLUMNS).astype(tables.SPEED_KINDS)
    path = root / "scores" / f"speed-{part}.csv"
    _write(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    _write(path.with_suffix(".json"), json.dumps(stamp, indent=2) + "\n")


# --- The paper's numbers, tables and figures --------------------------------------------------


def published(table: str = "") -> pd.DataFrame:
    """The paper's numbers, of one table or of all: table, dataset, method, metric, value."""
    numbers = pd.read_csv(RESULTS / "published.csv")
    return numbers[numbers["table"] == table].reset_index(drop=True) if table else numbers


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
    """Write `figures/<name>.svg` or `.png`, without dates, so that two runs agree to the byte.

    A PNG is drawn at up to 220 dpi, at fewer if it would exceed `PICTURE_BYTES`.
    """
    import matplotlib  # here, so that scores can be written where it is not installed

    from bokehlib.figures import STYLE

    path = (root / "figures" / name).with_suffix(suffix)
    undated = {"Date": None} if suffix == ".svg" else {"Software": None}
    with replacing(path) as temporary, matplotlib.rc_context(STYLE):
        for dpi in (220, 190, 160, 140, 120, 100, 80):
            figure.savefig(temporary, format=suffix[1:], dpi=dpi, metadata=undated)
            if suffix == ".svg" or temporary.stat().st_size < PICTURE_BYTES:
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
