"""Tables 2, 2b and 2c: what the parts of the method are worth, over trainings of each recipe.

Scores of a training carry the name `<recipe>-s<seed>`, or `<recipe>-whole-s<seed>` where the whole
U-Net was tuned instead of LoRA.
"""

import pandas as pd

from bokehlib import study
from bokehlib.study.tables.measured import beside, differences, exact, means, pairs

DATASET = "synbokeh-mini"
LORA, WHOLE = "LoRA", "whole U-Net"
PHYSICS = {  # rows of Table 2b: the same network, its attention changed step by step
    "physics-plain": "plain attention",
    "physics-keys": "mask, normalised over keys",
    "physics-no_visibility": "PISA without visibility",
    "physics-paper": 'PISA, visibility "paper"',
    "physics-thin_lens": 'PISA, visibility "thin_lens"',
    "physics-thin_lens-coverage": 'PISA, "thin_lens", divided by coverage',
}
BEYOND = {  # rows of Table 2c
    "mini_paper": "LoRA of rank 16, all blocks",
    "mini_rank8": "LoRA of rank 8",
    "mini_rank32": "LoRA of rank 32",
    "mini_whole": "whole U-Net instead of LoRA",
    "mini_detail": "+ detail kept where the lens is sharp",
    "mini_thin_lens": "+ thin-lens visibility",
    "mini_fine": "+ PISA at 4 px tokens",
    "mini_fine_plain": "+ plain attention at 4 px tokens",
    "mini_disturbed": "+ half of the disparities wrong",
    "mini_channels": "+ optics as channels",
    "mini_residual": "+ optics as channels, given layers",
    "mini_confined": "+ optics as channels, given layers, corrects near outlines",
}
# What every other recipe is compared with.
COMPLETE, COMPLETE_PHYSICS, COMPLETE_BEYOND = "full", "physics-paper", "mini_paper"


def ablation(scores: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Table 2: a row per recipe of `study.ABLATIONS`, a block of rows for what was tuned.

    The paper tuned LoRA, so its numbers stand in that block. The other block is there once a
    training of it is measured.

    Args:
        scores: as read by `results.read_scores`.
        published: as read by `results.published("table2_ablation")`.
    """
    labels = {name: study.ABLATION_LABELS[name] for name in study.ABLATIONS}
    blocks = []
    for tuned, rows in _trainings(scores, labels).items():
        block = beside(published, list(labels.values()), means(rows, labels))
        if tuned == WHOLE:
            block = block.assign(**dict.fromkeys(block.filter(like="_paper"), float("nan")))
        blocks.append(_finished(block, tuned, labels, rows, COMPLETE))
    return pd.concat(blocks, ignore_index=True)


def physics(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2b: plain attention, then PISA's parts one by one, in the blocks that were trained."""
    trainings = _trainings(scores, PHYSICS)
    trained = {tuned: rows for tuned, rows in trainings.items() if not rows.empty}
    blocks = []
    for tuned, rows in (trained or trainings).items():
        block = means(rows, PHYSICS).drop(columns="seconds").reset_index(drop=True)
        blocks.append(_finished(block, tuned, PHYSICS, rows, COMPLETE_PHYSICS))
    return pd.concat(blocks, ignore_index=True)


def beyond(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2c: what the paper does not have, each added to the paper's model by itself."""
    rows = _trainings(scores, BEYOND)[LORA]
    block = means(rows, BEYOND).drop(columns="seconds").reset_index(drop=True)
    return _finished(block, LORA, BEYOND, rows, COMPLETE_BEYOND).drop(columns="tuned")


def _trainings(scores: pd.DataFrame, recipes: dict[str, str]) -> dict[str, pd.DataFrame]:
    """By what was tuned: exact rows of these recipes, whose `method` is the recipe, with `seed`."""
    rows = exact(scores, DATASET)
    parts = rows["method"].str.extract(study.TRAINING)
    rows = rows.assign(method=parts["recipe"], seed=pd.to_numeric(parts["seed"]))
    known = rows["method"].isin(recipes)
    lora, whole = (rows[known & (parts["tuned"] == end)] for end in ("", "-whole"))
    return {LORA: lora} if whole.empty else {LORA: lora, WHOLE: whole}


def _finished(
    block: pd.DataFrame, tuned: str, labels: dict[str, str], rows: pd.DataFrame, complete: str
) -> pd.DataFrame:
    """The block with what was tuned, its settings, differences and the number of trainings."""
    of = {name: rows[rows["method"] == name] for name in labels}
    rivals = dict.fromkeys(labels, of[complete]) | {complete: of[complete].head(0)}
    found = pd.DataFrame(differences(pairs(of[name], rivals[name])) for name in labels)
    images = block.pop("images")
    block = pd.concat([block, found], axis=1)
    block["trainings"] = rows.groupby("method")["seed"].nunique().reindex(labels).to_numpy()
    block["images"] = images
    block.insert(0, "tuned", tuned)
    block.insert(1, "setting", list(labels.values()))
    return block
