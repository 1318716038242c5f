"""What the latent space costs: each of `study.LATENTS` trained alike from photographs, and scored.

    python -m bokehlib train latents --photos FOLDER --run results/runs/latents

The paper's one limitation is what its autoencoder loses, its remedy one that compresses less (Sec.
5). A latent gets an autoencoder, a diffusion prior and the complete one-step model, all for the
same steps; what it is worth is how well photographs come back, and how well lens blur does. Every
stage resumes when the same command is given again.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bokehlib.bokehdiff import mini
from bokehlib.bokehdiff.inference import compile_networks
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.data import data_hash, photo_paths
from bokehlib.data.datasets import load_dataset
from bokehlib.evaluation.metrics import Measure
from bokehlib.evaluation.scoring import score
from bokehlib.io.images import read_image
from bokehlib.methods import files_hash
from bokehlib.study import LATENT_RECIPE, LATENTS, Latent, Lessons, Recipe
from bokehlib.study.provenance import provenance
from bokehlib.study.results import resolve, write_probe
from bokehlib.training import bokehdiff, discriminator, loop, prior

PROBE, DATASET = "latents", "synbokeh-mini"
CENTRE = (384, 512)  # px of a held-out photograph that the autoencoder copies
STAGES = ("autoencoder", "prior", "one_step")


def train(
    latent: Latent,
    photos: Path,
    run_dir: Path,
    lessons: Lessons,
    recipe: Recipe = LATENT_RECIPE,
    compiled: bool = False,
    small: bool = False,
) -> tuple[Path, Path]:
    """Autoencoder, prior and one-step model of a latent, each in a folder of its own.

    A stage whose file is there is not trained again.

    Args:
        latent: what the networks are made for.
        photos: folder of training photographs.
        run_dir: of this latent.
        lessons: steps and batches; of the recipe they replace its own.
        recipe: of the one-step model.
        compiled: torch.compile the autoencoder while it is trained; the other stages are too short.
        small: a handful of channels and a discriminator to match: smoke runs and tests.

    Returns:
        The base file and the adapter file.

    Raises:
        InputError: the photographs are unfit, or LPIPS has no weights here.
    """
    device = loop.device()
    folders = {stage: run_dir / stage for stage in STAGES}
    base = folders["prior"] / mini.BASE
    adapter = folders["one_step"] / "adapter.safetensors"
    if not (folders["autoencoder"] / "scale.json").is_file():
        pipeline = _untrained(latent, small).to(device)
        if compiled:
            compile_networks(pipeline)
        images = prior.draw_crops(photos, lessons.crops, device)
        schedule = prior.schedule_of(lessons.autoencoder, device)
        prior.make_autoencoder(pipeline, images, schedule, folders["autoencoder"])
    if not base.is_file():
        images = prior.draw_crops(photos, lessons.crops, device)
        schedule = prior.schedule_of(lessons.prior, device)
        note = {"data": photos.name, "seed": 0, "steps": lessons.prior, "latent": latent.label}
        pipeline = _untrained(latent, small).to(device)
        prior.make_base(pipeline, images, schedule, folders["prior"], folders["autoencoder"], note)
    if not adapter.is_file():
        recipe = replace(recipe, steps=lessons.one_step, batch_size=lessons.pairs)
        bokehdiff.train(
            recipe,
            folders["one_step"],
            photos=photos,
            pipeline=mini.load_base(base, recipe).to(device),
            judge=discriminator.tiny(recipe.seed) if small else None,
        )
    return base, adapter


def _untrained(latent: Latent, small: bool) -> BokehPipeline:
    torch.manual_seed(0)
    make = mini.tiny if small else mini.build
    return make(latent=latent, fine=latent.fine)


# --- Scores -----------------------------------------------------------------------------------


@torch.inference_mode()
def reconstruct(pipeline: BokehPipeline, measure: Measure) -> list[dict[str, Any]]:
    """How well the embedded photographs, which no training has seen, come back: a row each."""
    rows = []
    for name, path in photo_paths().items():
        photo = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].to(measure.device)
        top, left = ((n - m) // 2 for n, m in zip(photo.shape[-2:], CENTRE, strict=True))
        photo = photo[..., top : top + CENTRE[0], left : left + CENTRE[1]]
        copy = pipeline.decode(pipeline.encode(photo)).clamp(0, 1)
        rows.append(_row("reconstruction", name, 0, measure(copy, photo)))
    return rows


def _row(what: str, image: str, blur: int, values: dict[str, float]) -> dict[str, Any]:
    found = {name: values.get(name, math.nan) for name in ("psnr", "lpips_alex")}
    return {"what": what, "image": image, "blur": blur, **found}


def measure_latent(
    name: str,
    photos: Path,
    run_dir: Path,
    root: Path,
    lessons: Lessons | None = None,
    compiled: bool = False,
    smoke: bool = False,
) -> list[dict[str, Any]]:
    """Train one of `study.LATENTS`, score it, and write rows and stamp.

    Args:
        name: of the latent.
        photos: folder of training photographs.
        run_dir: of all latents; this one's stages lie in a folder of its name.
        root: folder of results.
        lessons: as for `train`; None = the study's.
        compiled: as for `train`.
        smoke: tiny networks without the perceptual term, and one scene.

    Returns:
        The rows of `scores/latents/<name>.csv`.

    Raises:
        InputError: as for `train`.
    """
    start, own, device = time.perf_counter(), run_dir / name, loop.device()
    begun, recipe, lessons = own.exists(), LATENT_RECIPE, lessons or Lessons()
    if smoke:
        recipe = replace(recipe, weights=replace(recipe.weights, perceptual=0.0))
    base, adapter = train(LATENTS[name], photos, own, lessons, recipe, compiled, small=smoke)
    measure = Measure(device)
    rows = reconstruct(mini.load_base(base).to(device), measure)
    samples, renderer = load_dataset(DATASET, smoke), mini.renderer(base, adapter, device)
    for found in score(renderer, samples, measure, name, DATASET):
        rows.append(_row("bokeh", found["image"], found["blur"], found))
    asked = {
        **{"method": name, "smoke": smoke, "dataset": DATASET, "photos": photos.name},
        **{f"{stage}_steps": loop.steps_done(own / stage) for stage in STAGES},
        **{"crops": lessons.crops, "pairs": lessons.pairs, "crop": prior.CROP},
    }
    where = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    # Wall time is unknown for resumed runs.
    seconds = None if begun else time.perf_counter() - start
    weights = files_hash([base, adapter])
    made = provenance(asked, recipe.seed, weights, data_hash(DATASET), where, seconds)
    write_probe(rows, made, PROBE, name, root)
    return rows


def run(names: Sequence[str], photos: Path, run: Path, compiled: bool = False) -> None:
    """Train and score the named latents, or all, one after the other.

    Args:
        names: keys of `study.LATENTS`; none = all.
        photos: folder of training photographs.
        run: folder of these runs; resumed if it exists.
        compiled: compile the networks: slow to start, faster steps.
    """
    for name in names or LATENTS:
        rows = measure_latent(name, photos, run, resolve(), compiled=compiled)
        means = [_mean(rows, what) for what in ("reconstruction", "bokeh")]
        print("{}: reconstruction {:.2f} dB, bokeh {:.2f} dB".format(name, *means), flush=True)


def _mean(rows: list[dict[str, Any]], what: str) -> float:
    found = [row["psnr"] for row in rows if row["what"] == what]
    return sum(found) / len(found)
