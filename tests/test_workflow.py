"""Laws of the workflow: Snakemake runs what the study's own plan says, and nothing else."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from snakemake import cli

from bokehlib import methods, study, workflow
from bokehlib.bokehdiff import adapters
from bokehlib.io.errors import InputError
from bokehlib.study import results, runner
from bokehlib.study.results import ROOT

SCORED = "synbokeh-mini"


def snakemake(capfd, *words, profile="default", code=0):
    """Run Snakemake in this process, where the study can be changed; names of its jobs."""
    profile = str(ROOT / "workflow" / "profiles" / profile)
    place = ["--snakefile", str(ROOT / "workflow" / "Snakefile"), "--workflow-profile", profile]
    with pytest.raises(SystemExit) as ended:
        cli.main([*place, *words])
    said = "".join(capfd.readouterr())
    assert ended.value.code == code, said
    return sorted(line.split("/")[-1] for line in re.findall(r"(?m)^    output: (\S+)", said)), said


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A working directory with photos, adapters of all trainings, and the scores of all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path / "weights"))
    for name, recipe in study.TRAININGS.items():
        leave_adapter(tmp_path / "weights", name, recipe)
        leave_scores(tmp_path / "results", name)
    return tmp_path


def leave_adapter(folder, name, recipe):
    text = json.dumps(asdict(recipe))
    save_file({"x": np.zeros(1)}, folder / f"{name}.safetensors", {"recipe": text})


def leave_scores(root, name):
    stamp = {
        "weights_sha256": methods.weights_hash(name),
        "data_sha256": runner.data.data_hash(SCORED),
        "parameters": results.score_parameters(SCORED, name, "exact", smoke=False),
    }
    place = root / "scores" / SCORED / f"{name}.csv"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    place.with_suffix(".json").write_text(json.dumps(stamp))


def leave_table(root, name):
    """A reporter's table and mark, as if it had run."""
    for path in (root / "tables" / f"{name}.csv", root / "runs" / "workflow" / name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


TABLES = ("table2_ablation", "table2b_physics", "table2c_beyond")


def asked(folder):
    return ["--config", f"results={folder}/results", f"photos={folder}/photos", "-n", *TABLES]


def test_a_changed_recipe_runs_its_own_trainings_scores_and_table_and_nothing_else(
    trained, monkeypatch, capfd
):
    assert snakemake(capfd, *asked(trained))[0] == [*TABLES]  # no table yet
    for name in TABLES:
        leave_table(trained / "results", name)
    jobs, said = snakemake(capfd, *asked(trained))
    assert (jobs, "Nothing to be done" in said) == ([], True)

    changed = [n for n in study.TRAININGS if study.TRAINING.match(n)["recipe"] == "no_coc"]
    for name in changed:
        monkeypatch.setitem(study.TRAINABLE, name, replace(study.TRAINABLE[name], rank=4))
    jobs, said = snakemake(capfd, *asked(trained), profile="slurm")
    assert len(changed) == 6
    assert jobs == sorted(
        ["table2_ablation", *(f"train-{n}" for n in changed)]
        + [f"30_score-{n}-{SCORED}" for n in changed]
    )
    training = said.split("rule train:")[1].split("rule ")[0]
    assert "gpu=1" in training
    assert "runtime=1440" in training
    for name in changed:  # trained anew, the weights are others and the scores fall with them
        leave_adapter(trained / "weights", name, study.TRAINABLE[name])
    jobs, _ = snakemake(capfd, *asked(trained))
    assert jobs == sorted(["table2_ablation", *(f"30_score-{n}-{SCORED}" for n in changed)])


def test_a_table_that_is_gone_is_made_again_though_its_mark_is_there(trained, capfd):
    for name in TABLES:
        leave_table(trained / "results", name)
    (trained / "results" / "tables" / "table2b_physics.csv").unlink()
    assert snakemake(capfd, *asked(trained))[0] == ["table2b_physics"]


def test_what_snakemake_would_run_is_what_the_study_would_run(trained, capfd):
    for name in ("full-s0", "no_coc-s1"):
        file = trained / "results" / "scores" / SCORED / f"{name}.json"
        file.write_text(file.read_text().replace('"smoke": false', '"smoke": true'))
    steps, _ = runner.plan(["table2_ablation"], False, False, trained / "results")
    assert len(steps) == 3
    jobs, _ = snakemake(capfd, *asked(trained)[:-2])
    assert jobs == sorted([workflow.job_name(step) for step in steps[:-1]] + ["table2_ablation"])


def test_the_kubernetes_profile_asks_for_gpus_and_keeps_the_checkouts_names(
    monkeypatch, tmp_path, capfd
):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    words = ["-n", "table2_ablation", "--config", f"photos={tmp_path}", "train=no_coc-s1"]
    stored = ["--default-storage-prefix", str(ROOT)]
    jobs, said = snakemake(capfd, *words, *stored, profile="kubernetes")
    assert {"train-no_coc-s1", f"30_score-no_coc-s1-{SCORED}", "table2_ablation"} <= {*jobs}
    assert said.count("gpu_manufacturer=nvidia") >= 2
    assert f"output: {ROOT}/results/runs/workflow/train-no_coc-s1 (send to storage)" in said


def test_two_jobs_run_at_once_and_what_they_leave_stands_for_the_study_too(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "results"
    words = ["--cores", "2", "--config", f"results={root}", "smoke=true"]
    step = runner.plan(["tableS2"], True, True, root)[0][0]
    job = workflow.job_name(step)
    goals = [f"results/runs/workflow/{job}", "table2b_physics"]
    jobs, _ = snakemake(capfd, *words, "--set-threads", "measure=1", "--", *goals)
    assert jobs == sorted([job, "table2b_physics"])
    assert (root / "tables" / "table2b_physics.md").is_file()
    assert step not in runner.plan(["tableS2"], True, False, root)[0]
    assert not list(root.glob("runs/*/*.failed.ipynb"))


# --- The graph -------------------------------------------------------------------------------


def test_parts_of_one_score_file_wait_for_each_other_and_borrowed_apertures_for_theirs(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(methods, "lacks", lambda name: "")
    monkeypatch.setattr(methods, "weights_hash", lambda name: "w")
    monkeypatch.setattr(runner.data, "data_hash", lambda name: "d")
    graph = workflow.Graph({"results": str(tmp_path)})
    of = {job: [mark.split("/")[-1] for mark in graph.before(job)] for job in graph.steps}
    exact, perturbed = "30_score-scatter-synbokeh-mini", "31_score_perturbed-scatter-synbokeh-mini"
    assert of[exact] == []
    assert of[f"{perturbed}-perturbed"] == [exact]
    assert of[f"{perturbed}-disturbed"] == [f"{perturbed}-perturbed"]
    borrowed = "35_score_published-scatter-ebb_val294-original-borrowed"
    assert of[borrowed] == ["35_score_published-scatter-ebb_val294"]
    assert of["35_score_published-scatter-blb_level5"] == []
    assert of["33_radius_sweep-scatter"] == []


def test_whatever_renders_with_weights_to_come_waits_for_them(monkeypatch, tmp_path):
    monkeypatch.setattr(workflow, "_coming", lambda *_: ["bokehdiff-mini-paper", "full-s0"])
    graph = workflow.Graph({"results": "results"})
    paper, ablated = graph.mark("train-bokehdiff-mini-paper"), graph.mark("train-full-s0")
    assert graph.before("30_score-bokehdiff-mini-paper-synbokeh-mini") == [paper]
    assert graph.before("34_focus-bokehdiff-mini-paper") == [paper]
    assert graph.before("32_pictures-figS9_ablation") == [ablated]
    assert paper in graph.before("32_pictures-fig5_qualitative")
    assert graph.before("30_score-scatter-synbokeh-mini") == []
    assert {"34_focus-bokehdiff-mini-paper", "32_pictures-figS9_ablation"} <= {*graph.stale}
    assert "34_focus-scatter" not in graph.stale


def test_a_training_is_the_documented_command_and_its_adapter_goes_where_methods_look(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    graph = workflow.Graph({"photos": str(tmp_path), "train": "bokehdiff-sdxl"})
    command = graph.training_command("bokehdiff-sdxl")
    assert (
        f"-m bokehlib.training.bokehdiff --recipe full --profile sdxl --photos {tmp_path} --run "
        in command
    )
    assert command.endswith(
        f"mv {tmp_path}/bokehdiff-sdxl.safetensors.part {tmp_path}/bokehdiff-sdxl.safetensors"
    )
    first = graph.training_command("full-s0")
    monkeypatch.setitem(study.TRAINABLE, "full-s0", replace(study.FULL, rank=2))
    assert graph.training_command("full-s0") != first  # never goes on with another recipe's run


def test_the_trainings_that_come_with_the_study_stand():
    files = [
        name for name in study.ADAPTERS if (workflow.EMBEDDED / f"{name}.safetensors").is_file()
    ]
    assert len(files) > 10
    assert all(map(workflow._stands, files))
    assert not workflow._stands("bokehdiff-sdxl")
    for name in files:
        file = workflow.EMBEDDED / f"{name}.safetensors"
        assert adapters.recipe_of(file) == study.TRAINABLE[study.ADAPTERS[name][0]]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"photo": "x"}, "--config: found photo; accepted: photos, train, results, smoke"),
        ({"photos": "none"}, "--config photos: found no folder none; accepted"),
        ({"train": "full-s0"}, "--config train: found without photos; accepted"),
        ({"train": "best", "photos": "."}, "--config train: found 'best'; accepted: no_adv-s0"),
        ({"photos": "."}, "BOKEHLIB_WEIGHTS: found nothing; accepted"),
    ],
)
def test_bad_options_are_one_line(config, message, monkeypatch):
    monkeypatch.delenv("BOKEHLIB_WEIGHTS", raising=False)
    with pytest.raises(InputError) as error:
        workflow.Graph(config)
    assert str(error.value).startswith(message)


def test_one_job_is_one_notebook_with_its_parameters_and_code_1_where_it_fails(
    tmp_path, monkeypatch
):
    ran = []

    def succeeds(step, root, **common):
        ran.append((step.notebook, step.parameters, root, common))
        return step.parameters["method"] != "nobody"

    monkeypatch.setattr(runner, "succeeds", succeeds)
    words = ["30_score", "method=scatter", "dataset=folder:a=b", "--results", str(tmp_path)]
    assert workflow.main(words) == 0
    wanted = {"method": "scatter", "dataset": "folder:a=b"}
    assert ran == [("30_score", wanted, tmp_path, {"smoke": False, "results": str(tmp_path)})]
    assert workflow.main(["30_score", "method=nobody", "--smoke"]) == 1
    with pytest.raises(InputError, match="NAME=VALUE: found 'nobody'"):
        workflow.main(["30_score", "nobody"])
