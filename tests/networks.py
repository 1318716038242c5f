"""Small networks of SDXL's shape, and small pairs to train networks on."""

import torch
from diffusers import UNet2DConditionModel

from bokehlib.optics import Lens
from bokehlib.synthesis import Batch


def two_levels(**more):
    """A U-Net of two levels with SDXL's places: self-attentions in `down_blocks.1.attentions`."""
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(1, 2),
        cross_attention_dim=16,
        norm_num_groups=4,
        **more,
    )


def random_pairs(step, side, apertures):
    """Two random pictures and maps with a shifted picture as truth, the same for the same step."""
    draw = torch.Generator().manual_seed(step)
    image = torch.rand(2, 3, side, side, generator=draw)
    disparity = torch.rand(2, 1, side, side, generator=draw)
    lens = Lens(torch.tensor([0.2, 0.7]), torch.tensor(apertures))
    return Batch(image, disparity, torch.roll(image, 1, -1), lens)
