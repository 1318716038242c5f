"""Training the refiner of disparity on scenes drawn as BokehDiff's, their foregrounds in relief.

python -m bokehlib train refiner --photos FOLDER --run results/runs/refiner
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bokehlib.bokehdiff import refiner
from bokehlib.bokehdiff.config import FULL, Recipe
from bokehlib.data.datasets import training_photos
from bokehlib.data.perturb import random_disturbance
from bokehlib.io import tensorfiles
from bokehlib.synthesis import (
    RELIEF_FAMILIES,
    Synthesiser,
    draw_cutouts,
    lit,
    to_display,
    training_cutouts,
)
from bokehlib.training import loop
from bokehlib.training.bokehdiff import CROP, HALO, in_blocks, schedule_of

RECIPE = replace(FULL, learning_rate=1e-3, batch_size=32, steps=14_000)
LARGEST = 6.0  # px by which outlines are wrong
TOLERANCE = 0.02  # of a map's range
FLOOR = 1e-3  # of a fit: some outlines are beyond reach
EXACT = 3  # every third map is right: it has to stay as it is
RODS = 96  # drawn
OTHERS = 0.8  # of a fit where the pixel's own disparity is right as well

Scenes = tuple[torch.Tensor, torch.Tensor]  # image (B, 3, H, W), true disparity (B, 1, H, W)


class _Chooser(torch.nn.Module):
    """What the loss is about: the weights of the neighbours, not the map they make."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.refiner = refiner.Refiner(widths)

    def forward(self, image, disparity):
        return self.refiner.weights(image, disparity)


def train(
    scenes: Callable[[int], Scenes],
    schedule: loop.Schedule,
    run_dir: Path,
    slice_steps: int | None = None,
    seed: int = 0,
    widths: Sequence[int] = refiner.WIDTHS,
) -> dict[str, torch.Tensor]:
    """Learn to undo dilation and erosion.

    Args:
        scenes: step -> scenes with true disparity.
        schedule: length and rates.
        run_dir: checkpoints, loss curve and the weight file.
        slice_steps: at most so many steps in this call.
        seed: of first weights and disturbances.
        widths: see `refiner.Refiner`.

    Returns:
        The averaged parameters by name.
    """
    torch.manual_seed(seed)
    chooser = _Chooser(widths).to(loop.device())

    def terms(module, step: int) -> dict[str, torch.Tensor]:
        image, truth = scenes(step)
        draw = loop.generator(truth.device, seed, step)
        wrong = random_disturbance(truth, draw, LARGEST)
        wrong[::EXACT] = truth[::EXACT]
        return {"choice": choice_loss(module(image, wrong), wrong, truth)}

    averaged = loop.run(chooser, terms, schedule, run_dir, slice_steps)
    averaged = {name.removeprefix("refiner."): value for name, value in averaged.items()}
    note = {"steps": loop.steps_done(run_dir), "seed": seed}
    inside = {"widths": list(widths), "note": note}
    tensorfiles.write(averaged, run_dir / refiner.WEIGHTS, inside)
    return averaged


def scenes_from(
    photos: Path, recipe: Recipe, device: torch.device | str
) -> Callable[[int], Scenes]:
    """Scenes by step; no target is rendered.

    Args:
        photos: folder of training photographs, RGBA cut-outs perhaps in its subfolder `cutouts`.
        recipe: its batch size and seed count.
        device: where all pixel work happens.

    Raises:
        InputError: the photographs are unfit.
    """
    images = training_photos([photos])
    cutouts = [*training_cutouts(photos), draw_cutouts(RELIEF_FAMILIES, RODS, seed=0)]
    maker = Synthesiser(images, cutouts, (CROP, CROP), HALO, device, max_radius=HALO)

    def block(number: int, samples: range) -> list[Scenes]:
        layers = maker.layers([maker.draw(recipe.seed, n) for n in samples])
        layers = lit(layers, loop.generator(device, recipe.seed, number))
        parts = (to_display(layers.sharp()), layers.disparity())
        return list(zip(*(part.split(recipe.batch_size) for part in parts), strict=True))

    return in_blocks(block, recipe.batch_size)


def choice_loss(weights: torch.Tensor, wrong: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How improbable the right neighbours were: -log sum_k w_k c_k exp(-e_k / TOLERANCE).

    e_k is the error of neighbour k's disparity over the range of its map; c_k is 1 for the pixel
    itself and `OTHERS` for all others, so that what is right stays as it is. Unlike an L1 loss of
    the result, which ends at the identity since that is right nearly everywhere, it learns most
    where the right neighbour seemed improbable.

    Args:
        weights: (B, len(OFFSETS), H, W) of `Refiner.weights`.
        wrong: (B, 1, H, W), what the refiner was given.
        truth: (B, 1, H, W).

    Returns:
        A scalar, 0 where all weight is on neighbours with the true disparity.
    """
    span = (truth.amax((1, 2, 3)) - truth.amin((1, 2, 3))).clamp(min=0.05)[:, None, None, None]
    fit = torch.zeros_like(truth)
    for k, there in enumerate(refiner.neighbours(wrong)):
        right = torch.exp((truth - there).abs() / (-TOLERANCE * span))
        fit = fit + weights[:, k, None] * right * (OTHERS if k else 1)
    return -(fit + FLOOR).log().mean()


def from_photos(
    photos: Path, recipe: Recipe, run_dir: Path, slice_steps: int | None = None
) -> dict[str, torch.Tensor]:
    """`train` on `scenes_from` photographs, with the steps, rates and seed of a recipe.

    Raises:
        InputError: the photographs are unfit.
    """
    recipe = replace(recipe, warmup_steps=recipe.steps // 20)
    device = loop.device()
    scenes = scenes_from(photos, recipe, device)
    return train(scenes, schedule_of(recipe, device), run_dir, slice_steps, recipe.seed)
