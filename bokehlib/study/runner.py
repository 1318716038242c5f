"""Runs the study's notebooks through papermill: checked, once, in order, with progress.

papermill only warns about a parameter that a notebook does not have; here it is an error. A run
is kept under `<root>/runs/<notebook>/<key>.ipynb`, where the key stands for the notebook's source
and its parameters. The library's code is left out of it on purpose: the stamp of every score file
names its commit, and `--fresh` measures all again.
"""

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bokehlib import data, methods, study
from bokehlib.io.errors import InputError
from bokehlib.io.places import ROOT
from bokehlib.study import pictures
from bokehlib.study.results import (
    PARTS,
    RESULTS,
    probe_parameters,
    read_stamp,
    replacing,
    resolve,
    score_parameters,
    scores_stand,
)

NOTEBOOKS = ROOT / "notebooks"
REPORTER_SECONDS = 4.0  # a first guess, until one has run


# --- One notebook ----------------------------------------------------------------------------


def _known(notebook: str) -> set[str]:
    import papermill

    return set(papermill.inspect_notebook(str(NOTEBOOKS / f"{notebook}.ipynb")))


def _stands(executed: Path) -> bool:
    """Whether that run came to its end; a failed one has an exception in its metadata."""
    if not executed.exists():
        return False
    found = json.loads(executed.read_text(encoding="utf-8"))["metadata"].get("papermill", {})
    return bool(found.get("end_time")) and not found.get("exception")


def _place(notebook: str, root: Path, parameters: dict[str, Any]) -> Path:
    """Where the run of a notebook as it is now is kept."""
    source = (NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8")
    key = hashlib.sha256((source + json.dumps(parameters, sort_keys=True)).encode())
    return root / "runs" / notebook / f"{key.hexdigest()[:16]}.ipynb"


def run(notebook: str, root: Path = RESULTS, fresh: bool = False, **parameters: Any) -> Path:
    """Execute a notebook of `notebooks/` with parameters, unless the same run stands.

    Args:
        notebook: its name without ".ipynb".
        root: folder of results; the executed notebook goes to `runs/` in it.
        fresh: execute even if the same run stands.
        **parameters: scalars for the cell tagged "parameters".

    Returns:
        The executed notebook. A failed one is kept beside it as `<key>.failed.ipynb`.

    Raises:
        InputError: unknown notebook or parameter.
        papermill.PapermillExecutionError: a cell failed.
    """
    import papermill

    source = NOTEBOOKS / f"{notebook}.ipynb"
    if not source.exists():
        known = ", ".join(sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
        raise InputError(f"notebook {notebook!r} is unknown; known: {known}")
    if unknown := set(parameters) - (known_names := _known(notebook)):
        raise InputError(
            f"{notebook} has no parameter {', '.join(sorted(unknown))}; "
            f"known: {', '.join(sorted(known_names))}"
        )
    target = _place(notebook, root, parameters)
    if _stands(target) and not fresh:
        return target
    failed = target.with_suffix(".failed.ipynb")
    target.unlink(missing_ok=True)
    with replacing(target) as temporary:
        try:
            _execute(source, temporary, parameters)
        except papermill.PapermillExecutionError as error:
            temporary.replace(failed)
            error.add_note(str(failed))
            raise
    failed.unlink(missing_ok=True)
    return target


def _execute(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    import papermill
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    class ThisInterpreter(AsyncKernelManager):
        """Starts this very Python, whatever kernels the user has installed under its name."""

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return KernelSpecManager(kernel_dirs=[])

    logging.getLogger("papermill").setLevel(logging.WARNING)
    papermill.execute_notebook(
        source,
        target,
        parameters,
        kernel_name="python3",
        kernel_manager_class=ThisInterpreter,
        extra_arguments=["--log-level=CRITICAL"],
        cwd=ROOT,
        progress_bar=False,
        stderr_file=sys.stderr if sys.stderr.isatty() else None,  # the workers' progress bars
    )


# --- The study -------------------------------------------------------------------------------


@dataclass
class Step:
    """One notebook to run; `seconds` is how long its last run took, if a stamp says so."""

    notebook: str
    parameters: dict[str, Any]
    seconds: float | None = None

    @property
    def title(self) -> str:
        """The notebook and what it runs on."""
        return " ".join([self.notebook, *map(str, self.parameters.values())])


def _ready(method: str) -> str:
    """The hash of the method's weights.

    Raises:
        InputError: the method lacks something.
    """
    if missing := methods.lacks(method):
        raise InputError(f"{method}: {missing}")
    return methods.weights_hash(method)


def _here(dataset: str) -> str:
    """The hash of the data set.

    Raises:
        InputError: it is not here.
    """
    if not (found := data.data_hash(dataset)):
        known = dataset in (*data.PUBLISHED, "rendered")
        raise InputError(data.absence(dataset) if known else f"{dataset} is not here")
    return found


def _score_steps(need: study.Scores, smoke: bool, fresh: bool, root: Path) -> list[Step]:
    """The runs that bring a score file up to date: exact first, wrong disparities after it.

    Raises:
        InputError: the method lacks something, or the data set is not here.
    """
    if need.optional and methods.lacks(need.method):
        return []
    hashes = _ready(need.method), _here(need.dataset)
    steps = []
    for part in PARTS if need.perturbed else PARTS[:1]:
        what = (need.dataset, need.method, part)
        if fresh or not scores_stand(*what, *hashes, score_parameters(*what, smoke), root):
            parameters = {"method": need.method, "dataset": need.dataset}
            notebook = "35_score_published" if need.dataset in data.PUBLISHED else "30_score"
            if part != "exact":
                notebook, parameters["part"] = "31_score_perturbed", part
            steps.append(Step(notebook, parameters, read_stamp(*what, root).get("wall_seconds")))
    return steps


def _probe_steps(probe: str, method: str, smoke: bool, fresh: bool, root: Path) -> list[Step]:
    if method not in study.EMBEDDED and methods.lacks(method):
        return []
    what = (probe, method, "exact")
    dataset = study.PROBES[probe].dataset
    hashes = _ready(method), _here(dataset) if dataset else ""
    if scores_stand(*what, *hashes, probe_parameters(probe, method, smoke), root) and not fresh:
        return []
    seconds = read_stamp(*what, root).get("wall_seconds")
    return [Step(study.PROBES[probe].worker, {"method": method}, seconds)]


def _picture_steps(figure: str, fresh: bool, root: Path) -> list[Step]:
    if missing := pictures.lacks(figure):
        raise InputError(f"{figure}: {missing}")
    stale = fresh or not pictures.stands(figure, root)
    return [Step("32_pictures", {"figure": figure})] if stale else []


def plan(
    names: Iterable[str], smoke: bool, fresh: bool, root: Path
) -> tuple[list[Step], list[str]]:
    """What has to run for the named tables and figures, in order, and what is left out and why.

    Args:
        names: keys of `study.ARTEFACTS`.
        smoke: tiny inputs.
        fresh: all, as if nothing stood.
        root: folder of results.

    Raises:
        InputError: unknown table or figure.
    """
    steps: list[Step] = []
    left_out: dict[str, None] = {}
    for name in names:
        if name not in study.ARTEFACTS:
            raise InputError(f"TABLE: found {name!r}; accepted: {', '.join(study.ARTEFACTS)}")
        artefact = study.ARTEFACTS[name]
        needs = [partial(_score_steps, need, smoke) for need in artefact.scores]
        for probe, names_of in artefact.probes.items():
            needs += [partial(_probe_steps, probe, method, smoke) for method in names_of]
        if artefact.pictures:
            needs.append(partial(_picture_steps, artefact.pictures))
        for steps_of in needs:
            try:
                steps += [step for step in steps_of(fresh, root) if step not in steps]
            except InputError as error:
                left_out[str(error)] = None
        steps.append(Step(artefact.notebook, artefact.parameters, REPORTER_SECONDS))
    return steps, list(left_out)


def _left(steps: list[Step]) -> str:
    total = sum(step.seconds or 0.0 for step in steps)
    text = f"{total:.0f} s" if total < 90 else f"{total / 60:.0f} min"
    unknown = sum(step.seconds is None for step in steps)
    runs = "1 run" if unknown == 1 else f"{unknown} runs"
    return f"{text} and {runs} of unknown length" if unknown else f"about {text}"


def reproduce(
    names: Iterable[str] = (), smoke: bool = False, fresh: bool = False, results: str = ""
) -> int:
    """Bring the named tables and figures up to date, all by default.

    Scores are valid while their stamp names the present weights, data and parameters; reporters are
    cheap and always run.

    Args:
        names: keys of `study.ARTEFACTS`.
        smoke: tiny inputs, into results/runs/smoke.
        fresh: measure all again; prints beforehand about how long.
        results: folder of results; "" for the repository's.

    Returns:
        Exit code: 0, or 1 if a notebook failed.

    Raises:
        InputError: unknown table or figure.
    """
    root = resolve(results, smoke)
    results = str(root) if results else ""  # notebooks run in the repository's folder
    steps, left_out = plan(list(names) or study.ARTEFACTS, smoke, fresh, root)
    for line in left_out:
        print(f"left out: {line}")
    if fresh:
        print(f"measuring all again takes {_left(steps)}, by the times in the stamps")
    failures = 0
    for number, step in enumerate(steps, start=1):
        left = _left(steps[number - 1 :])
        print(f"[{number}/{len(steps)}] {step.title} ({left} left)", flush=True)
        start = time.perf_counter()
        failures += not succeeds(step, root, smoke=smoke, results=results)
        step.seconds = time.perf_counter() - start
        for later in steps[number:]:  # the same notebook takes about as long again
            if later.notebook == step.notebook and later.seconds in (None, REPORTER_SECONDS):
                later.seconds = step.seconds
    done = len(steps) - failures
    print(f"{done} of {len(steps)} notebooks done; results are in {root}")
    return 1 if failures else 0


def succeeds(step: Step, root: Path, **common: Any) -> bool:
    """Run a step, ignoring earlier results; print a failure in one line on stderr."""
    import nbclient.exceptions
    import papermill

    try:
        run(step.notebook, root, fresh=True, **step.parameters, **common)
    except papermill.PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        print(f"FAILED {step.title}: {reason} (see {error.__notes__[0]})", file=sys.stderr)
    except nbclient.exceptions.DeadKernelError:
        print(f"FAILED {step.title}: its process died, perhaps for lack of memory", file=sys.stderr)
    else:
        return True
    return False
