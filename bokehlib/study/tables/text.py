"""Frames as text, in Markdown and LaTeX: headings, decimals, "not run" where nothing was measured.

pandas' Styler knows no Markdown, and the two must show the same cells: the frame becomes text
first, then `DataFrame.to_markdown` and `Styler.to_latex` set it.
"""

import pandas as pd

from bokehlib import study
from bokehlib.study.tables.in_focus_table import MARK
from bokehlib.study.tables.measured import ASPECTS
from bokehlib.study.tables.origins_table import GIVEN

WORDS = {  # columns of text, and what cannot be averaged -> heading
    **{"dataset": "Data set", "method": "Method", "setting": "Setting", "tuned": "Tuned"},
    **{"disparity": "Disparity", "scenes": "Scenes", "origin": "Origin of the light"},
    **{"latent": "Latent", "kept": "Numbers kept", "aspect": "Aspect", "pair": "Methods"},
    **{name: name for name in ("what", "tokens", "heads", "radius", "direction")},
    **{f"{stem}_verdict": "" for stem in ("psnr", "lpips", "rating")},
}
NUMBERS = {  # other columns -> heading, decimals
    "trainings": ("Trainings", 0),
    "images": ("Images", 0),
    "psnr": ("PSNR ↑", 3),
    "ssim": ("SSIM ↑", 4),
    "dists": ("DISTS ↓", 4),
    "lpips": ("LPIPS ↓", 4),
    "lpips_alex": ("LPIPS-Alex ↓", 4),
    "lpips_squeeze": ("LPIPS-Squeeze ↓", 4),
    "lpips_vgg": ("LPIPS-VGG ↓", 4),
    "psnr_difference": ("PSNR difference ↑", 2),
    "lpips_percent": ("LPIPS-Alex difference, % ↓", 1),
    "psnr_method": ("PSNR ↑", 2),
    "psnr_scatter": ("Scatter's PSNR ↑", 2),
    "loss_method": ("Loss, dB ↓", 2),
    "loss_scatter": ("Scatter's loss, dB ↓", 2),
    "constant": ("Constant, dB ↑", 2),
    "in_focus": ("In focus, dB ↑", 2),
    "in_focus_inside": ("In focus, 2 px inside, dB ↑", 2),
    "under_near_blur": ("Under near blur, dB ↑", 2),
    "blurred": ("Blurred, dB ↑", 2),
    "exact": ("Exact, dB ↑", 2),
    "eroded_4": ("Eroded 4 px, dB ↑", 2),
    "dilated_4": ("Dilated 4 px, dB ↑", 2),
    **{
        name: (f"{label[0].upper()}{label[1:]}, dB ↑", 2)
        for name, label in study.ROBUSTNESS_DISTURBANCES.items()
    },
    "psnr_copy": ("Photographs' PSNR ↑", 2),
    "lpips_alex_copy": ("Photographs' LPIPS-Alex ↓", 4),
    "seconds": ("Seconds", 3),
    "aperture": ("Aperture, px", 2),
    "ssim_crossed": ("SSIM, cross-selected ↑", 4),
    "left_out": ("Left out", 0),
    "milliseconds": ("milliseconds", 3),
    "peak_gib": ("peak GiB", 3),
    "ratio_to_plain": ("ratio to plain", 3),
    "accuracy": ("(i) Accuracy ↑", 2),
    "authenticity": ("(ii) Authenticity ↑", 2),
    "preference": ("(iii) Preference ↑", 2),
    "raters": ("Raters", 0),
    "ratings": ("Number of ratings", 0),
    "rating_difference": ("Difference, points ↑", 2),
    "p": ("p (Wilcoxon, Holm)", 4),
    "friedman": ("Friedman's χ²", 1),
    "friedman_p": ("p (Friedman)", 4),
    "alpha": ("Krippendorff's α ↑", 2),
    "deviation": ("Spread of differences, points", 2),
    "detectable": ("Detectable, points ↓", 2),
}
BOLD = {  # the best of ours is
    *("psnr", "ssim", "dists", "lpips_alex", "lpips_squeeze", "lpips_vgg", *ASPECTS),
    *("psnr_copy", "lpips_alex_copy"),
}
CHANCES = ("p", "friedman_p")  # "< 0.0001" where four decimals show none
DIFFERENCES = {  # with a sign, bounds and verdict -> what these columns begin with
    **{"psnr_difference": "psnr", "lpips_percent": "lpips", "rating_difference": "rating"},
}
INTERVALS = DIFFERENCES | {aspect: aspect for aspect in ASPECTS}
SPARSE = (  # "–" in a row with other numbers of ours
    *DIFFERENCES,
    *("loss_method", "loss_scatter", "peak_gib", "ratio_to_plain"),
    *("aperture", "ssim_crossed", "p"),
)
LATEX_SIGNS = {
    **{"_": r"\_", "%": r"\%", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"},
    **{"χ²": r"$\chi^2$", "α": r"$\alpha$", "−": r"$-$", "<": r"$<$"},
}
LABELS = study.DATASETS | {
    "ebb_val294": "EBB Val294, exposure-aligned",
    "ebb_val294-original": "EBB Val294, original",
    "ebb_val294-original-borrowed": "EBB Val294, original, at the aligned set's aperture",
}
_INTERVAL = "[95 % interval] and verdict"
_ROWS = "Verdicts are not corrected for the number of rows."
CAPTIONS = {  # of the diagnostics; every other notebook passes its own
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
}


def _best(frame: pd.DataFrame, column: str) -> pd.Series:
    """Which rows hold the best of our numbers within their block, ties at what is shown."""
    heading, decimals = NUMBERS[column]
    shown = frame[column].astype(float).round(decimals)
    one = pd.Series(0, index=frame.index)
    block = next((frame[c] for c in ("dataset", "tuned", "origin") if c in frame), one)
    groups = shown.groupby(block)
    extreme = groups.transform("max" if heading.endswith("↑") else "min")
    return (shown == extreme) & (groups.transform("count") > 1)


def _text(frame: pd.DataFrame, column: str, bold: str) -> list[str]:
    if column in WORDS:
        return ["" if pd.isna(word) else str(word) for word in frame[column]]
    _, decimals = NUMBERS[column.removesuffix("_paper")]
    form = f"{'+' if column in DIFFERENCES else ''}.{decimals}f"
    absent = pd.Series("–" if column.endswith("_paper") else "not run", frame.index)
    if column in SPARSE:
        ours = [c for c in frame if c not in (*WORDS, "images") and not c.endswith("_paper")]
        absent = absent.mask(frame[ours].notna().any(axis=1), "–")
    values = frame[column].astype(float)
    texts = values.map(f"{{:{form}}}".format).where(values.notna(), absent)
    if column in CHANCES:
        texts = texts.mask(values < 5e-5, "< 0.0001")
    if column in BOLD:
        texts = texts.mask(_best(frame, column), texts.map(bold.format))
    return _with_intervals(texts, frame, column, form) if column in INTERVALS else [*texts]


def _with_intervals(texts: pd.Series, frame: pd.DataFrame, column: str, form: str) -> list[str]:
    """Each number as "+0.53 [+0.36, +0.71] better", alone where it has no interval."""
    stem = INTERVALS[column]
    low, high = frame[f"{stem}_low"], frame[f"{stem}_high"]
    words = frame.get(f"{stem}_verdict", pd.Series("", frame.index))
    return [
        text if pd.isna(a) else f"{text} [{a:{form}}, {b:{form}}] {word}".rstrip()
        for text, a, b, word in zip(texts, low, high, words, strict=True)
    ]


def _columns(frame: pd.DataFrame) -> list[str]:
    """Columns that are shown; bounds and verdicts are in the cell of their number."""
    ends = ("low", "high", "verdict")
    inside = {f"{stem}_{end}" for stem in INTERVALS.values() for end in ends}
    return [column for column in frame if column not in inside]


def _heading(column: str) -> str:
    plain = column.removesuffix("_paper")
    heading = WORDS[plain] if plain in WORDS else NUMBERS[plain][0]
    return f"{heading} paper" if column != plain else heading


def display(frame: pd.DataFrame, bold: str = "{}") -> pd.DataFrame:
    """The frame as text under headings, the best of ours in bold.

    Args:
        frame: numbers, in columns that `WORDS` or `NUMBERS` name.
        bold: pattern of a bold number, "**{}**" in Markdown.
    """
    labelled = frame.replace({"dataset": LABELS}) if "dataset" in frame else frame
    shown = {column: _text(labelled, column, bold) for column in _columns(frame)}
    return pd.DataFrame(shown).rename(columns=_heading)


def markdown(frame: pd.DataFrame, name: str, caption: str = "") -> str:
    """The table in Markdown with its caption below."""
    shown = display(frame, bold="**{}**")
    sides = ["left" if column in WORDS else "right" for column in _columns(frame)]
    text = shown.to_markdown(index=False, disable_numparse=True, colalign=sides)
    return f"{text}\n\n{_caption(name, caption)}\n"


def latex(frame: pd.DataFrame, name: str, caption: str = "") -> str:
    """The table in LaTeX (booktabs) with its caption."""
    shown = display(frame, bold=r"\textbf{{{}}}").style.hide(axis="index")
    sides = "".join("l" if column in WORDS else "r" for column in _columns(frame))
    text = shown.to_latex(hrules=True, column_format=sides, caption=_caption(name, caption))
    for sign, written in LATEX_SIGNS.items():
        text = text.replace(sign, written)
    return text


def _caption(name: str, caption: str) -> str:
    return f"{CAPTIONS.get(name, '')} {caption}".strip()
