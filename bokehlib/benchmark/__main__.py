"""Command line of the benchmark."""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bokehlib import results
from bokehlib.benchmark import attention, model
from bokehlib.errors import run_command

PARTS = ("attention", "model")


def main(argv: list[str] | None = None) -> int:
    """Measure and write `scores/speed.csv` with its stamp; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m bokehlib.benchmark",
        description="Time and memory of attention and of the whole model, on this machine.",
    )
    parser.add_argument("--out", type=Path, default=None, help="folder of results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run; times mean nothing")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    options = parser.parse_args(argv)
    out = options.out or results.resolve(smoke=options.smoke)
    return run_command(lambda: _measure(out, options.smoke, options.parts))


def _measure(out: Path, smoke: bool, parts: list[str]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True  # sizes do not change
    name = torch.cuda.get_device_name() if device == "cuda" else device
    note: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    sources = {
        "attention": lambda: attention.rows(device, smoke),
        "model": lambda: model.rows(device, smoke, note),
    }

    def write(folder: Path) -> None:
        asked = {"parts": list(parts), "smoke": smoke} | note
        seconds = time.perf_counter() - start
        results.write_speed(rows, results.stamp(asked, 0, "", "", name, seconds), folder)

    for part in parts:
        for row in sources[part]():
            rows.append(asdict(row))
            values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in rows[-1].values())
            print(f"{time.perf_counter() - start:6.1f} s  {'  '.join(values)}", flush=True)
            write(out / "runs" / "benchmark")  # what there is, should the run be cut off
    write(out)


if __name__ == "__main__":
    sys.exit(main())
