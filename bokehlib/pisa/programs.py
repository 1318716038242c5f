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

import triton
import triton.language as tl
from triton.language import constexpr

LN2 = constexpr(math.log(2))
# Tokens that are not there lie out of all reach, queries below and sources above the image.
FAR_OFF = constexpr(1 << 20)
MOST = constexpr(30.0)  # of log2 exp(A) / sum: P is at most 1, and C at least 1e-6 or 0
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
    return y, x, y * w + x, (y < h) & (x < w)


@triton.jit
def _window(t, far, n, T: constexpr):
    """First and end of the tiles within `far` of tile t along an axis of n tokens."""
    r = tl.minimum(far, n).to(tl.int32)
    return tl.maximum(t * T - r, 0) // T, tl.minimum(t * T + T - 1 + r, n - 1) // T + 1


@triton.jit
def _gap(a, b, T: constexpr):
    """Squared distance along an axis between the nearest tokens of two tiles."""
    apart = tl.maximum(tl.abs(a - b) * T - (T - 1), 0).to(tl.float32)
    return apart * apart


@triton.jit
def _chord(t, far, gap, n, T: constexpr):
    """`_window` in a row of tiles whose squared distance is `gap`."""
    # What a rounding could take away is added; tokens out of reach cost time alone.
    return _window(t, tl.sqrt(tl.maximum(far * far - gap, 0)) + 1e-3, n, T)


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
def _edge(EDGE, log_hardness, margin):
    """Logarithm of the hardness and its share of the reach, from the device if they are there."""
    if EDGE is not None:
        log_hardness, margin = tl.load(EDGE), tl.load(EDGE + 1)
    return log_hardness, margin


@triton.jit
def _coc(yq, xq, ys, xs, radius, log_hardness, margin, HARD: constexpr):
    """C of Eq. 6 from sources to queries: 0 out of reach, from 1e-6 to 1 within."""
    dy, dx = yq.to(tl.float32) - ys.to(tl.float32), xq.to(tl.float32) - xs.to(tl.float32)
    apart = dy * dy + dx * dx
    if HARD:
        gap = radius - tl.sqrt_rn(apart)  # a token exactly on the edge has to stay there
        c = tl.where(gap > 0, 1.0, tl.where(gap == 0, 0.5, 0.0))
    else:
        far = radius + margin
        c = 1 / (1 + tl.exp2(log_hardness * (tl.sqrt(apart) - radius)))
        c = tl.where(apart <= far * far, c, 0.0)
    return c


@triton.jit
def _pairs(TABLE, yq, xq, ys, xs, source, first, side):
    """A table's values from sources to queries, 0 where it holds none.

    Squares of `side` x `side` around one source after another; TABLE is at that of `first`.
    """
    y, x = yq - ys + side // 2, xq - xs + side // 2
    held = (y >= 0) & (y < side) & (x >= 0) & (x < side)
    # The place as a sum of a query's and a source's part, which costs one addition a pair.
    cell = yq * side + xq + ((source - first) * side * side - ys * side - xs)
    return tl.load(TABLE + side * side // 2 + cell, mask=held, other=0.0).to(tl.float32)


# --- Kernels ----------------------------------------------------------------------------------
# (q_b, q_h, q_n) are the strides of item, head and token in q, k, v; (o_b, o_h, o_n) in the output
# and the gradients. LSE and D (here MEAN) are (B, heads, N); FAR (B, heads, tiles) is the largest
# reach in each tile. Without GRAD, the gradient of the output, a kernel goes forward. C and CM hold
# the mask C and C M of the pairs within reach; without them, C is worked out and M is 1.

_kernel = triton.jit(do_not_specialize=["h", "w", "heads", "side"])


@_kernel
def pairs_kernel(
    RADIUS, COUNTS, EDGE, C, CM, h, w, side, share, log_hardness, margin,
    HARD: constexpr, CELLS: constexpr,
):  # fmt: skip
    """C and C M around one source, for all heads of all layers."""
    log_hardness, margin = _edge(EDGE, log_hardness, margin)
    source = tl.program_id(0).to(tl.int64)
    token = (source % (h * w)).to(tl.int32)
    radius = tl.load(RADIUS + source)
    for start in range(0, side * side, CELLS):
        cell = start + tl.arange(0, CELLS)
        y, x = token // w + cell // side - side // 2, token % w + cell % side - side // 2
        c = _coc(y, x, token // w, token % w, radius, log_hardness, margin, HARD)
        c = tl.where((y >= 0) & (y < h) & (x >= 0) & (x < w), c, 0.0)
        at, there = source * side * side + cell, cell < side * side
        m = tl.load(COUNTS + at, mask=there, other=0).to(tl.float32) * share
        tl.store(C + at, _round(c, C).to(C.dtype.element_ty), mask=there)
        tl.store(CM + at, _round(c * m, CM).to(CM.dtype.element_ty), mask=there)


@_kernel
def source_kernel(
    Q, K, V, RADIUS, C, CM, EDGE, LSE, FAR, MEAN, GRAD, DK, DV,
    h, w, heads, side, q_b, q_h, q_n, o_b, o_h, o_n, scale, log_hardness, margin,
    D: constexpr, DP: constexpr, TH: constexpr, TW: constexpr, TILES: constexpr, HARD: constexpr,
):  # fmt: skip
    """LSE and FAR, or D and dV and then dK: in one turn it would be a difference of two sums."""
    log_hardness, margin = _edge(EDGE, log_hardness, margin)
    sy, sx, item, head = _program(h, w, heads, TH, TW)
    ys, xs, s, there = _tokens(sy, sx, h, w, TH, TW)
    at, o_at = item * q_b + head * q_h, item * o_b + head * o_h
    column, row = item * h * w, (item * heads + head) * h * w
    first = sy * TH * w + sx * TW
    if C is not None:
        C += (column + first) * side * side
        CM += (column + first) * side * side
    k = _load(K + at, q_n, s, there, D, DP)
    radius = tl.load(RADIUS + column + s, mask=there, other=0.0)
    far = tl.max(radius, 0) + margin
    ys, xs, source = tl.where(there, ys, -FAR_OFF)[:, None], xs[:, None], s[:, None]
    radius = radius[:, None]
    top = tl.full([TH * TW], -3e38, tl.float32)  # finite: top - top is 0 before the first query
    total = tl.zeros([TH * TW], tl.float32)
    if GRAD is not None:
        v = _load(V + at, q_n, s, there, D, DP)
        lse = tl.load(LSE + row + s, mask=there, other=0.0)
        dk = tl.zeros([TH * TW, DP], tl.float32)
        dv = tl.zeros([TH * TW, DP], tl.float32)
        mean = tl.zeros([TH * TW], tl.float32)
    y_first, y_end = _window(sy, far, h, TH)
    for turn in tl.static_range(1 if GRAD is None else 2):
        for ty in range(y_first, y_end):
            x_first, x_end = _chord(sx, far, _gap(ty, sy, TH), w, TW)
            for tx in range(x_first, x_end):
                # All that comes from memory first, so that it comes at once.
                yq, xq, t, lit = _tokens(ty, tx, h, w, TH, TW)
                q = _load(Q + at, q_n, t, lit, D, DP)
                if GRAD is not None:
                    do = _load(GRAD + o_at, o_n, t, lit, D, DP)
                yq, xq = tl.where(lit, yq, FAR_OFF)[None, :], xq[None, :]
                if C is not None:
                    c = _pairs(C, yq, xq, ys, xs, source, first, side)
                else:
                    c = _coc(yq, xq, ys, xs, radius, log_hardness, margin, HARD)
                cm = c
                if CM is not None and GRAD is not None:
                    cm = _pairs(CM, yq, xq, ys, xs, source, first, side)
                a = tl.dot(k, tl.trans(q), input_precision="ieee") * scale
                if GRAD is None:
                    a = tl.where(c > 0, a, float("-inf"))  # a larger one could hide them all
                    higher = tl.maximum(top, tl.max(a, 1))
                    part = tl.sum(tl.exp2(a - higher[:, None]) * c, 1)
                    total = total * tl.exp2(top - higher) + part
                    top = higher
                else:
                    e = tl.exp2(tl.minimum(a - lse[:, None], MOST))
                    seen = e * cm
                    g = tl.dot(v, tl.trans(do), input_precision="ieee") * seen
                    if turn == 0:
                        mean += tl.sum(g, 1)
                        dv += tl.dot(_round(seen, GRAD), do, input_precision="ieee")
                    else:
                        da = _round(g - e * c * mean[:, None], Q)
                        dk += tl.dot(da, q, input_precision="ieee")
    if GRAD is None:
        tl.store(LSE + row + s, top + tl.log2(total), mask=there)
        tl.store(FAR + tl.program_id(0), far)
    else:
        tl.store(MEAN + row + s, mean, mask=there)
        _store(DV + o_at, o_n, s, there, dv, D, DP)
        _store(DK + o_at, o_n, s, there, dk * (scale * LN2), D, DP)


@_kernel
def query_kernel(
    Q, K, V, RADIUS, C, CM, EDGE, LSE, FAR, MEAN, GRAD, RESULT,
    h, w, heads, side, q_b, q_h, q_n, o_b, o_h, o_n, scale, log_hardness, margin,
    D: constexpr, DP: constexpr, TH: constexpr, TW: constexpr, TILES: constexpr, HARD: constexpr,
):  # fmt: skip
    """The output, or dQ."""
    log_hardness, margin = _edge(EDGE, log_hardness, margin)
    ty, tx, item, head = _program(h, w, heads, TH, TW)
    yq, xq, t, lit = _tokens(ty, tx, h, w, TH, TW)
    at, o_at = item * q_b + head * q_h, item * o_b + head * o_h
    column, row = item * h * w, (item * heads + head) * h * w
    q = _load(Q + at, q_n, t, lit, D, DP)
    result = tl.zeros([TH * TW, DP], tl.float32)
    if GRAD is not None:
        do = _load(GRAD + o_at, o_n, t, lit, D, DP)
    yq, xq = tl.where(lit, yq, FAR_OFF)[:, None], xq[:, None]
    columns, tiles = tl.cdiv(w, TW), tl.cdiv(h, TH) * tl.cdiv(w, TW)
    FAR += tl.program_id(0) // tiles * tiles
    i = tl.arange(0, TILES)
    farthest = tl.max(tl.load(FAR + i, mask=i < tiles, other=0.0), 0)
    y_first, y_end = _window(ty, farthest, h, TH)
    for sy in range(y_first, y_end):
        gap = _gap(ty, sy, TH)
        x_first, x_end = _chord(tx, farthest, gap, w, TW)
        for sx in range(x_first, x_end):
            far = tl.load(FAR + sy * columns + sx)
            if gap + _gap(tx, sx, TW) <= far * far:
                ys, xs, s, there = _tokens(sy, sx, h, w, TH, TW)
                k = _load(K + at, q_n, s, there, D, DP)
                v = _load(V + at, q_n, s, there, D, DP)
                lse = tl.load(LSE + row + s, mask=there, other=0.0)[None, :]
                if GRAD is not None:
                    mean = tl.load(MEAN + row + s, mask=there, other=0.0)[None, :]
                ys, xs, source = tl.where(there, ys, -FAR_OFF)[None, :], xs[None, :], s[None, :]
                if CM is not None:
                    first = sy * TH * w + sx * TW
                    before = (column + first) * side * side
                    cm = _pairs(CM + before, yq, xq, ys, xs, source, first, side)
                    c = cm
                    if GRAD is not None:
                        c = _pairs(C + before, yq, xq, ys, xs, source, first, side)
                else:
                    radius = tl.load(RADIUS + column + s, mask=there, other=0.0)[None, :]
                    c = _coc(yq, xq, ys, xs, radius, log_hardness, margin, HARD)
                    cm = c
                a = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
                e = tl.exp2(tl.minimum(a - lse, MOST))
                if GRAD is None:
                    result += tl.dot(_round(e * cm, V), v, input_precision="ieee")
                else:
                    g = tl.dot(do, tl.trans(v), input_precision="ieee") * (e * cm)
                    da = _round(g - e * c * mean, K)
                    result += tl.dot(da, k, input_precision="ieee")
    if GRAD is not None:
        result *= scale * LN2
    _store(RESULT + o_at, o_n, t, lit, result, D, DP)
