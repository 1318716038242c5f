"""What the one-step model can be given beyond the paper: optics, lost detail, finer tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bokehlib.classical.layers import JUMP
from bokehlib.optics import IN_FOCUS_RADIUS, Lens, circle_of_confusion, signed_coc

OPTICS = 2  # channels of `optics_channels`
HALF = 2.0  # latents of radius at which the defocus channel is 1/2
BLURRED = 1.0  # px of radius from which on no detail is kept; below IN_FOCUS_RADIUS all is
NEAR = 5  # px, side of the window in which an outline is a jump of the signed radius
MARGIN = 4.0  # px around what an outline's discs reach


def optics_channels(disparity: Tensor, lens: Lens, stride: int) -> Tensor:
    """Defocus and disparity on the grid of the latents.

    With t the signed radius in latents, the defocus channel is the area mean of t / (|t| + 2), in
    (-1, 1). It depends on the blur in latents alone, not on the size of the image.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
        stride: pixels per latent; divides H and W.

    Returns:
        (B, 2, H/stride, W/stride).
    """
    signed = signed_coc(disparity, lens) / stride
    return F.avg_pool2d(torch.cat((signed / (signed.abs() + HALF), disparity), dim=1), stride)


def sharpness(disparity: Tensor, lens: Lens) -> Tensor:
    """How much of a pixel's own detail a lens would show, (B, 1, H, W) in [0, 1].

    With r the radius of pixel p in pixels of this image, n the signed one (positive before the
    focus) and rho(p) = max(r(p), max_s(n(s) - |P_s - P_p|)), it is 1 - u^2 (3 - 2 u) for
    u = clamp((rho - 0.5) / 0.5, 0, 1): 1 up to half a pixel, 0 from one pixel on. The second
    maximum is how deep p lies inside the discs of what is before the focus, so detail under a
    blurred foreground is not kept.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
    """
    deep = torch.maximum(
        circle_of_confusion(disparity, lens), under_discs(signed_coc(disparity, lens))
    )
    return _fade(deep, IN_FOCUS_RADIUS, BLURRED)


def doubtful(disparity: Tensor, lens: Lens) -> Tensor:
    """Where a classical render may be wrong, (B, 1, H, W) in [0, 1].

    Blur within one surface is a gather that it does exactly; it cannot know what lies behind an
    outline. So, with S the pixels within 2 px of a jump of the signed radius by more than 1 px and
    r(s) the radius of the wider side there, rho(p) = max over s in S of r(s) - |P_s - P_p|; the
    share rises from 0 at rho = -4 px, since outlines are not known exactly, to 1 at rho = 0.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
    """
    signed = signed_coc(disparity, lens)
    high, low = (sign * F.max_pool2d(sign * signed, NEAR, 1, NEAR // 2) for sign in (1, -1))
    widest = torch.maximum(high.abs(), low.abs())
    radius = torch.where(high - low > JUMP, widest, -math.inf)
    return 1 - _fade(under_discs(radius + MARGIN), 0.0, MARGIN)


def _fade(deep: Tensor, start: float, end: float) -> Tensor:
    """1 up to `start`, 0 from `end` on."""
    u = ((deep - start) / (end - start)).clamp(0, 1)
    return 1 - u * u * (3 - 2 * u)


def under_discs(radius: Tensor) -> Tensor:
    """How deep every pixel p lies in discs, max over s of radius(s) - |P_s - P_p|, in pixels.

    Distances are those of paths along rows, columns and diagonals, at most 8 % too long.

    Args:
        radius: (B, 1, H, W) in pixels; a negative one is no disc.

    Returns:
        Like radius; 0 or less where no disc reaches.
    """
    steps = min(int(radius.amax().clamp(min=0)), max(radius.shape[-2:]))
    for _ in range(steps):
        straight = torch.maximum(
            F.max_pool2d(radius, (3, 1), 1, (1, 0)), F.max_pool2d(radius, (1, 3), 1, (0, 1))
        )
        diagonal = F.max_pool2d(radius, 3, 1, 1) - math.sqrt(2)
        radius = torch.maximum(radius, torch.maximum(straight - 1, diagonal))
    return radius


def widen(unet, channels: int, silent: bool = False) -> None:
    """Let a U-Net take more input channels, in place; the new ones weigh 0 at first.

    Args:
        unet: a diffusers UNet2DConditionModel.
        channels: of its input from now on.
        silent: whether a network that gets new ones predicts 0 until its last convolution learns.

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
    if silent and new[1]:
        for parameter in unet.conv_out.parameters():
            nn.init.zeros_(parameter)


def attend_finely(unet) -> None:
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
            attention_head_dim=1,  # of another kind of block
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
