"""What every table makes of score rows: means, the paper's numbers beside them, differences."""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from bokehlib import study
from bokehlib.study.statistics import paired_difference

ASPECTS = ("accuracy", "authenticity", "preference")  # columns (i) to (iii) of Table 1 (right)
NETWORKS = {"lpips": ["lpips_alex", "lpips_squeeze", "lpips_vgg"]}  # the paper names no network
MEANS = ["psnr", "ssim", *NETWORKS["lpips"], "dists", "seconds"]
PICTURE = ["image", "blur", "perturbation"]


def methods(scores: pd.DataFrame) -> list[str]:
    """Methods that run on every machine or have scores, in the order of the study.

    Trainings of a recipe are not among them: they have Tables 2, 2b and 2c.
    """
    measured = {*scores["method"], *study.EMBEDDED}
    return [m for m in study.METHODS if m in measured and not study.TRAINING.match(m)]


def exact(scores: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The measurements of a data set at its exact disparity."""
    return scores[(scores["dataset"] == dataset) & (scores["perturbation"] == "0")]


def means(rows: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Mean of every metric and number of different pictures, one row per `method` of that name."""
    pictures = rows.drop_duplicates(["method", *PICTURE]).groupby("method").size()
    ours = rows.groupby("method")[MEANS].mean().assign(images=pictures)
    return ours.reindex(list(names)).fillna({"images": 0})


def by_kind(probed: pd.DataFrame, kind: str, columns: dict[str, str]) -> pd.DataFrame:
    """One row per method with its label and one column per kind: mean PSNR in dB.

    Args:
        probed: as read by `results.read_probe`.
        kind: its column that tells the kinds apart.
        columns: kind -> column of the table.
    """
    names = methods(probed)
    found = probed.groupby(["method", kind])["psnr"].mean().unstack(kind)
    found = found.reindex(index=names, columns=[*columns]).astype("float64")
    table = found.rename(columns=columns).reset_index(drop=True)
    table.columns.name = None
    table.insert(0, "method", [study.METHODS[name].label for name in names])
    return table


def with_paper_columns(
    published: pd.DataFrame, names: list[str], ours: pd.DataFrame
) -> pd.DataFrame:
    """For every metric of the paper its column and ours, then the number of our images.

    Where the paper has no numbers at all: ours alone, all but the seconds.
    """
    paper = published.pivot(index="method", columns="metric", values="value").reindex(names)
    known = ("psnr", "ssim", "dists", "lpips", "seconds")
    columns = {}
    for metric in [m for m in known if m in paper] or known[:-1]:
        if metric in paper:
            columns[f"{metric}_paper"] = paper[metric].to_numpy()
        for column in NETWORKS.get(metric, [metric]):
            columns[column] = ours[column].to_numpy()
    return pd.DataFrame(columns | {"images": ours["images"].to_numpy()})


def pairs(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Rows of both on the same pictures, and of the same `seed` if both name one.

    The second's metrics end in `_other`.
    """
    key = [*PICTURE, "seed"] if "seed" in first and "seed" in second else PICTURE
    return first.merge(second, on=key, suffixes=("", "_other"))


def differences(both: pd.DataFrame) -> dict[str, Any]:
    """First minus second, see `difference`: PSNR in dB, LPIPS in % of the second's mean.

    Args:
        both: from `pairs`; `image` names the scene.

    Returns:
        `psnr_difference, psnr_low, psnr_high, psnr_verdict` and the same of LPIPS (AlexNet), whose
        first is `lpips_percent`.
    """
    percent = difference(both, "lpips_alex", "lpips", "percent", relative=True)
    return difference(both, "psnr") | percent


def difference(
    both: pd.DataFrame,
    metric: str,
    stem: str = "",
    ending: str = "difference",
    relative: bool = False,
) -> dict[str, Any]:
    """First minus second of one metric with interval and verdict.

    Of several seeds only scenes count that have been measured under all of them. Nothing where no
    picture is shared, no interval with one scene.

    Args:
        both: from `pairs`.
        metric: a column of it.
        stem: what the names of the results begin with, by default the metric's name.
        ending: of the difference itself.
        relative: in percent of the second's mean.
    """
    stem = stem or metric
    names = [f"{stem}_{end}" for end in (ending, "low", "high", "verdict")]
    rows = both.dropna(subset=[metric, f"{metric}_other"])
    if "seed" in rows:
        seeds = rows.groupby("image")["seed"].transform("nunique")
        rows = rows[seeds == rows["seed"].nunique()]
    first, second = rows[metric], rows[f"{metric}_other"]
    scale = 100 / second.mean() if relative else 1.0
    if rows["image"].nunique() < 2:
        mean = scale * (first - second).mean()
        return dict(zip(names, (mean, math.nan, math.nan, None), strict=True))
    higher = metric in ("psnr", "ssim")
    found = paired_difference(first, second, rows["image"], rows.get("seed"), higher)
    scaled = (scale * found.mean, scale * found.low, scale * found.high, found.verdict)
    return dict(zip(names, scaled, strict=True))
