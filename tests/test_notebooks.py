"""Laws of the notebooks: clean, small, parameterised as the plan expects, and they run."""

import ast
import inspect

import miniatures
import nbformat
import papermill
import pytest

from bokehlib import study
from bokehlib.study import results, runner

NOTEBOOKS = sorted(runner.NOTEBOOKS.glob("*.ipynb"))
NAMED = {output.notebook for output in study.OUTPUTS.values()}
REPORTERS = [path for path in NOTEBOOKS if path.name.startswith("4") or path.stem in NAMED]
TORCH_FREE = {
    "data",
    "results",
    "figures",
    "speed",
    "tables",
    "study",
    "pictures",
    "radius_fit",
    "extras",  # user_study
}  # of bokehlib; checked in test_study

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def nodes(cell):
    """All syntax nodes of a code cell, its lines of IPython magic aside."""
    lines = ["" if line.startswith("%") else line for line in cell.source.splitlines()]
    return list(ast.walk(ast.parse("\n".join(lines))))


def imports(path):
    """Full names of all modules and names that a notebook imports."""
    found = set()
    for cell in code_cells(path):
        for node in nodes(cell):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# --- Form ------------------------------------------------------------------------------------


@each_notebook
def test_is_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert (notebook.metadata.kernelspec.name, notebook.metadata.kernelspec.language) == (
        "python3",
        "python",
    )
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@each_notebook
def test_asks_one_question_first_and_stays_small(path):
    cells = nbformat.read(path, as_version=4).cells
    title = cells[0].source.splitlines()[0]
    assert cells[0].cell_type == "markdown"
    assert title.startswith("# ")
    assert title.endswith("?")
    assert cells[1].metadata.get("tags") == ["parameters"]
    assert len(code_cells(path)) <= 15
    for cell in code_cells(path):
        for node in nodes(cell):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 3, f"{node.name} belongs into bokehlib"


@each_notebook
def test_every_parameter_is_a_scalar_with_a_type_and_a_comment_that_papermill_reads(path):
    (cell,) = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    assert len(statements) <= 8
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements)
    names = [statement.target.id for statement in statements]
    known = papermill.inspect_notebook(str(path))
    assert list(known) == names
    assert all(entry["help"] and entry["inferred_type_name"] for entry in known.values())
    assert {"smoke", "results"} <= set(names)
    assert known["smoke"]["default"] == "False"
    for statement in statements:
        assert isinstance(ast.literal_eval(statement.value), bool | int | float | str)


def test_the_plan_passes_only_parameters_that_the_notebooks_have(monkeypatch):
    monkeypatch.setattr(runner, "is_up_to_date", lambda *_: False)
    monkeypatch.setattr(runner.methods, "lacks", lambda name: "")
    monkeypatch.setattr(runner.methods, "weights_hash", lambda name: "")
    monkeypatch.setattr(runner.data, "data_hash", lambda name: "d")
    steps, _ = runner.plan(study.OUTPUTS, smoke=False, fresh=True, root=results.RESULTS)
    assert {step.notebook for step in steps} >= {"30_score", "31_score_perturbed"}
    for step in steps:
        known = papermill.inspect_notebook(str(runner.NOTEBOOKS / f"{step.notebook}.ipynb"))
        assert set(step.parameters) | {"smoke", "results"} <= set(known), step.title
    assert {"smoke", "results"} <= set(inspect.signature(runner.reproduce).parameters)


def test_every_table_and_figure_has_its_reporter():
    assert {path.stem for path in REPORTERS} >= NAMED


@pytest.mark.parametrize("path", REPORTERS, ids=lambda path: path.stem)
def test_a_reporter_imports_no_torch(path):
    for name in imports(path):
        package, _, module = name.partition(".")
        assert package not in ("torch", "torchvision", "diffusers", "kornia"), name
        if package == "bokehlib":
            assert module.split(".")[0] in TORCH_FREE, name


# --- Running ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoke_root(tmp_path_factory):
    """One folder for all: workers come first by their names, so reporters find their scores."""
    with pytest.MonkeyPatch.context() as patch:
        sets = tmp_path_factory.mktemp("data")
        miniatures.write_ebb(sets / "ebb_val294")
        patch.setenv("BOKEHLIB_DATA", str(sets))
        yield tmp_path_factory.mktemp("smoke")


@each_notebook
def test_runs_in_smoke_mode_and_writes_only_into_its_results(path, smoke_root):
    before = {p: p.stat().st_mtime_ns for p in results.RESULTS.glob("[!r]*/**/*")}
    runner.run(path.stem, smoke_root, smoke=True, results=str(smoke_root))
    after = {p: p.stat().st_mtime_ns for p in results.RESULTS.glob("[!r]*/**/*")}
    assert after == before
