"""Time and memory of attention, of the whole model and of all methods, on this machine.

`python -m bokehlib benchmark` writes `scores/speed-<part>.csv` and its stamp, which `44_speed`
reads.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

PARTS = {  # a generator of rows: (device, smoke, note) -> timing.Row
    "attention": "bokehlib.extras.benchmark.attention:rows",
    "model": "bokehlib.extras.benchmark.model:rows",
    "wide": "bokehlib.extras.benchmark.model:wide_rows",
    "training": "bokehlib.extras.benchmark.training:rows",
    "methods": "bokehlib.extras.benchmark.renderers:rows",
}
OF_EACH_DEVICE = ("methods",)  # parts of which a CPU and a GPU each have a file
PLAIN = "sdxl-1024x1024-plain"  # whose time is 1 for these whole models:
COMPARED = ("sdxl-1024x1024", "sdxl-1024x1024-eager", "sdxl-1024x1024-published", PLAIN)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run; times mean nothing")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART")


def run(arguments: argparse.Namespace) -> int:
    """Measure and write `scores/speed-<part>.csv` with its stamp."""
    import torch

    from bokehlib.study import results

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True  # sizes do not change
    out = arguments.out or results.resolve(smoke=arguments.smoke)
    for part in arguments.parts:
        _measure(part, device, arguments.smoke, out)
    return 0


def _measure(part: str, device: str, smoke: bool, out: Path) -> None:
    import gc

    import torch

    from bokehlib.study import speed
    from bokehlib.study.provenance import provenance

    name = torch.cuda.get_device_name() if device == "cuda" else device
    file = f"{part}-{device}" if part in OF_EACH_DEVICE else part
    asked: dict[str, Any] = {"smoke": smoke}
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    for row in resolve_name(PARTS[part])(device, smoke, asked):
        rows.append(asdict(row))
        seconds = time.perf_counter() - start
        values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in rows[-1].values())
        print(f"{seconds:6.1f} s  {'  '.join(values)}", flush=True)
        made_by = provenance(asked, 0, "", "", name, seconds)
        # An interrupted run leaves its rows here; a complete part replaces the earlier file.
        speed.write(file, rows, made_by, out / "runs" / "benchmark")
    speed.write(file, compared(rows), made_by, out)
    gc.collect()  # reference cycles left by one part would count as memory of the next


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of whole models with their ratio to the plain one if that is there too."""
    plain = [row["milliseconds"] for row in rows if row["what"] == PLAIN]
    return [
        row | {"ratio_to_plain": row["milliseconds"] / plain[0]}
        if plain and row["what"] in COMPARED
        else row
        for row in rows
    ]
