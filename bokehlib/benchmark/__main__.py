"""Command line of the benchmark."""

import gc
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bokehlib.benchmark import attention, model, renderers, training
from bokehlib.io.errors import Parser, run_command
from bokehlib.study import results

PARTS = {
    "attention": attention.rows,
    "model": model.rows,
    "wide": model.wide_rows,
    "training": training.rows,
    "methods": renderers.rows,
}
OF_EACH_DEVICE = ("methods",)  # parts that a CPU and a GPU each have a file of


def command_line() -> Parser:
    """Its options."""
    parser = Parser(
        prog="python -m bokehlib.benchmark",
        description="Time and memory of attention and of the whole model, on this machine.",
    )
    parser.add_argument("--out", type=Path, default=None, help="folder of results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run; times mean nothing")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=[*PARTS], help="what to measure"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and write `scores/speed-<part>.csv` with its stamp; see --help."""

    def command() -> None:
        options = command_line().parse_args(argv)
        out = options.out or results.resolve(smoke=options.smoke)
        _measure(out, options.smoke, options.parts)

    return run_command(command)


def _measure(out: Path, smoke: bool, parts: Iterable[str]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True  # sizes do not change
    name = torch.cuda.get_device_name() if device == "cuda" else device
    for part in parts:
        asked: dict[str, Any] = {"smoke": smoke}
        file = f"{part}-{device}" if part in OF_EACH_DEVICE else part
        rows: list[dict[str, Any]] = []
        start = time.perf_counter()
        for row in PARTS[part](device, smoke, asked):
            rows.append(asdict(row))
            seconds = time.perf_counter() - start
            values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in rows[-1].values())
            print(f"{seconds:6.1f} s  {'  '.join(values)}", flush=True)
            stamp = results.stamp(asked, 0, "", "", name, seconds)
            # What there is, should the run be cut off; a whole part replaces what stands.
            results.write_speed(file, rows, stamp, out / "runs" / "benchmark")
        results.write_speed(file, model.compared(rows), stamp, out)
        gc.collect()  # what a part leaves in cycles would count as memory of the next


if __name__ == "__main__":
    sys.exit(main())
