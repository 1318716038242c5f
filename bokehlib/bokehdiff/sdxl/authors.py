"""The adapter that the authors publish: LoRA of the whole U-Net and a part of the encoder.

Their LoRA file names layers as the U-Net does, without the prefix `unet.`, for want of which
current loaders take nothing from it and only warn. Here every tensor is accounted for.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bokehlib.bokehdiff.adapters import ENCODER_PARTS, Report, lora_layers
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.io import tensorfiles
from bokehlib.io.errors import InputError

BLOCKS = ("down_blocks", "mid_block", "up_blocks")  # that carry their LoRA
HALVES = ("lora_A.weight", "lora_B.weight")


def load(pipeline: BokehPipeline, lora: Path, encoder: Path) -> Report:
    """Merge the authors' two files into the weights; nothing changes if either is refused.

    A layer's weight becomes W + B A, since their files hold no other scale.

    Args:
        pipeline: of SDXL's shape, changed in place.
        lora: safetensors, `<layer>.lora_A.weight` and `<layer>.lora_B.weight`.
        encoder: a file of `torch.save`, `encoder.<...>`, read as tensors alone.

    Returns:
        Which tensors were used, missing or left over, by their names in the files.

    Raises:
        InputError: a file holds more than tensors, nothing that fits, a half pair, or a tensor of
            another shape.
    """
    merges, report = _lora(pipeline.unet, lora)
    values, more = _encoder(pipeline.vae, encoder)
    with torch.no_grad():
        for merge in merges:
            merge.apply()
        for parameter, value in values:
            parameter.copy_(value)
    return report + more


@dataclass(frozen=True)
class _Merge:
    """A pair of LoRA matrices and the weight that they change."""

    weight: nn.Parameter
    down: Tensor  # (rank, inputs, ...)
    up: Tensor  # (outputs, rank, ...)

    def apply(self) -> None:
        down, up = (t.to(self.weight.device).float().flatten(1) for t in (self.down, self.up))
        self.weight.copy_(self.weight.float() + (up @ down).view(self.weight.shape))


def _lora(unet: nn.Module, path: Path) -> tuple[list[_Merge], Report]:
    tensors, _ = tensorfiles.read(path)
    names = {name.removeprefix("unet."): name for name in tensors}  # as it would be with a prefix
    if len(names) != len(tensors):
        raise InputError(f"{path}: found tensors with and without 'unet.'; accepted: either")
    layers = lora_layers(unet, BLOCKS)
    wanted = [f"{layer}.{half}" for layer in layers for half in HALVES]
    report = _account(path, names, wanted)
    merges = []
    for layer in layers:
        down, up = (names.get(f"{layer}.{half}") for half in HALVES)
        if (down is None) != (up is None):
            raise InputError(f"{path}: found {down or up} without its other half; accepted: both")
        if down and up:
            weight = unet.get_parameter(f"{layer}.weight")
            _check_pair(path, weight, {name: tensors[name] for name in (down, up)})
            merges.append(_Merge(weight, tensors[down], tensors[up]))
    return merges, report


def _check_pair(path: Path, weight: Tensor, pair: dict[str, Tensor]) -> None:
    """Whether (rank, inputs, ...) and (outputs, rank, 1 ...) fit the weight (outputs, inputs, ...).

    Raises:
        InputError: names the tensor that does not.
    """
    down, up = pair
    rank = pair[down].shape[0] if pair[down].ndim else 0
    fitting = {
        down: (rank, *weight.shape[1:]),
        up: (weight.shape[0], rank, *(1,) * (weight.ndim - 2)),
    }
    for name, tensor in pair.items():
        if tuple(tensor.shape) != fitting[name]:
            raise InputError(
                f"{path}: {name} is {tuple(tensor.shape)}; "
                f"accepted: {fitting[name]} where {down} has rank {rank}"
            )


def _encoder(vae: nn.Module, path: Path) -> tuple[list[tuple[nn.Parameter, Tensor]], Report]:
    tensors = _tensors_alone(path)
    parts = tuple(f"encoder.{part}." for part in ENCODER_PARTS["authors"])
    places = {name: p for name, p in vae.named_parameters() if name.startswith(parts)}
    report = _account(path, {name: name for name in tensors}, list(places))
    for name in report.used:
        found, accepted = tuple(tensors[name].shape), tuple(places[name].shape)
        if found != accepted:
            raise InputError(f"{path}: {name} is {found}; accepted: {accepted}")
    return [(places[name], tensors[name]) for name in report.used], report


def _tensors_alone(path: Path) -> dict[str, Tensor]:
    """A dictionary of tensors that `torch.save` wrote; nothing in the file is executed."""
    accepted = "accepted: a dictionary of tensors alone, written by torch.save"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: found a pickle that would run code; {accepted}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: found no readable file; {accepted}") from error
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise InputError(f"{path}: found {type(found).__name__} of other things; {accepted}")
    return found


def _account(path: Path, names: dict[str, str], wanted: list[str]) -> Report:
    """The report on a file.

    Args:
        path: of the file, for complaints.
        names: what a tensor is called in the network -> in the file.
        wanted: what the network has places for.

    Raises:
        InputError: nothing in the file has a place.
    """
    used = [name for name in wanted if name in names]
    if not used:
        some = next(iter(names), "nothing")
        raise InputError(
            f"{path}: none of its {len(names)} tensors fits, the first is {some}; "
            f"accepted: names like {wanted[0]}"
        )
    places = set(wanted)
    return Report(
        used=tuple(names[name] for name in used),
        missing=tuple(name for name in wanted if name not in names),
        left_over=tuple(own for name, own in names.items() if name not in places),
    )
