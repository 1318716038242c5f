"""Laws of running notebooks: checked parameters, once, failures never count as done."""

from types import SimpleNamespace

import nbformat
import papermill
import pytest

from bokehlib import data, methods, study
from bokehlib.io import places
from bokehlib.io.errors import InputError
from bokehlib.study import results, runner
from bokehlib.study.provenance import provenance

SCORED = [need.method for need in study.OUTPUTS["tableS2"].scores]
DISTURBED = [need.method for need in study.OUTPUTS["fig7_robustness"].scores]

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder with one notebook that divides by its parameter and counts its runs."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    parameters = nbformat.v4.new_code_cell(
        f'divisor: int = 1  # of 6\nlog: str = "{tmp_path}/log"  # one line a run',
        metadata={"tags": ["parameters"]},
    )
    work = nbformat.v4.new_code_cell(
        "import os, sys\n"
        "with open(log, 'a') as file:\n    print(sys.executable, os.getcwd(), file=file)\n"
        "print(6 // divisor)"
    )
    notebook = nbformat.v4.new_notebook(cells=[parameters, work], metadata=KERNEL)
    nbformat.write(notebook, folder / "divide.ipynb")
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    return SimpleNamespace(root=tmp_path / "results", log=tmp_path / "log", folder=folder)


def executed(notebooks):
    return sorted(path.name for path in (notebooks.root / "runs" / "divide").iterdir())


# --- One notebook ----------------------------------------------------------------------------


def test_a_notebook_runs_in_this_python_at_the_root_and_is_not_run_again(notebooks):
    import sys

    first = runner.run("divide", notebooks.root, divisor=2)
    assert runner.run("divide", notebooks.root, divisor=2) == first
    runs = notebooks.log.read_text().splitlines()
    assert runs == [f"{sys.executable} {places.ROOT}"]
    assert executed(notebooks) == [first.name]
    runner.run("divide", notebooks.root, fresh=True, divisor=2)
    assert len(notebooks.log.read_text().splitlines()) == 2


def test_other_parameters_or_another_source_are_another_run(notebooks):
    first = runner.run("divide", notebooks.root)
    assert runner.run("divide", notebooks.root, divisor=3) != first
    source = notebooks.folder / "divide.ipynb"
    source.write_text(source.read_text().replace("6 //", "7 //"))
    assert runner.run("divide", notebooks.root) != first


def test_an_unknown_parameter_is_refused_with_the_known_ones_before_anything_runs(notebooks):
    with pytest.raises(InputError, match=r"divizor.*known: divisor, log"):
        runner.run("divide", notebooks.root, divizor=2)
    assert not notebooks.log.exists()


def test_a_failed_run_is_kept_to_look_at_and_never_counted_as_done(notebooks):
    for _ in range(2):
        with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError"):
            runner.run("divide", notebooks.root, divisor=0)
    assert len(notebooks.log.read_text().splitlines()) == 2
    (name,) = executed(notebooks)
    assert name.endswith(".failed.ipynb")


def test_ctrl_c_leaves_nothing_half_written(notebooks, monkeypatch):
    def interrupted(source, target, parameters):
        target.write_text("{half of a notebo")
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run("divide", notebooks.root)
    assert executed(notebooks) == []


# --- The study -------------------------------------------------------------------------------


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A study whose notebooks are not run but noted, and whose workers leave provenance."""
    ran = []
    workers = {probe.worker: name for name, probe in study.PROBES.items()}

    def run(notebook, root, fresh=False, **parameters):
        ran.append((notebook, parameters))
        if notebook in workers:
            leave_probe(root, workers[notebook], parameters["method"])
        elif notebook.startswith("3"):
            what = (parameters["dataset"], parameters["method"], parameters.get("part", "exact"))
            leave_scores(root, *what)
        return root

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(methods, "lacks", lambda name: "weights" * (name not in study.METHODS))
    monkeypatch.setattr(methods, "weights_hash", lambda name: "w")
    monkeypatch.setattr(data, "data_hash", lambda name: "d")
    monkeypatch.setattr(runner.pictures, "is_up_to_date", lambda *_: True)
    return SimpleNamespace(ran=ran, root=tmp_path)


def leave_scores(root, dataset, method, part, weights="w", smoke=False):
    row = {"dataset": dataset, "image": "s", "method": method, "blur": 2, "psnr": 30.0}
    row |= {"perturbation": {"exact": 0, "perturbed": 2, "disturbed": "coarse"}[part]}
    asked = results.score_parameters(dataset, method, part, smoke)
    made_by = provenance(asked, 0, weights, "d", "cpu", wall_seconds=60.0)
    results.write_scores([row], made_by, dataset, method, part, root)


def leave_probe(root, probe, method):
    found = study.PROBES[probe]
    asked = results.probe_parameters(probe, method, smoke=False)
    row = {name: "s" if kind == "str" else 2 for name, kind in found.columns.items()}
    made_by = provenance(asked, 0, "w", "d" if found.dataset else "", "cpu")
    results.write_probe([row], made_by, probe, method, root)


def reproduce(made_up, *names, **options):
    made_up.ran.clear()
    code = runner.reproduce(names, results=str(made_up.root), **options)
    return code, [(notebook, p.get("method", "")) for notebook, p in made_up.ran]


def test_a_fresh_clone_with_scores_up_to_date_runs_reporters_once_and_nothing_else(made_up):
    probes = [item for a in study.OUTPUTS.values() for item in a.probes.items()]
    for probe, method in {(probe, method) for probe, names in probes for method in names}:
        leave_probe(made_up.root, probe, method)
    for need in {n for a in study.OUTPUTS.values() for n in a.scores}:
        for part in results.PARTS if need.perturbed else ("exact",):
            leave_scores(made_up.root, need.dataset, need.method, part)
    code, _ = reproduce(made_up)
    assert code == 0
    wanted = {(o.notebook, *o.parameters.values()) for o in study.OUTPUTS.values()}
    common = {"smoke": False, "results": str(made_up.root)}
    given = [(n, *(p[k] for k in p if k not in common)) for n, p in made_up.ran]
    assert (len(given), {*given}) == (len(wanted), wanted)


def test_of_the_committed_results_nothing_is_measured_again():
    steps, _ = runner.plan(study.OUTPUTS, smoke=False, fresh=False, root=results.RESULTS)
    assert [step.title for step in steps if step.notebook.startswith("3")] == []


def test_missing_scores_are_measured_before_their_reporter_and_exact_before_perturbed(made_up):
    _, ran = reproduce(made_up, "fig7_robustness", "tableS2")
    assert ran == [
        *[
            (notebook, name)
            for name in DISTURBED
            for notebook in ("30_score", "31_score_perturbed", "31_score_perturbed")
        ],
        ("43_robustness", ""),
        *[("30_score", name) for name in SCORED if name not in DISTURBED],
        ("40_quality", ""),
    ]
    assert reproduce(made_up, "fig7_robustness")[1] == [("43_robustness", "")]


def test_a_radius_sweep_runs_once_and_again_with_new_weights(made_up, monkeypatch):
    sweeps = [("33_radius_sweep", name) for name in study.EMBEDDED[1:]]
    assert reproduce(made_up, "radius_sweep")[1] == [*sweeps, ("47_radius", "")]
    assert reproduce(made_up, "radius_sweep")[1] == [("47_radius", "")]
    assert len(reproduce(made_up, "radius_sweep", fresh=True)[1]) == len(sweeps) + 1
    changed = lambda name: "new" if name == "scatter" else "w"  # noqa: E731
    monkeypatch.setattr(methods, "weights_hash", changed)
    assert reproduce(made_up, "radius_sweep")[1] == [sweeps[0], ("47_radius", "")]


def test_new_weights_outdate_their_scores_and_only_those(made_up, monkeypatch):
    reproduce(made_up)
    changed = lambda name: "new" if name == "scatter" else "w"  # noqa: E731
    monkeypatch.setattr(methods, "weights_hash", changed)
    _, ran = reproduce(made_up, "tableS2")
    assert ran == [("30_score", "scatter"), ("40_quality", "")]


def test_smoke_scores_are_no_scores_of_the_study(made_up):
    for method in SCORED:
        leave_scores(made_up.root, "synbokeh-mini", method, "exact", smoke=True)
    _, ran = reproduce(made_up, "tableS2")
    assert len(ran) == len(SCORED) + 1


def test_fresh_measures_all_again_and_says_beforehand_how_long(made_up, capsys):
    reproduce(made_up, "tableS2")
    capsys.readouterr()
    _, ran = reproduce(made_up, "tableS2", fresh=True)
    assert [notebook for notebook, _ in ran] == ["30_score"] * len(SCORED) + ["40_quality"]
    first = capsys.readouterr().out.splitlines()[0]
    minutes = len(SCORED)  # each takes one by its provenance
    assert first == f"measuring all again takes about {minutes} min, by the times of the last runs"


def test_a_method_that_misses_something_is_skipped_with_the_reason_once(
    made_up, monkeypatch, capsys
):
    lacks = {"bokehdiff-mini": "weights"}
    monkeypatch.setattr(methods, "lacks", lambda name: lacks.get(name, ""))
    code, ran = reproduce(made_up)
    assert code == 0
    assert ("30_score", "bokehdiff-mini") not in ran
    assert ("30_score", "scatter") in ran
    assert capsys.readouterr().out.count("skipped: bokehdiff-mini: weights") == 1


def test_trainings_are_scored_where_their_adapters_are_and_not_missed_elsewhere(
    made_up, monkeypatch, capsys
):
    trained = ("full-s0", "no_coc-s2")
    absent = lambda name: "" if name in (*study.METHODS, *trained) else "weights"  # noqa: E731
    monkeypatch.setattr(methods, "lacks", absent)
    _, ran = reproduce(made_up, "table2_ablation")
    assert {name for notebook, name in ran if notebook == "30_score"} == {*trained}
    assert "skipped" not in capsys.readouterr().out


def test_a_published_set_that_is_not_here_is_one_line_for_all_methods(made_up, monkeypatch, capsys):
    monkeypatch.setattr(data, "data_hash", lambda name: "")
    code, ran = reproduce(made_up, "tableS1", "table1_quality")
    assert (code, ran) == (0, [("40_quality", "")] * 2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped")]
    assert [line.split(":")[1] for line in lines] == [" ebb_val294", " blb_level5"]
    assert all("source: " in line for line in lines)


def test_a_published_set_is_measured_by_its_own_worker_and_who_borrows_comes_later(made_up):
    reproduce(made_up, "tableS1")
    *runs, (last, _) = made_up.ran
    assert last == "40_quality"
    assert {notebook for notebook, _ in runs} == {"35_score_published"}
    sets = [p["dataset"] for _, p in runs if p["method"] == "scatter"]
    assert sets == ["ebb_val294", "ebb_val294-original-borrowed", "ebb_val294-original"]
    assert reproduce(made_up, "tableS1")[1] == [("40_quality", "")]


def test_a_failed_notebook_gives_a_clear_line_and_code_1_and_the_rest_still_runs(
    made_up, monkeypatch, capsys
):
    def run(notebook, root, **parameters):
        made_up.ran.append((notebook, parameters))
        if parameters.get("method") == "input":
            error = papermill.PapermillExecutionError(0, 1, "", "ValueError", "no\nlight", [])
            error.add_note("input.failed.ipynb")
            raise error

    monkeypatch.setattr(runner, "run", run)
    code, ran = reproduce(made_up, "tableS2")
    assert code == 1
    assert ran[-1] == ("40_quality", "")
    captured = capsys.readouterr()
    assert captured.err == (
        "FAILED 30_score input synbokeh-mini: ValueError: no (see input.failed.ipynb)\n"
    )
    assert captured.out.splitlines()[-1].startswith(
        f"{len(SCORED)} of {len(SCORED) + 1} notebooks done"
    )


def test_an_unknown_table_is_refused_with_the_known_ones(made_up):
    with pytest.raises(InputError, match=r"table9.*tableS2"):
        reproduce(made_up, "table9")
    assert made_up.ran == []
