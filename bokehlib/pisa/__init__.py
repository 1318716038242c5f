"""Physics-inspired self-attention (PISA): light spreads over its circle of confusion.

`pisa_attention` is the only door; backends give the same numbers at different speeds.
"""

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from bokehlib.optics import HAS_TRITON, Grid, Visibility, reach
from bokehlib.pisa import reference, windowed


def _triton(*arguments) -> Tensor:
    from bokehlib.pisa import kernel  # not before it is needed: Triton is heavy

    return kernel.attention(*arguments)


BACKENDS = {"reference": reference.attention, "triton": _triton, "windowed": windowed.attention}
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TRITON_CHANNELS = 128
NORMALISATIONS = ("queries", "keys")
ROUNDING = 2**-7  # radius and hardness may come in half precision
_extremes_of = WeakTensorKeyDictionary()  # a tensor's (version, smallest, largest value)


def pisa_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    radius: Tensor,
    grid: Grid,
    *,
    visibility: Visibility | Tensor | None = None,
    normalise: str = "queries",
    coc: bool = True,
    hardness: float | Tensor = 1e6,
    backend: str = "auto",
) -> Tensor:
    """Self-attention as propagation of light (Sec. 3.2).

    With A = q k^T / sqrt(D) and C[q, k] = soft_step(radius[k] - |P_q - P_k|, hardness), exactly 0
    beyond `optics.reach`, the weights are

        "queries": W[q, k] = exp(A[q, k]) C[q, k] / sum_s exp(A[s, k]) C[s, k]   (Eq. 3, 5)
        "keys":    W[q, k] = exp(A[q, k]) C[q, k] / sum_s exp(A[q, s]) C[q, s]   (Eq. 2)

    and the output is (W * visibility) v (Eq. 9). Eq. 5 prints C[q, k] in the sum, which would
    cancel; energy is conserved only with C[s, k]. Half precision is computed in float32.

    Args:
        q: (B, heads, N, D) queries.
        k: like q.
        v: (B, heads, N, any).
        radius: (B, N) CoC radius of each source token in tokens, not negative, any float dtype.
        grid: (h, w) with h*w = N.
        visibility: of the same tokens, or a dense float (B, N, N) [query, source]; None: nothing
            is hidden.
        normalise: "queries" conserves the energy of each source; "keys" is the usual softmax.
        coc: False leaves the mask C out.
        hardness: of the edge of C, above 1; `math.inf` is a hard edge. A 0-d tensor may change
            from call to call without torch.compile starting anew.
        backend: "reference" (dense, the definition: N^2 pairs in one piece; any dtype, any
            device); "windowed" (the same numbers from the pairs within reach, chunk by chunk in
            bounded memory; differentiable once; it breaks the graph of torch.compile); "triton"
            (softmax over queries with the mask, no gradient for radius and hardness; on CUDA, or
            on a CPU with TRITON_INTERPRET=1 set before Triton is first imported); or "auto":
            "triton" on CUDA if it takes the arguments, else "windowed", or "reference" under
            torch.compile.

    Returns:
        (B, heads, N, any) in the dtype of q.

    Raises:
        ValueError: names the argument that does not fit, what it was and what is accepted.
    """
    _check(q, k, v, radius, grid, visibility, normalise, coc, hardness)
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; available: auto, {', '.join(BACKENDS)}")
    arguments = (q, k, v, radius, grid, visibility, normalise, coc, hardness)
    if backend == "auto":
        backend = _fastest(*arguments)
    elif backend == "triton" and (found := _beyond_triton(*arguments)):
        raise ValueError(f"backend 'triton' got {found}")
    return BACKENDS[backend](*arguments)


def coverage(q: Tensor, k: Tensor, radius: Tensor, grid: Grid, **options) -> Tensor:
    """Coverage, an image of ones after attention: the sum of each query's weights, (B, heads, N).

    Takes the arguments of `pisa_attention` but v. It is 1 everywhere for "keys"; for "queries" it
    falls at the border, whose sources have fewer queries to share their light among.
    """
    ones = q.new_ones((*q.shape[:-1], 1))
    return pisa_attention(q, k, ones, radius, grid, **options).squeeze(-1)


def _fastest(q: Tensor, *others) -> str:
    if q.is_cuda and not _beyond_triton(q, *others):
        return "triton"
    return "reference" if torch.compiler.is_compiling() else "windowed"


def _beyond_triton(q, k, v, radius, grid, visibility, normalise, coc, hardness) -> str:
    """What of the arguments the Triton kernels cannot take and what they do; "" if nothing."""
    if normalise != "queries" or not coc:
        return f"normalise={normalise!r} with coc={coc}; accepted: 'queries' with True"
    if q.dtype not in TRITON_DTYPES:
        return f"q of {q.dtype}; accepted: {', '.join(map(str, TRITON_DTYPES))}"
    if v.shape != q.shape or q.shape[-1] > TRITON_CHANNELS:
        return (
            f"q and v of {q.shape[-1]} and {v.shape[-1]} channels; "
            f"accepted: the same number, up to {TRITON_CHANNELS}"
        )
    if visibility is not None and not isinstance(visibility, Visibility):
        return "a dense tensor for visibility; accepted: a Visibility, or None"
    for name, value in {"radius": radius, "hardness": hardness}.items():
        if getattr(value, "requires_grad", False) and torch.is_grad_enabled():
            return f"a {name} that requires a gradient; accepted: one that does not"
    if not HAS_TRITON or not (q.is_cuda or _interpreted()):
        return (
            f"tensors on {q.device}; accepted: CUDA with Triton installed, or the CPU with "
            "TRITON_INTERPRET=1 set before Triton is first imported"
        )
    return ""


def _interpreted() -> bool:
    from bokehlib.pisa import kernel

    return kernel.INTERPRETED.value


def _check(q, k, v, radius, grid, visibility, normalise, coc, hardness) -> None:
    if q.ndim != 4 or k.shape != q.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        found = ", ".join(str(tuple(t.shape)) for t in (q, k, v))
        raise ValueError(f"q, k, v have shapes {found}; accepted: one (B, heads, N, D) for all")
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise ValueError(f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}; accepted: one float dtype")
    batch, _, tokens, _ = q.shape
    if len(grid) != 2 or min(grid) < 1 or grid[0] * grid[1] != tokens:
        raise ValueError(f"grid {tuple(grid)} has not the {tokens} tokens of q")
    if radius.shape != (batch, tokens) or not radius.is_floating_point():
        raise ValueError(
            f"radius is {radius.dtype} {tuple(radius.shape)}; "
            f"accepted: floats of shape {(batch, tokens)}"
        )
    if normalise not in NORMALISATIONS:
        raise ValueError(f"unknown normalise {normalise!r}; known: {', '.join(NORMALISATIONS)}")
    if visibility is not None:
        _check_visibility(visibility, batch, grid)
    if torch.compiler.is_compiling() or (q.is_cuda and torch.cuda.is_current_stream_capturing()):
        return  # values are not known there
    _check_values(radius, visibility, coc, hardness)


def _check_visibility(visibility, batch, grid) -> None:
    tokens = grid[0] * grid[1]
    if not isinstance(visibility, Visibility):
        if visibility.shape != (batch, tokens, tokens) or not visibility.is_floating_point():
            raise ValueError(
                f"visibility is {visibility.dtype} {tuple(visibility.shape)}; "
                f"accepted: floats of shape {(batch, tokens, tokens)}"
            )
        return
    if tuple(visibility.grid) != tuple(grid) or len(visibility.counts) != batch:
        raise ValueError(
            f"visibility is of {len(visibility.counts)} x {tuple(visibility.grid)} tokens; "
            f"accepted: {batch} x {tuple(grid)}"
        )


def _check_values(radius, visibility, coc, hardness) -> None:
    if isinstance(hardness, Tensor):
        hardness, _ = _extremes(hardness)
    if not hardness > 1:
        raise ValueError(f"hardness is {hardness}; accepted: above 1, or inf")
    smallest, largest = _extremes(radius)
    if not smallest >= 0:
        raise ValueError(f"radius has the value {smallest}; accepted: from 0")
    if not isinstance(visibility, Visibility) or visibility.hardness is None:
        return
    if not coc:
        raise ValueError(
            "visibility holds pairs within the CoC only; accepted with coc=False: one of all pairs"
        )
    if hardness < visibility.hardness * (1 - ROUNDING):
        raise ValueError(
            f"hardness {hardness} reaches beyond the visibility, made for {visibility.hardness}; "
            "accepted: the same or a larger one"
        )
    held = visibility.extent + 1
    if held < max(visibility.grid) and reach(largest, hardness) > held * (1 + ROUNDING):
        raise ValueError(
            f"radius up to {largest:.4g} reaches beyond the visibility, "
            f"which holds {visibility.extent} tokens around each source"
        )


def _extremes(values: Tensor) -> tuple[float, float]:
    """Smallest and largest value, read once: all layers share one radius, and a read waits."""
    if values.is_inference():  # in-place changes are not counted
        return _read_extremes(values)
    version, *extremes = _extremes_of.get(values, (None,))
    if version != values._version:
        extremes = _read_extremes(values)
        _extremes_of[values] = (values._version, *extremes)
    return tuple(extremes)


def _read_extremes(values: Tensor) -> tuple[float, float]:
    smallest, largest = torch.stack(values.detach().aminmax()).tolist()
    return smallest, largest
