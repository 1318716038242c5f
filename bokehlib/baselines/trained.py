"""Networks of rivals: published weight files, those trained here, and a network as a renderer.

The module of a method that is trained here has a function `network(name, paper_width)`; it makes a
module (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> picture (B, 3, H, W), not clamped.
"""

import codecs
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bokehlib import tensorfiles
from bokehlib.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import METHODS
from bokehlib.weightfiles import need_weights

ARRAYS = ("_reconstruct", "scalar")  # what makes numpy's arrays anew
Maker = Callable[[str, bool], nn.Module]


def weight_file(name: str) -> str:
    """The weight file of a method that was trained here."""
    return f"{name}.safetensors"


def maker(name: str) -> Maker:
    """The function that makes the network of a method."""
    return resolve_name(METHODS[name].loader.partition(":")[0] + ":network")


def save(
    values: dict[str, Tensor], path: Path, name: str, paper_width: bool, note: dict[str, Any]
) -> None:
    """Write what was trained as fp16, with the name of the method and a training note inside."""
    inside = {"method": name, "paper_width": paper_width, "note": note}
    tensorfiles.write(values, path, inside)


def read(name: str, make: Maker) -> nn.Module:
    """The trained network of a method, in fp32 on the CPU, from its weight file.

    Raises:
        InputError: the file is missing, of another method, or does not fit.
    """
    path = need_weights(weight_file(name))
    tensors, inside = tensorfiles.read(path)
    if inside.get("method") != name:
        raise InputError(f"{path}: found weights of {inside.get('method')}; accepted: of {name}")
    network = make(name, inside["paper_width"])
    fit(network, tensors, path)
    return network.requires_grad_(False).eval()


def checkpoint(path: Path) -> dict[str, Any]:
    """What a published `.pth` file holds; nothing in it is executed, numpy arrays are allowed.

    Raises:
        InputError: it is no such file, or holds objects of other kinds.
    """
    arrays = import_module("numpy._core.multiarray")
    allowed = [
        *((getattr(arrays, name), f"numpy.core.multiarray.{name}") for name in ARRAYS),
        *(np.ndarray, np.dtype, codecs.encode),
        *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: {reason}; accepted: a checkpoint of weights") from error


def fit(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Give a network the weights of a file: all of its own, and no others.

    Raises:
        InputError: names or shapes differ.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{path}: tensors do not fit: {error}") from error


def load(name: str, device: str = "cpu") -> Callable[..., Tensor]:
    """A renderer from a method's own weight file.

    Returns:
        A callable (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W) in [0, 1];
        where the aperture is 0 it returns the image itself.
    """
    network = read(name, maker(name)).to(device)

    @torch.no_grad()
    def render(image: Tensor, disparity: Tensor, lens: Lens) -> Tensor:
        found = network(image.to(device).float(), disparity.to(device).float(), lens)
        return torch.where(lens.column(image)[1] == 0, image, found.clamp(0, 1).to(image))

    return render


def padded(network: Callable[[Tensor], Tensor], maps: Tensor, multiple: int) -> Tensor:
    """What a network makes of maps of any size, if it wants sides that `multiple` divides."""
    height, width = maps.shape[-2:]
    margin = (0, -width % multiple, 0, -height % multiple)
    return network(F.pad(maps, margin, mode="replicate"))[..., :height, :width]
