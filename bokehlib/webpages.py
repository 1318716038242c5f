"""`python -m bokehlib.webpages`: the executed notebooks as web pages that need no network.

Every run of a notebook that stands becomes a page; one that never ran is run now, a worker in smoke
mode, which measures nothing. Pages hold their pictures and no scripts; formulas are drawn here.
"""

import base64
import html
import io
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bokehlib import batch, study
from bokehlib.errors import InputError, Parser, run_command
from bokehlib.results import RESULTS, ROOT, replacing, resolve

PAGES = RESULTS / "runs" / "html"
IN_FULL = ("0", "4")  # notebooks of these stages run in full; so do the reporters of the study
_LIVE = "<p><em>The page opens in JupyterLab, not here.</em></p>"
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_PLAIN = {  # TeX that matplotlib does not know -> what it does
    r"\\[lr]vert(?![a-zA-Z])": "|",
    r"\\[lr]Vert(?![a-zA-Z])": r"\\Vert ",
    r"\\bigl(?![a-zA-Z])|\\bigr(?![a-zA-Z])": "",
    r"\\([lg])e(?![a-zA-Z])": r"\\\1eq",
    r"\\mathcal ([A-Z])": r"\\mathcal{\1}",
}
_STYLE = "font: 16px/1.5 sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em"


# --- Formulas --------------------------------------------------------------------------------


def formula(tex: str) -> tuple[bytes, float] | None:
    """A TeX formula drawn by matplotlib; None if it knows no such formula.

    Returns:
        SVG, and how far it reaches below its line in pt.
    """
    from matplotlib import mathtext

    for known, plain in _PLAIN.items():
        tex = re.sub(known, plain, tex)
    drawn = io.BytesIO()
    try:
        deep = mathtext.math_to_image(f"${' '.join(tex.split())}$", drawn, dpi=72, format="svg")
    except ValueError:
        return None
    return drawn.getvalue(), deep


def drawn(text: str) -> str:
    """Markdown whose formulas are pictures with the TeX as their text; code stays as it is."""

    def picture(found: re.Match) -> str:
        tex = " ".join((found[1] or found[2]).split())
        made = formula(tex.replace(r"\frac", r"\dfrac") if found[1] else tex)
        if made is None:
            return f"<code>{html.escape(tex)}</code>"
        data = base64.b64encode(made[0]).decode()
        inline = f"vertical-align: {-made[1]:.1f}pt"
        style = "display: block; margin: 1em auto" if found[1] else inline
        alt = html.escape(tex, quote=True)
        return f'<img alt="{alt}" style="{style}" src="data:image/svg+xml;base64,{data}">'

    parts = _CODE.split(text)
    return "".join(p if at % 2 else _FORMULA.sub(picture, p) for at, p in enumerate(parts))


# --- Pages -----------------------------------------------------------------------------------


def page(executed: Path, home: str) -> str:
    """An executed notebook as HTML without scripts.

    Args:
        executed: the notebook.
        home: way from the page to the repository, such as "../../..".
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = drawn(_linked(cell.source, home))
        for output in cell.get("outputs", []):
            if "<iframe" in output.get("data", {}).get("text/html", ""):
                output.data = {"text/html": _LIVE}
    made, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    return re.sub(r"<script\b.*?</script>", "", made, flags=re.DOTALL)


def _linked(text: str, home: str) -> str:
    """Links to notebooks lead to their pages, those into the repository to its files."""
    text = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.html)", text)
    return text.replace("](../", f"]({home}/")


def _runs(notebook: str, root: Path | None) -> dict[Path, dict[str, Any]]:
    """The runs of a notebook that stand; if there are none, the one that is made now."""
    in_full = notebook[0] in IN_FULL or notebook in {a.notebook for a in study.ARTEFACTS.values()}
    smoke = not in_full
    place = root or resolve(smoke=smoke)
    if found := batch.standing(notebook, place):
        return found
    parameters: dict[str, Any] = {"smoke": smoke, "results": str(root or "")}
    return {batch.run(notebook, place, **parameters): parameters}


def write(folder: Path = PAGES, notebooks: Sequence[str] = (), root: Path | None = None) -> Path:
    """Write the pages and their index; an old folder stays until all are there.

    Args:
        folder: of the pages.
        notebooks: names without ".ipynb", all by default.
        root: folder of results; None for the repository's.

    Returns:
        The index.

    Raises:
        InputError: unknown notebook.
    """
    import nbformat

    names = [*notebooks] or sorted(path.stem for path in batch.NOTEBOOKS.glob("*.ipynb"))
    temporary = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    home = _way(folder)
    lines = []
    for number, name in enumerate(names, start=1):
        print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
        for at, (executed, parameters) in enumerate(_runs(name, root).items()):
            file = f"{name}.html" if at == 0 else f"{name}-{at + 1}.html"
            with replacing(temporary / file) as making:
                making.write_text(page(executed, home), encoding="utf-8")
            title = nbformat.read(executed, as_version=4).cells[0].source.splitlines()[0]
            lines.append(_line(file, name, title.removeprefix("# "), parameters))
    (temporary / "index.html").write_text(_index(lines), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder / "index.html"


def _way(folder: Path) -> str:
    """The way from a folder to the repository, relative where it lies in it."""
    inside = folder.absolute().is_relative_to(ROOT)
    depth = len(folder.absolute().relative_to(ROOT).parts) if inside else 0
    return "/".join([".."] * depth) if inside else ROOT.as_uri()


def _line(file: str, name: str, title: str, parameters: dict[str, Any]) -> str:
    given = [f"{key} = {value}" for key, value in parameters.items() if key not in STANDARD]
    said = [*given, *(["tiny, to see that it runs"] if parameters.get("smoke") else [])]
    note = f" ({html.escape(', '.join(said))})" if said else ""
    return f'<li><a href="{file}">{html.escape(name)}</a> {html.escape(title)}{note}</li>'


STANDARD = ("smoke", "results")  # parameters that every notebook has


def _index(lines: Sequence[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>bokehlib</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>\n'
        f'<body style="{_STYLE}"><h1>The notebooks, executed</h1>\n<ul>\n'
        + "\n".join(lines)
        + "\n</ul></body></html>\n"
    )


# --- Command line ----------------------------------------------------------------------------


def command_line() -> Parser:
    """The options of the command line."""
    parser = Parser(prog="bokehlib.webpages", allow_abbrev=False)
    parser.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help="all by default")
    parser.add_argument("--out", type=Path, default=PAGES, metavar="FOLDER")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pages and say where.

    Raises:
        InputError: unknown notebook, or a folder with other files in it.
    """
    asked = command_line().parse_args(argv)
    if asked.out.exists() and any(asked.out.iterdir()) and not (asked.out / "index.html").is_file():
        raise InputError(
            f"--out: found {asked.out} with other files in it; accepted: a new or empty folder"
        )
    print(write(asked.out, asked.notebooks))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
