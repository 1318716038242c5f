"""Self-occlusion between tokens: the share of a source's light that arrives (Eq. 7, 8, 9)."""

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor

from bokehlib.optics.lens import Grid, Lens, reach, token_radius, token_stride
from bokehlib.optics.rays import PaperScene, ThinLensScene, count

HAS_TRITON = find_spec("triton") is not None
MODELS = ("paper", "thin_lens")


@dataclass(frozen=True)
class Visibility:
    """Share of each source's light that reaches each query, for the pairs within reach of the CoC.

    About N (2r + 3)^2 bytes for N tokens of radius at most r and hardness 1e6.

    Attributes:
        counts: (B, N, S, S) uint8, source-major: how many of the rays from the source to the query
            at offset (y - S//2, x - S//2) from it arrive; 0 where the CoC mask is zero.
        supersamples: what counts are out of.
        grid: (h, w) with h*w = N.
        hardness: of the CoC mask that decided the window; None: all pairs are held.
    """

    counts: Tensor
    supersamples: int
    grid: Grid
    hardness: float | Tensor | None = None

    @property
    def extent(self) -> int:
        """Largest offset held along one axis, in tokens."""
        return self.counts.shape[-1] // 2

    def to(self, device: torch.device | str) -> "Visibility":
        """The same on another device."""
        return replace(self, counts=self.counts.to(device))

    def at(self, queries: Tensor, sources: Tensor) -> Tensor:
        """Visibility of pairs of tokens in [0, 1].

        Args:
            queries: token numbers, any shape that broadcasts with `sources`.
            sources: token numbers.

        Returns:
            float32 (B, *broadcast shape); 0 for pairs that are not held.
        """
        w, side = self.grid[1], self.counts.shape[-1]
        y = queries // w - sources // w + self.extent
        x = queries % w - sources % w + self.extent
        held = (y >= 0) & (y < side) & (x >= 0) & (x < side)
        cell = (sources * side + y) * side + x
        seen = self.counts.flatten(1)[:, torch.where(held, cell, 0)]
        return seen * (held / self.supersamples)

    def block(self, queries: slice, sources: slice) -> Tensor:
        """The (B, len(queries), len(sources)) part of `dense()`."""
        tokens = torch.arange(self.counts.shape[1], device=self.counts.device)
        return self.at(tokens[queries, None], tokens[None, sources])

    def dense(self) -> Tensor:
        """(B, N, N) [query, source] in [0, 1]; 0, not measured, beyond the reach of the CoC."""
        return self.block(slice(None), slice(None))


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
        aperture = aperture / token_stride(disparity, grid)
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
        from bokehlib.optics import rays_triton  # not before it is needed: Triton is heavy

        return rays_triton.count(scene, far, extent)
    return count(scene, far, extent)
