"""Runs the study's notebooks through papermill: checked, once, in order, with progress.

papermill only warns about a parameter that a notebook does not have; here it is an error. A run
is kept under `<root>/runs/<notebook>/<key>.ipynb`, where the key is a hash of the notebook's source
and its parameters. The library's code is not part of it on purpose: the provenance of every score
file names its commit, and `--fresh` measures all again.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bokehlib import data, methods, study
from bokehlib.io.errors import InputError
from bokehlib.io.places import ROOT
from bokehlib.study import pictures
from bokehlib.study.results import (
    PARTS,
    RESULTS,
    is_up_to_date,
    probe_parameters,
    read_provenance,
    replacing,
    resolve,
    score_parameters,
)

NOTEBOOKS = ROOT / "notebooks"
Key = tuple[str, str, str]  # data set or probe, method, part
REPORTER_SECONDS = 4.0  # of a notebook that measures nothing


# --- One notebook ----------------------------------------------------------------------------


def _finished(executed: Path) -> bool:
    """Whether that run reached its end; a failed one has an exception in its metadata."""
    if not executed.exists():
        return False
    found = json.loads(executed.read_text(encoding="utf-8"))["metadata"].get("papermill", {})
    return bool(found.get("end_time")) and not found.get("exception")


def run(notebook: str, root: Path = RESULTS, fresh: bool = False, **parameters: Any) -> Path:
    """Execute a notebook of `notebooks/` with parameters, unless the same run is there.

    Args:
        notebook: its name without ".ipynb".
        root: folder of results; the executed notebook goes to `runs/` in it.
        fresh: execute even if the same run is there.
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
    accepted = set(papermill.inspect_notebook(str(source)))
    if unknown := ", ".join(sorted(set(parameters) - accepted)):
        known = ", ".join(sorted(accepted))
        raise InputError(f"{notebook} has no parameter {unknown}; known: {known}")
    text = source.read_text(encoding="utf-8") + json.dumps(parameters, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = root / "runs" / notebook / f"{key}.ipynb"
    if _finished(target) and not fresh:
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
    """One notebook to run; `seconds` is how long its last run took, where that is known."""

    notebook: str
    parameters: dict[str, Any]
    seconds: float | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """The notebook and what it runs on."""
        return " ".join([self.notebook, *map(str, self.parameters.values())])


def _measurements(output: study.Output, smoke: bool) -> Iterator[tuple[Step, Key, str, Any, bool]]:
    """What an output reads: step, key of the file, data set, parameters, may the method be missing.

    Exact scores come before those at wrong disparities.
    """
    for need in output.scores:
        for part in PARTS if need.perturbed else PARTS[:1]:
            key = (need.dataset, need.method, part)
            asked = {"method": need.method, "dataset": need.dataset}
            notebook = "35_score_published" if need.dataset in data.PUBLISHED else "30_score"
            if part != "exact":
                notebook, asked["part"] = "31_score_perturbed", part
            parameters = score_parameters(*key, smoke)
            yield Step(notebook, asked), key, need.dataset, parameters, need.optional
    for probe, names in output.probes.items():
        found = study.PROBES[probe]
        for method in names:
            step = Step(found.worker, {"method": method})
            parameters = probe_parameters(probe, method, smoke)
            optional = method not in study.EMBEDDED
            yield step, (probe, method, "exact"), found.dataset, parameters, optional


def _missing(method: str, dataset: str) -> str:
    """Why a method cannot be measured on a data set ("" = none is needed), "" if it can."""
    if missing := methods.lacks(method):
        return f"{method}: {missing}"
    if not dataset or data.data_hash(dataset):
        return ""
    known = dataset in (*data.PUBLISHED, "rendered")
    return data.absence(dataset) if known else f"{dataset} is not here"


def plan(
    names: Iterable[str], smoke: bool, fresh: bool, root: Path
) -> tuple[list[Step], list[str]]:
    """What has to run for the named tables and figures, in order, and what is skipped and why.

    Args:
        names: keys of `study.OUTPUTS`.
        smoke: tiny inputs.
        fresh: all, as if nothing were up to date.
        root: folder of results.

    Raises:
        InputError: unknown table or figure.
    """
    steps: list[Step] = []
    skipped: dict[str, None] = {}
    for name in names:
        if name not in study.OUTPUTS:
            raise InputError(f"TABLE: found {name!r}; accepted: {', '.join(study.OUTPUTS)}")
        output = study.OUTPUTS[name]
        for step, key, dataset, parameters, optional in _measurements(output, smoke):
            _, method, _ = key
            if step in steps or (optional and methods.lacks(method)):
                continue
            if missing := _missing(method, dataset):
                skipped[missing] = None
                continue
            hashes = methods.weights_hash(method), data.data_hash(dataset) if dataset else ""
            if fresh or not is_up_to_date(*key, *hashes, parameters, root):
                step.seconds = read_provenance(*key, root).get("wall_seconds")
                steps.append(step)
        figure = output.pictures
        if figure and (missing := pictures.missing(figure)):
            skipped[f"{figure}: {missing}"] = None
        elif figure and (fresh or not pictures.is_up_to_date(figure, root)):
            steps.append(Step("32_render_figures", {"figure": figure}))
        reporter = Step(output.notebook, output.parameters, REPORTER_SECONDS)
        steps = [step for step in steps if step != reporter] + [reporter]  # once, after its scores
    return steps, list(skipped)


def _duration(steps: list[Step]) -> str:
    total = sum(step.seconds or 0.0 for step in steps)
    text = f"{total:.0f} s" if total < 90 else f"{total / 60:.0f} min"
    unknown = sum(step.seconds is None for step in steps)
    runs = "1 run" if unknown == 1 else f"{unknown} runs"
    return f"{text} and {runs} of unknown length" if unknown else f"about {text}"


def reproduce(
    names: Iterable[str] = (), smoke: bool = False, fresh: bool = False, results: str = ""
) -> int:
    """Bring the named tables and figures up to date, all by default.

    Scores are up to date while their provenance names the present weights, data and parameters;
    reporters are cheap and always run.

    Args:
        names: keys of `study.OUTPUTS`.
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
    steps, skipped = plan(list(names) or study.OUTPUTS, smoke, fresh, root)
    for line in skipped:
        print(f"skipped: {line}")
    if fresh:
        print(f"measuring all again takes {_duration(steps)}, by the times of the last runs")
    failures = 0
    for number, step in enumerate(steps, start=1):
        print(f"[{number}/{len(steps)}] {step.title}", flush=True)
        failures += not _succeeds(step, root, smoke=smoke, results=results)
    done = len(steps) - failures
    print(f"{done} of {len(steps)} notebooks done; results are in {root}")
    return 1 if failures else 0


def _succeeds(step: Step, root: Path, **common: Any) -> bool:
    """Run a step; a failure is one line on stderr."""
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
