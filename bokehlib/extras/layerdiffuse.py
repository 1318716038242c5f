"""RGBA pictures from SDXL by LayerDiffuse (arXiv 2402.17113): the parts that it adds.

Offsets for the U-Net's attention make it paint latents that hold transparency, and a decoder of
its own reads colour and alpha from such a latent and from what the autoencoder makes of it.
Written from the paper and from the names and shapes of the published files.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.models.unets.unet_2d_blocks import (
    AttnDownBlock2D,
    AttnUpBlock2D,
    DownBlock2D,
    UNetMidBlock2D,
    UpBlock2D,
)
from torch import Tensor, nn

from bokehlib.bokehdiff.adapters import Report
from bokehlib.io.errors import InputError

CHANNELS = (32, 32, 64, 128, 256, 512, 512)  # of the published decoder, from full size down
UP = 3  # layers of a level on the way up, one more than down
ATTENDED = 3  # of its levels, the coarsest, have attention
JOINED = 3  # the level, 1/8 of the side, where the latent comes in
GUIDANCE, STEPS = 7.0, 25  # of the published demonstration
LATENT = 8  # px a side of a latent


class TransparentDecoder(nn.Module):
    """(picture (B, 3, H, W) in [0, 1], latent (B, 4, H/8, W/8)) -> alpha, then colour (B, 4, H, W).

    A U-Net without time; sides are multiples of 64. Its tensors are named as in the published
    `ld_diffusers_sdxl_vae_transparent_decoder.safetensors`.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, groups: int = 4, head: int = 8):
        """Build it.

        Args:
            channels: of its levels.
            groups: of every normalisation.
            head: channels of an attention head.
        """
        super().__init__()
        levels, last = len(channels), channels[-1]
        plain: dict[str, Any] = {"temb_channels": None, "resnet_eps": 1e-5, "resnet_groups": groups}
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.latent_conv_in = nn.Conv2d(4, channels[JOINED - 1], 1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(
            zip((channels[0], *channels), channels, strict=False)
        ):
            size = plain | {"in_channels": before, "out_channels": after, "num_layers": UP - 1}
            if level < levels - ATTENDED:
                self.down_blocks.append(DownBlock2D(**size))
            else:
                kind = "conv" if level < levels - 1 else None
                size |= {"attention_head_dim": head, "downsample_type": kind}
                self.down_blocks.append(AttnDownBlock2D(**size))
        self.mid_block = UNetMidBlock2D(last, attention_head_dim=head, **plain)
        for level in reversed(range(levels)):
            size = plain | {"num_layers": UP, "out_channels": channels[level]}
            size["prev_output_channel"] = channels[min(level + 1, levels - 1)]
            size["in_channels"] = channels[max(level - 1, 0)]
            if level < levels - ATTENDED:
                self.up_blocks.append(UpBlock2D(**size, add_upsample=level > 0))
            else:
                self.up_blocks.append(AttnUpBlock2D(**size, attention_head_dim=head))
        self.conv_norm_out = nn.GroupNorm(groups, channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(channels[0], 4, 3, padding=1)

    def forward(self, picture: Tensor, latent: Tensor) -> Tensor:
        """As the class says; not clamped."""
        x = self.conv_in(picture)
        skipped: tuple[Tensor, ...] = (x,)
        for level, block in enumerate(self.down_blocks):
            x, kept = block(x + self.latent_conv_in(latent) if level == JOINED else x, temb=None)
            skipped += kept
        x = self.mid_block(x)
        for block in self.up_blocks:
            skipped, own = skipped[:-UP], skipped[-UP:]
            x = block(x, own, temb=None)
        return self.conv_out(nn.functional.silu(self.conv_norm_out(x)))


@torch.no_grad()
def decode(decoder: TransparentDecoder, vae, latent: Tensor) -> Tensor:
    """A latent as RGBA.

    The median over the eight turns and mirrorings of the picture: whatever depends on how it lies
    is not there.

    Args:
        decoder: of transparency.
        vae: SDXL's.
        latent: (B, 4, h, w) as the U-Net leaves it.

    Returns:
        (B, 4, 8 h, 8 w) in [0, 1]: red, green, blue, not multiplied by alpha, and alpha.
    """
    latent = latent / vae.config.scaling_factor
    picture = (vae.decode(latent.to(vae.dtype)).sample / 2 + 0.5).clamp(0, 1)
    weights = decoder.conv_in.weight
    picture, latent = picture.to(weights), latent.to(weights)
    seen = []
    for mirrored in (False, True):
        for turns in range(4):
            both = (
                torch.rot90(x.flip(-1) if mirrored else x, turns, (2, 3)) for x in (picture, latent)
            )
            back = torch.rot90(decoder(*both).clamp(0, 1), -turns, (2, 3))
            seen.append(back.flip(-1) if mirrored else back)
    alpha, colour = torch.stack(seen).float().median(0).values.split((1, 3), dim=1)
    return torch.cat([colour, alpha], 1)


def add_offsets(unet: nn.Module, offsets: Mapping[str, Tensor]) -> Report:
    """Add what LayerDiffuse changes of a U-Net's weights, in place.

    Args:
        unet: of an SDXL base.
        offsets: by the U-Net's own names, as in `ld_diffusers_sdxl_attn.safetensors`.

    Returns:
        Which were used, and which are left over; a U-Net does not report missing ones.

    Raises:
        InputError: none belongs to it, or one has another shape.
    """
    own = dict(unet.named_parameters())
    used = tuple(sorted(own.keys() & offsets.keys()))
    if not used:
        first = min(offsets, default="nothing")
        raise InputError(f"attention offsets: found {first}; accepted: names of SDXL's U-Net")
    for name in used:
        if own[name].shape != offsets[name].shape:
            found, accepted = tuple(offsets[name].shape), tuple(own[name].shape)
            raise InputError(f"attention offsets: {name} is {found}; accepted: {accepted}")
    with torch.no_grad():
        for name in used:
            own[name].add_(offsets[name].to(own[name]))
    return Report(used, left_over=tuple(sorted(offsets.keys() - own.keys())))


@torch.no_grad()
def paint(
    unet,
    asked: tuple[Tensor, Tensor],
    unwanted: tuple[Tensor, Tensor],
    size: tuple[int, int],
    seed: int,
    steps: int = STEPS,
) -> Tensor:
    """A latent by guided sampling, DPM-Solver++ with noise on Karras' levels.

    Args:
        unet: SDXL's, with the offsets.
        asked: hidden states and pooled output of the prompt, see `sdxl.prompt.embeddings`.
        unwanted: those of the negative prompt.
        size: (H, W) of the picture.
        seed: of all noise.
        steps: of sampling.

    Returns:
        (1, 4, H/8, W/8).
    """
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        algorithm_type="sde-dpmsolver++",
        use_karras_sigmas=True,
        steps_offset=1,
    )
    device, dtype = unet.device, unet.dtype
    scheduler.set_timesteps(steps, device=device)
    random = torch.Generator("cpu").manual_seed(seed)
    shape = (1, unet.config.in_channels, size[0] // LATENT, size[1] // LATENT)
    latent = torch.randn(shape, generator=random).to(device) * scheduler.init_noise_sigma
    hidden, pooled = (
        torch.cat(pair).to(device, dtype) for pair in zip(unwanted, asked, strict=True)
    )
    times = torch.tensor([[*size, 0, 0, *size]] * 2, device=device, dtype=dtype)
    added = {"text_embeds": pooled, "time_ids": times}
    for step in scheduler.timesteps:
        seen = scheduler.scale_model_input(torch.cat([latent] * 2), step).to(dtype)
        without, with_it = unet(seen, step, hidden, added_cond_kwargs=added).sample.float().chunk(2)
        guided = without + GUIDANCE * (with_it - without)
        latent = scheduler.step(guided, step, latent, generator=random).prev_sample
    return latent
