"""Laws of the notebooks' pages: whole, offline, with drawn formulas."""

import re

import nbformat
import pytest

from bokehlib import batch, webpages
from bokehlib.errors import InputError

NOTEBOOKS = sorted(batch.NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    batch.run("02_refocus", root, smoke=True, results=str(root))
    webpages.write(root / "html", ["02_refocus"], root)
    return root / "html"


def test_a_page_is_whole_and_asks_no_network(pages):
    text = (pages / "02_refocus.html").read_text("utf-8")
    assert "What should be in focus?" in text
    assert "<script" not in text
    loaded = re.findall(r"(?:<link[^>]*href|src)=[\"'](?!data:)([^\"']*)", text)
    assert loaded == []
    assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", text)


def test_the_index_leads_to_every_page_and_says_which_ones_are_tiny(pages):
    text = (pages / "index.html").read_text("utf-8")
    assert re.findall(r'href="([^"]+)"', text) == ["02_refocus.html"]
    assert "What should be in focus? (tiny, to see that it runs)" in text


def test_links_lead_to_pages_and_into_the_repository(tmp_path):
    assert webpages._linked("[a](02_refocus.ipynb) [b](../docs/units.md#x)", "../../..") == (
        "[a](02_refocus.html) [b](../../../docs/units.md#x)"
    )
    assert webpages._way(webpages.PAGES) == "../../.."
    assert webpages._way(tmp_path) == webpages.ROOT.as_uri()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_of_the_notebooks_can_be_drawn(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            shown = webpages.drawn(cell.source)
            assert shown.count("<img") == len(webpages._FORMULA.findall(cell.source))
            assert "<code>" not in shown


def test_a_formula_that_cannot_be_drawn_is_shown_as_it_is_written_and_code_is_left_alone():
    assert webpages.drawn(r"is $\nosuch{x} < 1$") == r"is <code>\nosuch{x} &lt; 1</code>"
    assert webpages.drawn("`$HOME` and `$x$`") == "`$HOME` and `$x$`"


def test_only_runs_of_the_notebook_as_it_is_now_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "NOTEBOOKS", tmp_path)
    notebook = nbformat.v4.new_notebook(metadata={"papermill": {"end_time": "now"}})
    (tmp_path / "n.ipynb").write_text(nbformat.writes(notebook))
    notebook.metadata.papermill.parameters = {"smoke": True}
    place = batch._place("n", tmp_path, {"smoke": True})
    place.parent.mkdir(parents=True)
    place.write_text(nbformat.writes(notebook))
    assert batch.standing("n", tmp_path) == {place: {"smoke": True}}
    (tmp_path / "n.ipynb").write_text(nbformat.writes(notebook))  # another source
    assert batch.standing("n", tmp_path) == {}


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        webpages.main(["--out", str(tmp_path)])
    assert (tmp_path / "mine.txt").exists()
