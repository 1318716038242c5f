"""Laws of the notebooks' pages: whole, without a network, with their formulas as MathML."""

import re

import nbformat
import pytest

from bokehlib.study.runner import NOTEBOOKS

html = pytest.importorskip("bokehlib.extras.html")


def test_a_page_is_whole_and_loads_nothing():
    notebook = nbformat.read(NOTEBOOKS / "01_pisa.ipynb", as_version=4)
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}
    output = nbformat.v4.new_output("display_data", data=widget)
    notebook.cells.append(nbformat.v4.new_code_cell("show()", outputs=[output]))
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    text, _ = html.Page().from_notebook_node(notebook)
    assert "PISA" in text
    assert text.count("<math") > 10
    assert "<script" not in text
    assert not re.findall(r"(?:<link[^>]*href|src)=[\"'](?!data:)([^\"']*)", text)
    assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", text)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_the_notebooks_becomes_mathml(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            made = html.with_mathml(cell.source)
            formulas = [found for found in html.FORMULA.finditer(cell.source) if not found["code"]]
            assert made.count("<math") == len(formulas)
            assert r"\frac" not in made
            assert not re.search(r"<mi>\\\w", made)  # an unknown command is shown as it is


def test_formulas_survive_markdown_and_code_is_left_alone():
    cell = nbformat.v4.new_markdown_cell(r"$a * b_i$ and *c* and $d * e_j$, [x](../docs/units.md)")
    text, _ = html.Page().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert text.count("</math>") == 2
    assert text.count("<em>") == 1
    assert 'href="../../../notebooks/../docs/units.md"' in text
    assert html.with_mathml("`$HOME` and `$x$`") == "`$HOME` and `$x$`"
