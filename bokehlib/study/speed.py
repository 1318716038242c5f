"""Durations: the benchmark's files, and its rows beside the seconds of the score files."""

from pathlib import Path
from typing import Any

import pandas as pd

from bokehlib.study.provenance import load_provenance
from bokehlib.study.results import RESULTS, write_rows
from bokehlib.study.tables import exact, methods

KEY = ["what", "tokens", "heads", "radius", "direction"]  # what makes a row one combination
COLUMNS = [*KEY, "milliseconds", "peak_gib", "ratio_to_plain"]
KINDS = (
    dict.fromkeys(COLUMNS, "float64")
    | dict.fromkeys(("what", "tokens", "direction"), "str")
    | dict.fromkeys(("heads", "radius"), "Int64")  # integers that may be absent
)
PLANNED = (  # measured on an accelerator
    *("plain", "pisa", "pisa-novis", "pisa-reference", "pisa-published", "visibility"),
    *("sdxl-1024x1024", "sdxl-1024x1024-plain", "sdxl-1024x1024-published"),
    "training-sdxl-512",
)
MADE_BY = ("torch", "triton", "diffusers")  # their versions decide the milliseconds


def read(root: Path = RESULTS) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of the benchmark, with `COLUMNS`, and the provenance of each part of it.

    Raises:
        ValueError: a file has other columns, or repeats a combination.
    """
    paths = {path.stem.removeprefix("speed-"): path for path in root.glob("scores/speed-*.csv")}
    frames = [pd.DataFrame(columns=COLUMNS).astype(KINDS)]
    for _, path in sorted(paths.items()):
        frames.append(pd.read_csv(path, dtype=KINDS, keep_default_na=False, na_values=""))
        if list(frames[-1].columns) != COLUMNS:
            raise ValueError(f"{path.name} has columns {', '.join(frames[-1].columns)}")
    rows = pd.concat(frames, ignore_index=True)
    if (doubled := rows.duplicated(KEY)).any():
        raise ValueError(f"speed: rows repeat {', '.join(rows.loc[doubled, 'what'])}")
    return rows, {part: load_provenance(path) for part, path in sorted(paths.items())}


def write(
    part: str, rows: list[dict[str, Any]], provenance: dict[str, Any], root: Path = RESULTS
) -> None:
    """Write one part of the benchmark, with `COLUMNS`, and its provenance."""
    frame = pd.DataFrame(rows, columns=COLUMNS).astype(KINDS)
    write_rows(root / "scores" / f"speed-{part}.csv", frame, provenance)


def table(scores: pd.DataFrame, benchmark: pd.DataFrame) -> pd.DataFrame:
    """The benchmark's rows, those of `PLANNED` that it lacks, then one row per measured method.

    Args:
        scores: as read by `results.read_scores`.
        benchmark: rows as read by `read`.
    """
    timed = exact(scores, "synbokeh-mini")
    medians = 1000 * timed.groupby("method")["seconds"].median()
    rows = [{"what": what} for what in PLANNED if what not in set(benchmark["what"])]
    rows += [
        {"what": method, "direction": "forward", "milliseconds": medians[method]}
        for method in methods(timed)
        if method in medians.index
    ]
    return pd.concat([benchmark, pd.DataFrame(rows, columns=COLUMNS).astype(KINDS)])


def measured_on(provenances: dict[str, Any]) -> str:
    """One sentence: devices and versions of the benchmark, and what precision it lost.

    Args:
        provenances: by part, as read by `read`.
    """
    if not provenances:
        return "The other rows wait for the benchmark on a GPU."
    places: dict[str, list[str]] = {}
    for part, made in provenances.items():
        versions = [
            f"{name} {made['versions'][name]}" for name in MADE_BY if name in made["versions"]
        ]
        places.setdefault(f"{made['device']} with {', '.join(versions)}", []).append(part)
    named = [f"{place} ({', '.join(parts)})" for place, parts in places.items()]
    clauses = [f"The other rows were measured on {', '.join(named)}"]
    for asked in (made.get("parameters", {}) for made in provenances.values()):
        if loss := asked.get("psnr_to_float32"):
            clauses.append(
                f"the accelerated bfloat16 picture has a PSNR of {loss:.1f} dB against float32"
            )
        if "waiting" in asked:
            clauses.append(
                f"a training step has {asked['batch_size']} pairs, and waiting for them is "
                f"{asked['waiting']:.1f} % of it"
            )
    return f"{'; '.join(clauses)}."
