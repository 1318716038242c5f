"""The command line: `python -m bokehlib render | methods | study | data | train | score | ...`.

Arguments and files are checked before torch is imported. A user's error is one line on
stderr and exit code 2; Ctrl-C is exit code 130.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bokehlib import methods, study
from bokehlib.cli import render as rendering
from bokehlib.cli import render_options
from bokehlib.cli import train as training
from bokehlib.io.errors import InputError, Parser, number, run_command

USAGE = {
    "render": render_options.USAGE,
    "methods": "no arguments",
    "study": "[TABLE ...] [--smoke] [--fresh]",
    "data": "check PATH, build, disparity PATH",
    "train": training.USAGE,
    "score": "--method NAME --dataset NAME [--part exact|perturbed|disturbed] [--smoke] "
    "[--results FOLDER]",
}
PARTS = ("exact", "perturbed", "disturbed")  # of a score file, as in `results.PARTS`
# Optional commands: a module with `add_options(parser)` and `run(arguments) -> int`, and its help.
COMMANDS = {
    "refocus": ("bokehlib.extras.refocus", "a page: click on what should be in focus"),
    "benchmark": ("bokehlib.extras.benchmark", "time and memory of attention and of all methods"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code: 0, 1 if part of the study failed, 2 for bad input, 130 for Ctrl-C.
    """

    def command() -> int:
        arguments = _parse(list(sys.argv[1:] if argv is None else argv))
        return arguments.run(arguments)

    return run_command(command)


# --- Arguments ------------------------------------------------------------------------------


class _Parser(Parser):
    accepted = ", ".join([*USAGE, *COMMANDS])


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="bokehlib", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    render = commands.add_parser("render", allow_abbrev=False, help="render one photo")
    render_options.add_options(render)
    render.set_defaults(run=_render)

    listing = commands.add_parser("methods", allow_abbrev=False, help="list the methods")
    listing.set_defaults(run=_methods)

    reproduce = commands.add_parser("study", allow_abbrev=False, help="tables and figures")
    reproduce.add_argument("tables", metavar="TABLE", nargs="*", help="all by default")
    reproduce.add_argument("--smoke", action="store_true", help="tiny, to see that it runs")
    reproduce.add_argument("--fresh", action="store_true", help="measure all again")
    reproduce.set_defaults(run=_study)

    _add_training(commands)
    actions = _add_data(commands)
    for name, usage in USAGE.items():
        commands.choices[name].accepted = usage
    for name, (module, what) in COMMANDS.items():
        optional = commands.add_parser(name, allow_abbrev=False, help=what)
        if argv[:1] == [name]:
            resolve_name(f"{module}:add_options")(optional)
        optional.set_defaults(run=_optional, module=module)
    command = commands.choices.get(argv[0], parser) if argv else parser
    if argv[:1] == ["data"]:
        command = actions.choices.get("".join(argv[1:2]), command)
    arguments, unknown = parser.parse_known_args(_bind_values(argv, command))
    if unknown:
        command.error(f"found unknown {' '.join(unknown)}")
    return arguments


def _add_training(commands: Any) -> None:
    train = commands.add_parser("train", allow_abbrev=False, help="a recipe or another network")
    training.add_options(train)
    train.set_defaults(run=_train)

    score = commands.add_parser("score", allow_abbrev=False, help="one method on one data set")
    score.add_argument("--method", required=True, metavar="NAME")
    score.add_argument("--dataset", required=True, metavar="NAME", help="or folder:<path>")
    score.add_argument("--part", choices=PARTS, default="exact", metavar="PART")
    score.add_argument("--smoke", action="store_true", help="tiny")
    score.add_argument("--results", default="", metavar="FOLDER", help="default: results")
    score.set_defaults(run=_score)


def _add_data(commands: Any) -> Any:
    sets = commands.add_parser("data", allow_abbrev=False, help="external data sets")
    actions = sets.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)
    check = actions.add_parser("check", allow_abbrev=False, help="list usable and missing files")
    check.add_argument("path", metavar="PATH", help="the folder of a set, or of several")
    check.set_defaults(run=_data_check)
    check.accepted = "check PATH"
    build = actions.add_parser("build", allow_abbrev=False, help="SYNBOKEH300 of your own photos")
    build.add_argument("--photos", metavar="FOLDER", required=True, help="of photographs")
    build.add_argument("--foregrounds", metavar="FOLDER", required=True, help="of RGBA files")
    build.add_argument("--out", metavar="FOLDER", default="", help="in the cache folder by default")
    build.add_argument("--scenes", metavar="N", default="300", help="how many, 300 by default")
    build.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu or cuda")
    build.set_defaults(run=_data_build)
    build.accepted = (
        "--photos FOLDER --foregrounds FOLDER [--out FOLDER] [--scenes N] [--device auto|cpu|cuda]"
    )

    depth = actions.add_parser("disparity", allow_abbrev=False, help="estimate missing maps")
    depth.add_argument("path", metavar="PATH", help="the folder of a set")
    depth.add_argument("--depth-model", metavar="ID", default="", help="or a folder")
    depth.add_argument("--download", action="store_true", help="fetch it if it is not here")
    depth.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu or cuda")
    depth.set_defaults(run=_data_disparity)
    depth.accepted = "PATH [--depth-model ID|FOLDER] [--download] [--device auto|cpu|cuda]"
    return actions


def _bind_values(argv: list[str], command: _Parser) -> list[str]:
    """Write `--option value` as `--option=value`, so that a value may begin with a minus sign.

    Raises:
        InputError: An option is given twice.
    """
    actions = {text: action for action in command._actions for text in action.option_strings}
    bound: list[str] = []
    seen = set()
    rest = iter(argv)
    for word in rest:
        name = word.partition("=")[0]
        if name in actions and name in seen:
            raise InputError(f"{name}: found twice; accepted: once")
        seen.add(name)
        if word in actions and actions[word].nargs is None:
            value = next(rest, None)
            if value is None or value.partition("=")[0] in actions:
                accepted = f"{word} {actions[word].metavar}"
                raise InputError(f"{word}: found no value; accepted: {accepted}")
            word = f"{word}={value}"
        bound.append(word)
    return bound


def _quieten() -> None:
    """Keep the libraries' own warnings and, where nobody looks, their progress bars off stderr."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


# --- Commands -------------------------------------------------------------------------------


def _render(arguments: argparse.Namespace) -> int:
    _quieten()
    return rendering.run(arguments)


def _methods(arguments: argparse.Namespace) -> int:
    states = {name: methods.lacks(name) or "ready" for name in study.METHODS}
    name_width = max(map(len, states))
    state_width = max(map(len, states.values()))
    for name, state in states.items():
        print(f"{name:<{name_width}}  {state:<{state_width}}  {methods.phrase(name)}")
    return 0


def _study(arguments: argparse.Namespace) -> int:
    for name in arguments.tables:
        if name not in study.OUTPUTS:
            raise InputError(f"TABLE: found {name!r}; accepted: {', '.join(study.OUTPUTS)}")
    from bokehlib.study import runner

    names = arguments.tables or list(study.OUTPUTS)
    return runner.reproduce(names, smoke=arguments.smoke, fresh=arguments.fresh)


def _train(arguments: argparse.Namespace) -> int:
    return training.run(arguments)


def _score(arguments: argparse.Namespace) -> int:
    if missing := methods.lacks(arguments.method):
        raise InputError(f"--method: found {arguments.method}, {missing}; accepted: what is ready")
    from bokehlib.study import scoring

    asked = (getattr(arguments, name) for name in ("method", "dataset", "part", "smoke", "results"))
    scoring.score(*asked)
    return 0


def _optional(arguments: argparse.Namespace) -> int:
    _quieten()
    return resolve_name(f"{arguments.module}:run")(arguments)


def _data_check(arguments: argparse.Namespace) -> int:
    from bokehlib.data import published_sets

    lines, whole = published_sets.check(arguments.path, progress=sys.stderr.isatty())
    print("\n".join(lines))
    return 0 if whole else 1


def _data_build(arguments: argparse.Namespace) -> int:
    _quieten()
    accepted = "a whole number, 1 to 9999"
    scenes = number(arguments.scenes, "--scenes", accepted, low=1, high=9999)
    if scenes != int(scenes):
        raise InputError(f"--scenes: found {arguments.scenes!r}; accepted: {accepted}")
    render_options.check_device(arguments.device)
    for argument in ("photos", "foregrounds"):
        folder = getattr(arguments, argument)
        if not folder or not Path(folder).is_dir():
            raise InputError(f"--{argument}: found no such folder {folder!r}; accepted: a folder")

    from bokehlib.data import BUILT, synbokeh300

    out = Path(arguments.out) if arguments.out else BUILT / synbokeh300.NAME
    manifest = synbokeh300.build(
        out,
        arguments.photos,
        arguments.foregrounds,
        synbokeh300.Plan(scenes=int(scenes)),
        methods.resolve_device(arguments.device),
    )
    used = {name: len(manifest[name]) for name in ("scenes", "photos", "foregrounds")}
    print(json.dumps({"out": str(out), **used}))
    return 0


def _data_disparity(arguments: argparse.Namespace) -> int:
    _quieten()
    render_options.check_device(arguments.device)
    from bokehlib.data import estimated
    from bokehlib.io import estimate

    root, model = Path(arguments.path), arguments.depth_model or estimate.MODEL
    estimated.wanted(root)
    estimate.check(model, arguments.download)
    device = methods.resolve_device(arguments.device)
    progress = sys.stderr.isatty()
    print(json.dumps(estimated.fill(root, model, device, arguments.download, progress)))
    return 0
