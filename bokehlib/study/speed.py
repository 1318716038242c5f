"""Files of the benchmark: `scores/speed-<part>.csv` and their provenance. No torch."""

from pathlib import Path
from typing import Any

import pandas as pd

from bokehlib.study.provenance import load_provenance
from bokehlib.study.results import RESULTS, write_rows

KEY = ["what", "tokens", "heads", "radius", "direction"]  # what makes a row one combination
COLUMNS = [*KEY, "milliseconds", "peak_gib", "ratio_to_plain"]
KINDS = (
    dict.fromkeys(COLUMNS, "float64")
    | dict.fromkeys(("what", "tokens", "direction"), "str")
    | dict.fromkeys(("heads", "radius"), "Int64")  # integers that may be absent
)


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
