"""Frames as text: headings, decimals, captions, "not run" where nothing was measured."""

import numpy as np
import pandas as pd

from bokehlib import study
from bokehlib.study.tables.in_focus_table import MARK
from bokehlib.study.tables.measured import ASPECTS, HIGHER_IS_BETTER, NETWORKS
from bokehlib.study.tables.origins_table import GIVEN

HEADINGS = {
    "dataset": "Data set",
    "method": "Method",
    "setting": "Setting",
    "tuned": "Tuned",
    "trainings": "Trainings",
    "images": "Images",
    "psnr": "PSNR ↑",
    "ssim": "SSIM ↑",
    "dists": "DISTS ↓",
    "lpips": "LPIPS ↓",
    "lpips_alex": "LPIPS-Alex ↓",
    "lpips_squeeze": "LPIPS-Squeeze ↓",
    "lpips_vgg": "LPIPS-VGG ↓",
    "psnr_difference": "PSNR difference ↑",
    "lpips_percent": "LPIPS-Alex difference, % ↓",
    "disparity": "Disparity",
    "scenes": "Scenes",
    "origin": "Origin of the light",
    "psnr_method": "PSNR ↑",
    "psnr_scatter": "Scatter's PSNR ↑",
    "loss_method": "Loss, dB ↓",
    "loss_scatter": "Scatter's loss, dB ↓",
    "constant": "Constant, dB ↑",
    "in_focus": "In focus, dB ↑",
    "in_focus_inside": "In focus, 2 px inside, dB ↑",
    "under_near_blur": "Under near blur, dB ↑",
    "blurred": "Blurred, dB ↑",
    "exact": "Exact, dB ↑",
    "eroded_4": "Eroded 4 px, dB ↑",
    "dilated_4": "Dilated 4 px, dB ↑",
    **{
        name: f"{label[0].upper()}{label[1:]}, dB ↑"
        for name, label in study.ROBUSTNESS_DISTURBANCES.items()
    },
    "latent": "Latent",
    "kept": "Numbers kept",
    "psnr_copy": "Photographs' PSNR ↑",
    "lpips_alex_copy": "Photographs' LPIPS-Alex ↓",
    "seconds": "Seconds",
    "aperture": "Aperture, px",
    "ssim_crossed": "SSIM, cross-selected ↑",
    "left_out": "Left out",
    "peak_gib": "peak GiB",
    "accuracy": "(i) Accuracy ↑",
    "authenticity": "(ii) Authenticity ↑",
    "preference": "(iii) Preference ↑",
    "raters": "Raters",
    "ratings": "Number of ratings",
    "aspect": "Aspect",
    "pair": "Methods",
    "rating_difference": "Difference, points ↑",
    "p": "p (Wilcoxon, Holm)",
    "friedman": "Friedman's χ²",
    "friedman_p": "p (Friedman)",
    "alpha": "Krippendorff's α ↑",
    "deviation": "Spread of differences, points",
    "detectable": "Detectable, points ↓",
}
COMPARED = (  # the best of ours is bold
    *("psnr", "ssim", "dists", *NETWORKS["lpips"], *ASPECTS),
    *("psnr_copy", "lpips_alex_copy"),
)
DECIMALS = {  # else 4
    **{"psnr": 3, "psnr_copy": 2, "trainings": 0, "images": 0, "seconds": 3},
    **{"aperture": 2, "left_out": 0},
    **{"psnr_method": 2, "psnr_scatter": 2, "psnr_difference": 2, "lpips_percent": 1},
    **{"loss_method": 2, "loss_scatter": 2},
    **dict.fromkeys((*study.FOCUS_REGIONS.values(), *study.STRAND_ERRORS.values()), 2),
    **{"milliseconds": 3, "peak_gib": 3, "ratio_to_plain": 3},
    **dict.fromkeys(ASPECTS, 2),
    **{"raters": 0, "ratings": 0, "rating_difference": 2, "friedman": 1, "alpha": 2},
    **{"deviation": 2, "detectable": 2},
}
CHANCES = ("p", "friedman_p")  # "< 0.0001" where four decimals show none
WORDS = (
    *("dataset", "method", "tuned", "setting", "disparity", "scenes", "psnr_verdict"),
    *("lpips_verdict", "what", "tokens", "heads", "radius", "direction"),
    *("aspect", "pair", "rating_verdict", "latent", "kept", "origin"),
)
DIFFERENCES = {  # with bounds and verdict
    **{"psnr_difference": "psnr", "lpips_percent": "lpips"},
    "rating_difference": "rating",
}
LATEX_SIGNS = {
    **{"_": r"\_", "%": r"\%", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"},
    **{"χ²": r"$\chi^2$", "α": r"$\alpha$", "−": r"$-$", "<": r"$<$"},
}
NOT_EVERYWHERE = (  # "–" where other numbers of ours stand in the row
    *DIFFERENCES,
    *("loss_method", "loss_scatter", "peak_gib", "ratio_to_plain"),
    *("aperture", "ssim_crossed", "p"),
)
LABELS = study.DATASETS | {
    "ebb_val294": "EBB Val294, exposure-aligned",
    "ebb_val294-original": "EBB Val294, original",
    "ebb_val294-original-borrowed": "EBB Val294, original, at the aligned set's aperture",
}
_PAPER = "columns headed “paper” are the paper's own numbers"
_INTERVAL = "[95 % interval] and verdict"
_ROWS = "Verdicts are not corrected for the number of rows."
_EQUAL = study.TRAININGS["full-s0"]
_ALIKE = f"trained alike on the embedded prior, {_EQUAL.steps} steps of {_EQUAL.batch_size} pairs"
_SAME = (
    "on the same images and seeds; intervals come from resampled scenes, and seeds if there are "
    "several, and are not corrected for the number of rows."
)
CAPTIONS = {
    "table1_quality": (
        "Table 1 (left): quality, every method at the aperture of greatest mean SSIM where the set "
        f"does not give it; {_PAPER}."
    ),
    "tableS1": (
        f"Table S1: quality at two exposures, and seconds; {_PAPER}, and cross-selected is the "
        "SSIM of each half of a set at the aperture that the other half chose."
    ),
    "tableS2": (
        f"Table S2: quality on synthetic scenes; {_PAPER} on SYNBOKEH300, which was never released, "
        "with BokehDiff (on SDXL) repeated for each of our variants. Ours are on SYNBOKEH-mini, the "
        "embedded benchmark: these are different data sets, so compare within a column only."
    ),
    "tableS2_rebuilt": (
        "Table S2 on a rebuilt SYNBOKEH300, 300 scenes at four blurs made by our synthesis of a "
        f"user's photographs and foregrounds; {_PAPER} on the authors' set, which was never released."
    ),
    "tableS2_rendered": (
        "Quality on the path-traced scenes, which none of our networks was trained on, through a "
        "thin lens at two focus distances and three apertures each. The paper has no such table."
    ),
    "table2_ablation": (
        f"Table 2: ablation; {_PAPER} (SDXL on EBB Val294), ours are the embedded model on "
        f"SYNBOKEH-mini, {_ALIKE}. Differences, with {_INTERVAL}, are to the complete model {_SAME}"
    ),
    "table2b_physics": (
        "Table 2b: what each part of the physics is worth, on the embedded model and SYNBOKEH-mini, "
        f'{_ALIKE}. Differences, with {_INTERVAL}, are to PISA with visibility "paper" {_SAME}'
    ),
    "table2c_beyond": (
        "Table 2c: what is tuned, and what the paper does not have, each added by itself to the "
        f"embedded model, on SYNBOKEH-mini, {_ALIKE} without an adversarial term. Differences, with "
        f"{_INTERVAL}, are to the first row {_SAME}"
    ),
    "latents": (
        "What does the latent space cost? The same networks made for latents of so many pixels a "
        "side and channels, each trained alike. Numbers kept: of the latent, for 100 of the "
        "picture. Photographs: the embedded ones, which no training has seen, encoded and decoded. "
        "The rest: the complete one-step model on SYNBOKEH-mini, the whole U-Net tuned, PISA on "
        "every grid of the way down from 8 px a token. Differences, with "
        f"{_INTERVAL}, are to {study.EMBEDDED_LATENT.label}, the embedded model's latent; the "
        "intervals come from resampled scenes: one training speaks of these networks, not of "
        f"their latents. {_ROWS}"
    ),
    "claims": (
        f"Better than the classical renderer (Scatter)? Differences, with {_INTERVAL}, are to it on "
        "the same images (intervals come from resampled scenes and are not corrected for the number "
        "of rows); loss is the PSNR at the exact disparity minus that at the wrong one, with one "
        "lens per scene."
    ),
    "strands": (
        "Within 10 px of hair, wire and twigs on the path-traced scenes: means over images of the "
        "PSNR inside that band, at the exact disparity and at wrong ones, one lens a scene. The "
        "band is that of the true disparity."
    ),
    "origins": (
        "Where does a pixel's light come from? Means over images of the PSNR over a class of "
        "pixels of SYNBOKEH-mini, by the true layers and the lens of each picture. In focus and "
        "smooth blur: all of one layer, and all of it shows in the all-in-focus picture; visible "
        f"edge: of several; hidden background: more than {study.ORIGIN_SHARE:.0%} comes from what "
        f"nearer layers hide (1 − coverage; less does not count). Differences, with {_INTERVAL}, "
        f"are to {study.METHODS[GIVEN].label}, the render that the default corrects. Classes of "
        f"fewer than 100 pixels do not count. {_ROWS}"
    ),
    "in_focus": (
        "Does what is in focus stay as it is? Means over images of the PSNR over a region: from "
        "the mean square error of its pixels and channels, at most 100 dB, which equal pictures "
        "have. Constant: photographs at one disparity, in focus under an aperture of "
        f"{study.FOCUS_APERTURE:g} px, against themselves. The rest: SYNBOKEH-mini with one lens "
        "a scene, against the true picture: in focus (a circle of confusion below 0.5 px) where "
        "no nearer disc reaches, the same without the 2 px along its rim, in focus under the blur "
        "of something nearer, and what is blurred itself. Regions of fewer than 100 pixels do not "
        f"count. The marks: {MARK:g} dB for constant and for in focus."
    ),
    "speed": (
        "Durations and peak memory, with ratios to plain attention in the same run; a method's row "
        "is the median over SYNBOKEH-mini on the device of its scores or, with a size and a device, "
        "its time on one photograph (`worst`: the largest disc at every pixel)."
    ),
}


def _best(frame: pd.DataFrame, column: str) -> pd.Series:
    """Which rows hold the best of our numbers within their block, ties at what is shown."""
    shown = frame[column].astype(float).round(DECIMALS.get(column, 4))
    one = pd.Series(0, index=frame.index)
    block = next((frame[c] for c in ("dataset", "tuned", "origin") if c in frame), one)
    groups = shown.groupby(block)
    extreme = groups.transform("max" if HIGHER_IS_BETTER.get(column) else "min")
    return (shown == extreme) & (groups.transform("count") > 1)


def _text(frame: pd.DataFrame, column: str, bold: str) -> list[str]:
    if column in WORDS:
        return ["" if pd.isna(word) else str(word) for word in frame[column]]
    decimals = DECIMALS.get(column.removesuffix("_paper"), 4)
    absent = pd.Series("–" if column.endswith("_paper") else "not run", frame.index)
    if column in NOT_EVERYWHERE:
        absent = absent.mask(_measured(frame), "–")
    sign = "+" if column in DIFFERENCES else ""
    values = frame[column].astype(float)
    numbers = [
        none if np.isnan(x) else f"{x:{sign}.{decimals}f}"
        for x, none in zip(values, absent, strict=True)
    ]
    if column in CHANCES:
        return ["< 0.0001" if x < 5e-5 else text for x, text in zip(values, numbers, strict=True)]
    if column in DIFFERENCES:
        return _with_intervals(numbers, frame, DIFFERENCES[column], decimals)
    if column not in COMPARED:
        return numbers
    marks = _best(frame, column)
    marked = [bold.format(n) if mark else n for n, mark in zip(numbers, marks, strict=True)]
    return _with_bounds(marked, frame, column) if column in ASPECTS else marked


def _measured(frame: pd.DataFrame) -> pd.Series:
    """Which rows hold a number of ours."""
    ours = [c for c in frame if c not in (*WORDS, "images") and not c.endswith("_paper")]
    return frame[ours].notna().any(axis=1)


def _with_intervals(means: list[str], frame: pd.DataFrame, stem: str, decimals: int) -> list[str]:
    """Each mean as "+0.53 [+0.36, +0.71] better", alone where it has no interval."""
    rest = frame[[f"{stem}_{end}" for end in ("low", "high", "verdict")]]
    return [
        mean if pd.isna(low) else f"{mean} [{low:+.{decimals}f}, {high:+.{decimals}f}] {verdict}"
        for mean, (low, high, verdict) in zip(means, rest.to_numpy(), strict=True)
    ]


def _with_bounds(means: list[str], frame: pd.DataFrame, column: str) -> list[str]:
    """Each mean as "4.12 [3.98, 4.25]", alone where it has no interval."""
    bounds = frame[[f"{column}_{end}" for end in ("low", "high")]].to_numpy()
    return [
        mean if np.isnan(low) else f"{mean} [{low:.2f}, {high:.2f}]"
        for mean, (low, high) in zip(means, bounds, strict=True)
    ]


def _columns(frame: pd.DataFrame) -> list[str]:
    """Columns that are shown; bounds and verdict stand in the cell of their mean or difference."""
    stems = (*DIFFERENCES.values(), *ASPECTS)
    inside = {f"{stem}_{end}" for stem in stems for end in ("low", "high", "verdict")}
    return [column for column in frame if column not in inside]


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
    labelled = frame.replace({"dataset": LABELS}) if "dataset" in frame else frame
    shown = {column: _text(labelled, column, bold) for column in _columns(frame)}
    return pd.DataFrame(shown).rename(columns=_heading)


def _caption(name: str, note: str) -> str:
    return f"{CAPTIONS.get(name, '')} {note}".strip()


def markdown(frame: pd.DataFrame, name: str, note: str = "") -> str:
    """The table in Markdown with its caption and the note below."""
    shown = display(frame, bold="**{}**")
    sides = ["left" if column in WORDS else "right" for column in _columns(frame)]
    text = shown.to_markdown(index=False, disable_numparse=True, colalign=sides)
    return f"{text}\n\n{_caption(name, note)}\n"


def latex(frame: pd.DataFrame, name: str, note: str = "") -> str:
    """The table in LaTeX (booktabs) with its caption, ended by the note."""
    shown = display(frame, bold=r"\textbf{{{}}}").style.hide(axis="index")
    sides = "".join("l" if column in WORDS else "r" for column in _columns(frame))
    text = shown.to_latex(hrules=True, column_format=sides, caption=_caption(name, note))
    for sign, written in LATEX_SIGNS.items():
        text = text.replace(sign, written)
    return text
