"""PISA as Triton kernels that touch only what light reaches (Eq. 3, 5, 6, 9), and its gradients.

With P[q, k] = exp(A[q, k]) C[q, k] / sum_s exp(A[s, k]) C[s, k] and visibility M, one program a
tile of sources goes over its queries for LSE_k = log2 sum_s exp(A[s, k]) C[s, k], then one a tile
of queries over its sources for O_q = sum_k P M V_k. Backward, with G = M dO V^T,

    D_k = sum_q P G,  dV_k = sum_q P M dO_q,  dK_k = sum_q P (G - D_k) q / sqrt(depth)
    dQ_q = sum_k P (G - D_k) k / sqrt(depth)

Tiles are TH x TW tokens of the image. A pair of them is skipped where the largest reach of the
sources falls short of the queries. Logarithms are to base 2, the hardware's own.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr

from bokehlib.optics import Grid, Visibility, reach

# (float32, over 64 channels) -> tile height and width, warps, stages; to be measured.
SETTINGS = {
    (False, False): (8, 8, 4, 2),
    (False, True): (8, 8, 8, 2),
    (True, False): (8, 4, 4, 1),  # its products are not for tensor cores and need more registers
    (True, True): (8, 4, 8, 1),
}
LN2 = constexpr(math.log(2))
# Triton decides when it is first imported whether it interprets.
INTERPRETED = constexpr(not isinstance(tl.max, triton.JITFunction))

# --- Pieces of kernels ------------------------------------------------------------------------


@triton.jit
def _program(h, w, heads, TH: constexpr, TW: constexpr):
    """Tile (row, column), batch item and head of this program."""
    columns = tl.cdiv(w, TW)
    tiles = tl.cdiv(h, TH) * columns
    tile, image = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    item, head = (image // heads).to(tl.int64), (image % heads).to(tl.int64)
    return tile // columns, tile % columns, item, head


@triton.jit
def _tokens(ty, tx, h, w, TH: constexpr, TW: constexpr):
    """Row, column, number and presence of the tokens of a tile, (TH * TW,) each."""
    i = tl.arange(0, TH * TW)
    y, x = ty * TH + i // TW, tx * TW + i % TW
    number = y.to(tl.int64) * w + x
    return y.to(tl.float32), x.to(tl.float32), number, (y < h) & (x < w)


@triton.jit
def _window(t, far, n, T: constexpr):
    """First and end of the tiles within `far` of tile t along an axis of n tokens."""
    r = tl.minimum(tl.ceil(far), n).to(tl.int32)
    return tl.maximum(t * T - r, 0) // T, tl.minimum(t * T + T - 1 + r, n - 1) // T + 1


@triton.jit
def _near(ay, ax, by, bx, far, TH: constexpr, TW: constexpr):
    """Whether any tokens of two tiles are within `far` of each other."""
    y = tl.maximum(tl.abs(ay - by) * TH - (TH - 1), 0).to(tl.float32)
    x = tl.maximum(tl.abs(ax - bx) * TW - (TW - 1), 0).to(tl.float32)
    return y * y + x * x <= far * far


@triton.jit
def _load(base, stride, token, there, D: constexpr, DP: constexpr):
    """Vectors of tokens, (tokens, DP), 0 where there is no token or channel."""
    d = tl.arange(0, DP)
    mask = there[:, None] & (d[None, :] < D) if D < DP else there[:, None]
    x = tl.load(base + token[:, None] * stride + d[None, :], mask=mask, other=0.0)
    return x.to(tl.float32) if INTERPRETED else x  # which cannot multiply bfloat16


@triton.jit
def _store(base, stride, token, there, x, D: constexpr, DP: constexpr):
    d = tl.arange(0, DP)
    mask = there[:, None] & (d[None, :] < D) if D < DP else there[:, None]
    at = base + token[:, None] * stride + d[None, :]
    tl.store(at, _round(x, base).to(base.dtype.element_ty), mask=mask)


@triton.jit
def _round(x, like):
    """To the precision of what the pointer `like` points at, for products with such factors."""
    y = x.to(like.dtype.element_ty)
    if INTERPRETED and like.dtype.element_ty == tl.bfloat16:  # by itself it would round down
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        y = bits.to(tl.float32, bitcast=True)
    return y.to(tl.float32) if INTERPRETED else y


@triton.jit
def _coc(dy, dx, radius, there, log_hardness, margin, HARD: constexpr):
    """C of Eq. 6 at offsets from the sources: 0 out of reach, from 1e-6 to 1 within."""
    apart = dy * dy + dx * dx
    if HARD:
        gap = radius - tl.sqrt_rn(apart)  # a token exactly on the edge has to stay there
        c = tl.where(gap > 0, 1.0, tl.where(gap == 0, 0.5, 0.0))
    else:
        far = radius + margin
        c = 1 / (1 + tl.exp2(log_hardness * (tl.sqrt(apart) - radius)))
        c = tl.where(apart <= far * far, c, 0.0)
    return tl.where(there, c, 0.0)


@triton.jit
def _seen(COUNTS, column, first, source, dy, dx, within, side, share):
    """M at offsets from the sources, of which `first` is the first; 0 where it is not held."""
    m = 1.0
    if COUNTS is not None:
        y, x = dy + side // 2, dx + side // 2
        held = within & (y >= 0) & (y < side) & (x >= 0) & (x < side)
        cell = (source - first).to(tl.int32) * (side * side) + (y * side + x).to(tl.int32)
        count = tl.load(COUNTS + (column + first) * (side * side) + cell, mask=held, other=0)
        m = count.to(tl.float32) * share
    return m


# --- Kernels ----------------------------------------------------------------------------------
# (q_b, q_h, q_n) are the strides of item, head and token in q, k, v; (o_b, o_h, o_n) in the output
# and the gradients. LSE and D (here MEAN) are (B, heads, N); FAR (B, heads, tiles) is the largest
# reach in each tile. Without GRAD, the gradient of the output, a kernel goes forward.

_kernel = triton.jit(do_not_specialize=["h", "w", "heads", "side"])


@_kernel
def _source_kernel(
    Q, K, V, RADIUS, COUNTS, LSE, FAR, MEAN, GRAD, DK, DV,
    h, w, heads, side, share, q_b, q_h, q_n, o_b, o_h, o_n, scale, log_hardness, margin,
    D: constexpr, DP: constexpr, TH: constexpr, TW: constexpr, TILES: constexpr, HARD: constexpr,
):  # fmt: skip
    """LSE and FAR, or D and dV and then dK: in one turn it would be a difference of two sums."""
    sy, sx, item, head = _program(h, w, heads, TH, TW)
    ys, xs, s, there = _tokens(sy, sx, h, w, TH, TW)
    at, o_at = item * q_b + head * q_h, item * o_b + head * o_h
    column, row = item * h * w, (item * heads + head) * h * w
    first = sy * TH * w + sx * TW
    k = _load(K + at, q_n, s, there, D, DP)
    radius = tl.load(RADIUS + column + s, mask=there, other=0.0)
    far = tl.max(radius, 0) + margin
    top = tl.full([TH * TW], -3e38, tl.float32)  # finite: top - top is 0 before the first query
    total = tl.zeros([TH * TW], tl.float32)
    if GRAD is not None:
        v = _load(V + at, q_n, s, there, D, DP)
        lse = tl.load(LSE + row + s, mask=there, other=0.0)
        dk = tl.zeros([TH * TW, DP], tl.float32)
        dv = tl.zeros([TH * TW, DP], tl.float32)
        mean = tl.zeros([TH * TW], tl.float32)
    y_first, y_end = _window(sy, far, h, TH)
    x_first, x_end = _window(sx, far, w, TW)
    for turn in tl.static_range(1 if GRAD is None else 2):
        for ty in range(y_first, y_end):
            for tx in range(x_first, x_end):
                if _near(ty, tx, sy, sx, far, TH, TW):
                    yq, xq, t, lit = _tokens(ty, tx, h, w, TH, TW)
                    q = _load(Q + at, q_n, t, lit, D, DP)
                    pairs = there[:, None] & lit[None, :]
                    dy, dx = yq[None, :] - ys[:, None], xq[None, :] - xs[:, None]
                    c = _coc(dy, dx, radius[:, None], pairs, log_hardness, margin, HARD)
                    a = tl.dot(k, tl.trans(q), input_precision="ieee") * scale
                    a = tl.where(c > 0, a, float("-inf"))  # anything larger could hide it all
                    if GRAD is None:
                        higher = tl.maximum(top, tl.max(a, 1))
                        part = tl.sum(tl.exp2(a - higher[:, None]) * c, 1)
                        total = total * tl.exp2(top - higher) + part
                        top = higher
                    else:
                        p = tl.exp2(a - lse[:, None]) * c
                        m = _seen(COUNTS, column, first, s[:, None], dy, dx, c > 0, side, share)
                        do = _load(GRAD + o_at, o_n, t, lit, D, DP)
                        g = tl.dot(v, tl.trans(do), input_precision="ieee") * m
                        if turn == 0:
                            mean += tl.sum(p * g, 1)
                            dv += tl.dot(_round(p * m, GRAD), do, input_precision="ieee")
                        else:
                            da = _round(p * (g - mean[:, None]), Q)
                            dk += tl.dot(da, q, input_precision="ieee")
    if GRAD is None:
        tl.store(LSE + row + s, top + tl.log2(total), mask=there)
        tl.store(FAR + tl.program_id(0), far)
    else:
        tl.store(MEAN + row + s, mean, mask=there)
        _store(DV + o_at, o_n, s, there, dv, D, DP)
        _store(DK + o_at, o_n, s, there, dk * (scale * LN2), D, DP)


@_kernel
def _query_kernel(
    Q, K, V, RADIUS, COUNTS, LSE, FAR, MEAN, GRAD, RESULT,
    h, w, heads, side, share, q_b, q_h, q_n, o_b, o_h, o_n, scale, log_hardness, margin,
    D: constexpr, DP: constexpr, TH: constexpr, TW: constexpr, TILES: constexpr, HARD: constexpr,
):  # fmt: skip
    """The output, or dQ."""
    ty, tx, item, head = _program(h, w, heads, TH, TW)
    yq, xq, t, lit = _tokens(ty, tx, h, w, TH, TW)
    at, o_at = item * q_b + head * q_h, item * o_b + head * o_h
    column, row = item * h * w, (item * heads + head) * h * w
    q = _load(Q + at, q_n, t, lit, D, DP)
    result = tl.zeros([TH * TW, DP], tl.float32)
    if GRAD is not None:
        do = _load(GRAD + o_at, o_n, t, lit, D, DP)
    columns, tiles = tl.cdiv(w, TW), tl.cdiv(h, TH) * tl.cdiv(w, TW)
    FAR += tl.program_id(0) // tiles * tiles
    i = tl.arange(0, TILES)
    farthest = tl.max(tl.load(FAR + i, mask=i < tiles, other=0.0), 0)
    y_first, y_end = _window(ty, farthest, h, TH)
    x_first, x_end = _window(tx, farthest, w, TW)
    for sy in range(y_first, y_end):
        for sx in range(x_first, x_end):
            if _near(ty, tx, sy, sx, tl.load(FAR + sy * columns + sx), TH, TW):
                ys, xs, s, there = _tokens(sy, sx, h, w, TH, TW)
                k = _load(K + at, q_n, s, there, D, DP)
                radius = tl.load(RADIUS + column + s, mask=there, other=0.0)
                lse = tl.load(LSE + row + s, mask=there, other=0.0)
                pairs = lit[:, None] & there[None, :]
                dy, dx = yq[:, None] - ys[None, :], xq[:, None] - xs[None, :]
                c = _coc(dy, dx, radius[None, :], pairs, log_hardness, margin, HARD)
                a = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
                a = tl.where(c > 0, a, float("-inf"))
                p = tl.exp2(a - lse[None, :]) * c
                first = sy * TH * w + sx * TW
                m = _seen(COUNTS, column, first, s[None, :], dy, dx, c > 0, side, share)
                v = _load(V + at, q_n, s, there, D, DP)
                if GRAD is None:
                    result += tl.dot(_round(p * m, V), v, input_precision="ieee")
                else:
                    mean = tl.load(MEAN + row + s, mask=there, other=0.0)
                    g = tl.dot(do, tl.trans(v), input_precision="ieee") * m
                    da = _round(p * (g - mean[None, :]), K)
                    result += tl.dot(da, k, input_precision="ieee")
    if GRAD is not None:
        result *= scale * LN2
    _store(RESULT + o_at, o_n, t, lit, result, D, DP)


# --- Operators --------------------------------------------------------------------------------

COMMON = "Tensor radius, Tensor? counts, SymInt h, SymInt w, float hardness, int supersamples"
FORWARD = f"(Tensor q, Tensor k, Tensor v, {COMMON}) -> (Tensor, Tensor, Tensor)"
BACKWARD = FORWARD.replace("(Tensor q", "(Tensor grad, Tensor lse, Tensor far, Tensor q", 1)


def attention(
    q: Tensor, k: Tensor, v: Tensor, radius: Tensor, grid: Grid, visibility: Visibility | None,
    normalise: str, coc: bool, hardness: float,
) -> Tensor:  # fmt: skip
    """PISA of arguments that the kernels take; see `bokehlib.pisa.pisa_attention`.

    Of q, k, v (B, heads, N, D) in float32, bfloat16 or float16, summed in float32, with
    normalise="queries" and coc=True only. radius (B, N) gets no gradient.
    """
    counts, supersamples = None, 1
    if visibility is not None:
        counts, supersamples = visibility.counts.contiguous(), visibility.supersamples
    radius = radius.detach().float().contiguous()
    return _attend(q, k, v, radius, counts, *grid, hardness, supersamples)[0]


@torch.library.custom_op("bokehlib::pisa_attention", mutates_args=(), schema=FORWARD)
def _attend(q, k, v, radius, counts, h, w, hardness, supersamples):
    """Output, LSE and largest reach of each tile."""
    out, lse, far = _new_results(q, k, v, radius, counts, h, w, hardness, supersamples)
    q, k, v = _side_by_side(q, k, v)
    programs, rest, settings = _arguments(q, out, counts, h, w, hardness, supersamples)
    with torch.cuda.device_of(q):
        inputs = q, k, v, radius, counts, lse, far, None, None
        _source_kernel[programs](*inputs, None, None, *rest, **settings)
        _query_kernel[programs](*inputs, out, *rest, **settings)
    return out, lse, far


@_attend.register_fake
def _new_results(q, k, v, radius, counts, h, w, hardness, supersamples):
    height, width, _, _ = SETTINGS[q.element_size() > 2, bool(q.shape[-1] > 64)]
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    tiles = -(-h // height) * -(-w // width)
    far = torch.empty((*q.shape[:2], tiles), dtype=torch.float32, device=q.device)
    return _new_like(q), lse, far


@torch.library.custom_op("bokehlib::pisa_attention_backward", mutates_args=(), schema=BACKWARD)
def _attend_backward(grad, lse, far, q, k, v, radius, counts, h, w, hardness, supersamples):
    """dQ, dK and dV."""
    dq, dk, dv = _new_gradients(grad, lse, far, q)
    grad = grad if grad.stride() == dq.stride() else _new_like(q).copy_(grad)
    q, k, v = _side_by_side(q, k, v)
    mean = torch.empty_like(lse)
    programs, rest, settings = _arguments(q, dq, counts, h, w, hardness, supersamples)
    with torch.cuda.device_of(q):
        inputs = q, k, v, radius, counts, lse, far, mean, grad
        _source_kernel[programs](*inputs, dk, dv, *rest, **settings)
        _query_kernel[programs](*inputs, dq, *rest, **settings)
    return dq, dk, dv


@_attend_backward.register_fake
def _new_gradients(grad, lse, far, q, *_):
    return tuple(_new_like(q) for _ in range(3))


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*output[1:], *inputs[:5])
    ctx.rest = inputs[5:]  # h, w, hardness, supersamples
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad, *_):
    gradients = (
        (None,) * 3 if grad is None else _attend_backward(grad, *ctx.saved_tensors, *ctx.rest)
    )
    return *gradients, *(None,) * 6


_attend.register_autograd(_differentiate, setup_context=_keep)


def _new_like(q: Tensor) -> Tensor:
    """Uninitialised, in memory in the order of q if its channels are neighbours there."""
    return torch.empty_like(q if q.stride(-1) == 1 else q.contiguous())


def _side_by_side(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    """The same values with one set of strides, copied only where they differ."""
    together = q.stride(-1) == 1 and q.stride() == k.stride() == v.stride()
    return [q, k, v] if together else [t.contiguous() for t in (q, k, v)]


def _arguments(q, out, counts, h, w, hardness, supersamples) -> tuple[tuple[int], tuple, dict]:
    """How many programs there are, and the arguments that all kernels share."""
    depth, hard = q.shape[-1], hardness == math.inf
    height, width, warps, stages = SETTINGS[q.element_size() > 2, bool(depth > 64)]
    tiles = triton.cdiv(h, height) * triton.cdiv(w, width)
    side = 1 if counts is None else counts.shape[-1]
    strides = *q.stride()[:3], *out.stride()[:3]
    edge = 0.0 if hard else math.log2(hardness), reach(0.0, hardness)
    rest = h, w, q.shape[1], side, 1 / supersamples, *strides, depth**-0.5 / math.log(2), *edge
    settings = {"D": depth, "DP": max(16, triton.next_power_of_2(depth)), "HARD": hard}
    settings |= {"TH": height, "TW": width, "TILES": triton.next_power_of_2(tiles)}
    settings |= {"num_warps": warps, "num_stages": stages}
    return (tiles * q.shape[0] * q.shape[1],), rest, settings
