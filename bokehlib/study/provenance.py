"""Provenance: the JSON beside every result that says where its numbers come from. No torch."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bokehlib.io.places import ROOT

MEASURED_WITH = (
    *("torch", "triton", "diffusers", "torchmetrics", "lpips", "DISTS-pytorch", "numba", "numpy"),
)
DECISIVE = ("weights_sha256", "data_sha256", "parameters")  # a result is up to date if these agree


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    except FileNotFoundError:  # git is not installed
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _commit() -> str:
    """BOKEHLIB_COMMIT, or the code's commit, "+" if library or notebooks differ; "" outside git."""
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


def provenance(
    parameters: dict[str, Any],
    seed: int,
    weights: str,
    data: str,
    device: str,
    wall_seconds: float | None = None,
) -> dict[str, Any]:
    """What made a result: commit, versions, device, parameters, seed, SHA-256 hashes and time.

    Args:
        parameters: what was asked for, see `results.score_parameters`.
        seed: of every random generator that took part.
        weights: SHA-256 over the method's weight files, "" if it has none.
        data: SHA-256 of the data set, "" if there is none.
        device: "cpu", or the name of the accelerator.
        wall_seconds: of the whole run; `study --fresh` adds them up.
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


def load_provenance(scores: Path) -> dict[str, Any]:
    """Content of the JSON beside a score file; empty if there is none."""
    path = scores.with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def same_provenance(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both name the same weights, data and parameters."""
    return all(name in one and one[name] == other.get(name) for name in DECISIVE)
