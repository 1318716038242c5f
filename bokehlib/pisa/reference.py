"""Eq. 3, 5, 6 and 9 written out: the definition of PISA, in any dtype on any device."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bokehlib.optics import Grid, Visibility, distance, log_soft_step, reach, token_positions

BUDGET = {"cpu": 2**24, "cuda": 2**27}  # bytes of temporaries: near the cache, or few launches
TILE = {"cpu": 16, "cuda": 64}  # largest side of a chunk, in tokens


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
    """PISA of checked arguments; see `bokehlib.pisa.pisa_attention`.

    It goes in rectangles of those tokens that are not normalised over and, where the CoC mask cuts
    off, only over what lies within reach of each. With gradients, which would keep every chunk
    anyway, and under torch.compile, where shapes cannot follow values, it goes in one piece.
    """
    layer = _Layer(grid, visibility, normalise, hardness if coc else None, q)
    learning = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, radius))
    with torch.autocast(q.device.type, enabled=False):
        if learning or torch.compiler.is_compiling():
            return layer.attend(q, k, v, radius, layer.tokens, layer.tokens).to(q.dtype)
        return layer.attend_in_chunks(q, k, v, radius).to(q.dtype)


class _Layer:
    """What the pairs of tokens have to do with each other, whatever their q, k and v."""

    def __init__(
        self,
        grid: Grid,
        visibility: Visibility | Tensor | None,
        normalise: str,
        hardness: float | Tensor | None,
        like: Tensor,
    ):
        self.grid, self.visibility, self.hardness = grid, visibility, hardness
        self.over_queries = normalise == "queries"
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        self.positions = token_positions(grid, like.device, self.dtype)
        self.tokens = torch.arange(len(self.positions), device=like.device)

    def attend(self, q, k, v, radius, queries, sources) -> Tensor:
        """The light that reaches `queries` from `sources` (token numbers), the others being dark.

        Exact if the axis that is normalised over holds all tokens within reach.
        """
        q, k, v, radius = (t.to(self.dtype) for t in (q, k, v, radius))
        if self.over_queries:  # the softmax is fastest over the last axis: (sources, queries)
            logits = (k / math.sqrt(k.shape[-1])) @ q.mT
            queries, sources, radius = queries[None, :], sources[:, None], radius[:, :, None]
        else:
            logits = (q / math.sqrt(q.shape[-1])) @ k.mT
            queries, sources, radius = queries[:, None], sources[None, :], radius[:, None, :]
        if self.hardness is not None:
            logits += self._log_coc(queries, sources, radius, self.hardness)[:, None]
        weights = logits.softmax(dim=-1)
        del logits
        if self.visibility is not None:
            seen = _seen(self.visibility, queries, sources).to(self.dtype)[:, None]
            weights = weights * seen if weights.requires_grad else weights.mul_(seen)
        return (weights.mT if self.over_queries else weights) @ v

    def _log_coc(self, queries, sources, radius: Tensor, hardness: float | Tensor) -> Tensor:
        """Logarithm of C (Eq. 6), -inf beyond its reach, (B, *pairs)."""
        apart = distance(self.positions[queries], self.positions[sources])
        edge = log_soft_step(radius - apart, hardness)
        return edge.masked_fill(apart > reach(radius, hardness), -torch.inf)

    def attend_in_chunks(self, q, k, v, radius) -> Tensor:
        """`attend` of all tokens, without ever holding all pairs."""
        out = torch.zeros((*q.shape[:3], v.shape[3]), dtype=self.dtype, device=q.device)
        for chunk, window in self._chunks(q, radius):
            queries, sources = (window, chunk) if self.over_queries else (chunk, window)
            out[:, :, queries] += self.attend(
                q[:, :, queries],
                k[:, :, sources],
                v[:, :, sources],
                radius[:, sources],
                queries,
                sources,
            )
        return out

    def _chunks(self, q: Tensor, radius: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(tokens of a chunk, all tokens within reach of it) that together hold every pair."""
        (h, w), number = self.grid, self.tokens.view(self.grid)
        if self.hardness is None:
            far = torch.full(self.grid, max(self.grid))
        else:
            far = reach(radius.detach().float(), self.hardness).amax(dim=0).view(self.grid)
            far = far.clamp(max=max(self.grid)).int().cpu()
            if not self.over_queries:  # any source may reach the queries of a chunk
                far = far.amax().expand(self.grid)
        height, width = _tile(self.grid, int(far.max()), q)
        for top in range(0, h, height):
            for left in range(0, w, width):
                part = slice(top, top + height), slice(left, left + width)
                r = int(far[part].max())
                rows = slice(max(0, top - r), top + height + r)
                columns = slice(max(0, left - r), left + width + r)
                yield number[part].flatten(), number[rows, columns].flatten()


def _seen(visibility: Visibility | Tensor, queries: Tensor, sources: Tensor) -> Tensor:
    if isinstance(visibility, Visibility):
        return visibility.at(queries, sources)
    return visibility[:, queries, sources]


def _tile(grid: Grid, far: int, q: Tensor) -> tuple[int, int]:
    """Largest chunk (height, width) whose temporaries stay within the budget."""
    # Two arrays of weights, four for each item of the batch, and the numbers of the pairs.
    bytes_per_pair = max(4, q.element_size()) * q.shape[0] * (2 * q.shape[1] + 4) + 48
    kind = q.device.type if q.device.type in BUDGET else "cpu"
    height, width = (min(side, TILE[kind]) for side in grid)
    while height * width > 1:
        window = min(grid[0], height + 2 * far) * min(grid[1], width + 2 * far)
        if height * width * window * bytes_per_pair <= BUDGET[kind]:
            break
        height, width = (height, -(-width // 2)) if width >= height else (-(-height // 2), width)
    return height, width
