"""Scores of one method on one data set, over as many GPUs as there are: notebooks 30, 31 and 35.

python -m bokehlib score --method scatter --dataset synbokeh-mini
accelerate launch -m bokehlib score --method bokehdiff-sdxl --dataset blb_level5
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bokehlib import data, methods, study
from bokehlib.io import processes
from bokehlib.io.errors import InputError
from bokehlib.study.provenance import provenance
from bokehlib.study.results import (
    is_up_to_date,
    read_provenance,
    resolve,
    score_parameters,
    write_scores,
)


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
        method: as in `methods.METHODS` or `study.TRAININGS`.
        dataset: as in `study.DATASETS`, or `folder:<path>`.
        part: one of `results.PARTS`; wrong disparities are measured with one lens per scene.
        smoke: tiny.
        results: folder of results; "" for the repository's.
        profile: as for `methods.at_scale`.

    Returns:
        The name of what was measured, and the folder of results.

    Raises:
        InputError: unknown names, or something is not here.
    """
    import bokehlib
    from bokehlib.data.datasets import PublishedSet, load_dataset
    from bokehlib.evaluation import scoring
    from bokehlib.evaluation.metrics import Measure

    start, root = time.perf_counter(), resolve(results, smoke)
    method, scale, weights = methods.at_scale(method, profile, smoke)
    asked, device = score_parameters(dataset, method, part, smoke), methods.resolve_device("auto")
    samples, measure = load_dataset(dataset, smoke=smoke), Measure(device)
    render = bokehlib.load(method, device=device, **scale)
    _say(f"{len(samples)} pictures on {device}; measured: {', '.join(measure.names)}")
    for name, why in measure.missing.items():
        _say(f"not measured: {name}, {why}")
    measured = partial(scoring.score, render, metrics=measure, method=method, dataset=dataset)
    more: dict[str, Any] = {}
    if part != "exact":
        rows = _at_wrong_disparities(measured, samples, asked, smoke)
    elif isinstance(samples, PublishedSet) and dataset in data.PUBLISHED:
        faults = [fault.replace(f"{data.find_published(dataset)}/", "") for fault in samples.faults]
        _say("\n".join([f"{samples.left_out} left out", *faults]))
        fitted = choose(render, samples, asked, weights, device, root)
        _say(f"aperture: {fitted}")
        more = {"fitted": fitted, "left_out": samples.left_out, "faults": faults}
        rows = measured(samples, aperture=fitted.get("aperture"))
    else:
        rows = measured(samples)
    seconds = time.perf_counter() - start
    made_by = provenance(asked, 0, weights, data.data_hash(dataset), device, seconds) | more
    if processes.is_main():
        write_scores(rows, made_by, dataset, method, part, root)
    return method, root


def choose(
    renderer: Callable[..., Any],
    samples: Sequence[Any],
    asked: dict[str, Any],
    weights: str,
    device: str,
    root: Path,
) -> dict[str, Any]:
    """The aperture for a set of `data.PUBLISHED` as its scores' stamp holds it.

    Args:
        renderer: The method.
        samples: The set.
        asked: From `results.score_parameters`.
        weights: SHA-256 over the method's weight files.
        device: Where the renderer gets its tensors.
        root: Folder of results.

    Returns:
        Nothing where the set says its apertures; "aperture" and what `Fitted` has where it is
        searched; "aperture" and "borrowed_from" where it is another set's.

    Raises:
        InputError: The other set has not been measured with these weights.
    """
    from bokehlib.evaluation.aperture_search import best_aperture

    source = data.PUBLISHED[asked["dataset"]].aperture
    if source == "known":
        return {}
    if source == "searched":
        found = asdict(best_aperture(renderer, samples, device))
        crossed = None if math.isnan(found["crossed_ssim"]) else found["crossed_ssim"]
        pair = [k for k in found["crossed_apertures"] if not math.isnan(k)]
        return found | {"crossed_ssim": crossed, "crossed_apertures": pair}
    method = asked["method"]
    wanted = score_parameters(source, method, "exact", asked["smoke"])
    if not is_up_to_date(source, method, "exact", weights, data.data_hash(source), wanted, root):
        raise InputError(
            f"aperture of {method} on {asked['dataset']}: found no scores on {source} of these "
            "weights and data; accepted: a run on that set first"
        )
    aperture = read_provenance(source, method, root=root)["fitted"]["aperture"]
    return {"aperture": aperture, "borrowed_from": source}


def _at_wrong_disparities(measured: Callable[..., list], samples, asked, smoke: bool) -> list:
    one_lens = [sample for sample in samples if sample.blur == study.ROBUSTNESS_BLUR]
    errors = [error for error in asked.get("radii") or asked["disturbances"] if error != 0]
    errors = errors[:: 3 if smoke else 1]
    _say(f"{len(one_lens)} of them, each with the errors {errors}")
    return [row for error in errors for row in measured(one_lens, perturbation=error)]


def _say(line: str) -> None:
    if processes.is_main():
        print(line, flush=True)
