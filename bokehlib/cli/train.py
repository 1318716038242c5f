"""The command `train`: what a name trains, with which options. No torch until it trains."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bokehlib.bokehdiff.config import Recipe
from bokehlib.io.errors import InputError
from bokehlib.methods import TRAINABLE_BASELINES
from bokehlib.study import LATENTS, RECIPES, TRAINABLE, TRAININGS
from bokehlib.study.recipes import BASELINE

PRIOR = ("prior-autoencoder", "prior-unet")
ALL_LATENTS = "latents"
REFINER = "refiner"
USAGE = (
    "NAME --photos FOLDER --run FOLDER [--steps N] [--slice-steps N] [--batch-size N] and, by what "
    "is trained, [--seed N] [--profile mini|sdxl] [--base FILE] [--compile] [--paper-width] "
    "[--learning-rate X] [--autoencoder FOLDER] [--factor N] [--channels N] [--fine]"
)
OF_KIND = {  # options that not every kind of training has
    "recipe": ("seed", "profile", "base", "compile"),
    "baseline": ("seed", "paper_width"),
    "refiner": ("seed", "learning_rate"),
    "prior": ("learning_rate", "autoencoder", "factor", "channels", "fine", "compile"),
    "latents": ("compile",),
}


def kind_of(name: str) -> str:
    """The key of `OF_KIND` for a name that `train` accepts.

    Raises:
        argparse.ArgumentTypeError: The name is unknown.
    """
    kinds = {
        "recipe": TRAINABLE,
        "baseline": TRAINABLE_BASELINES,
        "refiner": (REFINER,),
        "prior": PRIOR,
        "latents": (ALL_LATENTS, *LATENTS),
    }
    for kind, names in kinds.items():
        if name in names:
            return kind
    known = ", ".join([*sorted(RECIPES), *TRAINABLE_BASELINES, REFINER, *PRIOR, ALL_LATENTS])
    raise argparse.ArgumentTypeError(
        f"found {name!r}; accepted: {known}, or {next(iter(TRAININGS))} and the like"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command; one that is not given is None."""
    folder: dict[str, Any] = {"type": Path, "metavar": "FOLDER"}
    parser.add_argument("name", type=_name, metavar="NAME", help="a recipe, or another network")
    parser.add_argument("--photos", required=True, **folder, help="of training photographs")
    parser.add_argument(
        "--run", dest="run_dir", required=True, **folder, help="of this run, resumed if it exists"
    )
    for name, least in (("steps", 1), ("batch-size", 1), ("seed", 0), ("slice-steps", 1)):
        parser.add_argument(f"--{name}", type=_whole_number(least), metavar="N")
    parser.add_argument("--profile", choices=("mini", "sdxl"), metavar="NAME", help="of the base")
    parser.add_argument("--base", metavar="FILE", help="default: the profile's own")
    parser.add_argument("--learning-rate", type=float, metavar="X")
    parser.add_argument("--autoencoder", **folder, help="run of the prior's first stage")
    parser.add_argument(
        "--factor", type=int, choices=(2, 4, 8, 16), metavar="N", help="px a latent"
    )
    parser.add_argument("--channels", type=_whole_number(1), metavar="N", help="of a latent")
    for name in ("--fine", "--compile", "--paper-width"):
        parser.add_argument(name, action="store_true", default=None)


def run(given: argparse.Namespace) -> int:
    """Train what `add_options` was given, in one resumable slice.

    Raises:
        InputError: An option does not fit the name, or the run folder is a file.
    """
    kind = kind_of(given.name)
    own = {name for names in OF_KIND.values() for name in names}
    options = {name: getattr(given, name) for name in own if getattr(given, name) is not None}
    if unfit := sorted(set(options) - set(OF_KIND[kind])):
        accepted = ", ".join(map(_flag, OF_KIND[kind]))
        raise InputError(
            f"{_flag(unfit[0])}: found with {given.name}; accepted with it: {accepted}"
        )
    if given.run_dir.exists() and not given.run_dir.is_dir():
        raise InputError(f"--run: found {given.run_dir}, not a folder; accepted: a folder")
    if given.name == PRIOR[1] and given.autoencoder is None:
        raise InputError(f"--autoencoder: found none; accepted: the run folder of {PRIOR[0]}")
    _TRAIN[kind](given, options)
    return 0


# --- Kinds of training -----------------------------------------------------------------------


def _recipe(given: argparse.Namespace, options: dict) -> None:
    from bokehlib.training import bokehdiff

    bokehdiff.at_scale(
        _changed(TRAINABLE[given.name], given),
        options.get("profile", "mini"),
        given.run_dir,
        given.slice_steps,
        photos=given.photos,
        base=options.get("base", ""),
        compiled="compile" in options,
    )


def _baseline(given: argparse.Namespace, options: dict) -> None:
    from bokehlib.training import baselines

    baselines.train(
        given.name,
        given.run_dir,
        given.slice_steps,
        photos=given.photos,
        recipe=_changed(BASELINE, given),
        paper_width="paper_width" in options,
    )


def _refiner(given: argparse.Namespace, options: dict) -> None:
    from bokehlib.training import refiner

    recipe = _changed(refiner.RECIPE, given)
    recipe = replace(recipe, learning_rate=options.get("learning_rate", recipe.learning_rate))
    refiner.from_photos(given.photos, recipe, given.run_dir, given.slice_steps)


def _prior(given: argparse.Namespace, options: dict) -> None:
    from bokehlib.training import prior

    options |= {name: n for name in ("steps", "batch_size") if (n := getattr(given, name))}
    options["compiled"] = options.pop("compile", False)
    stage = given.name.removeprefix("prior-")
    prior.from_photos(stage, given.photos, given.run_dir, given.slice_steps, **options)


def _latents(given: argparse.Namespace, options: dict) -> None:
    if changed := next(
        (n for n in ("steps", "batch_size", "slice_steps") if getattr(given, n)), ""
    ):
        raise InputError(f"{_flag(changed)}: found with {given.name}; accepted: without it")
    names = () if given.name == ALL_LATENTS else (given.name,)
    run = resolve_name("bokehlib.extras.latents:run")
    run(names, given.photos, given.run_dir, "compile" in options)


_TRAIN: dict[str, Callable[[argparse.Namespace, dict], None]] = {
    **{"recipe": _recipe, "baseline": _baseline},
    **{"refiner": _refiner, "prior": _prior, "latents": _latents},
}


# --- Values ----------------------------------------------------------------------------------


def _name(text: str) -> str:
    kind_of(text)
    return text


def _whole_number(least: int) -> Callable[[str], int]:
    """A whole number from `least` to what random numbers can be seeded with."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) < 2**32):
            accepted = f"a whole number, {least} to {2**32 - 1}"
            raise argparse.ArgumentTypeError(f"found {text!r}; accepted: {accepted}")
        return int(text)

    return number


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _changed(recipe: Recipe, given: argparse.Namespace) -> Recipe:
    """The recipe with the steps, batch size and seed that were given."""
    instead = {name: getattr(given, name) for name in ("steps", "batch_size", "seed")}
    return replace(recipe, **{name: n for name, n in instead.items() if n is not None})
