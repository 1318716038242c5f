"""The published layer's own maths, slips included, without its randomness.

It is here for comparison with the published network; `bokehlib.pisa.pisa_attention` is what the
paper says. Labels (B2, D7 ...) are those of docs/divergences.md. Left out are dropout (B1, D10) and
the jittered replicas of the occlusion (D6), of which the first, which is not jittered, remains.
On square grids it agrees with outputs recorded from the published code.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.optics import Grid, Lens, circle_of_confusion, soft_step
from bokehlib.pisa.processor import AttentionProcessor, place

PIXELS_PER_UNIT = 10.0  # of the circle of confusion
SIDE = 51.2  # of the whole picture in these units, whatever its size and shape (B5)
FINER = 3  # the grid in which rays look up disparities, against that of the tokens
SHARES = (0.1, 0.9)  # of the way from disparity 1 to the source's that a ray is followed (D7)
TRAINED = 1e6  # hardness below which the layer takes itself to be in training
SITE = "down_blocks.1.attentions.0."  # where the published network has its PISA (D1)


def published_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    disp_coc: Tensor,
    *,
    hardness: float = 1e7,
    segments: int = 7,
) -> Tensor:
    """Self-attention as the published code computes it, the same every time.

    With A = q k^T / sqrt(D), C[q, k] = soft_step(coc[k] - |P_q - P_k|, hardness), lengths in units
    of 1 / 51.2 of the picture's side, and H[q, k] = 1 where the source k is hidden from q,

        E[q, k] = exp(A[q, k] - max_s A[s, k])
        W[q, k] = E[q, k] C[q, k] / sum_s E[s, k] C[s, k]

    and the output is (W * (1 - H)) v. Half precision is computed in float32. It takes a few arrays
    of N x N, with gradients a few for each image and head.

    Args:
        q: (B, heads, N, D) queries.
        k: like q.
        v: (B, heads, N, any).
        disp_coc: (B, 2, H_px, W_px), disparity in [0, 1] and CoC radius in units of 10 px; see
            `published_optics`.
        hardness: of the edge of C, above 1. Below 1e6 H is at most 0.99.
        segments: how many disparities a ray is followed through, at least 1.

    Returns:
        (B, heads, N, any) in the dtype of q; NaN for sources whose every query within C lies far
        below their largest logit (B6).

    Raises:
        ValueError: names the argument that does not fit, what it was and what is accepted.
    """
    grid = _check(q, k, v, disp_coc, hardness, segments)
    most = 0.99 if hardness < TRAINED else 1.0
    maps = disp_coc.to(torch.promote_types(q.dtype, torch.float32))
    disparity, coc = _resize(maps, grid).flatten(2).unbind(1)
    fine = _resize(maps[:, :1], (FINER * grid[0], FINER * grid[1]))
    apart = _distances(grid, maps)
    qs, ks, vs = (t.to(maps.dtype) for t in (q, k, v))
    out = []
    with torch.autocast(q.device.type, enabled=False):
        for item, source in enumerate(disparity):
            near = soft_step(coc[item] - apart, hardness)
            seen = 1 - most * _hidden(source, fine[item], grid, segments)
            heads = zip(qs[item], ks[item], vs[item], strict=True)
            out.append(torch.stack([_attend(*qkv, near, seen) for qkv in heads]))
    return torch.stack(out).to(q.dtype)


def published_optics(disparity: Tensor, lens: Lens) -> Tensor:
    """What the published layer is told: disparity and CoC radius in units of 10 px.

    Args:
        disparity: (B, 1, H, W) in [0, 1], 1 = nearest.
        lens: in pixels of this disparity map; its aperture is the published code's K.

    Returns:
        (B, 2, H, W), the `disp_coc` of `published_attention`.
    """
    return torch.cat((disparity, circle_of_confusion(disparity, lens) / PIXELS_PER_UNIT), dim=1)


@dataclass(frozen=True)
class PublishedOptics:
    """What all published layers of one network share.

    Attributes:
        maps: of `published_optics`, (B, 2, H_px, W_px).
        hardness: of the mask's edge.
        segments: how many disparities a ray is followed through.
    """

    maps: Tensor
    hardness: float
    segments: int = 7


class PublishedProcessor(AttentionProcessor):
    """The published layer in the place of a plain self-attention.

    `cross_attention_kwargs={"optics": ...}` hands it the result of `published_optics`, or
    `PublishedOptics`, whose hardness and segments then hold.
    """

    def __init__(self, hardness: float = 1e7, segments: int = 7):
        """Set the options of `published_attention`; the defaults are those of inference."""
        self.hardness, self.segments = hardness, segments

    def attend(self, q, k, v, attention_mask, optics) -> Tensor:
        """The published layer; a ValueError if `optics` is no tensor (B, 2, H_px, W_px)."""
        hardness, segments = self.hardness, self.segments
        if isinstance(optics, PublishedOptics):
            optics, hardness, segments = optics.maps, optics.hardness, optics.segments
        if not isinstance(optics, Tensor):
            raise ValueError(
                f"published PISA got {type(optics).__name__} for optics; "
                "accepted: a tensor (B, 2, H_px, W_px)"
            )
        return published_attention(q, k, v, optics, hardness=hardness, segments=segments)


def install_published(unet) -> None:
    """Put the published layer where the published network has it, plain attention elsewhere.

    Args:
        unet: a diffusers UNet2DConditionModel of SDXL's kind, changed in place.

    Raises:
        ValueError: if it has no self-attention in `down_blocks.1.attentions.0`.
    """
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    chosen = {name for name in names if name.startswith(SITE) and name.endswith("attn1")}
    if not chosen:
        raise ValueError(f"no self-attention in {SITE!r}; attentions are: {names}")
    place(unet, chosen, PublishedProcessor)


def _check(q, k, v, disp_coc, hardness, segments) -> Grid:
    """The token grid, or a ValueError."""
    if q.ndim != 4 or k.shape != q.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        found = ", ".join(str(tuple(t.shape)) for t in (q, k, v))
        raise ValueError(f"q, k, v have shapes {found}; accepted: one (B, heads, N, D) for all")
    batch, _, tokens, _ = q.shape
    if disp_coc.ndim != 4 or disp_coc.shape[:2] != (batch, 2):
        raise ValueError(
            f"disp_coc has shape {tuple(disp_coc.shape)}; accepted: ({batch}, 2, H_px, W_px)"
        )
    height, width = disp_coc.shape[2:]
    stride = math.isqrt(height * width // tokens)  # B7: one stride for both axes, rounded down
    grid = (height // stride, width // stride) if stride else (0, 0)
    if grid[0] * grid[1] != tokens:
        raise ValueError(
            f"disp_coc of {height} x {width} px makes {grid[0]} x {grid[1]} tokens of {stride} px, "
            f"q has {tokens}; accepted: as many tokens as q"
        )
    if not hardness > 1:
        raise ValueError(f"hardness is {hardness}; accepted: above 1, or inf")
    if segments < 1:
        raise ValueError(f"segments is {segments}; accepted: from 1")
    return grid


def _resize(maps: Tensor, size: Grid) -> Tensor:
    # Bilinear without a low-pass: a token takes its value from the 2 x 2 pixels in its middle.
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _distances(grid: Grid, like: Tensor) -> Tensor:
    """|P_q - P_k|, (N, N).

    B5: the picture is 51.2 wide and high whatever its pixels and shape, and the first and the last
    token stand on its border, so that a token's pitch is 51.2 / (n - 1).
    """
    y, x = (torch.linspace(0, SIDE, n, dtype=like.dtype, device=like.device) for n in grid)
    at = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
    dy, dx = (at[:, None] - at).unbind(-1)
    return (dy * dy + dx * dx).sqrt()


def _places(grid: Grid, like: Tensor) -> Tensor:
    """(x, y) of every token in [-1, 1], (N, 2)."""
    rows, columns = (
        (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) * 2 / n - 1 for n in grid
    )
    # B3: of (h, w) this makes a grid (w, h), whose order is that of the tokens for h = w alone.
    return torch.stack(torch.meshgrid(rows, columns, indexing="xy"), dim=-1).flatten(0, 1)


@torch.no_grad()
def _hidden(disparity: Tensor, fine: Tensor, grid: Grid, segments: int) -> Tensor:
    """Whether a surface hides source k from query q (Eq. 7 and 8, nearly), (N, N).

    Args:
        disparity: (N,) of the tokens.
        fine: (1, h, w) in which disparities are looked up.
        grid: of the tokens.
        segments: disparities that are tried.
    """
    place = _places(grid, disparity)
    towards = place - place[:, None]  # P_k - P_q, (q, k, 2)
    hidden = torch.zeros_like(towards[..., 0], dtype=torch.bool)
    for share in torch.linspace(*SHARES, segments, dtype=fine.dtype, device=fine.device):
        ray = share * disparity + (1 - share)
        of_query = ray[:, None]  # B2: Eq. 7 has the source's, with which Eq. 8 below compares
        # B4: disparity 1 divides by 0. Infinite and NaN places find 0 or NaN, which hide nothing.
        ratio = (1 - of_query) * disparity / (of_query * (1 - disparity))
        ray_at = ratio[..., None] * towards + place[:, None]
        found = F.grid_sample(  # beyond the border is nothing: disparity 0
            fine[None], ray_at[None], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        hidden |= found[0, 0] > ray
    return hidden


def _attend(q: Tensor, k: Tensor, v: Tensor, near: Tensor, seen: Tensor) -> Tensor:
    """One head of one image, (N, channels)."""
    logits = (q @ k.mT) / math.sqrt(q.shape[-1])
    # B6: the maximum is that of all queries; within the mask all may underflow, and 0 / 0 is NaN.
    weights = (logits - logits.amax(dim=0)).exp() * near
    return (weights / weights.sum(dim=0) * seen) @ v
