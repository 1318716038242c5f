"""Tables 1 (left), S1 and S2: the quality of every method, the paper's numbers beside ours."""

import pandas as pd

from bokehlib import study
from bokehlib.data import PUBLISHED
from bokehlib.study.tables.measured import beside, exact, means, methods

# name -> pairs (data set in published.csv, data set of our scores)
QUALITY = {
    "table1_quality": [("ebb_val294", "ebb_val294"), ("blb_level5", "blb_level5")],
    "tableS1": [
        ("ebb_val294", "ebb_val294"),
        ("", "ebb_val294-original-borrowed"),  # never printed (P6)
        ("ebb_val294-original", "ebb_val294-original"),
    ],
    "tableS2": [("synbokeh300", "synbokeh-mini")],
    "tableS2_rebuilt": [("synbokeh300", "synbokeh300")],
    "tableS2_rendered": [("", "rendered")],  # the paper has no such set
}
FITTED_COLUMNS = ["dataset", "method", "aperture", "ssim_crossed", "left_out"]
FITTED_KINDS = dict.fromkeys(FITTED_COLUMNS[:2], "str") | dict.fromkeys(
    FITTED_COLUMNS[2:], "float64"
)
NO_FITTED = pd.DataFrame(columns=FITTED_COLUMNS).astype(FITTED_KINDS)


def quality(
    name: str, scores: pd.DataFrame, published: pd.DataFrame, fitted: pd.DataFrame = NO_FITTED
) -> pd.DataFrame:
    """Table 1 (left), S1 or S2: a row a data set and method, in the order of the study.

    A method has a row if the paper measured it, or if it runs on every machine, or has scores. A
    set that others hold has the aperture, the cross-selected SSIM and how many pictures were left
    out beside it.

    Args:
        name: a key of `QUALITY`. Where the paper has no such table, no column is its own.
        scores: as read by `results.read_scores`.
        published: as read by `results.published(name)`.
        fitted: as read by `results.read_fitted`.
    """
    blocks = []
    for theirs, mine in QUALITY[name]:
        numbers = published[published["dataset"] == (theirs or QUALITY[name][0][0])]
        if not theirs:
            numbers = numbers.assign(value=float("nan"))
        shown = {*numbers["method"]}
        rows = exact(scores, mine)
        measured = methods(scores[scores["dataset"] == mine])
        known = [m for m, k in study.METHODS.items() if k.published in shown or m in measured]
        names = [study.METHODS[m].published for m in known]
        block = beside(numbers, names, means(rows, known))
        block.insert(0, "dataset", mine)
        block.insert(1, "method", [study.METHODS[m].label for m in known])
        if mine in PUBLISHED:
            own = fitted[fitted["dataset"] == mine].set_index("method").reindex(known)
            own.loc["input", ["aperture", "ssim_crossed"]] = float("nan")  # the same at any
            columns = FITTED_COLUMNS[2:] if PUBLISHED[mine].aperture != "known" else ["left_out"]
            block = block.assign(**{column: own[column].to_numpy() for column in columns})
        blocks.append(block)
    return pd.concat(blocks, ignore_index=True)


def not_measured(frame: pd.DataFrame) -> str:
    """One sentence that names the sets of `data.PUBLISHED` without a row of ours; else ""."""
    images = frame[frame["dataset"].isin(PUBLISHED)].groupby("dataset", sort=False)["images"].sum()
    sets = dict.fromkeys(PUBLISHED[name].folder for name in images.index[images == 0])
    if not sets:
        return ""
    labels = " and ".join(study.DATASETS[name] for name in sets)
    return (
        f"Not measured, because the data are missing: {labels}; `python -m bokehlib data check PATH` "
        "names the missing files and their source."
    )
