"""Changes to a diffusers U-Net: more input channels, attention at the latents' own size."""

import torch
import torch.nn.functional as F
from torch import nn


def expand_conv_in(unet, channels: int, zero_output: bool = False) -> None:
    """Let a U-Net take more input channels, in place; the new ones weigh 0 at first.

    Args:
        unet: a diffusers UNet2DConditionModel.
        channels: of its input from now on.
        zero_output: whether a network that gets new ones predicts 0 before training.

    Raises:
        ValueError: if the network takes more channels than that already.
    """
    first = unet.conv_in
    if first.in_channels > channels:
        raise ValueError(f"U-Net of {first.in_channels} channels; accepted: up to {channels}")
    new = (0, channels - first.in_channels)
    first.weight = nn.Parameter(F.pad(first.weight.detach(), (0, 0, 0, 0, *new)))
    first.in_channels = channels
    unet.register_to_config(in_channels=channels)
    if zero_output and new[1]:
        for parameter in unet.conv_out.parameters():
            nn.init.zeros_(parameter)


def add_latent_resolution_attention(unet) -> None:
    """Let a U-Net attend at its latents' own size on the way down, in place; it adds 0 at first.

    Its first block gets a transformer behind each residual block, with fixed random weights and a
    last layer of zeros. A network whose first block attends already is left as it is.

    Args:
        unet: a diffusers UNet2DConditionModel whose second block attends.
    """
    from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, get_down_block

    plain, config = unet.down_blocks[0], unet.config
    if isinstance(plain, CrossAttnDownBlock2D):
        return
    heads = config.num_attention_heads or config.attention_head_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = get_down_block(
            "CrossAttnDownBlock2D",
            num_layers=len(plain.resnets),
            in_channels=config.block_out_channels[0],
            out_channels=config.block_out_channels[0],
            temb_channels=unet.time_embedding.linear_2.out_features,
            add_downsample=True,
            resnet_eps=config.norm_eps,
            resnet_act_fn=config.act_fn,
            num_attention_heads=heads if isinstance(heads, int) else heads[0],
            attention_head_dim=1,  # unused by CrossAttnDownBlock2D
            resnet_groups=config.norm_num_groups,
            cross_attention_dim=config.cross_attention_dim,
            downsample_padding=config.downsample_padding,
            use_linear_projection=config.use_linear_projection,
        )
    for transformer in block.attentions:
        for parameter in transformer.proj_out.parameters():
            nn.init.zeros_(parameter)
    block.resnets, block.downsamplers = plain.resnets, plain.downsamplers
    unet.down_blocks[0] = block.to(unet.device, unet.dtype)
    kinds = ("CrossAttnDownBlock2D", *config.down_block_types[1:])
    unet.register_to_config(down_block_types=kinds)
