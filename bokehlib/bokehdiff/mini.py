"""The embedded model: its architecture and its base file.

The base file, fp16 safetensors, holds autoencoder, U-Net and their configurations; what a recipe
trained lies in an adapter file of its own (`bokehlib.bokehdiff.adapters`).
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from bokehlib.bokehdiff import refiner
from bokehlib.bokehdiff.adapters import load_adapter, recipe_of
from bokehlib.bokehdiff.assembly import assemble
from bokehlib.bokehdiff.config import EMBEDDED_LATENT, Latent, Recipe
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.io import tensorfiles
from bokehlib.io.errors import InputError
from bokehlib.io.weightfiles import need_weights
from bokehlib.optics import Lens

BASE = "mini-base.safetensors"
TILE = 1152  # px; larger pictures are rendered in such tiles, in 2.5 GB


def build(
    autoencoder: tuple[int, ...] = (32, 64, 96),
    unet: tuple[int, ...] = (64, 96, 112),
    heads: tuple[int, ...] = (2, 3, 4),
    groups: int = 16,
    recipe: Recipe | None = None,
    fine: bool = False,
    latent: Latent = EMBEDDED_LATENT,
) -> BokehPipeline:
    """The mini pipeline with random weights.

    With latents of f px the U-Net's levels lie at f, 2 f and 4 f px a token. Self-attention stands
    at the two coarser ones on the way down (PISA's places) and at the coarsest in the middle and
    on the way up: at 8 and 16 px with the embedded latents of 4 px.

    Args:
        autoencoder: channels of the levels at 1, 2 and 4 px; the last also those of coarser ones.
        unet: channels of the three levels.
        heads: attention heads of each U-Net level.
        groups: of the group norms; divides all channels.
        recipe: decides timestep, PISA and what goes beyond the paper; None = the paper's.
        fine: self-attention on the way down stands at the latents' own size, too.
        latent: pixels a side and channels of the latents.
    """
    widths = [autoencoder[min(level, len(autoencoder) - 1)] for level in range(latent.levels)]
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * latent.levels,
        up_block_types=("UpDecoderBlock2D",) * latent.levels,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        latent_channels=latent.channels,
        norm_num_groups=groups,
        scaling_factor=1.0,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    attention = "CrossAttnDownBlock2D"  # of diffusers' blocks it alone hands the optics on
    network = UNet2DConditionModel(
        in_channels=latent.channels,
        out_channels=latent.channels,
        down_block_types=(attention if fine else "DownBlock2D", attention, attention),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=unet,
        layers_per_block=1,
        attention_head_dim=heads,
        cross_attention_dim=32,
        norm_num_groups=groups,
        use_linear_projection=True,
    )
    return _pipeline(vae, network, recipe or Recipe())


def tiny(
    recipe: Recipe | None = None,
    seed: int = 0,
    fine: bool = False,
    latent: Latent = EMBEDDED_LATENT,
) -> BokehPipeline:
    """The same shape with a handful of channels and fixed random weights: smoke runs and tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build((8, 8, 8), (8, 8, 16), (1, 1, 2), 4, recipe, fine, latent)


def _pipeline(vae, unet, recipe: Recipe) -> BokehPipeline:
    pipeline = assemble(vae, unet, recipe)
    pipeline.set_progress_bar_config(disable=None)  # shown where somebody looks
    return pipeline


# --- Weight files -----------------------------------------------------------------------------


def save_base(pipeline: BokehPipeline, path: Path, note: dict[str, Any]) -> None:
    """Write autoencoder and U-Net as fp16 with their configurations and a training note."""
    tensors = {
        f"{part}.{name}": value
        for part, module in (("vae", pipeline.vae), ("unet", pipeline.unet))
        for name, value in module.state_dict().items()
    }
    configs = {"vae": dict(pipeline.vae.config), "unet": dict(pipeline.unet.config)}
    tensorfiles.write(tensors, path, {"configs": configs, "note": note})


def load_base(path: Path, recipe: Recipe | None = None) -> BokehPipeline:
    """The pipeline of a base file, in fp32 on the CPU.

    Raises:
        InputError: if the file's tensors do not fit its own configuration.
    """
    tensors, metadata = tensorfiles.read(path)
    vae = AutoencoderKL.from_config(metadata["configs"]["vae"])
    unet = UNet2DConditionModel.from_config(metadata["configs"]["unet"])
    try:
        vae.load_state_dict(_part(tensors, "vae"))
        unet.load_state_dict(_part(tensors, "unet"))
    except RuntimeError as error:
        raise InputError(f"{path}: tensors do not fit the configuration: {error}") from error
    return _pipeline(vae, unet, recipe or Recipe())


def _part(tensors, prefix: str):
    return {k.removeprefix(prefix + "."): v for k, v in tensors.items() if k.startswith(prefix)}


# --- The method -------------------------------------------------------------------------------


def load(name: str, device: str = "cpu", pisa: bool = True):
    """A renderer from the embedded weights.

    Args:
        name: of the adapter file, without ".safetensors".
        device: "cpu" or "cuda".
        pisa: False puts plain attention in the place of PISA, to see what PISA does.

    Returns:
        A callable (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W) in [0, 1].

    Raises:
        InputError: if a weight file is missing.
    """
    return renderer(need_weights(BASE), need_weights(f"{name}.safetensors"), device, pisa)


def renderer(base: Path, adapter: Path, device: str = "cpu", pisa: bool = True):
    """`load`, from a base and an adapter file that lie anywhere."""
    recipe = recipe_of(adapter)
    pipeline = load_base(base, recipe)
    load_adapter(pipeline, adapter)
    if not pisa:
        from bokehlib.pisa.processor import install

        install(pipeline.unet, ())
    pipeline.to(device)
    for network in (pipeline.vae, pipeline.unet):  # convolutions of a CPU are a third faster then
        network.to(memory_format=torch.channels_last)
    refine = refiner.load(device) if recipe.refined else None

    def render(image: torch.Tensor, disparity: torch.Tensor, lens: Lens) -> torch.Tensor:
        pipeline.check_inputs(image, disparity, lens)
        if refine is not None:
            disparity = refine(image.to(device), disparity.to(device))
        # Half of a tile at most is margin, so that any aperture will do.
        tile = max(TILE, 4 * pipeline.halo(disparity, lens))
        found = pipeline(image, disparity, lens, output_type="pt", tile=tile).images
        return found.to(image.device)

    return render
