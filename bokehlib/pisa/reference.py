"""Eq. 3, 5, 6 and 9 written out: the definition of PISA, in any dtype on any device."""

import math

import torch
from torch import Tensor

from bokehlib.optics import Grid, Visibility, distance, reach, soft_step, token_positions


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    radius: Tensor,
    grid: Grid,
    visibility: Visibility | Tensor | None,
    normalise: str,
    coc: bool,
    hardness: float | Tensor,
) -> Tensor:
    """PISA of checked arguments, all pairs in one piece; see `bokehlib.pisa.pisa_attention`."""
    dtype, wide = q.dtype, torch.promote_types(q.dtype, torch.float32)
    q, k, v, radius = (t.to(wide) for t in (q, k, v, radius))
    place = token_positions(grid, q.device, wide)
    apart = distance(place[:, None], place[None, :])  # (queries, sources)
    mask = log_coc(radius, apart, hardness) if coc else None
    seen = visibility.dense() if isinstance(visibility, Visibility) else visibility
    return attend(q, k, v, mask, seen, normalise).to(dtype)


def log_coc(radius: Tensor, apart: Tensor, hardness: float | Tensor) -> Tensor:
    """Logarithm of C (Eq. 6), -inf beyond its reach.

    Args:
        radius: (B, sources) in tokens.
        apart: (queries, sources) distances in tokens.
        hardness: see `bokehlib.optics.soft_step`.

    Returns:
        (B, queries, sources).
    """
    radius = radius[:, None, :]
    beyond = apart > reach(radius, hardness)
    # 1, for the logarithm of 0 is slow and its gradient NaN.
    inside = soft_step(radius - apart, hardness).masked_fill(beyond, 1)
    return inside.log().masked_fill(beyond, -torch.inf)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seen: Tensor | None, normalise: str
) -> Tensor:
    """The light that queries receive: W v with W = softmax(q k^T / sqrt(D) + log C) M.

    Exact for a block of pairs too, if the axis that is normalised over holds all within reach.

    Args:
        q: (B, heads, queries, D) in float32 or float64, like k and v.
        k: (B, heads, sources, D).
        v: (B, heads, sources, any).
        mask: log C, (B, queries, sources), or None for a C of 1.
        seen: the visibility M (Eq. 9), (B, queries, sources), or None for an M of 1.
        normalise: "queries" (Eq. 3, 5) or "keys" (Eq. 2).

    Returns:
        (B, heads, queries, any).
    """
    with torch.autocast(q.device.type, enabled=False):
        weights = (q / math.sqrt(q.shape[-1])) @ k.mT  # (B, heads, queries, sources)
        if mask is not None:
            weights += mask[:, None]  # before the softmax: a larger logit outside could hide all
        weights = weights.softmax(dim=-2 if normalise == "queries" else -1)
        if seen is not None:
            weights = weights * seen[:, None].to(q.dtype)
        return weights @ v
