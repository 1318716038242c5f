"""What a recipe trains beside a frozen base, and the file that keeps it, at every scale.

An adapter file holds the trained tensors as fp16 and, as metadata, the recipe itself. A smaller
file does nearly as well: see `cut_file`.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from bokehlib.bokehdiff.assembly import BEYOND_THE_PAPER
from bokehlib.bokehdiff.config import Recipe, recipe_from
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.io import tensorfiles
from bokehlib.io.errors import InputError

TAIL = ("mid_block", "conv_norm_out", "conv_out")  # "middle block and output layers"
FINE = "down_blocks.0.attentions"  # what `unet_changes.add_latent_resolution_attention` adds
ENCODER_PARTS = {  # of `Recipe.encoder`: what of the encoder is trained
    "lora": TAIL,
    "full": TAIL,
    "authors": ("conv_in", "mid_block", "conv_out"),
    "fixed": (),
}


@dataclass(frozen=True)
class Report:
    """Outcome of loading the tensors of an adapter's files.

    Attributes:
        used: names of those that went into the networks.
        missing: names that belong there too and are in no file.
        left_over: names in a file that no network has a place for.
    """

    used: tuple[str, ...]
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that was wanted was there, and nothing else."""
        return not self.missing and not self.left_over

    def __add__(self, other: "Report") -> "Report":
        """The report on both."""
        return Report(
            self.used + other.used,
            self.missing + other.missing,
            self.left_over + other.left_over,
        )

    def __str__(self) -> str:
        """One line with the counts and, of what is wrong, the first names."""
        parts = [f"{len(self.used)} tensors used"]
        for what, names in (("missing", self.missing), ("left over", self.left_over)):
            some = f": {', '.join(names[:3])}{', ...' * (len(names) > 3)}" if names else ""
            parts.append(f"{len(names)} {what}{some}")
        return "; ".join(parts)


def add_adapters(pipeline: BokehPipeline, recipe: Recipe) -> None:
    """Freeze the pipeline, then add what the recipe trains: LoRA in U-Net and encoder.

    What begins with zeros is trained itself instead of by LoRA: the first convolution where it
    takes more than the latent, the last one where the classical render is corrected, attention at
    the latents' own size.

    Args:
        pipeline: made for this recipe; changed in place.
        recipe: its `rank`, `whole`, `lora_blocks` and `encoder` decide.

    Raises:
        ValueError: unknown `encoder`, LoRA blocks that match no layer, or a pipeline made with
            other switches.
    """
    for switch in BEYOND_THE_PAPER:
        found, wanted = pipeline.config[switch], getattr(recipe, switch)
        if found != wanted:
            raise ValueError(f"pipeline with {switch}={found}; accepted for the recipe: {wanted}")
    for part in (pipeline.vae, pipeline.unet):
        part.requires_grad_(False)
    if recipe.whole:
        pipeline.unet.requires_grad_(True)
    else:
        new = ("conv_in",) * bool(pipeline.extra_channels) + ("conv_out",) * recipe.classical
        new += (FINE,) * recipe.fine
        _add_lora(pipeline.unet, recipe.lora_blocks, recipe.rank, new)
        for name in new:
            pipeline.unet.get_submodule(name).requires_grad_(True)
    if recipe.encoder not in ENCODER_PARTS:
        accepted = ", ".join(map(repr, ENCODER_PARTS))
        raise ValueError(f"encoder {recipe.encoder!r}; accepted: {accepted}")
    encoder = tuple(f"encoder.{part}" for part in ENCODER_PARTS[recipe.encoder])
    if recipe.encoder == "lora":
        _add_lora(pipeline.vae, encoder, recipe.rank)
    else:
        for name, parameter in pipeline.vae.named_parameters():
            parameter.requires_grad_(name.startswith(encoder))


def lora_layers(model: torch.nn.Module, blocks: tuple[str, ...]) -> list[str]:
    """Module paths of the convolutions and linear layers inside the named blocks."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    prefixes = tuple(f"{block}." for block in blocks)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds) and (name in blocks or name.startswith(prefixes))
    ]


def _add_lora(model, blocks: tuple[str, ...], rank: int, without: tuple[str, ...] = ()) -> None:
    spared = set(lora_layers(model, without))
    layers = [layer for layer in lora_layers(model, blocks) if layer not in spared]
    if not layers:
        raise ValueError(f"LoRA blocks {blocks} match no layer")
    model.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=layers)
    )


def trained(pipeline: BokehPipeline) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes, by name ("unet...", "vae...")."""
    parts = {"unet": pipeline.unet, "vae": pipeline.vae}
    return {
        f"{part}.{name}": parameter
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


# --- Files -------------------------------------------------------------------------------------


def save_adapter(
    values: dict[str, torch.Tensor], recipe: Recipe, path: Path, note: dict[str, Any]
) -> None:
    """Write what a recipe trained as fp16, with the recipe and a training note inside."""
    tensorfiles.write(values, path, {"recipe": asdict(recipe), "note": note})


def load_adapter(pipeline: BokehPipeline, path: Path) -> Report:
    """Add an adapter file to a pipeline and merge it into the weights.

    Returns:
        That all its tensors were used: what does not fit is refused.

    Raises:
        InputError: if names or shapes differ from what its recipe trains.
    """
    tensors, metadata = tensorfiles.read(path)
    recipe = _recipe(path, metadata)
    add_adapters(pipeline, replace(recipe, rank=metadata.get("rank", recipe.rank)))
    wanted = trained(pipeline)
    if tensors.keys() != wanted.keys():
        odd = sorted(tensors.keys() ^ wanted.keys())
        raise InputError(f"{path}: {len(odd)} tensors do not match its recipe, first {odd[0]}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            if parameter.shape != tensors[name].shape:
                found, accepted = tuple(tensors[name].shape), tuple(parameter.shape)
                raise InputError(f"{path}: {name} is {found}; accepted: {accepted}")
            parameter.copy_(tensors[name])
    for model in (pipeline.unet, pipeline.vae):
        if getattr(model, "_hf_peft_config_loaded", False):
            model.fuse_lora()
            model.unload_lora()
        model.requires_grad_(False)
    return Report(used=tuple(sorted(tensors)))


def cut_rank(tensors: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """The nearest adapter of a lower rank: of every B A the largest singular values.

    Args:
        tensors: of an adapter, by name; what is not LoRA stays as it is.
        rank: at most the adapter's.
    """
    cut = dict(tensors)
    for name in (name for name in tensors if ".lora_A." in name):
        other = name.replace(".lora_A.", ".lora_B.")
        down, up = tensors[name], tensors[other]
        right, factor = torch.linalg.qr(down.flatten(1).double().mT)
        left, other_factor = torch.linalg.qr(up.flatten(1).double())
        u, values, v = torch.linalg.svd(other_factor @ factor.mT)
        share = values[:rank].sqrt()
        lower, upper = (right @ v.mT[:, :rank] * share).mT, left @ u[:, :rank] * share
        cut[name] = lower.to(down).reshape(rank, *down.shape[1:])
        cut[other] = upper.to(up).reshape(len(up), rank, *up.shape[2:])
    return cut


def recipe_of(path: Path) -> Recipe:
    """The recipe that an adapter file was trained with.

    Raises:
        InputError: it names none.
    """
    return _recipe(path, tensorfiles.read(path)[1])


def _recipe(path: Path, metadata: dict[str, Any]) -> Recipe:
    if "recipe" not in metadata:
        raise InputError(f"{path}: found no recipe; accepted: an adapter that a recipe trained")
    return recipe_from(metadata["recipe"])


def cut_file(source: Path, rank: int, out: Path) -> None:
    """Write an adapter file with a lower rank; its recipe says what was trained.

    Raises:
        InputError: there is no such file, or its rank is lower.
    """
    if not source.is_file():
        raise InputError(f"found no file {source}; accepted: an adapter file")
    tensors, metadata = tensorfiles.read(source)
    highest = metadata.get("rank", _recipe(source, metadata).rank)
    if not 1 <= rank <= highest:
        raise InputError(f"rank: found {rank}; accepted: 1 to {highest}")
    # `load_adapter` goes by the rank; the note is for people, as the recipe tells another one.
    note = metadata.get("note", {}) | {"cut_to_rank": rank}
    tensorfiles.write(cut_rank(tensors, rank), out, metadata | {"rank": rank, "note": note})
