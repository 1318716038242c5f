"""BokehMe's dilated defocus as a Triton kernel; `bokehme_classical.dilated` on a CPU defines it."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr

SETTINGS = {"ROWS": 8, "COLUMNS": 32, "num_warps": 4}

_kernel = triton.jit(do_not_specialize=["h", "w"])


@_kernel
def _cover_kernel(
    BLUR, WIDEST, RESULTS, h, w, ROWS: constexpr, COLUMNS: constexpr
):  # fmt: skip
    """One program a (picture, tile of pixels); WIDEST (B,) is the largest |BLUR| of each."""
    picture = tl.program_id(1).to(tl.int64)
    across = tl.cdiv(w, COLUMNS)
    i = tl.arange(0, ROWS * COLUMNS)
    row = tl.program_id(0) // across * ROWS + i // COLUMNS
    column = tl.program_id(0) % across * COLUMNS + i % COLUMNS
    here = (row < h) & (column < w)
    BLUR += picture * h * w
    reach = tl.minimum(tl.load(WIDEST + picture), tl.maximum(h, w).to(tl.float32)).to(tl.int32)
    best = _whole(tl.load(BLUR + row * w + column, mask=here, other=0.0))
    for n in range(2 * reach + 1):
        dy = n - reach
        for m in range(2 * reach + 1):
            dx = m - reach
            y, x = row + dy, column + dx
            inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
            blur = tl.load(BLUR + y * w + x, mask=inside, other=0.0)
            covers = inside & ((dy * dy + dx * dx).to(tl.float32) <= blur * blur)
            best = tl.where(covers, tl.maximum(best, _whole(blur)), best)
    tl.store(RESULTS + picture * h * w + row * w + column, best, mask=here)


@triton.jit
def _whole(blur):
    """Cut towards 0."""
    return tl.where(blur < 0, tl.ceil(blur), tl.floor(blur))


def dilated(defocus: Tensor) -> Tensor:
    """`bokehme_classical.dilated` in one launch; it never waits for the device.

    Args:
        defocus: (B, 1, H, W), signed blur radius in px.

    Returns:
        Like defocus.
    """
    blur = defocus.float().contiguous()
    height, width = blur.shape[-2:]
    result = torch.empty_like(blur)
    rows, columns = SETTINGS["ROWS"], SETTINGS["COLUMNS"]
    programs = triton.cdiv(height, rows) * triton.cdiv(width, columns), len(blur)
    with torch.cuda.device_of(blur):
        _cover_kernel[programs](
            blur, blur.abs().amax((1, 2, 3)), result, height, width, **SETTINGS
        )  # fmt: skip
    return result.to(defocus)
