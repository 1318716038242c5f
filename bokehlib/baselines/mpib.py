"""MPIB: the photo cut into 32 planes, each blurred by its own disc, laid over one another.

Behind every jump of disparity the background is painted, as far as the blur can uncover it. Then
MPINet gives each plane its share of that background and its opacity, at a size at which no blur is
large, and AUPNet doubles the size of the opacities until they are as large as the photo. From the
farthest plane to the nearest

    B <- B (1 - blur(a_i)) + blur(I_i^gamma a_i)

with a channel of ones beside the colours, by which the sum is divided. The disc of plane i has the
radius r = round(K max(0, |d_i - d_f| - 1/64)), and at the distance t from its middle the weight
1/2 + tanh((r^2 - t^2) / 4 + 1/2) / 2.

Where the background has to be painted is found from each pixel's nearest jump of disparity: it lies
on the near side of it, within 2 K px. (The published code moves the jumps along their gradient.)
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bokehlib.baselines import mpib_batched as batched
from bokehlib.baselines import trained
from bokehlib.baselines.inpainting import Inpainter
from bokehlib.baselines.mpib_networks import MINI, PAPER, PLANES, AUPNet, MPINet, Widths
from bokehlib.io.errors import InputError
from bokehlib.io.weightfiles import need_weights
from bokehlib.optics import Lens

PUBLISHED = ("mpib_mpinet.pth", "mpib_aupnet.pth")
UNUSED = ("encoder.encoder.fc.", "gaussian.")  # in the published files, never used
PAINTED_AT = 1024  # px of the short side, at most
JUMP = 0.2  # of a disparity's gradient, the sum of both directions by Sobel's operator
SPECK = 1e-4  # share of the picture; a smaller jump does not count
GROWN = 5  # px, side of the square by which masks and shares of the background grow
LARGEST = 512  # px of MPINet's short side
CALM = 30  # px of blur per unit of disparity that MPINet is made for
GROUPS = 4  # of a training batch, each with one size of MPINet
COARSE = 64  # divides the sides of MPINet's picture in training, so that few sizes occur
STEP = 16  # divides the margins of its planes
FAINT = 1e-6  # light below half a step of 8 bits; darker, the root's slope would know no bounds

# --- The painted background -------------------------------------------------------------------


def background(image: Tensor, disparity: Tensor, aperture: float, inpaint: Inpainter) -> Tensor:
    """The photo (1, 3, H, W) with what hides a background painted over."""
    size = image.shape[-2:]
    shrink = min(1.0, PAINTED_AT / min(size))
    smaller = [max(1, round(n * shrink)) for n in size]
    photo, depth = (_resize(x, smaller) for x in (image, disparity))
    reach = min(int(2 * aperture * shrink), sum(smaller))
    hole = torch.from_numpy(hidden_side(depth[0, 0].float().cpu().numpy(), reach))[None, None]
    hole = F.max_pool2d(hole.float(), GROWN, 1, GROWN // 2).to(image)
    painted = _resize(inpaint(photo, hole > 0), size)
    share = _resize(hole, size)
    return share * painted + (1 - share) * image


def hidden_side(disparity: np.ndarray, reach: int) -> np.ndarray:
    """Jumps of disparity (H, W) and what is within `reach` px on their near side, (H, W) bool."""
    import cv2

    down, right = (
        cv2.GaussianBlur(cv2.Sobel(disparity, -1, x, y), (7, 7), 0) for x, y in ((0, 1), (1, 0))
    )
    jump = np.abs(down) + np.abs(right) > JUMP
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(jump.astype(np.uint8))
    jump &= statistics[pieces, cv2.CC_STAT_AREA] >= SPECK * jump.size
    if not jump.any():
        return jump
    away, nearest = cv2.distanceTransformWithLabels(
        (~jump).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    y, x = np.nonzero(jump)
    place = np.zeros((2, int(nearest.max()) + 1), np.int64)
    place[:, nearest[jump]] = y, x
    from_y, from_x = place[:, nearest]
    rows, columns = np.indices(jump.shape)
    uphill = (rows - from_y) * down[from_y, from_x] + (columns - from_x) * right[from_y, from_x]
    return jump | ((uphill > 0) & (away <= reach))


# --- Planes -----------------------------------------------------------------------------------


def disc(radius: int, like: Tensor) -> Tensor:
    """Weights of a blur disc, (2 r + 1, 2 r + 1), their sum 1."""
    x = torch.arange(-radius, radius + 1, device=like.device, dtype=torch.float32)
    inside = radius**2 - x[:, None].square() - x.square()
    weights = 0.5 + 0.5 * torch.tanh(0.25 * inside + 0.5)
    return weights / weights.sum()


def blur(maps: Tensor, radius: int) -> Tensor:
    """Maps (1, C, H, W) convolved with a disc, their borders continued, by Fourier transform."""
    if radius == 0:
        return maps
    height, width = maps.shape[-2:]
    wide = F.pad(maps, [radius] * 4, mode="replicate")
    size = [2 * -(-n // 2) for n in wide.shape[-2:]]
    product = torch.fft.rfft2(wide, s=size) * torch.fft.rfft2(disc(radius, maps), s=size)
    inside = torch.fft.irfft2(product, s=size)[..., 2 * radius :, 2 * radius :]
    return inside[..., :height, :width]


def radius_of(plane: int, focus: float, aperture: float) -> int:
    """Blur radius of a plane in px."""
    away = abs((plane + 0.5) / PLANES - focus) - 0.5 / PLANES
    return round(aperture * max(0.0, away))


def composite(
    colours: Tensor, alpha: Tensor, planes: list[int], focus: float, aperture: float, gamma: float
) -> Tensor:
    """Blurred planes over one another, (1, 3, H, W).

    Args:
        colours: (S, 3, H, W), sRGB.
        alpha: (S, 1, H, W) in [0, 1].
        planes: their numbers, from the farthest to the nearest.
        focus: disparity in focus.
        aperture: px of radius per unit of disparity.
        gamma: linear light is colours ** gamma.
    """
    light = colours.float().clamp(min=FAINT).pow(gamma)
    shown = torch.cat((light, torch.ones_like(alpha)), dim=1) * alpha
    result = torch.zeros_like(shown[:1])
    largest = max(shown.shape[-2:])
    for n, plane in enumerate(planes):
        added = blur(shown[n : n + 1].float(), min(radius_of(plane, focus, aperture), largest))
        result = result * (1 - added[:, 3:]) + added
    return (result[:, :3] / result[:, 3:].clamp(min=1e-6)).clamp(min=FAINT).pow(1 / gamma)


class Mpib(nn.Module):
    """Both networks, the painted background and the planes as one renderer."""

    def __init__(self, widths: Widths = PAPER, sparse: bool = False):
        """With random weights.

        Args:
            widths: of the networks.
            sparse: leave out planes in which no pixel lies.
        """
        super().__init__()
        self.mpinet, self.aupnet, self.sparse = MPINet(widths), AUPNet(widths), sparse
        self.inpaint = Inpainter()

    def forward(self, image: Tensor, disparity: Tensor, lens: Lens, gamma: float = 2.2) -> Tensor:
        """The picture (B, 3, H, W), not clamped; each is worked on by itself, but in training.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1].
            disparity: (B, 1, H, W) in [0, 1].
            lens: in px of this image.
            gamma: linear light is image ** gamma.
        """
        if self.training:
            return self._together(image, disparity, lens, gamma)
        focus, aperture = (value.flatten().tolist() for value in lens.column(disparity))
        pictures = image.split(1), disparity.split(1)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            paint = partial(background, inpaint=self.inpaint)
            painted = [*pool.map(paint, *pictures, aperture)]
        found = [
            self._one(*each, gamma)
            for each in zip(*pictures, painted, focus, aperture, strict=True)
        ]
        return torch.cat(found)

    def _one(
        self,
        image: Tensor,
        disparity: Tensor,
        painted: Tensor,
        focus: float,
        aperture: float,
        gamma: float,
    ) -> Tensor:
        planes = torch.arange(PLANES, device=image.device)
        if self.sparse:
            planes = (disparity * PLANES).long().clamp(0, PLANES - 1).unique()
        share, alpha = self._planes(image, disparity, aperture, planes[None])
        colours = share * painted + (1 - share) * image
        return composite(colours, alpha, planes.tolist(), focus, aperture, gamma)

    def _together(self, image: Tensor, disparity: Tensor, lens: Lens, gamma: float) -> Tensor:
        """A batch in `GROUPS`; pictures of about the same aperture share MPINet's size."""
        focus, aperture = (value.flatten() for value in lens.column(disparity))
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            hole = batched.hidden_side(disparity, 2 * aperture, JUMP).to(image)
            hole = F.max_pool2d(hole, GROWN, 1, GROWN // 2) > 0
            painted = batched.background(image, hole)
        planes, filled = batched.fullest(disparity)
        radius = batched.radii(planes, focus, aperture) * filled
        apertures, order = aperture.sort()
        groups = order.chunk(GROUPS)
        most = [x[-1] for x in apertures.chunk(GROUPS)]
        widest = [radius[group].amax() for group in groups]
        sizes = torch.stack((*most, *widest)).tolist()  # waits once
        found = []
        for group, most_open, reach in zip(
            groups, sizes[: len(most)], sizes[len(most) :], strict=True
        ):
            photo, depth = image[group], disparity[group]
            share, alpha = (
                x.unflatten(0, (len(group), -1))
                for x in self._planes(photo, depth, most_open, planes[group], COARSE)
            )
            colours = share * painted[group][:, None] + (1 - share) * photo[:, None]
            alpha = alpha * filled[group][..., None, None, None]
            margin = -(-int(reach) // STEP) * STEP
            found.append(batched.composite(colours, alpha, radius[group], margin, gamma, FAINT))
        return torch.cat(found).index_select(0, order.argsort())

    def _planes(
        self,
        image: Tensor,
        disparity: Tensor,
        aperture: float,
        planes: Tensor,
        multiple: int = 32,
    ) -> tuple[Tensor, Tensor]:
        """Share of the background and opacity of planes (B, S), (B S, 1, H, W) each."""
        size = image.shape[-2:]
        short = int(min(LARGEST, min(size) * CALM / max(aperture, 1e-6)))
        small = _multiple(size, short, multiple)
        share, alpha = self.mpinet(_resize(image, small), _resize(disparity, small), planes)
        share = F.max_pool2d(share, GROWN, 1, GROWN // 2)
        while small[0] * 2 < size[0]:
            small = [2 * n for n in small]
            alpha = self.aupnet(_resize(image, small), _resize(disparity, small), alpha)
        even = _multiple(size, min(size), 2)
        alpha = _resize(alpha, [n // 2 for n in even])
        alpha = self.aupnet(_resize(image, even), _resize(disparity, even), alpha)
        return _resize(share, size), _resize(alpha, size)


def _multiple(size: torch.Size, short: int, multiple: int) -> list[int]:
    """The size with this short side, never larger, then up to a multiple."""
    factor = min(1.0, short / min(size))
    return [max(1, -(-int(n * factor) // multiple)) * multiple for n in size]


def _resize(picture: Tensor, size) -> Tensor:
    if [*picture.shape[-2:]] == [*size]:
        return picture
    return F.interpolate(picture, size=tuple(size), mode="bilinear", align_corners=True)


# --- The methods ------------------------------------------------------------------------------


def network(name: str, paper_width: bool = False) -> Mpib:
    """What training starts from.

    Raises:
        InputError: the paper's width is asked for; its norms are not what training here averages.
    """
    if paper_width:
        raise InputError(f"--paper-width: found {name}; accepted: a method without batch norms")
    return Mpib(MINI, sparse=True)


def published() -> Mpib:
    """The published networks with all of their weights.

    Raises:
        InputError: a file is missing or does not fit.
    """
    found = Mpib()
    for part, file in zip((found.mpinet, found.aupnet), PUBLISHED, strict=True):
        path = need_weights(file)
        held = trained.checkpoint(path)
        weights = {k.removeprefix("module."): v for k, v in held.get("model", held).items()}
        used = {k: v for k, v in weights.items() if not k.startswith(UNUSED)}
        trained.fit(part, used, path)
    return found


def load(name: str, device: str = "cpu", gamma: float = 2.2) -> Callable[..., Tensor]:
    """The renderer: "mpib" with published weights, "mpib-retrained" with its own.

    Raises:
        InputError: weights that do not fit.
    """
    networks = published() if name == "mpib" else cast(Mpib, trained.read(name, network))
    networks.to(device).eval()
    networks.inpaint = Inpainter(device)

    @torch.no_grad()
    def render(image: Tensor, disparity: Tensor, lens: Lens) -> Tensor:
        closed = lens.column(image)[1] == 0
        if closed.all():
            return image
        found = networks(image.to(device).float(), disparity.to(device).float(), lens, gamma)
        return torch.where(closed, image, found.clamp(0, 1).to(image))

    return render
