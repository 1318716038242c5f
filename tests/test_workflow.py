"""The Snakefile plans the study's own jobs, in order, for every way of running them."""

import re
from importlib.util import find_spec

import pytest

from bokehlib.io.places import ROOT

cli = pytest.importorskip("snakemake.cli")

EXECUTORS = {
    "local": ["--cores", "2"],
    "slurm": ["--executor", "slurm", "--jobs", "20"],
    "kubernetes": [
        *("--executor", "kubernetes", "--jobs", "20", "--container-image", "bokehlib:0.1.0"),
        *("--kubernetes-persistent-volumes", "study:/study", "--envvars", "BOKEHLIB_WEIGHTS"),
        *("--default-storage-provider", "fs", "--default-storage-prefix", str(ROOT)),
    ],
}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_dry_run_trains_then_scores_then_makes_the_table(executor, tmp_path, monkeypatch, capfd):
    if executor != "local" and not find_spec(f"snakemake_executor_plugin_{executor}"):
        pytest.skip(f"the plug-in of {executor} is not installed")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    asked = ["--config", f"photos={tmp_path}", "train=no_coc-s1", "--", "table2_ablation"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["--snakefile", "notebooks/Snakefile", "-n", *EXECUTORS[executor], *asked])
    said = "".join(capfd.readouterr())
    assert ended.value.code == 0, said
    outputs = re.findall(r"(?m)^    output: \S*results/runs/workflow/(\S+)", said)
    score = "score/synbokeh-mini/no_coc-s1"
    assert {"train/no_coc-s1", score, "table2_ablation"} <= {*outputs}
    for before, after in (("train/no_coc-s1", score), (score, "table2_ablation")):
        job = re.search(rf"(?m)^    input: (.*)\n    output: \S*{after}( |$)", said)
        assert before in job[1]
    assert said.count("gpu_manufacturer=nvidia") >= 2
