"""Small networks of SDXL's shape."""

from diffusers import UNet2DConditionModel


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
