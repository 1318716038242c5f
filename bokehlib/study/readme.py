"""The table of numbers in README.md: Table S2 with fewer columns."""

import pandas as pd

from bokehlib.io.places import ROOT
from bokehlib.study import results, tables

MARKS = ("<!-- tableS2 -->\n", "<!-- /tableS2 -->")
COLUMNS = ["method", "psnr_paper", "psnr", "ssim_paper", "ssim", "lpips_paper", "lpips_alex"]


def table() -> str:
    """The columns of the committed table in Markdown, above its caption."""
    path = results.RESULTS / "tables" / "tableS2"
    frame = pd.read_csv(path.with_suffix(".csv"))[COLUMNS]
    caption = path.with_suffix(".md").read_text(encoding="utf-8").rpartition("\n\n")[2]
    return tables.markdown(frame, "tableS2", caption)


def shown(text: str) -> str:
    """The table that a README shows between the marks."""
    return text.split(MARKS[0])[1].split(MARKS[1])[0]


def update() -> None:
    """Bring README.md up to date."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    with results.replacing(path) as temporary:
        new = text.replace(MARKS[0] + shown(text), MARKS[0] + table())
        temporary.write_text(new, encoding="utf-8", newline="\n")
