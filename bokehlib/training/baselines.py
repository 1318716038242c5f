"""Training a rival on the pairs, with the losses and for the steps of the embedded default.

accelerate launch -m bokehlib train deeplens-retrained --photos FOLDER --run FOLDER
"""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import torch
from accelerate.utils import set_seed

from bokehlib.baselines import trained
from bokehlib.bokehdiff.config import Recipe
from bokehlib.io import processes
from bokehlib.io.pretrained import lpips_network
from bokehlib.methods import METHODS
from bokehlib.synthesis import Batch
from bokehlib.training import loop
from bokehlib.training.bokehdiff import pairs_from, schedule_of
from bokehlib.training.losses import BokehLoss


def maker(name: str) -> trained.Maker:
    """The function that makes the network of a method."""
    return resolve_name(METHODS[name].loader.partition(":")[0] + ":network")


def train(
    name: str,
    run_dir: Path,
    slice_steps: int | None = None,
    *,
    photos: Path | None = None,
    recipe: Recipe,
    paper_width: bool = False,
    batch: Callable[[int], Batch] | None = None,
    perceptual: torch.nn.Module | None = None,
) -> dict[str, torch.Tensor]:
    """Train a rival's network, in a resumable slice; in bfloat16 on a GPU.

    Args:
        name: one of `methods.TRAINABLE_BASELINES`.
        run_dir: checkpoints, loss curve and `<name>.safetensors`; a run there is resumed.
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
