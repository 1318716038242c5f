"""`bokehlib.load("bokehdiff-sdxl")`: an SDXL base, an adapter, and the prompt embedded once."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError

from bokehlib.bokehdiff import adapters, sdxl
from bokehlib.bokehdiff.adapters import Report
from bokehlib.bokehdiff.assembly import assemble
from bokehlib.bokehdiff.config import AS_PUBLISHED, Recipe
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.bokehdiff.sdxl import authors, prompt
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.bokehdiff.sdxl_files import adapter_files, base_folder, weight_file
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens

TILE = 1024  # px; larger pictures are rendered in such tiles
SEMANTICS = {"ours": BokehPipeline, "published": PublishedPipeline}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
NOISE = {  # what a base's scheduler must say: Eq. 1 stands on it
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}


class Renderer:
    """(image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W) in [0, 1].

    Attributes:
        pipeline: what renders.
        report: what became of the adapter's tensors.
    """

    def __init__(self, pipeline: BokehPipeline, report: Report):
        """Take both."""
        self.pipeline, self.report = pipeline, report

    def __call__(self, image: torch.Tensor, disparity: torch.Tensor, lens: Lens) -> torch.Tensor:
        """Render on the pipeline's device; the result is on the image's."""
        self.pipeline.check_inputs(image, disparity, lens)
        tile = None
        if not isinstance(self.pipeline, PublishedPipeline):
            # Half of a tile at most is margin, so that any aperture will do.
            tile = max(TILE, 4 * self.pipeline.halo(disparity, lens))
        found = self.pipeline(image, disparity, lens, output_type="pt", tile=tile).images
        return found.to(image.device)


def load(
    name: str = "bokehdiff-sdxl",
    device: str = "cpu",
    *,
    base: str | Path = "",
    adapter: str | Path = "",
    semantics: str = "",
    dtype: str = "bfloat16",
    download: bool = False,
    tiny: bool = False,
) -> Renderer:
    """BokehDiff at the paper's scale.

    Args:
        name: of the method.
        device: "cpu" or "cuda".
        base: folder or hub id of an SDXL base; "" = where `sdxl_files.base_folder` looks.
        adapter: file of our own, folder or hub id of the authors'; "" = where
            `sdxl_files.adapter_files` looks.
        semantics: "ours", or "published" for the published code's maths, under which the authors'
            weights were trained; "" = those that an adapter of our own was trained under, else
            "ours".
        dtype: "bfloat16", "float16" or "float32". With "float16" an autoencoder that overflows in
            it, as its own configuration says, stays in float32.
        download: whether what is not here may be fetched from the hub.
        tiny: a handful of channels and random weights, in float32: smoke runs.

    Returns:
        The renderer, with the report on the adapter. An adapter that is not complete is a warning.

    Raises:
        InputError: an unknown option, a file that is missing or does not fit.
    """
    for option, asked, known in (
        ("semantics", semantics or "ours", SEMANTICS),
        ("dtype", dtype, DTYPES),
    ):
        if asked not in known:
            raise InputError(f"{option}: found {asked!r}; accepted: {', '.join(known)}")
    if tiny:
        return Renderer(tiny_pipeline(Recipe(semantics=semantics or "ours")).to(device), Report(()))
    folder, files = base_folder(base, download), adapter_files(adapter, download)
    recipe = replace(AS_PUBLISHED, semantics="ours")
    if len(files) == 1:
        recipe = adapters.recipe_of(files[0])
    pipeline = load_base(folder, recipe, semantics or recipe.semantics)
    report = (adapters.load_adapter if len(files) == 1 else authors.load)(pipeline, *files)
    if not report.complete:
        logging.getLogger(__name__).warning("adapter: %s", report)
    pipeline.set_prompt(*prompt.embeddings(folder))
    to_dtype(pipeline, DTYPES[dtype])
    pipeline.to(device)
    return Renderer(pipeline, report)


def tiny_pipeline(recipe: Recipe) -> BokehPipeline:
    """SDXL's shape with a handful of channels and random weights, under the recipe's semantics."""
    pipeline = sdxl.tiny(recipe, kind=SEMANTICS[recipe.semantics])
    pipeline.set_progress_bar_config(disable=None)
    return pipeline


def trainee(base: str, recipe: Recipe) -> BokehPipeline:
    """What a recipe trains: a base with its prompt, in float32, that computes activations twice.

    Args:
        base: as in `load`.
        recipe: decides attention and semantics.

    Raises:
        InputError: as in `load`.
    """
    folder = base_folder(base)
    pipeline = load_base(folder, recipe, recipe.semantics)
    pipeline.set_prompt(*prompt.embeddings(folder))
    for part in (pipeline.unet, pipeline.vae):
        part.enable_gradient_checkpointing()
    return pipeline


def load_base(folder: Path, recipe: Recipe, semantics: str = "ours") -> BokehPipeline:
    """Autoencoder and U-Net of a base in float32, frozen, with the recipe's attention.

    Raises:
        InputError: it is no SDXL base, or its weights do not fit its configuration.
    """
    _check_noise(folder)
    vae = _network(AutoencoderKL, folder, "vae")
    unet = _network(UNet2DConditionModel, folder, "unet")
    config, latents = unet.config, vae.config.latent_channels
    found = f"{config.addition_embed_type} with {config.in_channels} channels"
    if (config.addition_embed_type, config.in_channels) != ("text_time", latents):
        accepted = f"text_time with {latents}, as in SDXL's text-to-image models"
        raise InputError(f"{folder / 'unet'}: found {found}; accepted: {accepted}")
    try:
        pipeline = assemble(vae, unet, recipe, SEMANTICS[semantics])
    except ValueError as error:
        raise InputError(str(error)) from error
    for part in (vae, unet):
        part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=None)  # shown where somebody looks
    return pipeline


def to_dtype(pipeline: BokehPipeline, dtype: torch.dtype) -> None:
    """Put the networks into a dtype; see `load`."""
    narrow = dtype == torch.float16 and pipeline.vae.config.force_upcast
    # torch's own `to`: that of diffusers warns of layers to be kept, of which SDXL has none.
    torch.nn.Module.to(pipeline.vae, torch.float32 if narrow else dtype)
    torch.nn.Module.to(pipeline.unet, dtype)


def _network(kind, folder: Path, part: str):
    half = ".fp16." in weight_file(folder, part).name
    try:
        network, about = kind.from_pretrained(
            folder / part,
            torch_dtype=torch.float32,
            variant="fp16" if half else None,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder / part}: {error}") from error
    wrong = [*about["missing_keys"], *map(str, about["mismatched_keys"])]
    if wrong:
        raise InputError(
            f"{folder / part}: {len(wrong)} tensors are missing or do not fit, first {wrong[0]}; "
            "accepted: all that its configuration asks for"
        )
    return network


def _check_noise(folder: Path) -> None:
    """The base's own noise levels are SDXL's, as far as it says."""
    path = folder / "scheduler" / "scheduler_config.json"
    said = json.loads(path.read_text()) if path.is_file() else {}
    for key, accepted in NOISE.items():
        if said.get(key, accepted) != accepted:
            raise InputError(f"{path}: found {key} {said[key]!r}; accepted: {accepted!r}")
