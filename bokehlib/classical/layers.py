"""The classical render in layers: what is near hides and covers what is far.

`classical.scatter` knows no occlusion: a blurred background leaks into what stands before it, and
behind a blurred foreground it shows the foreground again. Here the picture is cut into layers
where outlines are, each layer goes on behind the nearer ones, and each is scattered by itself:

    (P_l, A_l) = scatter of (alpha_l I_l, alpha_l);   out = sum_l P_l prod_n (1 - A_n)

with the product over the layers n that are nearer than l.

A cut t of the signed radius s separates n(t) pairs of pixels, `STEP` px apart, between which s
jumps by more than `JUMP` px, and tears up m(t) pairs between which it does not, that is, a surface.
The cut with the largest n - m is taken, then the largest for the outlines that are left, as long
as it is `WORTH` pairs. Colours, radii and coverage that a layer does not show are filled from what
it shows around, coarse to fine (push-pull). How bright clipped lights are, `highlights` finds.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.classical import highlights, scattering
from bokehlib.optics import IN_FOCUS_RADIUS, Lens, signed_coc

JUMP = 1.0  # px of signed radius, from which on neighbours lie on two sides of an outline
LAYERS = 3
STEP = 3  # px; an outline may be two pixels soft
WORTH = 20  # pairs of pixels
BINS = 256  # of the signed radius, between its smallest and its largest


@torch.no_grad()
def render(image: Tensor, disparity: Tensor, lens: Lens, gamma: float = 2.2) -> Tensor:
    """The lens blur of an all-in-focus picture; it has no gradients.

    Args:
        image: (B, 3, H, W), sRGB-encoded, in [0, 1].
        disparity: (B, 1, H, W) in [0, 1], 1 = nearest.
        lens: focus and aperture, in pixels of blur radius per unit of disparity.
        gamma: linear light is image ** gamma.

    Returns:
        (B, 3, H, W) in [0, 1]; the image itself where the aperture is 0.
    """
    disparity = disparity.to(image.device).float()
    signed = signed_coc(disparity, lens)
    at = cuts(signed)
    low = torch.cat((torch.full_like(at[:, :1], -torch.inf), at), dim=1)
    high = torch.cat((at, torch.full_like(at[:, :1], torch.inf)), dim=1)
    linear = image.float().clamp(min=0).pow(gamma)
    linear *= torch.where(signed.abs() > IN_FOCUS_RADIUS, highlights.gains(linear, gamma), 1.0)
    result, through = torch.zeros_like(linear), torch.ones_like(signed)
    for below, above in reversed(list(zip(low.unbind(1), high.unbind(1), strict=True))):
        reached, passed = (x[:, None, None, None] for x in (below, above))
        own, known = (signed > reached) & (signed <= passed), signed <= passed
        if not signed.is_cuda and not own.any():  # a GPU is not waited for
            continue
        shown = fill(torch.cat((linear, signed), dim=1), own)
        alpha = torch.where(reached == -torch.inf, 1.0, fill(own.to(signed), known))
        light, radius = torch.cat((shown[:, :3] * alpha, alpha), dim=1), shown[:, 3:].abs()
        if not signed.is_cuda:  # most of a layer is empty, or behind others
            radius = torch.where(_felt(alpha, radius, through), radius, -1.0)
        spread = scattering.spread(light, radius).float()
        result += through * spread[:, :3]
        through = through * (1 - spread[:, 3:])
    encoded = result.clamp(0, 1).pow(1 / gamma).to(image)
    return torch.where(lens.column(image)[1].to(image.device) == 0, image, encoded)


def _felt(alpha: Tensor, radius: Tensor, through: Tensor) -> Tensor:
    """Which pixels spread to where a layer is seen, (B, 1, H, W), or a few more.

    Args:
        alpha: of the layer.
        radius: px, of its pixels.
        through: what share of the layer's light nearer layers let through.
    """
    reach = int(radius.amax()) + 1
    return _within(_within(alpha > 0, reach) & (through > 0), reach)


def _within(mask: Tensor, reach: int) -> Tensor:
    """Whether a pixel of the mask (B, 1, H, W) lies in the square of that half side."""
    for axis in (2, 3):
        before = F.pad(mask.long().cumsum(axis), (1, 0) if axis == 3 else (0, 0, 1, 0))
        place = torch.arange(mask.shape[axis], device=mask.device)
        end = (place + reach + 1).clamp(max=mask.shape[axis])
        start = (place - reach).clamp(min=0)
        mask = before.index_select(axis, end) > before.index_select(axis, start)
    return mask


def cuts(signed: Tensor, layers: int = LAYERS) -> Tensor:
    """Where a map of signed radii is cut, from far to near.

    Args:
        signed: (B, 1, H, W) in px, positive before the focus.
        layers: how many there are at most.

    Returns:
        (B, layers - 1), ascending; infinite for those that are not worth it.
    """
    batch = len(signed)
    first, last = signed.amin((1, 2, 3)), signed.amax((1, 2, 3))
    bin_width = (last - first).clamp(min=1e-6) / BINS
    pairs = [
        torch.stack(ends).flatten(2)
        for ends in (
            (signed[..., STEP:, :], signed[..., :-STEP, :]),
            (signed[..., STEP:], signed[..., :-STEP]),
        )
    ]
    ends = torch.cat(pairs, dim=2)  # (2, B, pairs)
    low, high = ends.amin(0), ends.amax(0)
    outlines = high - low > JUMP
    low, high = (((x - first[:, None]) / bin_width[:, None]).long() for x in (low, high))
    low, high = low.clamp(max=BINS - 1), high.clamp(max=BINS - 1)

    def parted(counted: Tensor) -> Tensor:
        """How many of the counted pairs a cut after each bin parts, (B, BINS)."""
        found = signed.new_zeros(batch, BINS)
        found.scatter_add_(1, low, counted.to(signed)).scatter_add_(1, high, -counted.to(signed))
        return found.cumsum(1)

    surfaces, chosen = parted(~outlines), []
    for _ in range(layers - 1):
        gain = parted(outlines) - surfaces
        after = _middle_of_largest(gain)
        worth = gain.amax(1) >= WORTH
        chosen.append(torch.where(worth, first + (after + 1) * bin_width, torch.inf))
        parting = (low <= after[:, None]) & (high > after[:, None])
        outlines = outlines & ~(parting & worth[:, None])
    return torch.stack(chosen, dim=1).sort(dim=1).values


def _middle_of_largest(gain: Tensor) -> Tensor:
    """The middle of the first plateau that is as high as any, (B,) of (B, BINS)."""
    top = gain == gain.amax(1, keepdim=True)
    start = top.long().argmax(1)
    lower = (~top).cumsum(1)
    plateau = top & (lower == lower.gather(1, start[:, None]))
    return start + (plateau.sum(1) - 1) // 2


def fill(values: Tensor, known: Tensor) -> Tensor:
    """Values from around where they are not known; those that are stay as they are, bit for bit.

    Args:
        values: (B, C, H, W).
        known: (B, 1, H, W), whether a value is.

    Returns:
        Like values; 0 where nothing is known anywhere.
    """
    known = known.to(values)
    return _fill(values * known, known)


def _fill(values: Tensor, weight: Tensor) -> Tensor:
    """Push: means over 2 x 2 of what is known, down to one pixel. Pull: back up, bilinearly."""
    size = height, width = values.shape[-2:]
    if max(size) == 1:
        return values
    margin = (0, width % 2, 0, height % 2)
    totals = F.avg_pool2d(F.pad(torch.cat((values * weight, weight), dim=1), margin), 2)
    coarse, heavy = totals[:, :-1], totals[:, -1:]
    coarse = _fill(coarse / heavy.clamp(min=1e-12), heavy)
    around = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return torch.where(weight > 0, values, around)
