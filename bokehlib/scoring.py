"""Scores of one method on one data set, over as many GPUs as there are: notebooks 30, 31 and 35.

python -m bokehlib score --method scatter --dataset synbokeh-mini
accelerate launch --num_processes 8 -m bokehlib score --method bokehdiff-sdxl --dataset blb_level5
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bokehlib import data, methods, sharing, study
from bokehlib.results import resolve, score_parameters, stamp, write_scores


def score(
    method: str,
    dataset: str,
    part: str = "exact",
    smoke: bool = False,
    results: str = "",
    profile: str = "mini",
) -> tuple[str, Path]:
    """Measure, in parts where there are several processes; the first of them writes all rows.

    What is measured, what is not and why is printed.

    Args:
        method: as in `study.METHODS` or `study.TRAININGS`.
        dataset: as in `study.DATASETS`, or `folder:<path>`.
        part: one of `results.PARTS`; wrong disparities are measured with one lens a scene.
        smoke: tiny.
        results: folder of results; "" for the repository's.
        profile: as for `methods.at_scale`.

    Returns:
        The name of what was measured, and the folder of results.

    Raises:
        InputError: unknown names, or something is not here.
    """
    import bokehlib
    from bokehlib import aperture, evaluation
    from bokehlib.datasets import PublishedSet, load_dataset
    from bokehlib.metrics import Measure

    start, root = time.perf_counter(), resolve(results, smoke)
    method, scale, weights = methods.at_scale(method, profile, smoke)
    asked, device = score_parameters(dataset, method, part, smoke), methods.resolve_device("auto")
    samples, measure = load_dataset(dataset, smoke=smoke), Measure(device)
    render = bokehlib.load(method, device=device, **scale)
    _say(f"{len(samples)} pictures on {device}; measured: {', '.join(measure.names)}")
    for name, why in measure.missing.items():
        _say(f"not measured: {name}, {why}")
    measured = partial(evaluation.score, render, metrics=measure, method=method, dataset=dataset)
    more: dict[str, Any] = {}
    if part != "exact":
        rows = _at_wrong_disparities(measured, samples, asked, smoke)
    elif isinstance(samples, PublishedSet) and dataset in data.PUBLISHED:
        faults = [fault.replace(f"{data.find_published(dataset)}/", "") for fault in samples.faults]
        _say("\n".join([f"{samples.left_out} left out", *faults]))
        fitted = aperture.choose(render, samples, asked, weights, device, root)
        _say(f"aperture: {fitted}")
        more = {"fitted": fitted, "left_out": samples.left_out, "faults": faults}
        rows = measured(samples, aperture=fitted.get("aperture"))
    else:
        rows = measured(samples)
    seconds = time.perf_counter() - start
    made_by = stamp(asked, 0, weights, data.data_hash(dataset), device, seconds) | more
    if sharing.is_main():
        write_scores(rows, made_by, dataset, method, part, root)
    return method, root


def _at_wrong_disparities(measured: Callable[..., list], samples, asked, smoke: bool) -> list:
    one_lens = [sample for sample in samples if sample.blur == study.ROBUSTNESS_BLUR]
    errors = [error for error in asked.get("radii") or asked["disturbances"] if error != 0]
    errors = errors[:: 3 if smoke else 1]
    _say(f"{len(one_lens)} of them, each with the errors {errors}")
    return [row for error in errors for row in measured(one_lens, perturbation=error)]


def _say(line: str) -> None:
    if sharing.is_main():
        print(line, flush=True)
