"""`python -m bokehlib.extras.pathtracing render | pack | export`.

`render` makes the linear originals (needs the extra `[render]`), `pack` the data set of them,
`export` writes them as OpenEXR, also in BLB's own layout.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from bokehlib.extras.pathtracing import SEED
from bokehlib.extras.pathtracing.jobs import FLOOR, SAMPLES, Plan
from bokehlib.io.errors import Parser, run_command


def render(asked: argparse.Namespace) -> int:
    """Render within the budget, then write the originals."""
    from bokehlib.extras.pathtracing import jobs, originals
    from bokehlib.extras.pathtracing.scenes import SCENES

    names = asked.scenes or [*SCENES]
    passes = asked.passes or asked.out / "passes"
    budget = asked.cores, asked.seconds, asked.floor
    plan = Plan(passes, names, asked.seed, asked.samples, *budget)
    jobs.run(plan)
    made = originals.gather(plan, asked.out)
    for scene in made["scenes"]:
        floors = scene["noise_floor_db"]
        worst = min(floors, key=floors.get)
        print(f"{scene['name']}: noise floor {floors[worst]:.2f} dB or more ({worst})")
    return 0


def pack(asked: argparse.Namespace) -> int:
    """Make the data set of the originals."""
    from bokehlib.extras.pathtracing import committed

    for line in committed.write(asked.originals, asked.out, asked.megabytes, asked.cores):
        print(line)
    return 0


def export(asked: argparse.Namespace) -> int:
    """Write the originals as OpenEXR."""
    from bokehlib.extras.pathtracing import exports

    print(f"{exports.write(asked.originals, asked.out, asked.layout)} files in {asked.out}")
    return 0


def command_line() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from bokehlib.extras.pathtracing.scenes import SCENES

    parser = Parser(prog="bokehlib.extras.pathtracing", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("render", help=render.__doc__)
    one.add_argument("--out", type=Path, required=True, help="folder of the originals")
    one.add_argument("--passes", type=Path, help="folder of the passes; in --out by default")
    one.add_argument("--cores", type=int, default=1)
    one.add_argument("--seconds", type=float, default=math.inf, help="no pass ends later")
    one.add_argument("--floor", type=float, default=FLOOR, help="dB that is enough of a picture")
    one.add_argument("--samples", type=int, default=SAMPLES, help="a pixel and pass, a square")
    one.add_argument("--seed", type=int, default=SEED)
    one.add_argument("--scenes", nargs="+", choices=[*SCENES])
    one.set_defaults(run=render)
    two = commands.add_parser("pack", help=pack.__doc__)
    two.add_argument("originals", type=Path)
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--cores", type=int, default=1)
    two.add_argument("--megabytes", type=float, default=3.1, help="the data set's largest size")
    two.set_defaults(run=pack)
    three = commands.add_parser("export", help=export.__doc__)
    three.add_argument("originals", type=Path)
    three.add_argument("--out", type=Path, required=True)
    three.add_argument("--layout", choices=("exr", "blb"), default="exr")
    three.set_defaults(run=export)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 for bad input.
    """

    def command() -> int:
        asked = command_line().parse_args(argv)
        return asked.run(asked)

    return run_command(command)


if __name__ == "__main__":
    raise SystemExit(main())
