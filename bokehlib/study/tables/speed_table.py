"""Durations: the GPU benchmark's rows and those of our score runs."""

from typing import Any

import pandas as pd

from bokehlib.study.tables.measured import exact, methods

SPEED_KEY = ["what", "tokens", "heads", "radius", "direction"]  # what makes a row one combination
SPEED_COLUMNS = [*SPEED_KEY, "milliseconds", "peak_gib", "ratio_to_plain"]
SPEED_KINDS = (
    dict.fromkeys(SPEED_COLUMNS, "float64")
    | dict.fromkeys(("what", "tokens", "direction"), "str")
    | dict.fromkeys(("heads", "radius"), "Int64")  # integers that may be absent
)
SPEED_PLANNED = (  # measured on an accelerator
    *("plain", "pisa", "pisa-novis", "pisa-reference", "pisa-published", "visibility"),
    *("sdxl-1024x1024", "sdxl-1024x1024-plain", "sdxl-1024x1024-published"),
    "training-sdxl-512",
)
PLACES = tuple(  # size and device of a method's row in one run of all
    f"{size}-{device}" for device in ("cpu", "cuda") for size in ("384x256", "1536x1024")
)
SPEED_MADE_BY = ("torch", "triton", "diffusers")  # their versions decide the milliseconds
NO_SPEED = pd.DataFrame(columns=SPEED_COLUMNS).astype(SPEED_KINDS)


def speed(scores: pd.DataFrame, benchmark: pd.DataFrame = NO_SPEED) -> pd.DataFrame:
    """Durations: the benchmark's rows, what it has not measured, then one row a measured method.

    Args:
        scores: as read by `results.read_scores`.
        benchmark: rows as read by `results.read_speed`.
    """
    timed = exact(scores, "synbokeh-mini")
    medians = 1000 * timed.groupby("method")["seconds"].median()
    known = [m for m in methods(timed) if m in medians.index]
    rows = [{"what": what} for what in SPEED_PLANNED if what not in set(benchmark["what"])]
    rows += [{"what": m, "direction": "forward", "milliseconds": medians[m]} for m in known]
    rest = pd.DataFrame(rows, columns=SPEED_COLUMNS).astype(SPEED_KINDS)
    return pd.concat([benchmark, rest], ignore_index=True)


def measured_on(stamps: dict[str, Any]) -> str:
    """Devices and versions of the benchmark, and what precision it lost, for the caption.

    Args:
        stamps: by part, as read by `results.read_speed`.
    """
    if not stamps:
        return "The other rows wait for the benchmark on a GPU."
    places: dict[str, list[str]] = {}
    for part, stamp in stamps.items():
        found = stamp["versions"]
        versions = [f"{package} {found[package]}" for package in SPEED_MADE_BY if package in found]
        place = f"{stamp['device']} with {', '.join(versions)}"
        places.setdefault(place, []).append(part)
    named = [f"{place} ({', '.join(parts)})" for place, parts in places.items()]
    clauses = [f"The other rows were measured on {', '.join(named)}"]
    for asked in (stamp.get("parameters", {}) for stamp in stamps.values()):
        if loss := asked.get("psnr_to_float32"):
            clauses.append(
                f"the accelerated bfloat16 picture has a PSNR of {loss:.1f} dB against float32"
            )
        if "waiting" in asked:
            clauses.append(
                f"a training step has {asked['batch_size']} pairs, and waiting for them is "
                f"{asked['waiting']:.1f} % of it"
            )
    return f"{'; '.join(clauses)}."
