"""The table of numbers in README.md."""

from pathlib import Path

from bokehlib.io.places import ROOT
from bokehlib.study import results, tables

MARKS = ("<!-- tableS2 -->\n", "<!-- /tableS2 -->")
COLUMNS = ["method", "psnr_paper", "psnr", "ssim_paper", "ssim", "lpips_paper", "lpips_alex"]


def table(root: Path = results.RESULTS) -> str:
    """Table S2 with fewer columns, in Markdown, from the scores under `root`."""
    scores = results.read_scores("synbokeh-mini", root=root)
    frame = tables.build("tableS2", scores, results.published("tableS2"))
    return tables.markdown(frame[COLUMNS], "tableS2")


def shown(text: str) -> str:
    """The table that a README shows between the marks."""
    return text.split(MARKS[0])[1].split(MARKS[1])[0]


def update() -> None:
    """Bring README.md up to date."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    new = text.replace(MARKS[0] + shown(text), MARKS[0] + table())
    with results.replacing(path) as temporary:
        temporary.write_text(new, encoding="utf-8", newline="\n")
