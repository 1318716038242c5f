"""The speed table in the parts in which it is read."""

import pandas as pd

from bokehlib import study
from bokehlib.study import tables


def parts(frame: pd.DataFrame, published: pd.DataFrame) -> dict[str, str]:
    """The parts in which the speed table is read: heading -> table in Markdown, or "not run".

    Args:
        frame: from `tables.speed`.
        published: as read by `results.published("tableS1")`.
    """
    rows = frame.dropna(subset="milliseconds")
    attention, what = rows[rows["heads"].notna()], rows["what"]
    forward = attention["direction"] == "forward"
    cells = "milliseconds (ratio to plain)"
    found = {
        f"Attention, forward: {cells}": _by_size(attention[forward]),
        f"Attention, forward and backward: {cells}": _by_size(attention[~forward]),
        "Visibility: milliseconds": _by_size(rows[what.str.startswith("visibility")]),
        "The whole model by stage: milliseconds": _by_stage(rows[what.str.startswith("sdxl-")]),
        "A training step": _training(rows[what.str.startswith("training-")]),
        "One picture by method": _durations(rows, published),
    }
    return {
        heading: part.to_markdown(index=False, disable_numparse=True) if len(part) else "not run"
        for heading, part in found.items()
    }


def _wide(rows: pd.DataFrame, index: list[str], columns: str) -> pd.DataFrame:
    """Texts of column `cell` in rows and columns in the order of their first appearance."""
    wide = rows.pivot_table("cell", index, columns, aggfunc="first", sort=False)
    return wide.fillna("").reset_index().rename_axis(columns=None)


def _texts(numbers: pd.Series, form: str) -> pd.Series:
    """Each number in that form, nothing where there is none."""
    texts = ["" if pd.isna(number) else form.format(number) for number in numbers]
    return pd.Series(texts, numbers.index, "str")


def _by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per `what` and radius, one column per size; cells: milliseconds (ratio to plain)."""
    texts = {
        "what": rows["what"],
        "radius": _texts(rows["radius"], "{}"),
        "size": _texts(rows["tokens"], "{}") + _texts(rows["heads"], ", {} heads"),
        "cell": _texts(rows["milliseconds"], "{:.3f}")
        + _texts(rows["ratio_to_plain"], " ({:.2f})"),
    }
    return _wide(pd.DataFrame(texts), ["what", "radius"], "size")


def _by_stage(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model, one column per stage; then peak memory and ratio of the whole."""
    texts = {
        "what": rows["what"].str.replace("/.*", "", regex=True),
        "stage": rows["what"].str.extract("/(.*)", expand=False).fillna("whole"),
        "cell": _texts(rows["milliseconds"], "{:.1f}"),
    }
    wide = _wide(pd.DataFrame(texts), ["what"], "stage")
    whole = rows.set_index("what").reindex(wide["what"]).reset_index()
    peak, ratio = _texts(whole["peak_gib"], "{:.2f}"), _texts(whole["ratio_to_plain"], "{:.2f}")
    return wide.assign(**{"peak GiB": peak, "ratio to plain": ratio})


def _training(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a size: milliseconds and peak memory of a step."""
    texts = {
        "what": rows["what"],
        "milliseconds": _texts(rows["milliseconds"], "{:.0f}"),
        "peak GiB": _texts(rows["peak_gib"], "{:.1f}"),
    }
    return pd.DataFrame(texts)


def _durations(rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """A row a method: the paper's seconds (Table S1), those of its scores, and one run's.

    BokehDiff on SDXL takes the benchmark's, whose photo is as large as the paper's.
    """
    paper = published[published["metric"] == "seconds"].set_index("method")["value"]
    ours = (rows.set_index("what")["milliseconds"] / 1000).to_dict()
    if "sdxl-1536x1024" in ours:
        ours["bokehdiff-sdxl"] = ours["sdxl-1536x1024"]
    known = {name: m for name, m in study.METHODS.items() if name in ours or m.published in paper}
    seconds = [[m.label, paper.get(m.published), ours.get(name)] for name, m in known.items()]
    frame = pd.DataFrame(seconds, columns=["method", "seconds_paper", "seconds"])
    shown = tables.display(frame, bold="{}")
    for place in [place for place in tables.PLACES if any(what.endswith(place) for what in ours)]:
        own = pd.Series([ours.get(f"{name}-{place}") for name in known], dtype="float64")
        shown[place.replace("-", ", ")] = _texts(own, "{:.3f}")
    return shown
