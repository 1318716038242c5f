"""Thin-lens optics: blur radius, soft edge and tokens (Eq. 4, 6, S1).

Units: disparity in [0, 1], 1 = nearest; a lens's aperture is the blur radius in pixels of this
very image per unit of disparity; token lengths are counted in tokens, the same in y and x.
Coordinates are (y, x), grids (h, w), tokens row-major.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

Grid = tuple[int, int]  # (h, w) of tokens
NEGLIGIBLE = 1e-6  # where the soft edge has fallen to this, it counts as zero
WIDEST_EDGE = 16.0  # tokens; a very soft edge is cut off here
IN_FOCUS_RADIUS = 0.5  # px of radius below which a pixel is in focus


@dataclass(frozen=True)
class Lens:
    """A lens setting.

    Attributes:
        focus: the disparity that is sharp, a float or a (B,) tensor.
        aperture: blur radius in pixels of this image per unit of disparity, a float or a (B,)
            tensor. (The paper calls it a diameter and uses it as a radius, Eq. 4.)
    """

    focus: float | Tensor
    aperture: float | Tensor

    def scaled(self, factor: float) -> "Lens":
        """The same lens on an image resized by `factor`."""
        return replace(self, aperture=self.aperture * factor)

    def column(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Focus and aperture as (B, 1, 1, 1) in the dtype and on the device of `like` (B, ...)."""
        focus, aperture = (
            # A float is filled in: a copy to the device would wait for it.
            (value.to(like) if isinstance(value, Tensor) else like.new_full((), value))
            .reshape(-1, 1, 1, 1)
            .expand(like.shape[0], 1, 1, 1)
            for value in (self.focus, self.aperture)
        )
        return focus, aperture


def circle_of_confusion(disparity: Tensor, lens: Lens) -> Tensor:
    """Blur radius of every pixel in pixels, (B, 1, H, W) like the disparity (Eq. 4)."""
    return signed_coc(disparity, lens).abs()


def signed_coc(disparity: Tensor, lens: Lens) -> Tensor:
    """Blur radius of every pixel in pixels, positive before the focus, (B, 1, H, W)."""
    focus, aperture = lens.column(disparity)
    return aperture * (disparity - focus)


def log_soft_step(x: Tensor, hardness: float | Tensor) -> Tensor:
    """Logarithm of `soft_step`; finite wherever the step is not exactly zero."""
    if _is_hard(hardness):
        return torch.log(torch.heaviside(x, x.new_tensor(0.5)))
    return F.logsigmoid(_log(hardness) * x)


def soft_step(x: Tensor, hardness: float | Tensor) -> Tensor:
    """Soft edge sigmoid(ln(hardness) x): 0 below, 1/2 at 0, 1 above.

    Eq. S1 prints 1 / (1 + k exp(x)), which falls with x and is not 1/2 at the edge; this is
    1 / (1 + k ** -x).

    Args:
        x: signed distance inside the edge, any shape.
        hardness: above 1; `math.inf` is a hard step. As a 0-d tensor (finite) it may change from
            call to call without torch.compile starting anew.
    """
    if _is_hard(hardness):
        return torch.heaviside(x, x.new_tensor(0.5))
    return torch.sigmoid(_log(hardness) * x)


def reach(radius, hardness: float | Tensor):
    """Distance in tokens beyond which the CoC mask is exactly zero (a float or a tensor)."""
    edge = -math.log(NEGLIGIBLE) / _log(hardness)
    if isinstance(edge, Tensor):
        return radius + edge.clamp(max=WIDEST_EDGE)
    return radius + min(edge, WIDEST_EDGE)


def _is_hard(hardness: float | Tensor) -> bool:
    return not isinstance(hardness, Tensor) and hardness == math.inf


def _log(hardness: float | Tensor) -> float | Tensor:
    return hardness.log() if isinstance(hardness, Tensor) else math.log(hardness)


def token_positions(
    grid: Grid, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Token centres (y, x) in tokens, (h*w, 2), row-major."""
    h, w = grid
    index = torch.arange(h * w, device=device)
    return torch.stack((index // w, index % w), dim=-1).to(dtype)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance between (y, x) positions (..., 2), broadcast over the leading axes."""
    y, x = (a - b).unbind(dim=-1)
    return (y * y + x * x).sqrt()


def token_radius(disparity: Tensor, lens: Lens, grid: Grid) -> Tensor:
    """CoC radius of every token in tokens, (B, h*w).

    It is the area mean of the per-pixel radius over the token divided by the stride, so that the
    same picture at any working size gives the same radii.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
        grid: (h, w); H/h and W/w must be the same whole number.

    Raises:
        ValueError: if the tokens are not square or do not tile the map.
    """
    stride = token_stride(disparity, grid)
    return F.avg_pool2d(circle_of_confusion(disparity, lens), stride).flatten(1) / stride


def token_stride(disparity: Tensor, grid: Grid) -> int:
    """Pixels per token; see `token_radius` for the errors."""
    if disparity.ndim != 4 or disparity.shape[1] != 1:
        raise ValueError(f"disparity has shape {tuple(disparity.shape)}; accepted: (B, 1, H, W)")
    (height, width), (h, w) = disparity.shape[-2:], grid
    if min(grid) < 1 or height % h or width % w or height // h != width // w:
        raise ValueError(
            f"grid {h}x{w} does not tile a disparity of {height}x{width} with square tokens; "
            "accepted: (H/s, W/s) for a stride s that divides both"
        )
    return height // h
