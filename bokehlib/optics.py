"""Thin-lens optics: blur radius, soft edge, tokens and self-occlusion (Eq. 4, 6, 7, 8, 9, S1).

Units: disparity in [0, 1], 1 = nearest; a lens's aperture is the blur radius in pixels of this
very image per unit of disparity; token lengths are counted in tokens, the same in y and x.
Coordinates are (y, x), grids (h, w), tokens row-major.
"""

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.visibility import (
    CHUNK,
    Grid,
    PaperScene,
    ThinLensScene,
    Visibility,
    count,
    source_offsets,
)

__all__ = [
    "CHUNK",
    "HAS_TRITON",
    "Grid",
    "Lens",
    "Visibility",
    "circle_of_confusion",
    "distance",
    "log_soft_step",
    "reach",
    "soft_step",
    "source_offsets",
    "token_positions",
    "token_radius",
    "visibility",
]

HAS_TRITON = find_spec("triton") is not None
MODELS = ("paper", "thin_lens")  # of self-occlusion
NEGLIGIBLE = 1e-6  # where the soft edge has fallen to this, it counts as zero
WIDEST_EDGE = 16.0  # tokens; a very soft edge is cut off here


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
    focus, aperture = lens.column(disparity)
    return aperture * (disparity - focus).abs()


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
    stride = _stride(disparity, grid)
    return F.avg_pool2d(circle_of_confusion(disparity, lens), stride).flatten(1) / stride


def _stride(disparity: Tensor, grid: Grid) -> int:
    if disparity.ndim != 4 or disparity.shape[1] != 1:
        raise ValueError(f"disparity has shape {tuple(disparity.shape)}; accepted: (B, 1, H, W)")
    (height, width), (h, w) = disparity.shape[-2:], grid
    if min(grid) < 1 or height % h or width % w or height // h != width // w:
        raise ValueError(
            f"grid {h}x{w} does not tile a disparity of {height}x{width} with square tokens; "
            "accepted: (H/s, W/s) for a stride s that divides both"
        )
    return height // h


@torch.no_grad()
def visibility(
    disparity: Tensor,
    lens: Lens,
    grid: Grid,
    model: str = "paper",
    samples: int = 16,
    supersamples: int = 4,
    hardness: float | Tensor = 1e6,
    coc: bool = True,
    thickness: float = 0.05,
    extent: int | None = None,
) -> Visibility:
    """Self-occlusion between tokens (Eq. 7, 8, 9).

    Model "paper": on the way from source s to query q light of disparity d passes
    P_q + (1 - d) d_s / (d (1 - d_s)) (P_s - P_q) and is blocked if the scene there is at d or
    nearer, for any d in (d_s, 1). A source of disparity 1 is always visible. As the ray ends in
    P_q at d = 1, a source behind the query's own surface never is: light from the background
    does not enter a blurred foreground.

    Model "thin_lens": it passes P_q + (P_s - P_q) (d - d_f) / (d_s - d_f), through the point
    u = (P_s - P_q) / (d_s - d_f) of the lens, clipped to the aperture, and is blocked where it
    crosses a surface: d <= dis(P(d)) < d + thickness. The mean is over sub-positions of q, and
    for a source of less than one token's radius over the whole lens, whatever q. The source's own
    surface, continued as a plane, blocks nothing, so a tilted plane never hides itself. Replacing
    (d, d_f, K) by (a d + b, a d_f + b, K / a) changes nothing, if the thickness becomes a times
    as large too.

    Args:
        disparity: (B, 1, H, W) in [0, 1].
        lens: in pixels of this disparity map.
        grid: (h, w) of the tokens, as for `token_radius`.
        model: "paper" or "thin_lens".
        samples: number of d tried, midpoints of equal steps from d_s to 1 ("thin_lens": to the
            nearest surface of the scene).
        supersamples: sources drawn around each token, or sub-positions of a query and points of
            the lens (1 to 255), the same for all.
        hardness: of the soft edge; with the radius it decides which pairs are needed.
        coc: False holds all pairs, for attention without a CoC mask (N (2 max(h, w) - 1)^2 bytes).
        thickness: of every surface in disparity, at least one step; `math.inf` is a solid curtain
            down to infinity, under which a wire darkens all around it. "paper" knows no other.
        extent: the largest offset held along one axis in tokens, as
            `int(reach(largest radius, hardness))`; pairs further apart count as hidden, without
            a check. None: just what is needed, read from the device. Given, a call on CUDA with
            Triton never waits for the device, and after a first one can be captured in a graph.
            Without effect where coc is False.

    Raises:
        ValueError: for an unknown model, a grid that does not fit or numbers out of range.
    """
    _check_visibility(model, samples, supersamples, thickness, extent)
    radius = token_radius(disparity.float(), lens, grid)
    far = reach(radius, hardness) if coc else torch.full_like(radius, math.hypot(*grid))
    scene: PaperScene | ThinLensScene
    if model == "paper":
        scene = PaperScene(disparity, grid, samples, supersamples)
    else:
        focus, aperture = (value.flatten() for value in lens.column(disparity.float()))
        aperture = aperture / _stride(disparity, grid)
        scene = ThinLensScene(disparity, grid, samples, supersamples, focus, aperture, thickness)
    widest = max(grid) - 1
    if not coc:
        extent = widest
    elif extent is None:
        extent = int(min(far.amax().item(), widest))
    counts = _count(scene, far, min(extent, widest))
    return Visibility(counts, supersamples, grid, hardness if coc else None)


def _check_visibility(model, samples, supersamples, thickness, extent) -> None:
    if model not in MODELS:
        raise ValueError(f"unknown visibility model {model!r}; known: {', '.join(MODELS)}")
    if samples < 1 or not 1 <= supersamples <= 255:
        raise ValueError(
            f"samples {samples}, supersamples {supersamples}; accepted: from 1, and 1 to 255"
        )
    if not thickness > 0:
        raise ValueError(f"thickness {thickness}; accepted: above 0, or inf")
    if extent is not None and extent < 0:
        raise ValueError(f"extent {extent}; accepted: from 0")


def _count(scene: PaperScene | ThinLensScene, far: Tensor, extent: int) -> Tensor:
    if far.is_cuda and HAS_TRITON:
        from bokehlib import visibility_kernel  # not before it is needed: Triton is heavy

        return visibility_kernel.count(scene, far, extent)
    return count(scene, far, extent)
