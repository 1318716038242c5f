"""Training BokehDiff on synthetic pairs (Sec. 3.3, 3.4, 4.1).

accelerate launch -m bokehlib train mini --photos FOLDER --run results/runs/mini
accelerate launch -m bokehlib train full --profile sdxl --photos FOLDER --run RUN
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import set_seed

from bokehlib.bokehdiff import adapters, mini, refiner
from bokehlib.bokehdiff.config import Recipe
from bokehlib.bokehdiff.inference import compile_networks
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.data.datasets import training_photos
from bokehlib.data.perturb import random_disturbance
from bokehlib.io import processes
from bokehlib.io.errors import InputError
from bokehlib.io.pretrained import lpips_network
from bokehlib.io.weightfiles import need_weights
from bokehlib.synthesis import Batch, Synthesiser, training_cutouts
from bokehlib.training import discriminator, loop
from bokehlib.training.losses import BokehLoss, discrimination
from bokehlib.training.profiles import PROFILES, Profile

CROP, HALO = PROFILES["mini"].crop, PROFILES["mini"].halo
SAMPLING = (8, 2)  # of the visibility; a training step draws a fresh scene anyway
AHEAD = 4  # steps whose pairs are made in one go: many lens points, few launches
T = TypeVar("T")


def hardness_at(progress: float, first: float = 3.0, last: float = 1e6) -> float:
    """Hardness of the mask's edge (S1): geometric over the first 80 % of training, then `last`.

    Args:
        progress: share of the training that is done, in [0, 1].
        first: the published start.
        last: k_max of S1.
    """
    return first * (last / first) ** min(1.0, progress / 0.8)


def hardness_of(recipe: Recipe, step: int) -> float:
    """Hardness at a step: `hardness_at`, or as the published code counts its two layers' calls.

    Raises:
        ValueError: unknown `hardening`.
    """
    if recipe.hardening == "steps":
        return 3.0 + 2 * step
    if recipe.hardening != "geometric":
        raise ValueError(f"hardening {recipe.hardening!r}; accepted: 'geometric', 'steps'")
    return hardness_at(step / recipe.steps)


class Trainee(torch.nn.Module):
    """What is trained, as one module: image, disparity and lens in, prediction out."""

    def __init__(self, pipeline: BokehPipeline):
        """Take the pipeline's networks as parts."""
        super().__init__()
        self.vae, self.unet = pipeline.vae, pipeline.unet
        self.pipeline = [pipeline]  # in a list: its parts are already registered above

    def forward(self, image, disparity, lens, hardness: float, halo: int):
        """(B, 3, H, W) sRGB in [0, 1] -> prediction (B, 3, H, W), not clamped."""
        return self.pipeline[0].transform(image, disparity, lens, hardness, halo, SAMPLING)


def train(
    recipe: Recipe,
    run_dir: Path,
    slice_steps: int | None = None,
    *,
    photos: Path | None = None,
    pipeline: BokehPipeline | None = None,
    batch: Callable[[int], Batch] | None = None,
    halo: int = HALO,
    perceptual: torch.nn.Module | None = None,
    judge: discriminator.Discriminator | None = None,
    compiled: bool = False,
    crop: int = CROP,
) -> dict[str, torch.Tensor]:
    """Train what the recipe trains, in a resumable slice; in bfloat16 on a GPU.

    Args:
        recipe: everything that decides the result.
        run_dir: checkpoints, loss curve and `adapter.safetensors`; a run there is resumed.
        slice_steps: at most so many steps in this call; None = to the end.
        photos: folder of training photographs, RGBA cut-outs perhaps in its subfolder
            `cutouts`; needed unless `batch` is given.
        pipeline: adapters are added to it in place; None = the embedded base, on a GPU if there
            is one.
        batch: step -> pairs; None = scenes synthesised from `photos`.
        halo: reflected margin in pixels, at least the largest radius of the batches.
        perceptual: LPIPS network; None = `recipe.perceptual_net` where its weight is not 0.
        judge: discriminator; None = ConvNeXt-T where its weight is not 0.
        compiled: torch.compile all networks: minutes once, then faster steps.
        crop: side in pixels of scenes that are synthesised.

    Returns:
        The averaged trained parameters by name.

    Raises:
        InputError: no photographs were given, they are unfit, or the recipe asks for a loss term
            that cannot be computed.
    """
    if pipeline is None:
        pipeline = mini.load_base(need_weights(mini.BASE), recipe).to(loop.device())
    device = next(pipeline.unet.parameters()).device
    if recipe.weights.perceptual and perceptual is None:
        perceptual = lpips_network(recipe.perceptual_net)
    if not recipe.weights.adversarial:
        judge = None
    elif judge is None:
        judge = discriminator.convnext(recipe.seed)
    loss = BokehLoss(recipe.weights, perceptual, judge, recipe.edge).to(device)
    if batch is None:
        batch = pairs_from(photos, recipe, device, halo, crop)
    set_seed(recipe.seed)  # LoRA starts from random matrices
    adapters.add_adapters(pipeline, recipe)
    if compiled:
        _compile(pipeline, perceptual, judge)
    schedule = schedule_of(recipe, device)
    lesson = _Lesson(batch, loss, recipe, halo)
    opponent = None if judge is None else (judge, lesson.verdict)
    trainee = Trainee(pipeline)
    averaged = loop.run(trainee, lesson.terms, schedule, run_dir, slice_steps, opponent)
    note: dict[str, Any] = {"steps": loop.steps_done(run_dir)}
    if judge is not None:
        note["discriminator"] = judge.label
    if processes.is_main():
        adapters.save_adapter(averaged, recipe, run_dir / "adapter.safetensors", note)
    return averaged


class _Lesson:
    """The loss terms of a step: first the trainee's, then its discriminator's."""

    def __init__(self, batch: Callable[[int], Batch], loss: BokehLoss, recipe: Recipe, halo: int):
        self.batch, self.loss, self.recipe, self.halo = batch, loss, recipe, halo
        self.shown: list[torch.Tensor] = []  # target and prediction of the step, in [-1, 1]

    def terms(self, module, step: int) -> dict[str, torch.Tensor]:
        """Eq. 12."""
        pair = self.batch(step)
        pair = pair.part(loop.own_part(len(pair.image)))
        hardness = hardness_of(self.recipe, step)
        predicted = module(pair.image, pair.disparity, pair.lens, hardness, self.halo)
        prediction, target, sharp = (
            2 * x - 1 for x in (predicted.float(), pair.target, pair.image)
        )
        self.shown = [target, prediction.detach().clamp(-1, 1)]
        parts = self.loss(prediction, target, sharp)
        if step < self.recipe.adversarial_from and "adversarial" in parts:
            parts["adversarial"] = 0 * parts["adversarial"]
        return parts

    def verdict(self, module, step: int) -> dict[str, torch.Tensor]:
        """Eq. 11, on the very pictures of this step."""
        return discrimination(*module(torch.cat(self.shown)).chunk(2))


def _compile(pipeline: BokehPipeline, perceptual, judge) -> None:
    compile_networks(pipeline)
    if perceptual is not None:
        perceptual.compile()
    if judge is not None:
        # Not the head: it is small, and changes its own vectors. Its two batch sizes stay static.
        judge.features.compile(dynamic=False)


def schedule_of(recipe: Recipe, device: torch.device | str) -> loop.Schedule:
    """How long and how fast a recipe trains; in bfloat16 on a GPU."""
    return loop.Schedule(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        mixed_precision="bf16" if torch.device(device).type == "cuda" else "no",
        slow="vae.",
        slow_rate=recipe.encoder_rate,
    )


def pairs_from(
    photos: Path | None,
    recipe: Recipe,
    device: torch.device | str,
    halo: int = HALO,
    crop: int = CROP,
) -> Callable[[int], Batch]:
    """`pair_stream` of a folder of photographs.

    Raises:
        InputError: none was given, or they are unfit.
    """
    if photos is None:
        raise InputError("photos: none given; accepted: a folder of training photographs")
    return pair_stream(recipe, training_photos([photos]), photos, device, crop, halo)


def pair_stream(
    recipe: Recipe,
    photos: list[torch.Tensor],
    folder: Path | None,
    device: torch.device | str,
    crop: int = CROP,
    halo: int = HALO,
) -> Callable[[int], Batch]:
    """Pairs by step: photos, the built-in cut-outs and those in folder/cutouts."""
    synthesiser = Synthesiser(
        photos,
        training_cutouts(folder),
        size=(crop, crop),
        margin=halo,
        device=device,
        max_radius=float(halo),
    )
    size = recipe.batch_size
    refine = refiner.load(device) if recipe.refined else None

    def block(number: int, samples: range) -> list[Batch]:
        pairs = synthesiser.batch(recipe.seed, samples)
        if recipe.disturbed:
            draw, second = loop.generator(device, recipe.seed, number), pairs.disparity[1::2]
            second.copy_(random_disturbance(second, draw, recipe.disturbed))
        if refine is not None:
            pairs = replace(pairs, disparity=refine(pairs.image, pairs.disparity))
        return [pairs.part(slice(start, start + size)) for start in range(0, len(samples), size)]

    return in_blocks(block, size)


def in_blocks(make: Callable[[int, range], list[T]], size: int) -> Callable[[int], T]:
    """What a step learns from, made for `AHEAD` steps in one go.

    Args:
        make: number of the block, numbers of its samples -> what each of its steps gets.
        size: samples a step.
    """

    @functools.lru_cache(maxsize=1)
    def block(number: int) -> list[T]:
        return make(number, range(number * AHEAD * size, (number + 1) * AHEAD * size))

    return lambda step: block(step // AHEAD)[step % AHEAD]


def at_scale(
    recipe: Recipe, profile: str, run_dir: Path, slice_steps: int | None = None, **options: Any
) -> dict[str, torch.Tensor]:
    """`train` with base, size and margin of a profile.

    Args:
        recipe: as there.
        profile: one of `profiles.PROFILES`.
        run_dir: as there.
        slice_steps: as there.
        **options: `base`, what the profile begins with instead of its own; the rest as there.

    Raises:
        InputError: unknown profile, or as there.
    """
    chosen, base = _profile(profile), options.pop("base", "")
    pipeline = chosen.base(base, recipe).to(loop.device())
    options |= {"pipeline": pipeline, "halo": chosen.halo, "crop": chosen.crop}
    return train(recipe, run_dir, slice_steps, **options)


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise InputError(f"profile: found {name!r}; accepted: {', '.join(PROFILES)}")
    return PROFILES[name]


def smoke_run(recipe: Recipe, run_dir: Path, profile: str = "mini") -> dict[str, torch.Tensor]:
    """Two steps of a recipe on tiny random networks and random photos: shows that it runs.

    The perceptual term, which needs the weights of its backbone, is left out.
    """
    weights = replace(recipe.weights, perceptual=0.0)
    recipe = replace(recipe, weights=weights, steps=2, batch_size=2, rank=2)
    draw = torch.Generator().manual_seed(0)
    photos = [torch.randint(256, (3, 96, 96), generator=draw, dtype=torch.uint8) for _ in range(2)]
    batch = pair_stream(recipe, photos, None, "cpu", crop=32, halo=16)
    pipeline, judge = _profile(profile).tiny(recipe), discriminator.tiny(recipe.seed)
    return train(recipe, run_dir, pipeline=pipeline, batch=batch, halo=16, judge=judge)
