"""Dr.Bokeh: two layers, each gathered with soft occlusion, laid over one another.

The foreground is the photo with a soft matte, the background the photo with the foreground painted
over. A centre c gathers a neighbour n, with R_n = K |d_n| + 1 and d relative to the focus, by

    w = alpha_n S(R_n - |n - c|) / R_n^2 (f_c + (1 - f_c) (1/2 + tanh(10 (d_n - d_c - 0.1)) / 2))

where S(x) = 0.1 / (0.1 + exp(-3 x)) and f_c = 1 - exp(-3 (K d_c)^2), which is 1 where c is blurred:
only a sharp centre asks who stands before whom. Neighbours lie inside the circle that the window
holds. A layer covers the mean of alpha over a box of half size (K |d_c| + 1) // 2.

Two things are ours: the lens window holds the largest blur up to the longer side of the picture
(the published one is 41 px wide and cuts off the rest), and where no mask is given the matte comes
from the disparity.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.baselines.compiled import add_up, machine_code
from bokehlib.baselines.inpainting import Inpainter
from bokehlib.optics import Lens

SOFT = 0.1  # s of the soft step
NEARER = 0.1  # a neighbour nearer than this hides half
FADED = 6  # px from the edge of a disc where the soft step is 1 or 0 but for 1e-7
NEGLIGIBLE = 20.0  # e^-20: a centre as blurred as that sees all its neighbours
BINS = 256  # of the disparity's histogram
TAIL = 3  # px beyond the largest blur, where the soft step has fallen below 1/100
ERODED = 4  # px within the edge of a given matte, from where on its disparity is trusted
OPAQUE = 0.1  # from this alpha on a pixel counts as foreground


def load(
    name: str, device: str = "auto", gamma: float = 2.2, mask: Tensor | None = None
) -> Callable[..., Tensor]:
    """The renderer; it needs no weights of its own.

    Args:
        name: not used.
        device: where LaMa runs, if the user has it.
        gamma: linear light is image ** gamma.
        mask: matte of the foreground in [0, 1], (B, 1, H, W); None = from the disparity.
    """
    inpaint = Inpainter(device)
    compiled()  # else the first picture would pay for the compilation

    @torch.no_grad()
    def render(image: Tensor, disparity: Tensor, lens: Lens) -> Tensor:
        given = [None] * len(image) if mask is None else mask.to(image).split(1)
        focus, aperture = (value.flatten().tolist() for value in lens.column(disparity))
        rendered = [
            drbokeh(i, d.to(i), Lens(f, k), gamma, m, inpaint)
            for i, d, f, k, m in zip(
                image.split(1), disparity.split(1), focus, aperture, given, strict=True
            )
        ]
        return torch.cat(rendered)

    return render


def drbokeh(
    image: Tensor,
    disparity: Tensor,
    lens: Lens,
    gamma: float,
    mask: Tensor | None,
    inpaint: Inpainter,
) -> Tensor:
    """One picture (1, 3, H, W) through a lens of floats; an aperture of 0 returns it as it is."""
    if lens.aperture == 0:
        return image
    layers = two_layers(image, disparity, mask, inpaint)
    result, light = torch.zeros_like(image), torch.ones_like(disparity)
    for colour, alpha, depth in layers:
        relative = depth - lens.focus
        largest = float(relative.abs().max()) * float(lens.aperture)
        window = 2 * min(math.ceil(largest) + TAIL, max(image.shape[-2:])) + 1
        layer = torch.cat((colour.clamp(min=0).pow(gamma), alpha, relative), dim=1)
        gathered = gather(layer, float(lens.aperture), window)
        cover = gathered[:, 4:]
        result += light * cover * gathered[:, :3] / (gathered[:, 3:4] + 1e-8)
        light = light * (1 - cover)
    return result.clamp(0, 1).pow(1 / gamma)


def two_layers(
    image: Tensor, disparity: Tensor, mask: Tensor | None, inpaint: Inpainter
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Foreground and background of one picture, each colour, alpha and disparity, nearest first.

    Args:
        image: (1, 3, H, W), sRGB in [0, 1].
        disparity: (1, 1, H, W) in [0, 1].
        mask: matte (1, 1, H, W) of the foreground; None = from the disparity.
        inpaint: fills the foreground's disparity outside it, and the background behind it.
    """
    alpha = matte(disparity) if mask is None else mask
    inside = opaque = alpha > OPAQUE
    if mask is not None:  # its edge may lie beside the disparity's
        eroded = -F.max_pool2d(-opaque.float(), 2 * ERODED + 1, 1, ERODED) > 0
        inside = eroded if eroded.any() else opaque
    near = alpha, inpaint(disparity, ~inside)
    far = torch.ones_like(alpha), inpaint(disparity, opaque)
    return [(image, *near), (inpaint(image, opaque), *far)]


def matte(disparity: Tensor) -> Tensor:
    """Matte of what is near, (1, 1, H, W): beyond the threshold that parts the map best (Otsu).

    The threshold has the largest variance between the two sides.
    """
    counts, edges = np.histogram(disparity.cpu().numpy(), BINS, (0.0, 1.0))
    centres = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * centres).cumsum()
    means = [sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)]
    best = int(np.argmax(below * above * (means[0] - means[1]) ** 2))
    return (disparity > float(edges[best + 1])).to(disparity)


def gather(layer: Tensor, aperture: float, window: int) -> Tensor:
    """What every pixel gathers from one layer, its borders continued as they end.

    Args:
        layer: (1, 5, H, W): linear RGB, alpha, disparity relative to the focus.
        aperture: K, px of radius per unit of disparity.
        window: side of the square that is looked through, odd.

    Returns:
        (1, 5, H, W): sum of w RGB, sum of w, coverage.
    """
    reach = window // 2
    padded = F.pad(layer.cpu(), [reach] * 4, mode="replicate")
    sources = np.ascontiguousarray(padded[0].permute(1, 2, 0).double().numpy())
    rows = np.arange(len(sources)) - reach
    far = np.minimum(aperture * np.abs(sources[..., 4]).max(axis=1) + 1 + FADED, reach)
    reaches = np.stack((rows - far, rows + far), axis=1).astype(np.int64)
    centres = np.ascontiguousarray(layer[0, 4].cpu().double().numpy())

    def spread(start: int, stop: int, first: int, part: np.ndarray) -> None:
        compiled()(sources, centres, aperture, reach, start, stop, first, part)

    total = add_up(spread, reaches, np.zeros((*layer.shape[-2:], 4)))
    gathered = torch.from_numpy(total).permute(2, 0, 1)[None].to(layer)
    covered = coverage(padded[:, 3:4].to(layer), layer[:, 4:], aperture, reach)
    return torch.cat((gathered, covered), dim=1)


def _add_sources(
    sources: np.ndarray,
    centres: np.ndarray,
    aperture: float,
    reach: int,
    start: int,
    stop: int,
    first: int,
    sums: np.ndarray,
) -> None:
    """Add to sums, whose row 0 is row `first`, what the padded rows start..stop give."""
    height, width = centres.shape
    for row in range(start, stop):
        for column in range(sources.shape[1]):
            red, green, blue, alpha, depth = sources[row, column]
            if alpha == 0:
                continue
            radius = aperture * abs(depth) + 1
            strength = alpha / (radius * radius)
            far = min(reach, int(radius) + FADED)
            for y in range(max(row - reach - far, 0), min(row - reach + far + 1, height)):
                for x in range(max(column - reach - far, 0), min(column - reach + far + 1, width)):
                    square = (row - reach - y) ** 2 + (column - reach - x) ** 2
                    if square >= reach * reach and square > 0:
                        continue
                    inside = radius - math.sqrt(square)
                    w = strength
                    if inside < FADED:
                        w *= SOFT / (SOFT + math.exp(-3 * inside))
                    centre = centres[y, x]
                    blur = 3 * (aperture * centre) ** 2
                    if square > 0 and blur < NEGLIGIBLE:
                        seen = 1 / (1 + math.exp(-20 * (depth - centre - NEARER)))
                        w *= 1 - math.exp(-blur) * (1 - seen)
                    sums[y - first, x, 0] += w * red
                    sums[y - first, x, 1] += w * green
                    sums[y - first, x, 2] += w * blue
                    sums[y - first, x, 3] += w


def compiled() -> Callable[..., None]:
    """The sums as machine code."""
    signature = "void(f8[:, :, ::1], f8[:, ::1], f8, i8, i8, i8, i8, f8[:, :, ::1])"
    return machine_code(_add_sources, signature)


def coverage(padded: Tensor, centre: Tensor, aperture: float, reach: int) -> Tensor:
    """Mean of alpha over each pixel's box, by sums over rectangles from the corner."""
    height, width = centre.shape[-2:]
    half = ((aperture * centre.abs() + 1) // 2).clamp(max=reach).long()
    total = F.pad(padded.double(), (1, 0, 1, 0)).cumsum(-1).cumsum(-2).flatten(-2)
    y = torch.arange(height, device=centre.device)[:, None] + reach
    x = torch.arange(width, device=centre.device) + reach

    def corner(row: Tensor, column: Tensor) -> Tensor:
        index = row * (width + 2 * reach + 1) + column
        return total.gather(-1, index.flatten(-2)).view_as(centre)

    top, left, bottom, right = y - half, x - half, y + half + 1, x + half + 1
    box = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
    return (box / (2 * half + 1).square()).to(centre)
