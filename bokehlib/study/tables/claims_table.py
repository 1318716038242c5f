"""Is a method better than the classical renderer? Paired differences on the same pictures."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bokehlib import data, study
from bokehlib.study.tables.measured import differences, methods, pairs

RIVAL = "scatter"
CLAIMED = ("synbokeh-mini", "rendered")
WRONG = 4  # px by which the disparity is eroded or dilated


def claims(scores: pd.DataFrame, dataset: str = "") -> pd.DataFrame:
    """Every measured method against `scatter`: a row per kind of disparity and scenes.

    At a wrong disparity the lens of `study.ROBUSTNESS_BLUR` counts; `loss` is the PSNR
    at the exact disparity minus that at the wrong one, on the same pictures.

    Args:
        scores: as read by `results.read_scores`.
        dataset: whose scores count; by default those of `CLAIMED`. Rows by lamps are there for
            `synbokeh-mini` alone.
    """
    if not dataset:
        return pd.concat([claims(scores, name) for name in CLAIMED], ignore_index=True)
    own = scores[scores["dataset"] == dataset]
    names = [name for name in methods(own) if name not in ("input", RIVAL)]
    rows = [
        {"dataset": dataset, "method": study.METHODS[name].label} | row
        for name in names
        for row in _rows(own, name, dataset)
    ]
    return pd.DataFrame(rows)


def _rows(own: pd.DataFrame, method: str, dataset: str) -> Iterator[dict[str, Any]]:
    both = pairs(own[own["method"] == method], own[own["method"] == RIVAL])
    exact = both[both["perturbation"] == "0"]
    if dataset == "synbokeh-mini":
        lamps = exact["image"].isin(_scenes_with_lamps())
        yield _row("exact", "no clipped lamps", exact[~lamps])
        yield _row("exact", "clipped lamps", exact[lamps])
    yield _row("exact", "all", exact)
    lens = both[both["blur"] == study.ROBUSTNESS_BLUR]
    eroded, dilated = (lens[lens["perturbation"] == str(px)] for px in (-WRONG, WRONG))
    under_both = set(eroded["image"]) & set(dilated["image"])
    wrong = pd.concat([eroded, dilated])
    wrong = wrong[wrong["image"].isin(under_both)]
    kinds = {f"±{WRONG} px": wrong, f"eroded {WRONG} px": eroded, f"dilated {WRONG} px": dilated}
    for kind, rows in kinds.items():
        yield _row(kind, "all", rows) | _losses(rows, exact)


def _scenes_with_lamps() -> set[str]:
    """Scenes of `synbokeh-mini` with lamps, all of which are brighter than a picture can show."""
    return {scene["name"] for scene in data.manifest()["scenes"] if scene["scene"]["lamps"]}


def _row(disparity: str, scenes: str, both: pd.DataFrame) -> dict[str, Any]:
    return {
        "disparity": disparity,
        "scenes": scenes,
        "psnr_method": both["psnr"].mean(),
        "psnr_scatter": both["psnr_other"].mean(),
        **differences(both),
        "loss_method": float("nan"),
        "loss_scatter": float("nan"),
        "images": len(both.drop_duplicates(["image", "blur"])),
    }


def _losses(wrong: pd.DataFrame, exact: pd.DataFrame) -> dict[str, float]:
    """What both methods lose in PSNR by a wrong disparity, each against its own exact scores."""
    same = wrong.merge(exact, on=["image", "blur"], suffixes=("", "_exact"))
    return {
        "loss_method": (same["psnr_exact"] - same["psnr"]).mean(),
        "loss_scatter": (same["psnr_other_exact"] - same["psnr_other"]).mean(),
    }
