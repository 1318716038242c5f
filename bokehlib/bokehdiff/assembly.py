"""From networks and a recipe to the one-step pipeline."""

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from bokehlib.bokehdiff.config import Recipe
from bokehlib.bokehdiff.pipeline import BokehPipeline

BEYOND_THE_PAPER = (
    "detail",
    "optics_channels",
    "classical",
    "fine",
)  # switches of recipe and pipeline


def assemble(
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    recipe: Recipe,
    kind: type[BokehPipeline] = BokehPipeline,
) -> BokehPipeline:
    """The paper's scheduler, SDXL's noise levels, and the recipe's switches."""
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    pisa = recipe.pisa
    return kind(
        vae,
        unet,
        scheduler,
        timestep=recipe.timestep,
        sites=pisa.sites,
        normalise=pisa.normalise,
        coc=pisa.coc,
        occlusion=pisa.occlusion,
        visibility_model=pisa.visibility,
        divide_by_coverage=pisa.divide_by_coverage,
        **{switch: getattr(recipe, switch) for switch in BEYOND_THE_PAPER},
    )
