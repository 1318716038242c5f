"""Tables 1 (left), S1 and S2: the quality of every method, the paper's numbers beside ours."""

import pandas as pd

from bokehlib import study
from bokehlib.tables.measured import beside, exact, means, methods

# name -> pairs (data set in published.csv, data set of our scores)
QUALITY = {
    "table1_quality": [("ebb_val294", "ebb_val294"), ("blb_level5", "blb_level5")],
    "tableS1": [("ebb_val294", "ebb_val294"), ("ebb_val294-original", "ebb_val294-original")],
    "tableS2": [("synbokeh300", "synbokeh-mini")],
}


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
        rows = exact(scores, mine)
        measured = methods(scores[scores["dataset"] == mine])
        known = [m for m, k in study.METHODS.items() if k.published in shown or m in measured]
        names = [study.METHODS[m].published for m in known]
        block = beside(numbers, names, means(rows, known))
        block.insert(0, "dataset", mine)
        block.insert(1, "method", [study.METHODS[m].label for m in known])
        blocks.append(block)
    return pd.concat(blocks, ignore_index=True)
