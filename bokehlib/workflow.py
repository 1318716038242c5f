"""The study as jobs that wait for each other, for `workflow/Snakefile`.

What has to run is what `batch.plan` says, so that both agree; Snakemake orders the jobs and sends
them off. Trainings come on top: one stands while the recipe in its adapter is the study's.

python -m bokehlib.workflow 30_score method=scatter dataset=synbokeh-mini
"""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from bokehlib import study
from bokehlib.data import PUBLISHED
from bokehlib.io.errors import InputError, Parser, run_command
from bokehlib.io.weightfiles import EMBEDDED, find_weights
from bokehlib.study import qualitative, runner
from bokehlib.study.results import RESULTS, ROOT, resolve

OPTIONS = ("photos", "train", "results", "smoke")  # of Snakemake's --config


class Graph:
    """Jobs by name, with what each waits for.

    Attributes:
        root: folder of results.
        coming: trainings that have to run, by name.
        steps: notebooks of all tables and figures, by the name of their job.
        stale: those of them that have to run, in the order of the plan.
        left_out: what cannot run, and why.
    """

    def __init__(self, config: Mapping[str, Any]):
        """Plan all tables and figures.

        Args:
            config: `photos` is a folder to train on: trainings that do not stand are run;
                `train` names those of `study.ADAPTERS` that may, with commas, by default all of
                `study.TRAININGS`; `results` and `smoke` as of `batch.reproduce`.

        Raises:
            InputError: unknown or contradictory options.
        """
        if unknown := sorted(set(config) - set(OPTIONS)):
            raise InputError(f"--config: found {unknown[0]}; accepted: {', '.join(OPTIONS)}")
        self.results, self.photos = (str(config.get(name, "")) for name in ("results", "photos"))
        self.smoke = str(config.get("smoke", "false")).lower() in ("1", "true", "yes")
        self.root = resolve(self.results, self.smoke)
        self.coming = _coming(self.photos, str(config.get("train", "")))
        self.steps: dict[str, runner.Step] = {}
        self.stale: list[str] = []
        self._of: dict[str, list[str]] = {}
        self.left_out: dict[str, None] = {}
        for name in study.ARTEFACTS:
            whole, left_out = runner.plan([name], self.smoke, True, self.root, self.coming)
            self.steps |= {job_name(step): step for step in whole[:-1]}  # the last is the reporter
            stale, _ = runner.plan([name], self.smoke, False, self.root, self.coming)
            self._of[name] = [job_name(step) for step in stale[:-1]]
            self.stale += [job for job in self._of[name] if job not in self.stale]
            self.left_out |= dict.fromkeys(left_out)

    def mark(self, job: str) -> str:
        """The empty file that says that a job is done: all that Snakemake owns and may delete."""
        return _here(self.root / "runs" / "workflow" / job)

    def forget(self) -> None:
        """Delete the marks of jobs whose results do not stand, or are not there."""
        jobs = [*self.stale, *map(_training_job, self.coming)]
        for name, waits_for in self._of.items():
            if waits_for or not any(self.root.glob(f"[tf]*/{name}.*")):
                jobs.append(name)
        for job in jobs:
            Path(self.mark(job)).unlink(missing_ok=True)

    def before(self, job: str) -> list[str]:
        """Marks that the notebook of a job waits for.

        Weights that are trained, and the measurement before it in the same score file, or with
        whose aperture it measures.
        """
        step = self.steps[job]
        figure, method = step.parameters.get("figure"), step.parameters.get("method")
        used = qualitative.methods_of(figure) if figure else [method]
        earlier = self.stale[: self.stale.index(job)] if job in self.stale else []
        earlier = [name for name in earlier if _shared(self.steps[name]) == _shared(step) != ()]
        return [self.mark(_training_job(name)) for name in used if name in self.coming] + [
            self.mark(name) for name in earlier[-1:]
        ]

    def read(self, artefact: str) -> list[str]:
        """What a reporter waits for: marks of its stale measurements, and files that it reads."""
        wanted, root = study.ARTEFACTS[artefact], self.root
        files = [runner.NOTEBOOKS / f"{wanted.notebook}.ipynb", RESULTS / "published.csv"]
        files += [root / "scores" / need.dataset / f"{need.method}.csv" for need in wanted.scores]
        for probe, methods in wanted.probes.items():
            files += [root / "scores" / probe / f"{method}.csv" for method in methods]
        files += [root / "pictures" / wanted.pictures / "index.json"] if wanted.pictures else []
        if not (wanted.scores or wanted.probes or wanted.pictures):  # reads what nobody plans
            files += sorted(root.glob("scores/*/*.csv"))
        files += sorted([*root.glob("scores/*.csv"), *root.glob("ratings/**/*.csv")])
        return [*map(self.mark, self._of[artefact]), *(_here(f) for f in files if f.is_file())]

    def notebook_command(self, step: runner.Step) -> str:
        """The shell command that runs a notebook, whatever stands."""
        words = [step.notebook, *(f"{name}={value}" for name, value in step.parameters.items())]
        words += ["--smoke"] * self.smoke + ["--results", self.results] * bool(self.results)
        return _python("bokehlib.workflow", *words)

    def training_command(self, name: str) -> str:
        """The shell command that trains an adapter and puts it where methods look for weights."""
        recipe, profile = study.ADAPTERS[name]
        text = json.dumps(asdict(study.TRAINABLE[recipe]), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:8]  # another recipe is another run
        run = RESULTS / "runs" / "training" / f"{name}-{key}"
        words = ["--recipe", recipe, "--profile", profile]
        train = _python(
            "bokehlib.training.bokehdiff", *words, "--photos", self.photos, "--run", str(run)
        )
        place = Path(os.environ.get("BOKEHLIB_WEIGHTS", "")) / f"{name}.safetensors"
        copy = ["cp", str(run / "adapter.safetensors"), f"{place}.part"]
        return " && ".join(
            [train, shlex.join(copy), shlex.join(["mv", f"{place}.part", str(place)])]
        )


def job_name(step: runner.Step) -> str:
    """A step's name among files: notebook and parameters."""
    return "-".join([step.notebook, *map(str, step.parameters.values())]).replace("/", "_")


def _here(path: Path) -> str:
    """From the working directory on: a storage of files keeps the same names elsewhere."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _training_job(name: str) -> str:
    return f"train-{name}"


def _shared(step: runner.Step) -> tuple[str, ...]:
    """What only one measurement may work on at a time; () for what shares nothing."""
    dataset = step.parameters.get("dataset")
    if dataset is None:
        return ()
    folder = PUBLISHED[dataset].folder if dataset in PUBLISHED else dataset
    return folder, step.parameters["method"]


def _coming(photos: str, asked: str) -> list[str]:
    """The trainings that do not stand, of those that are asked for."""
    names = [name for name in asked.split(",") if name] or [*study.TRAININGS]
    if unknown := [name for name in names if name not in study.ADAPTERS]:
        accepted = ", ".join(study.ADAPTERS)
        raise InputError(f"--config train: found {unknown[0]!r}; accepted: {accepted}")
    if not photos:
        if asked:
            raise InputError("--config train: found without photos; accepted: photos=FOLDER too")
        return []
    if not Path(photos).is_dir():
        raise InputError(f"--config photos: found no folder {photos}; accepted: of photographs")
    weights = os.environ.get("BOKEHLIB_WEIGHTS", "")
    if not (weights and Path(weights).is_dir()) or Path(weights).samefile(EMBEDDED):
        raise InputError(
            f"BOKEHLIB_WEIGHTS: found {weights or 'nothing'}; accepted where weights are trained: "
            "a folder of your own, which they go to"
        )
    return [name for name in names if not _stands(name)]


def _stands(name: str) -> bool:
    """Whether the adapter that methods find was trained by the recipe as it is now."""
    file = find_weights(f"{name}.safetensors")
    if file is None:
        return False
    with safe_open(file, "numpy") as found:  # no torch: a plan is made for every job
        said = (found.metadata() or {}).get("recipe")
    wanted = study.TRAINABLE[study.ADAPTERS[name][0]]
    return said is not None and study.recipe_from(json.loads(said)) == wanted


def _python(*words: str) -> str:
    return f"cd {shlex.quote(str(ROOT))} && {shlex.join([sys.executable, '-m', *words])}"


# --- One job ---------------------------------------------------------------------------------


def command_line() -> Parser:
    """The options of the command line."""
    parser = Parser(prog="bokehlib.workflow", allow_abbrev=False)
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("parameters", metavar="NAME=VALUE", nargs="*")
    parser.add_argument("--smoke", action="store_true", help="tiny")
    parser.add_argument("--results", default="", metavar="FOLDER", help="default: results")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line: run one notebook, whatever stands; 1 if it failed."""
    given = command_line().parse_args(argv)
    if odd := [word for word in given.parameters if "=" not in word]:
        raise InputError(f"NAME=VALUE: found {odd[0]!r}; accepted: a parameter and its value")
    parameters = dict(word.split("=", 1) for word in given.parameters)
    common = {"smoke": given.smoke, "results": given.results}
    step = runner.Step(given.notebook, parameters)
    return not runner.succeeds(step, resolve(given.results, given.smoke), **common)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
