"""The embedded prior: an autoencoder and a latent diffusion U-Net, trained from photographs.

    python -m bokehlib train prior-autoencoder --photos FOLDER --run results/runs/autoencoder
    python -m bokehlib train prior-unet --photos FOLDER --run results/runs/prior

It plays the part that SDXL plays in the paper (Sec. 3.1): pretrained on images alone, it has never
seen a pair, a disparity or a lens.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from bokehlib.bokehdiff import mini
from bokehlib.bokehdiff.config import Latent
from bokehlib.bokehdiff.inference import compile_networks
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.data.datasets import training_photos
from bokehlib.pisa.processor import install
from bokehlib.synthesis import crops
from bokehlib.training import loop
from bokehlib.training.losses import gradients

CROP = 192  # px
LATENT_NOISE = 0.02  # of the latents' scale, so that the decoder forgives small errors


class _Autoencoder(torch.nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, image, noise):
        latent = self.vae.encode(2 * image - 1).latent_dist.mode()
        return latent, (self.vae.decode(latent + LATENT_NOISE * noise).sample + 1) / 2


def train_autoencoder(
    pipeline: BokehPipeline,
    images: Callable[[int], torch.Tensor],
    schedule: loop.Schedule,
    run_dir: Path,
    slice_steps: int | None = None,
    seed: int = 0,
) -> None:
    """Reconstruction: L1, L2 and gradients; a weak pull of the latents to unit size.

    Args:
        pipeline: its `vae` is trained in place and set to the averaged weights.
        images: step -> (B, 3, H, W) sRGB in [0, 1].
        schedule: length and rates.
        run_dir: checkpoints and loss curve.
        slice_steps: at most so many steps in this call.
        seed: of the latent noise.
    """
    pipeline.vae.requires_grad_(True)
    stride, channels = pipeline.latent_stride, pipeline.vae.config.latent_channels

    def terms(module, step: int):
        image = images(step)
        shape = (image.shape[0], channels, image.shape[-2] // stride, image.shape[-1] // stride)
        noise = torch.randn(
            shape, device=image.device, generator=loop.generator(image.device, seed, step)
        )
        latent, copy = module(image, noise)
        pairs = zip(gradients(copy.float(), 1), gradients(image, 1), strict=True)
        return {
            "l1": (copy - image).abs().mean(),
            "l2": 4 * F.mse_loss(copy.float(), image),
            "gradient": sum(((a - b).abs().mean() for a, b in pairs), copy.new_zeros(())),
            "latent": 1e-4 * latent.float().square().mean(),
        }

    averaged = loop.run(_Autoencoder(pipeline.vae), terms, schedule, run_dir, slice_steps)
    _adopt(pipeline.vae, averaged, "vae.")


def latent_scale(pipeline: BokehPipeline, images: torch.Tensor) -> float:
    """The factor that gives the latents of these images (B, 3, H, W) a standard deviation of 1."""
    with torch.no_grad():
        return float(1 / pipeline.vae.encode(2 * images - 1).latent_dist.mode().std())


class _Denoiser(torch.nn.Module):
    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, latent, times, context):
        return self.unet(latent, times, **context).sample


def train_unet(
    pipeline: BokehPipeline,
    images: Callable[[int], torch.Tensor],
    schedule: loop.Schedule,
    run_dir: Path,
    slice_steps: int | None = None,
    seed: int = 0,
) -> None:
    """Denoising score matching on latents: predict the noise at a uniformly drawn timestep.

    Args: as in `train_autoencoder`; the pipeline's `unet` is trained and keeps plain attention,
        until a pipeline with PISA is made of it.
    """
    install(pipeline.unet, ())
    pipeline.vae.requires_grad_(False)
    pipeline.unet.requires_grad_(True)
    levels = pipeline.scheduler.config.num_train_timesteps

    def terms(module, step: int):
        with torch.no_grad():
            clean = pipeline.encode(images(step)).float()
        draw = loop.generator(clean.device, seed, step)
        times = torch.randint(levels, (len(clean),), device=clean.device, generator=draw)
        noise = torch.randn(clean.shape, device=clean.device, generator=draw)
        noisy = pipeline.scheduler.add_noise(clean, noise, times)
        return {"noise": F.mse_loss(module(noisy, times, pipeline.context(clean)).float(), noise)}

    averaged = loop.run(_Denoiser(pipeline.unet), terms, schedule, run_dir, slice_steps)
    _adopt(pipeline.unet, averaged, "unet.")


def _adopt(module: torch.nn.Module, averaged: dict[str, torch.Tensor], prefix: str) -> None:
    wanted = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in averaged.items():
            wanted[name.removeprefix(prefix)].copy_(value)
    module.requires_grad_(False)


# --- Stages -----------------------------------------------------------------------------------


def draw_crops(folder: Path, size: int, device: str) -> Callable[[int], torch.Tensor]:
    """Step -> (size, 3, CROP, CROP) sRGB in [0, 1], crops of a folder of photographs.

    Raises:
        InputError: they are unfit.
    """
    draw = crops(training_photos([folder]), (CROP, CROP), device)
    return lambda step: draw(0, range(step * size, (step + 1) * size))


def schedule_of(steps: int, device: str, learning_rate: float = 5e-4) -> loop.Schedule:
    """How long and how fast a stage learns; in bfloat16 on a GPU."""
    return loop.Schedule(
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=min(200, steps // 10),
        mixed_precision="bf16" if device.startswith("cuda") else "no",
    )


def make_autoencoder(
    pipeline: BokehPipeline,
    images: Callable[[int], torch.Tensor],
    schedule: loop.Schedule,
    run_dir: Path,
    slice_steps: int | None = None,
) -> None:
    """`train_autoencoder`, then `vae.safetensors` and the latents' `scale.json`."""
    train_autoencoder(pipeline, images, schedule, run_dir, slice_steps)
    scale = latent_scale(pipeline, images(schedule.steps))
    tensors = {name: value.contiguous() for name, value in pipeline.vae.state_dict().items()}
    save_file(tensors, run_dir / "vae.safetensors", {"scale": str(scale)})
    (run_dir / "scale.json").write_text(json.dumps(scale))


def make_base(
    pipeline: BokehPipeline,
    images: Callable[[int], torch.Tensor],
    schedule: loop.Schedule,
    run_dir: Path,
    autoencoder: Path,
    note: dict[str, Any],
    slice_steps: int | None = None,
) -> None:
    """`train_unet` on the latents of an autoencoder's run folder, then the base file."""
    pipeline.vae.load_state_dict(load_file(autoencoder / "vae.safetensors"))
    scale = json.loads((autoencoder / "scale.json").read_text())
    pipeline.vae.register_to_config(scaling_factor=scale)
    train_unet(pipeline, images, schedule, run_dir, slice_steps)
    mini.save_base(pipeline, run_dir / mini.BASE, note)


def from_photos(
    stage: str,
    photos: Path,
    run_dir: Path,
    slice_steps: int | None = None,
    *,
    autoencoder: Path | None = None,
    steps: int = 10_000,
    batch_size: int = 48,
    learning_rate: float = 5e-4,
    factor: int = 4,
    channels: int = 8,
    fine: bool = False,
    compiled: bool = False,
) -> None:
    """Train one stage of the prior on crops of photographs, in a resumable slice.

    Args:
        stage: "autoencoder" or "unet"; the second starts from what the first left.
        photos: folder of training photographs.
        run_dir: checkpoints, loss curve and what was made.
        slice_steps: at most so many steps in this call; None = to the end.
        autoencoder: run folder of the first stage, for the second.
        steps: of the whole training.
        batch_size: crops a step.
        learning_rate: the highest of the schedule.
        factor: pixels a side of a latent.
        channels: of a latent.
        fine: attention at one latent a token, too.
        compiled: compile the networks: slow to start, faster steps.

    Raises:
        InputError: the photographs are unfit.
    """
    device = loop.device()
    torch.manual_seed(0)
    pipeline = mini.build(fine=fine, latent=Latent(factor, channels))
    images = draw_crops(photos, batch_size, device)
    schedule = schedule_of(steps, device, learning_rate)
    pipeline.to(device)
    if compiled:
        compile_networks(pipeline)
    if stage == "autoencoder":
        make_autoencoder(pipeline, images, schedule, run_dir, slice_steps)
    else:
        assert autoencoder is not None
        note = {"data": photos.name, "seed": 0, "steps": steps, "stage": stage}
        make_base(pipeline, images, schedule, run_dir, autoencoder, note, slice_steps)
