"""The reference's numbers from the pairs within reach alone, chunk by chunk, gradients too.

A chunk is a rectangle of those tokens that are not normalised over, with all tokens within its
reach; the whole grid where no mask cuts off. Backward computes each chunk anew: none is kept.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bokehlib.optics import Grid, Visibility, distance, reach, token_positions
from bokehlib.pisa.reference import attend, log_coc

BUDGET = {"cpu": 2**24, "cuda": 2**27}  # bytes of temporaries: near the cache, or few launches
TILE = {"cpu": 8, "cuda": 64}  # largest side of a chunk, in tokens

Rectangle = tuple[slice, slice]  # rows and columns of the grid


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
    """PISA of checked arguments; see `bokehlib.pisa.pisa_attention`."""
    dtype, wide = q.dtype, torch.promote_types(q.dtype, torch.float32)
    q, k, v = (t.to(wide).unflatten(2, grid) for t in (q, k, v))
    radius = radius.to(wide).unflatten(1, grid)
    pairs = _Pairs(q, radius, grid, visibility, normalise, coc, hardness)
    dense = edge = None
    if isinstance(visibility, Tensor):
        dense = visibility.unflatten(2, grid).unflatten(1, grid)
    if isinstance(hardness, Tensor):
        edge = hardness
    return _Windowed.apply(pairs, q, k, v, radius, dense, edge).flatten(2, 3).to(dtype)


class _Windowed(torch.autograd.Function):
    """The sum of what the chunks give; its inputs are those that a gradient may be wanted for.

    q, k and v (B, heads, h, w, channels), radius (B, h, w), dense visibility (B, h, w, h, w) or
    None and a tensor of hardness () or None.
    """

    @staticmethod
    def forward(ctx, pairs, *inputs):
        ctx.pairs = pairs
        ctx.save_for_backward(*inputs)
        q, _, v, *_ = inputs
        out = q.new_zeros((*q.shape[:4], v.shape[4]))
        for queries, sources in pairs.chunks():
            parts = _cut(inputs, queries, sources)
            out[:, :, *queries] += pairs.attend(queries, sources, *parts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        totals = [torch.zeros_like(x) if wanted[i] else None for i, x in enumerate(inputs)]
        for queries, sources in ctx.pairs.chunks():
            parts = _cut(inputs, queries, sources)
            learning = [x.requires_grad_() for i, x in enumerate(parts) if wanted[i]]
            with torch.enable_grad():
                out = ctx.pairs.attend(queries, sources, *parts)
            gradients = torch.autograd.grad(
                out, learning, grad[:, :, *queries], materialize_grads=True
            )
            sums = [x for x in _cut(totals, queries, sources) if x is not None]
            for x, gradient in zip(sums, gradients, strict=True):
                x += gradient
        return None, *totals


def _cut(inputs, queries: Rectangle, sources: Rectangle) -> list:
    """Views of the inputs of `_Windowed` for these tokens."""
    every = slice(None)
    places: list[Any] = [(every, every, *tokens) for tokens in (queries, sources, sources)]
    places += [(every, *sources), (every, *queries, *sources), ()]
    return [x if x is None else x[place].detach() for x, place in zip(inputs, places, strict=True)]


class _Pairs:
    """The pairs of tokens within reach, in chunks, and what they have to do with each other."""

    def __init__(self, q, radius, grid, visibility, normalise, coc, hardness):
        self.grid, self.visibility, self.normalise = grid, visibility, normalise
        self.coc, self.hardness = coc, hardness
        self.place = token_positions(grid, q.device, q.dtype).unflatten(0, grid)
        self.number = torch.arange(grid[0] * grid[1], device=q.device).view(grid)
        self.far = torch.full(grid, max(grid))
        if coc:
            far = reach(radius.detach(), hardness).amax(dim=0)
            self.far = far.clamp(max=max(grid)).int().cpu()
        if normalise == "keys":  # any source may reach the queries of a chunk
            self.far = self.far.amax().expand(grid)
        self.tile = _tile(grid, int(self.far.max()), q)

    def chunks(self) -> Iterator[tuple[Rectangle, Rectangle]]:
        """Queries and sources that together hold every pair within reach once."""
        (h, w), (height, width) = self.grid, self.tile
        for top in range(0, h, height):
            for left in range(0, w, width):
                chunk = slice(top, top + height), slice(left, left + width)
                r = int(self.far[chunk].max())
                rows = slice(max(0, top - r), top + height + r)
                window = rows, slice(max(0, left - r), left + width + r)
                yield (window, chunk) if self.normalise == "queries" else (chunk, window)

    def attend(self, queries, sources, q, k, v, radius, dense, hardness) -> Tensor:
        """`reference.attend` of a chunk; `dense` and `hardness` are None unless tensors."""
        mask = seen = None
        if self.coc:
            to, of = (self.place[tokens].flatten(0, 1) for tokens in (queries, sources))
            apart = distance(to[:, None], of[None, :])
            hardness = self.hardness if hardness is None else hardness
            mask = log_coc(radius.flatten(1), apart, hardness)
        if dense is not None:
            seen = dense.flatten(3, 4).flatten(1, 2)
        elif self.visibility is not None:
            to, of = (self.number[tokens].flatten() for tokens in (queries, sources))
            seen = self.visibility.at(to[:, None], of[None, :])
        shape = q.shape[2:4]
        q, k, v = (t.flatten(2, 3) for t in (q, k, v))
        return attend(q, k, v, mask, seen, self.normalise).unflatten(2, shape)


def _tile(grid: Grid, far: int, q: Tensor) -> tuple[int, int]:
    """Largest chunk (height, width) whose temporaries stay within the budget."""
    # Two arrays of weights, four for each item of the batch, and the numbers of the pairs.
    bytes_per_pair = q.element_size() * q.shape[0] * (2 * q.shape[1] + 4) + 48
    kind = q.device.type if q.device.type in BUDGET else "cpu"
    height, width = (min(side, TILE[kind]) for side in grid)
    while height * width > 1:
        window = min(grid[0], height + 2 * far) * min(grid[1], width + 2 * far)
        if height * width * window * bytes_per_pair <= BUDGET[kind]:
            break
        height, width = (height, -(-width // 2)) if width >= height else (-(-height // 2), width)
    return height, width
