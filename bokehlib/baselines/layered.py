"""The layered render as a method: the classical one, in layers; it needs no weights."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from bokehlib.classical import layers, scattering


def load(name: str, device: str = "auto", gamma: float = 2.2) -> Callable[..., Tensor]:
    """The renderer.

    Args:
        name: not used.
        device: not used; it computes where its image is.
        gamma: linear light is image ** gamma.
    """
    scattering.compiled()  # else the first picture would pay for the compilation
    return partial(layers.render, gamma=gamma)
