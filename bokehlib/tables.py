"""The paper's tables as data frames: our measurements beside the paper's numbers.

A frame holds numbers alone and nothing where nothing was measured; `markdown` and `latex` show
such a cell as "not run". A paper's number stands only in a column that ends in `_paper`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bokehlib import study

HIGHER_IS_BETTER = {"psnr": True, "ssim": True}  # every other metric: lower is better
NETWORKS = {"lpips": ["lpips_alex", "lpips_squeeze", "lpips_vgg"]}  # the paper names no network
HEADINGS = {
    "dataset": "Data set",
    "method": "Method",
    "setting": "Setting",
    "images": "Images",
    "psnr": "PSNR ↑",
    "ssim": "SSIM ↑",
    "dists": "DISTS ↓",
    "lpips": "LPIPS ↓",
    "lpips_alex": "LPIPS-Alex ↓",
    "lpips_squeeze": "LPIPS-Squeeze ↓",
    "lpips_vgg": "LPIPS-VGG ↓",
    "seconds": "Seconds",
    "peak_gib": "peak GiB",
}
COMPARED = ("psnr", "ssim", "dists", *NETWORKS["lpips"])  # the best of ours is bold
DECIMALS = {  # else 4
    **{"psnr": 3, "images": 0, "seconds": 3},
    **{"milliseconds": 3, "peak_gib": 3, "ratio_to_plain": 3},
}
WORDS = ("dataset", "method", "setting", "what", "tokens", "heads", "radius", "direction")

# name -> pairs (data set in published.csv, data set of our scores)
QUALITY = {
    "table1_quality": [("ebb_val294", "ebb_val294"), ("blb_level5", "blb_level5")],
    "tableS1": [("ebb_val294", "ebb_val294"), ("ebb_val294-original", "ebb_val294-original")],
    "tableS2": [("synbokeh300", "synbokeh-mini")],
}
LABELS = study.DATASETS | {
    "ebb_val294": "EBB Val294, exposure-aligned",
    "ebb_val294-original": "EBB Val294, original",
}
PHYSICS = {  # rows of Table 2b: the same network, its attention changed step by step
    "physics-plain": "plain attention",
    "physics-keys": "mask, normalised over keys",
    "physics-no_visibility": "PISA without visibility",
    "physics-paper": 'PISA, visibility "paper"',
    "physics-thin_lens": 'PISA, visibility "thin_lens"',
    "physics-thin_lens-coverage": 'PISA, "thin_lens", divided by coverage',
}
SPEED_KEY = ["what", "tokens", "heads", "radius", "direction"]  # what makes a row one combination
SPEED_COLUMNS = [*SPEED_KEY, "milliseconds", "peak_gib", "ratio_to_plain"]
SPEED_KINDS = (
    dict.fromkeys(SPEED_COLUMNS, "float64")
    | dict.fromkeys(("what", "tokens", "direction"), "str")
    | dict.fromkeys(("heads", "radius"), "Int64")  # integers that may be absent
)
SPEED_PLANNED = (  # measured on an accelerator
    *("plain", "pisa", "pisa-novis", "pisa-reference", "pisa-published", "visibility"),
    *("sdxl-1024x1024", "sdxl-1024x1024-plain", "sdxl-1024x1024-published"),
)
SPEED_MADE_BY = ("torch", "triton", "diffusers")  # their versions decide the milliseconds
NO_SPEED = pd.DataFrame(columns=SPEED_COLUMNS).astype(SPEED_KINDS)

_PAPER = "Columns headed “paper” are the paper's own numbers"
_VARIANTS = "the paper's BokehDiff (on SDXL) stands beside each of our variants of it"
_NETWORK = "the paper does not say which network its LPIPS uses"
CAPTIONS = {
    "table1_quality": f"Table 1 (left): quality. {_PAPER}; {_VARIANTS}; {_NETWORK}.",
    "tableS1": (
        f"Table S1: quality at two exposures, and duration. {_PAPER}; {_VARIANTS}; {_NETWORK}."
    ),
    "tableS2": (
        f"Table S2: quality on synthetic scenes. {_PAPER} on SYNBOKEH300, which was never "
        "released; ours are on SYNBOKEH-mini, the embedded benchmark. They are different data "
        f"sets: compare within a column, not across the two; {_VARIANTS}; {_NETWORK}."
    ),
    "table2_ablation": (
        f"Table 2: ablation. {_PAPER}, SDXL on EBB Val294; ours are the embedded model on "
        f"SYNBOKEH-mini; {_NETWORK}."
    ),
    "table2b_physics": (
        "Table 2b: what each part of the physics is worth, on the embedded model and SYNBOKEH-mini."
    ),
    "speed": (
        "Durations and peak memory; ratios are to plain attention in the same run. `pisa` has one "
        "radius everywhere, `pisa-photo` those of a photograph, up to that one. A method's row is "
        "the median over the images of SYNBOKEH-mini, on the device of its score stamp."
    ),
}


# --- Frames ----------------------------------------------------------------------------------


def _ours(scores: pd.DataFrame, dataset: str, methods: Iterable[str]) -> pd.DataFrame:
    """Mean of every metric over the exact measurements of a data set, one row a method."""
    exact = scores[(scores["dataset"] == dataset) & (scores["perturbation"] == "0")]
    groups = exact.groupby("method")
    columns = ["psnr", "ssim", *NETWORKS["lpips"], "dists", "seconds"]
    means = groups[columns].mean().assign(images=groups.size())
    return means.reindex(list(methods)).fillna({"images": 0})


def _beside(published: pd.DataFrame, names: list[str], ours: pd.DataFrame) -> pd.DataFrame:
    """For every metric of the paper its column and ours, then the number of our images."""
    paper = published.pivot(index="method", columns="metric", values="value").reindex(names)
    columns = {}
    for metric in [m for m in ("psnr", "ssim", "dists", "lpips", "seconds") if m in paper]:
        columns[f"{metric}_paper"] = paper[metric].to_numpy()
        for column in NETWORKS.get(metric, [metric]):
            columns[column] = ours[column].to_numpy()
    return pd.DataFrame(columns | {"images": ours["images"].to_numpy()})


def quality(name: str, scores: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 1 (left), S1 or S2: a row a data set and method, in the order of the study.

    A method has a row if the paper measured it, or if it runs on every machine, or has scores.

    Args:
        name: a key of `QUALITY`.
        scores: as read by `results.read_scores`.
        published: as read by `results.published(name)`.
    """
    blocks = []
    for theirs, mine in QUALITY[name]:
        numbers = published[published["dataset"] == theirs]
        shown = {*numbers["method"]}
        measured = {*scores.loc[scores["dataset"] == mine, "method"], *study.EMBEDDED}
        methods = [
            m for m, method in study.METHODS.items() if method.published in shown or m in measured
        ]
        names = [study.METHODS[m].published for m in methods]
        block = _beside(numbers, names, _ours(scores, mine, methods))
        block.insert(0, "dataset", mine)
        block.insert(1, "method", [study.METHODS[m].label for m in methods])
        blocks.append(block)
    return pd.concat(blocks, ignore_index=True)


def ablation(scores: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 2: a row a recipe of `study.ABLATIONS`; its scores carry the recipe's name."""
    labels = [study.ABLATION_LABELS[name] for name in study.ABLATIONS]
    frame = _beside(published, labels, _ours(scores, "synbokeh-mini", study.ABLATIONS))
    frame.insert(0, "setting", labels)
    return frame


def physics(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2b: plain attention, then PISA's parts one by one."""
    frame = _ours(scores, "synbokeh-mini", PHYSICS).drop(columns="seconds").reset_index(drop=True)
    frame.insert(0, "setting", list(PHYSICS.values()))
    return frame


def speed(scores: pd.DataFrame, benchmark: pd.DataFrame = NO_SPEED) -> pd.DataFrame:
    """Durations: the benchmark's rows, what it has not measured, then one row a measured method.

    Args:
        scores: as read by `results.read_scores`.
        benchmark: rows as read by `results.read_speed`.
    """
    exact = scores[(scores["dataset"] == "synbokeh-mini") & (scores["perturbation"] == "0")]
    medians = 1000 * exact.groupby("method")["seconds"].median()
    methods = [m for m in study.METHODS if m in medians.index]
    rows = [{"what": what} for what in SPEED_PLANNED if what not in set(benchmark["what"])]
    rows += [{"what": m, "direction": "forward", "milliseconds": medians[m]} for m in methods]
    rest = pd.DataFrame(rows, columns=SPEED_COLUMNS).astype(SPEED_KINDS)
    return pd.concat([benchmark, rest], ignore_index=True)


def build(
    name: str,
    scores: pd.DataFrame,
    published: pd.DataFrame,
    benchmark: pd.DataFrame = NO_SPEED,
) -> pd.DataFrame:
    """The table of that name, see `quality`, `ablation`, `physics` and `speed`.

    Raises:
        KeyError: unknown table.
    """
    if name in QUALITY:
        return quality(name, scores, published)
    if name == "table2_ablation":
        return ablation(scores, published)
    if name == "table2b_physics":
        return physics(scores)
    if name == "speed":
        return speed(scores, benchmark)
    raise KeyError(f"unknown table {name!r}; known: {', '.join(CAPTIONS)}")


# --- Display ---------------------------------------------------------------------------------


def _best(frame: pd.DataFrame, column: str) -> pd.Series:
    """Which rows hold the best of our numbers within their data set, ties at what is shown."""
    shown = frame[column].astype(float).round(DECIMALS.get(column, 4))
    group = frame["dataset"] if "dataset" in frame else pd.Series(0, index=frame.index)
    groups = shown.groupby(group)
    extreme = groups.transform("max" if HIGHER_IS_BETTER.get(column) else "min")
    return (shown == extreme) & (groups.transform("count") > 1)


def _text(frame: pd.DataFrame, column: str, bold: str) -> list[str]:
    if column in WORDS:
        return ["" if pd.isna(word) else str(word) for word in frame[column]]
    decimals = DECIMALS.get(column.removesuffix("_paper"), 4)
    absent = pd.Series("–" if column.endswith("_paper") else "not run", frame.index)
    if column in ("peak_gib", "ratio_to_plain"):  # not every time has them
        absent = absent.mask(frame["milliseconds"].notna(), "–")
    numbers = [
        none if np.isnan(x) else f"{x:.{decimals}f}"
        for x, none in zip(frame[column].astype(float), absent, strict=True)
    ]
    if column not in COMPARED:
        return numbers
    marks = _best(frame, column)
    return [bold.format(n) if mark else n for n, mark in zip(numbers, marks, strict=True)]


def _heading(column: str) -> str:
    plain = column.removesuffix("_paper")
    heading = HEADINGS.get(plain, plain.replace("_", " "))
    return f"{heading} paper" if column != plain else heading


def display(frame: pd.DataFrame, bold: str) -> pd.DataFrame:
    """The frame as text under headings, the best of ours in bold.

    Args:
        frame: numbers, in columns that `HEADINGS` or `WORDS` name.
        bold: pattern of a bold number, "**{}**" in Markdown.
    """
    labelled = frame.assign(dataset=frame["dataset"].map(LABELS)) if "dataset" in frame else frame
    shown = {column: _text(labelled, column, bold) for column in frame.columns}
    return pd.DataFrame(shown).rename(columns=_heading)


def measured_on(stamps: dict[str, Any]) -> str:
    """A sentence on the devices and the versions of the benchmark, for the caption.

    Args:
        stamps: by part, as read by `results.read_speed`.
    """
    if not stamps:
        return "The other rows wait for the benchmark on a GPU."
    places: dict[str, list[str]] = {}
    for part, stamp in stamps.items():
        found = stamp["versions"]
        versions = [f"{package} {found[package]}" for package in SPEED_MADE_BY if package in found]
        place = f"{stamp['device']} with {', '.join(versions)}"
        places.setdefault(place, []).append(part)
    named = [f"{place} ({', '.join(parts)})" for place, parts in places.items()]
    return f"The other rows were measured on {'; '.join(named)}."


def _caption(name: str, note: str) -> str:
    return f"{CAPTIONS[name]} {note}".rstrip()


def markdown(frame: pd.DataFrame, name: str, note: str = "") -> str:
    """The table in Markdown with its caption and the note below."""
    shown = display(frame, bold="**{}**")
    sides = ["left" if column in WORDS else "right" for column in frame.columns]
    text = shown.to_markdown(index=False, disable_numparse=True, colalign=sides)
    return f"{text}\n\n{_caption(name, note)}\n"


def latex(frame: pd.DataFrame, name: str, note: str = "") -> str:
    """The table in LaTeX (booktabs) with its caption, ended by the note."""
    shown = display(frame, bold=r"\textbf{{{}}}").style.hide(axis="index")
    sides = "".join("l" if column in WORDS else "r" for column in frame.columns)
    text = shown.to_latex(hrules=True, column_format=sides, caption=_caption(name, note))
    for sign, written in {"_": r"\_", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}.items():
        text = text.replace(sign, written)
    return text
