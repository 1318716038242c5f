"""BokehDiff at the paper's scale: the shapes of Stable Diffusion XL's autoencoder and U-Net.

Weights are random here, which is all that time, memory and rounding need.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from bokehlib.bokehdiff.assembly import assemble
from bokehlib.bokehdiff.config import Recipe
from bokehlib.bokehdiff.pipeline import BokehPipeline

PROMPT_TOKENS = 77  # of the two text encoders
AUTOENCODER: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
UNET: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}


SMALL: tuple[dict[str, Any], dict[str, Any]] = (  # an eighth of the channels
    {"block_out_channels": (16, 32, 64, 64), "norm_num_groups": 16},
    {
        "block_out_channels": (32, 64, 128),
        "attention_head_dim": (1, 2, 4),
        "transformer_layers_per_block": (1, 1, 1),
        "cross_attention_dim": 64,
    },
)
TINY: tuple[dict[str, Any], dict[str, Any]] = (  # a handful of channels
    {"block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 4},
    {
        "block_out_channels": (8, 16, 16),
        "attention_head_dim": (1, 2, 2),
        "transformer_layers_per_block": (1, 2, 1),
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 8,
    },
)


def build(
    recipe: Recipe | None = None,
    seed: int = 0,
    small: bool = False,
    kind: type[BokehPipeline] = BokehPipeline,
) -> BokehPipeline:
    """The pipeline with random weights, on the default device and in the default dtype.

    Args:
        recipe: decides timestep and PISA; None = the paper's.
        seed: of the weights and of the prompt's embedding.
        small: an eighth of the channels and one transformer layer a block, for smoke runs.
        kind: of the pipeline.
    """
    torch.manual_seed(seed)
    return _build(recipe or Recipe(), SMALL if small else ({}, {}), kind)


def tiny(
    recipe: Recipe | None = None, seed: int = 0, kind: type[BokehPipeline] = BokehPipeline
) -> BokehPipeline:
    """The same shape with a handful of channels and fixed random weights, on a CPU: tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(recipe or Recipe(), TINY, kind)


def _build(recipe: Recipe, changes, kind) -> BokehPipeline:
    autoencoder, unet = AUTOENCODER | changes[0], UNET | changes[1]
    pipeline = assemble(AutoencoderKL(**autoencoder), UNet2DConditionModel(**unet), recipe, kind)
    pooled = unet["projection_class_embeddings_input_dim"] - 6 * unet["addition_time_embed_dim"]
    pipeline.set_prompt(
        torch.randn(1, PROMPT_TOKENS, unet["cross_attention_dim"]), torch.randn(1, pooled)
    )
    for part in (pipeline.vae, pipeline.unet):
        part.eval().requires_grad_(False)
    return pipeline
