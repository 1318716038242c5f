"""Training a rival on the pairs, with the losses and for the steps of the embedded default.

accelerate launch -m bokehlib.training.baselines deeplens-retrained --photos FOLDER --run RUN
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import torch
from accelerate.utils import set_seed

from bokehlib.baselines import trained
from bokehlib.bokehdiff.config import Recipe
from bokehlib.io import processes
from bokehlib.io.errors import Parser, run_command
from bokehlib.io.pretrained import lpips_network
from bokehlib.methods import METHODS
from bokehlib.study import MINI
from bokehlib.synthesis import Batch
from bokehlib.training import loop
from bokehlib.training.bokehdiff import add_run_options, asked_for, pairs_from, schedule_of
from bokehlib.training.losses import BokehLoss

RECIPE = replace(MINI, refined=False)  # a rival renders from the disparity as it is


def trainable() -> list[str]:
    """The methods that can be trained here."""
    own = trained.weight_file
    return [name for name, m in METHODS.items() if m.weights == (own(name),) and m.loader]


def maker(name: str) -> trained.Maker:
    """The function that makes the network of a method."""
    return resolve_name(METHODS[name].loader.partition(":")[0] + ":network")


def train(
    name: str,
    run_dir: Path,
    slice_steps: int | None = None,
    *,
    photos: Path | None = None,
    recipe: Recipe = RECIPE,
    paper_width: bool = False,
    batch: Callable[[int], Batch] | None = None,
    perceptual: torch.nn.Module | None = None,
) -> dict[str, torch.Tensor]:
    """Train a rival's network, in a resumable slice; in bfloat16 on a GPU.

    Args:
        name: one of `trainable`.
        run_dir: checkpoints, loss curve and `<name>.safetensors`; a run there is gone on with.
        slice_steps: at most so many steps in this call; None = to the end.
        photos: folder of training photographs; needed unless `batch` is given.
        recipe: its pairs, steps, learning rate, weights of the losses and seed count.
        paper_width: the published width instead of the embedded file's.
        batch: step -> pairs; None = scenes synthesised from `photos`.
        perceptual: LPIPS network; None = `recipe.perceptual_net` where its weight is not 0.

    Returns:
        The averaged trained parameters by name.

    Raises:
        InputError: no photographs were given, published weights to start from are missing, or the
            recipe asks for a loss term that cannot be computed.
    """
    device = loop.device()
    if recipe.weights.perceptual and perceptual is None:
        perceptual = lpips_network(recipe.perceptual_net)
    loss = BokehLoss(recipe.weights, perceptual).to(device)
    if batch is None:
        batch = pairs_from(photos, recipe, device)
    set_seed(recipe.seed)
    network = maker(name)(name, paper_width).to(device)
    own_terms: Callable[..., dict] | None = getattr(network, "own_terms", None)

    def terms(module: torch.nn.Module, step: int) -> dict[str, torch.Tensor]:
        pair = batch(step)
        pair = pair.part(loop.own_part(len(pair.image)))
        predicted = module(pair.image, pair.disparity, pair.lens)
        parts = loss(*(2 * x - 1 for x in (predicted.float(), pair.target, pair.image)))
        return parts | (own_terms(pair.target) if own_terms else {})

    averaged = loop.run(network, terms, schedule_of(recipe, device), run_dir, slice_steps)
    note = {
        "steps": loop.steps_done(run_dir),
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
    }
    if processes.is_main():
        trained.save(averaged, run_dir / trained.weight_file(name), name, paper_width, note)
    return averaged


# --- Command line -----------------------------------------------------------------------------


def _rival(name: str) -> str:
    known = trainable()
    if name not in known:
        raise argparse.ArgumentTypeError(f"found {name!r}; accepted: {', '.join(known)}")
    return name


def command_line() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = Parser(prog="bokehlib.training.baselines", allow_abbrev=False)
    parser.add_argument("method", type=_rival, metavar="METHOD")
    add_run_options(parser, "the default's")
    parser.add_argument("--paper-width", action="store_true", help="the published width")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Command line: one slice of one rival."""
    given = command_line().parse_args(argv)
    train(
        given.method,
        given.run,
        given.slice_steps,
        photos=given.photos,
        recipe=asked_for(given, RECIPE),
        paper_width=given.paper_width,
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
