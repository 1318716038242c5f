"""Training the refiner of disparity on the scenes that also train BokehDiff.

python -m bokehlib.train_refiner --photos FOLDER --run results/runs/refiner
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

from bokehlib import loop, refiner
from bokehlib.datasets import training_photos
from bokehlib.disturb import random_disturbance
from bokehlib.errors import Parser, run_command
from bokehlib.study import FULL, replace
from bokehlib.synthesis import Batch
from bokehlib.training import pair_stream

LARGEST = 6.0  # px by which outlines are wrong
TOLERANCE = 0.02  # of a map's range
FLOOR = 1e-3  # of a fit: some outlines are beyond reach
EXACT = 4  # every fourth map is right: it has to stay as it is


class _Chooser(torch.nn.Module):
    """What the loss is about: the weights of the neighbours, not the map they make."""

    def __init__(self):
        super().__init__()
        self.refiner = refiner.Refiner()

    def forward(self, image, disparity):
        return self.refiner.weights(image, disparity)


def train(
    batch: Callable[[int], Batch],
    schedule: loop.Schedule,
    run_dir: Path,
    slice_steps: int | None = None,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Learn to undo dilation and erosion.

    Args:
        batch: step -> scenes with true disparity.
        schedule: length and rates.
        run_dir: checkpoints, loss curve and the weight file.
        slice_steps: at most so many steps in this call.
        seed: of first weights and disturbances.

    Returns:
        The averaged parameters by name.
    """
    torch.manual_seed(seed)
    chooser = _Chooser().to(loop.device())

    def terms(module, step: int) -> dict[str, torch.Tensor]:
        scenes = batch(step)
        truth = scenes.disparity
        draw = loop.generator(truth.device, seed, step)
        wrong = random_disturbance(truth, draw, LARGEST)
        wrong[::EXACT] = truth[::EXACT]
        return {"choice": choice_loss(module(scenes.image, wrong), wrong, truth)}

    averaged = loop.run(chooser, terms, schedule, run_dir, slice_steps)
    averaged = {name.removeprefix("refiner."): value for name, value in averaged.items()}
    steps = json.loads((run_dir / "progress.json").read_text())["steps"]
    refiner.save(averaged, run_dir / refiner.WEIGHTS, {"steps": str(steps), "seed": str(seed)})
    return averaged


def choice_loss(weights: torch.Tensor, wrong: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How improbable the right neighbours were: -log sum_k w_k exp(-e_k / TOLERANCE).

    e_k is the error of neighbour k's disparity over the range of its map. Unlike an L1 loss of
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
    for weight, there in zip(weights.unbind(1), refiner.neighbours(wrong), strict=True):
        fit = fit + weight[:, None] * torch.exp((truth - there).abs() / (-TOLERANCE * span))
    return -(fit + FLOOR).log().mean()


def command_line() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = Parser(prog="bokehlib.train_refiner", allow_abbrev=False)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--slice-steps", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Command line: one slice."""
    given = command_line().parse_args(argv)
    schedule = loop.Schedule(given.steps, given.learning_rate, warmup_steps=given.steps // 20)
    device = loop.device()
    if device == "cuda":
        schedule = replace(schedule, mixed_precision="bf16")
    recipe = replace(FULL, batch_size=given.batch_size)
    photos = training_photos([given.photos])
    batch = pair_stream(recipe, photos, given.photos, device)
    train(batch, schedule, given.run, given.slice_steps)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
