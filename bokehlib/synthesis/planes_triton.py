"""The gather through a thin lens and the crops of photographs as Triton kernels.

`Layers.render` and `Photos.take` define what they compute; each is one launch for a whole batch,
one program a (scene or photograph, tile of pixels). Neither has gradients.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr

SETTINGS = {"ROWS": 8, "COLUMNS": 32, "num_warps": 4}

# --- Pieces of kernels ------------------------------------------------------------------------

_kernel = triton.jit(do_not_specialize=["h", "w", "height", "width", "layers", "count", "margin"])


@triton.jit
def _tile(w, ROWS: constexpr, COLUMNS: constexpr):
    """Rows and columns (ROWS * COLUMNS,) of this program's pixels in a picture of width w."""
    across = tl.cdiv(w, COLUMNS)
    i = tl.arange(0, ROWS * COLUMNS)
    row = tl.program_id(0) // across * ROWS + i // COLUMNS
    return row, tl.program_id(0) % across * COLUMNS + i % COLUMNS


@triton.jit
def _channel(texel, number: constexpr):
    return (texel >> (16 * number)).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def _mix(texels, weights, number: constexpr):
    """One channel of the weighted sum of four texels."""
    total = weights[0] * _channel(texels[0], number)
    for i in tl.static_range(1, 4):
        total += weights[i] * _channel(texels[i], number)
    return total


@triton.jit
def _see(TEXELS, PLANE, focus, ray_y, ray_x, y, x, height, width):
    """R, G, B and what shines through of one layer, seen through one lens point; see `fetch`."""
    a_y, a_x, b = tl.load(PLANE), tl.load(PLANE + 1), tl.load(PLANE + 2)
    squeeze = 1 / (1 - ray_y * a_y - ray_x * a_x)
    off = a_y * y + a_x * x + (b - focus)
    bottom, end = (height - 1).to(tl.float32), (width - 1).to(tl.float32)
    y = tl.clamp(y + bottom * 0.5 + ray_y * squeeze * off, 0.0, bottom)
    x = tl.clamp(x + end * 0.5 + ray_x * squeeze * off, 0.0, end)
    # One texel short of the border, where the second of two has all the weight.
    row, column = tl.minimum(y.to(tl.int32), height - 2), tl.minimum(x.to(tl.int32), width - 2)
    down, right = y - row, x - column
    above = TEXELS + (row * width + column)
    below = above + width
    texels = tl.load(above), tl.load(above + 1), tl.load(below), tl.load(below + 1)
    up, left = 1 - down, 1 - right
    weights = up * left, up * right, down * left, down * right
    red, green = _mix(texels, weights, 0), _mix(texels, weights, 1)
    return red, green, _mix(texels, weights, 2), _mix(texels, weights, 3)


@triton.jit
def _taps(at, length):
    """Two neighbours on an axis of mirrored pixels and the second's weight; see `photos._taps`."""
    whole = length.to(tl.float32)
    at -= tl.floor(at / (2 * whole)) * (2 * whole)
    at = whole - tl.abs(whole - at) - 0.5
    low = tl.floor(at)
    first = tl.maximum(low.to(tl.int32), 0)
    return tl.minimum(first, length - 1), tl.minimum(low.to(tl.int32) + 1, length - 1), at - low


# --- Kernels ----------------------------------------------------------------------------------


@_kernel
def _render_kernel(
    TEXELS, PLANES, LAYERS, RAYS, FOCUS, LIGHT, h, w, height, width, layers, count,
    ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """`Layers.render`: windows (h, w) of canvases (height, width)."""
    scene = tl.program_id(1).to(tl.int64)
    row, column = _tile(w, ROWS, COLUMNS)
    y, x = row + 0.5 - h * 0.5, column + 0.5 - w * 0.5
    canvas = height * width
    TEXELS += scene * layers * canvas
    PLANES += scene * layers * 3
    RAYS += scene * count * 2
    focus, here = tl.load(FOCUS + scene), tl.load(LAYERS + scene)
    red = tl.zeros([ROWS * COLUMNS], tl.float32)
    green, blue = red, red
    for i in range(count):
        ray_y, ray_x = tl.load(RAYS + 2 * i), tl.load(RAYS + 2 * i + 1)
        r, g, b, _ = _see(TEXELS, PLANES, focus, ray_y, ray_x, y, x, height, width)
        for layer in range(1, here):
            seen_r, seen_g, seen_b, through = _see(
                TEXELS + layer * canvas, PLANES + layer * 3,
                focus, ray_y, ray_x, y, x, height, width,
            )  # fmt: skip
            r, g, b = seen_r + through * r, seen_g + through * g, seen_b + through * b
        red, green, blue = red + r, green + g, blue + b
    inside = (row < h) & (column < w)
    at = LIGHT + scene * (3 * h * w) + row * w + column
    tl.store(at, red / count, mask=inside)
    tl.store(at + h * w, green / count, mask=inside)
    tl.store(at + 2 * h * w, blue / count, mask=inside)


@_kernel
def _take_kernel(
    PIXELS, PLACES, CROPS, h, w, margin, ROWS: constexpr, COLUMNS: constexpr
):  # fmt: skip
    """`Photos.take`: windows (h, w), all sides longer by the margin."""
    crop = tl.program_id(1).to(tl.int64)
    height, width = h + 2 * margin, w + 2 * margin
    row, column = _tile(width, ROWS, COLUMNS)
    PLACES += crop * 7
    PIXELS += tl.load(PLACES).to(tl.int64) * 3
    rows, columns = tl.load(PLACES + 1).to(tl.int32), tl.load(PLACES + 2).to(tl.int32)
    top, left = tl.load(PLACES + 3).to(tl.float32), tl.load(PLACES + 4).to(tl.float32)
    step, flip = tl.load(PLACES + 5).to(tl.float32), tl.load(PLACES + 6) > 0
    y, x = row - margin, column - margin
    x = tl.where(flip, w - 1 - x, x)
    y0, y1, down = _taps(top + step * (y + 0.5), rows)
    x0, x1, right = _taps(left + step * (x + 0.5), columns)
    inside = (row < height) & (column < width)
    at = CROPS + crop * (3 * height * width) + row * width + column
    for channel in tl.static_range(3):
        upper, lower = PIXELS + y0 * columns * 3 + channel, PIXELS + y1 * columns * 3 + channel
        a, b = tl.load(upper + x0 * 3).to(tl.float32), tl.load(upper + x1 * 3).to(tl.float32)
        c, d = tl.load(lower + x0 * 3).to(tl.float32), tl.load(lower + x1 * 3).to(tl.float32)
        above, below = a + right * (b - a), c + right * (d - c)
        tl.store(at, (above + down * (below - above)) / 255, mask=inside)
        at += height * width


# --- Launch -----------------------------------------------------------------------------------


def pack(textures: Tensor) -> Tensor:
    """Four half floats a texel, so that one load fetches all: R, G, B and 1 - alpha.

    What shines through is kept, not alpha, so that a lamp behind a pane that is all but opaque is
    seen with their relative precision. In display values of training scenes half floats were off
    by 2e-4 at most and 2e-5 on average.

    Args:
        textures: (B, L, 4, Ht, Wt) premultiplied linear RGBA below 65504.

    Returns:
        (B, L, Ht, Wt) int64.
    """
    batch, layers, _, height, width = textures.shape
    texels = textures.new_empty(batch, layers, height, width, 4, dtype=torch.float16)
    texels[..., :3] = textures[:, :, :3].permute(0, 1, 3, 4, 2)
    texels[..., 3] = 1 - textures[:, :, 3]
    return texels.view(torch.int64)[..., 0]


def render(
    textures: Tensor,
    planes: Tensor,
    counts: Tensor,
    size: tuple[int, int],
    focus: Tensor,
    rays: Tensor,
) -> Tensor:
    """`Layers.render` in one launch, and two that pack the textures.

    Args:
        textures: (B, L, 4, Ht, Wt) float32 premultiplied linear RGBA, of 2 px a side or more.
        planes: (B, L, 3).
        counts: (B,) int32, how many of its layers each scene has.
        size: (H, W) of the window.
        focus: (B,) disparity.
        rays: (B, P, 2), lens points times aperture, in px.

    Returns:
        (B, 3, H, W) float32 linear light.
    """
    batch, layers, _, height, width = textures.shape
    light = textures.new_empty(batch, 3, *size)
    sizes = *size, height, width, layers, rays.shape[1]
    scene = planes.contiguous(), counts, rays.contiguous(), focus.contiguous()
    with torch.cuda.device_of(textures):
        programs = _programs(size, batch)
        _render_kernel[programs](pack(textures), *scene, light, *sizes, **SETTINGS)
    return light


def take(pixels: Tensor, places: Tensor, size: tuple[int, int], margin: int) -> Tensor:
    """`Photos.take` in one launch.

    Args:
        pixels: (N, 3) uint8, photographs one after the other.
        places: (B, 7) float64: start, height and width of a photograph, top, left and step in its
            pixels, flip.
        size: (H, W) of the windows.
        margin: px around them.

    Returns:
        (B, 3, H + 2 margin, W + 2 margin) float32 in [0, 1].
    """
    height, width = (n + 2 * margin for n in size)
    crops = torch.empty(len(places), 3, height, width, device=pixels.device)
    with torch.cuda.device_of(pixels):
        programs = _programs((height, width), len(places))
        _take_kernel[programs](pixels, places, crops, *size, margin, **SETTINGS)
    return crops


def _programs(size: tuple[int, int], batch: int) -> tuple[int, int]:
    rows, columns = SETTINGS["ROWS"], SETTINGS["COLUMNS"]
    return triton.cdiv(size[0], rows) * triton.cdiv(size[1], columns), batch
