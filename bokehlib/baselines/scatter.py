"""The classical scatter renderer as a method: on the CPU wherever it runs."""

import functools
from collections.abc import Callable

from torch import Tensor

from bokehlib.classical import scattering
from bokehlib.optics import Lens


def load(name: str, device: str = "auto", gamma: float = 2.2) -> Callable[..., Tensor]:
    """The scatter renderer for one gamma; it computes on the CPU whatever the device.

    Raises:
        ValueError: gamma outside [1, 5].
    """
    if not 1 <= gamma <= 5:
        raise ValueError(f"gamma: found {gamma}; accepted: 1 to 5")
    scattering.compiled()  # else the first picture would pay for the compilation
    return functools.partial(scatter, gamma=gamma)


def scatter(image: Tensor, disparity: Tensor, lens: Lens, gamma: float = 2.2) -> Tensor:
    """`classical.scatter` by its definition: on the CPU, whatever the image's device."""
    return scattering.scatter(image.cpu(), disparity.cpu(), lens, gamma).to(image.device)
