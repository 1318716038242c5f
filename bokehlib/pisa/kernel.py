"""PISA on a GPU as operators of torch.library: they compile, differentiate and are captured.

The programs themselves are in `bokehlib.pisa.programs`.
"""

import math

import torch
import triton
from torch import Tensor

from bokehlib.optics import Grid, Visibility, reach
from bokehlib.pisa.programs import INTERPRETED as INTERPRETED
from bokehlib.pisa.programs import pairs_kernel, query_kernel, source_kernel

# (float32, over 64 channels) -> tile height and width; warps, most registers of a thread and stages
# of pipelined loads in the source and the query kernel, forward and then backward.
SETTINGS = {
    (False, False): (4, 4, ((1, 168, 2), (1, 168, 2), (1, 168, 2), (1, 168, 1))),
    (False, True): (4, 4, ((1, None, 1), (2, None, 1), (2, None, 1), (2, None, 1))),
    (True, False): (4, 4, ((2, None, 1), (2, None, 1), (2, None, 1), (2, None, 1))),
    (True, True): (4, 4, ((2, None, 1), (4, None, 1), (4, None, 1), (4, None, 1))),
}

COMMON = (
    "Tensor radius, Tensor? counts, Tensor? edge, "
    "SymInt h, SymInt w, float hardness, int supersamples"
)
FORWARD = f"(Tensor q, Tensor k, Tensor v, {COMMON}) -> (Tensor, Tensor, Tensor)"
BACKWARD = FORWARD.replace("(Tensor q", "(Tensor grad, Tensor lse, Tensor far, Tensor q", 1)


def attention(
    q: Tensor, k: Tensor, v: Tensor, radius: Tensor, grid: Grid, visibility: Visibility | None,
    normalise: str, coc: bool, hardness: float | Tensor,
) -> Tensor:  # fmt: skip
    """PISA of arguments that the kernels take; see `bokehlib.pisa.pisa_attention`.

    Of q, k, v (B, heads, N, D) in float32, bfloat16 or float16, summed in float32, with
    normalise="queries" and coc=True only. radius (B, N) gets no gradient.
    """
    counts, supersamples, edge = None, 1, None
    if visibility is not None:
        counts, supersamples = visibility.counts.contiguous(), visibility.supersamples
    if isinstance(hardness, Tensor):  # it stays on the device, where its value is not known here
        edge = torch.stack((hardness.log2(), reach(torch.zeros_like(hardness), hardness))).float()
        edge, hardness = edge.to(q.device), math.e
    radius = radius.detach().float().contiguous()
    return _attend(q, k, v, radius, counts, edge, *grid, hardness, supersamples)[0]


@torch.library.custom_op("bokehlib::pisa_attention", mutates_args=(), schema=FORWARD)
def _attend(q, k, v, radius, counts, edge, h, w, hardness, supersamples):
    """Output, LSE and largest reach of each tile."""
    out, lse, far = _new_results(q, k, v, radius, counts, edge, h, w, hardness, supersamples)
    q, k, v = _side_by_side(q, k, v)
    tables = _tables(q, radius, counts, edge, h, w, hardness, supersamples)
    inputs = q, k, v, radius, *tables, edge, lse, far, None, None
    launch = _launcher(q, out, counts, h, w, hardness)
    launch(source_kernel, 0, *inputs, None, None)
    launch(query_kernel, 1, *inputs, out)
    return out, lse, far


@_attend.register_fake
def _new_results(q, k, v, radius, counts, edge, h, w, hardness, supersamples):
    height, width, _ = _setting(q)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    tiles = -(-h // height) * -(-w // width)
    far = torch.empty((*q.shape[:2], tiles), dtype=torch.float32, device=q.device)
    return _new_like(q), lse, far


@torch.library.custom_op("bokehlib::pisa_attention_backward", mutates_args=(), schema=BACKWARD)
def _attend_backward(grad, lse, far, q, k, v, radius, counts, edge, h, w, hardness, supersamples):
    """dQ, dK and dV."""
    dq, dk, dv = _new_gradients(grad, lse, far, q)
    grad = grad if grad.stride() == dq.stride() else _new_like(q).copy_(grad)
    q, k, v = _side_by_side(q, k, v)
    tables = _tables(q, radius, counts, edge, h, w, hardness, supersamples)
    inputs = q, k, v, radius, *tables, edge, lse, far, torch.empty_like(lse), grad
    launch = _launcher(q, dq, counts, h, w, hardness)
    launch(source_kernel, 2, *inputs, dk, dv)
    launch(query_kernel, 3, *inputs, dq)
    return dq, dk, dv


@_attend_backward.register_fake
def _new_gradients(grad, lse, far, q, *_):
    return tuple(_new_like(q) for _ in range(3))


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*output[1:], *inputs[:6])
    ctx.rest = inputs[6:]  # h, w, hardness, supersamples
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad, *_):
    gradients = (
        (None,) * 3 if grad is None else _attend_backward(grad, *ctx.saved_tensors, *ctx.rest)
    )
    return *gradients, *(None,) * 7


_attend.register_autograd(_differentiate, setup_context=_keep)


def _new_like(q: Tensor) -> Tensor:
    """Empty, in the order of q if its channels are neighbours there."""
    return torch.empty_like(q if q.stride(-1) == 1 else q.contiguous())


def _side_by_side(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    """The same values with one set of strides, copied only where they differ."""
    together = q.stride(-1) == 1 and q.stride() == k.stride() == v.stride()
    return [q, k, v] if together else [t.contiguous() for t in (q, k, v)]


def _setting(q: Tensor):
    return SETTINGS[q.element_size() > 2, bool(q.shape[-1] > 64)]


def _tables(q, radius, counts, edge, h, w, hardness, supersamples):
    """The mask C, and C times the visibility, of the pairs that the visibility holds, or None.

    Worked out once for all heads; half precision is finer than what they are multiplied by.
    """
    if counts is None:
        return None, None
    kind = torch.float32 if q.dtype == torch.float32 else torch.float16
    c, cm = (torch.empty(counts.shape, dtype=kind, device=q.device) for _ in range(2))
    with torch.cuda.device_of(q):
        pairs_kernel[counts.shape[0] * counts.shape[1],](
            *(radius, counts, edge, c, cm, h, w, counts.shape[-1], 1 / supersamples),
            *_hardness(hardness),
            HARD=hardness == math.inf,
            CELLS=128,
            num_warps=1,
        )
    return c, cm


def _hardness(hardness: float) -> tuple[float, float]:
    """Logarithm to base 2, and how far beyond the radius the mask reaches."""
    return 0.0 if hardness == math.inf else math.log2(hardness), reach(0.0, hardness)


def _launcher(q, out, counts, h, w, hardness):
    """Starts a kernel, by its place in a setting, with the arguments that all share."""
    depth = q.shape[-1]
    height, width, shares = _setting(q)
    tiles = triton.cdiv(h, height) * triton.cdiv(w, width)
    side = 1 if counts is None else counts.shape[-1]
    strides = *q.stride()[:3], *out.stride()[:3]
    rest = h, w, q.shape[1], side, *strides, depth**-0.5 / math.log(2), *_hardness(hardness)
    constants = {"D": depth, "DP": max(16, triton.next_power_of_2(depth))}
    constants |= {"TH": height, "TW": width, "TILES": triton.next_power_of_2(tiles)}
    constants |= {"HARD": hardness == math.inf}

    def launch(kernel, place, *arguments):
        programs, (warps, registers, stages) = (tiles * q.shape[0] * q.shape[1],), shares[place]
        with torch.cuda.device_of(q):
            kernel[programs](
                *(*arguments, *rest),
                **constants,
                num_warps=warps,
                num_stages=stages,
                maxnreg=registers,
            )

    return launch
