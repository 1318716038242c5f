"""BokehMe: a classical render, and a neural one where the classical is wrong.

ARNet renders at a size at which no blur exceeds 10 px, and says where the classical render is wrong
(error map E). IUNet doubles that size step by step, looking at the photo; it is trusted where blur
is below 10 px, and elsewhere the smaller render is enlarged. The result is
classical (1 - E) + neural E.

Networks work on sRGB, a defocus in units of 10 px, and gamma from 1..5 brought to 0..1. The
attributes carry the names of the published weight files.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bokehlib.baselines import trained
from bokehlib.baselines.bokehme_classical import (
    Aperture,
    covering,
    dilated,
    enhance,
    render,
    spreading,
)
from bokehlib.classical import scattering
from bokehlib.io.weightfiles import need_weights
from bokehlib.optics import Lens, signed_coc

UNIT = 10.0  # px of blur radius that count as 1
WIDTHS = (128, 64)  # channels of the published ARNet and IUNet
BLOCKS = 3
MINI_WIDTHS = (48, 32)  # of the embedded file
GROUPS = 4  # of a training batch, each worked on at sizes of its own
PUBLISHED = ("bokehme_arnet.pth", "bokehme_iunet.pth")
LIMIT = 1e5  # of neural light
WRONG = 0.1  # of display values, where the classical render is not to be trusted at all


# --- Networks ---------------------------------------------------------------------------------


class _Layer(nn.Sequential):
    """A convolution of 3x3 px called `conv`, and an ELU."""

    def __init__(self, inputs: int, outputs: int, elu: bool = True):
        super().__init__()
        self.add_module("conv", nn.Conv2d(inputs, outputs, 3, padding=1))
        if elu:
            self.add_module("elu", nn.ELU())


class _Blocks(nn.Module):
    """Pairs of layers, each added to what it got."""

    def __init__(self, width: int):
        super().__init__()
        pairs = (nn.Sequential(_Layer(width, width), _Layer(width, width)) for _ in range(BLOCKS))
        self.blocks = nn.ModuleList(pairs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class _HalfSize(nn.Module):
    """Image and defocus, squares of 2x2 px as channels, go through layers at half size."""

    def __init__(self, beside: int, outputs: int, width: int):
        super().__init__()
        self.conv0 = _Layer(4 * 4 + beside, width)
        self.block_stack = _Blocks(width)
        self.conv1 = _Layer(width, 4 * outputs, elu=False)

    def _render(self, image: Tensor, defocus: Tensor, *beside: Tensor | float) -> Tensor:
        """Concatenate maps at half size, or numbers, with the squares; (B, outputs, H, W)."""
        height, width = image.shape[-2:]
        even = _resize(torch.cat((image, defocus), dim=1), (height // 2 * 2, width // 2 * 2))
        x = F.pixel_unshuffle(even, 2)
        half = [b if isinstance(b, Tensor) else torch.full_like(x[:, :1], b) for b in beside]
        x = self.conv1(self.block_stack(self.conv0(torch.cat((x, *half), dim=1))))
        return _resize(F.pixel_shuffle(x, 2), (height, width))


class ARNet(_HalfSize):
    """The adaptive rendering network, which draws the blur and says where it is needed."""

    def __init__(self, width: int = WIDTHS[0]):
        """With random weights and `width` channels."""
        super().__init__(1, 4, width)

    def forward(self, image: Tensor, defocus: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        """Render (B, 3, H, W), not clamped, and error map (B, 1, H, W) in [0, 1].

        Args:
            image: (B, 3, H, W), sRGB.
            defocus: (B, 1, H, W), in [-1, 1].
            gamma: brought to [0, 1].
        """
        found = self._render(image, defocus, gamma)
        return found[:, :3], torch.sigmoid(found[:, 3:])


class IUNet(_HalfSize):
    """The iterative upsampling network, which draws a render of half the size larger."""

    def __init__(self, width: int = WIDTHS[1]):
        """With random weights and `width` channels."""
        super().__init__(4, 3, width)

    def forward(self, image: Tensor, defocus: Tensor, coarse: Tensor, gamma: float) -> Tensor:
        """Render (B, 3, H, W), not clamped; as ARNet, with a coarse render (B, 3, h, w)."""
        half = image.shape[-2] // 2, image.shape[-1] // 2
        return self._render(image, defocus, _resize(coarse, half, corners=False), gamma)


def _resize(picture: Tensor, size: Sequence[int], corners: bool = True) -> Tensor:
    if tuple(picture.shape[-2:]) == tuple(size):
        return picture
    return F.interpolate(picture, size=tuple(size), mode="bilinear", align_corners=corners)


# --- The adaptive scheme ----------------------------------------------------------------------


def adaptive(
    arnet: ARNet, iunet: IUNet, maps: list[Tensor], gamma: float, shrink: float
) -> tuple[Tensor, Tensor]:
    """Neural render and error map at full size, through all sizes.

    Args:
        arnet: works at 1 / shrink of the size.
        iunet: at 2 / shrink, 4 / shrink ... and at full size.
        maps: sRGB image (B, 3, H, W), signed defocus (B, 1, H, W) and the defocus that reaches each
            pixel, both in units of 10 px.
        gamma: brought to [0, 1].
        shrink: at least 1; the largest |defocus| of all pictures.
    """
    height, width = maps[0].shape[-2:]

    def at(ratio: float) -> list[Tensor]:
        size = max(int(height * ratio), 2), max(int(width * ratio), 2)
        small = [_resize(x, size) for x in maps]
        return [small[0], ratio * small[1], ratio * small[2]]

    small, blur, _ = at(1 / shrink)
    neural, error = arnet(small, blur, gamma)
    neural = neural.clamp(0, LIMIT)
    for ratio in (*(2 ** (n + 1) / shrink for n in range(int(math.log2(shrink)))), 1.0):
        small, blur, reached = at(ratio)
        refined = iunet(small, blur.clamp(-1, 1), neural, gamma).clamp(0, LIMIT)
        trusted = _blurred((reached.abs() < 1).to(small))
        neural = trusted * refined + (1 - trusted) * _resize(neural, small.shape[-2:])
    return neural, _resize(error, (height, width))


def _blurred(mask: Tensor) -> Tensor:
    """By a Gaussian cut off at r = 0.005 (H + W) px, sigma = 0.3 (r - 1) + 0.8."""
    reach = round(0.005 * sum(mask.shape[-2:]))
    x = torch.arange(-reach, reach + 1, device=mask.device, dtype=mask.dtype)
    weights = torch.exp(-0.5 * (x / (0.3 * (reach - 1) + 0.8)) ** 2)
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    padded = F.pad(mask, [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights), weights.mT)


class BokehMe(nn.Module):
    """Both networks and the classical render as one renderer."""

    def __init__(self, widths: tuple[int, int] = WIDTHS):
        """With random weights and so many channels in ARNet and IUNet."""
        super().__init__()
        self.arnet, self.iunet = ARNet(widths[0]), IUNet(widths[1])
        self.parts: tuple[Tensor, ...] = ()

    def forward(
        self,
        image: Tensor,
        disparity: Tensor,
        lens: Lens,
        plain: Tensor | None = None,
        gamma: float = 2.2,
    ) -> Tensor:
        """The picture (B, 3, H, W), not clamped.

        Each picture is worked on at its own sizes; in training, where many at once are quicker,
        those of about the same blur share the sizes of the next half power of 2.

        Args:
            image: (B, 3, H, W), sRGB.
            disparity: (B, 1, H, W) in [0, 1].
            lens: in px of this image.
            plain: (B, 3, H, W), the classical render; None = `classical.scatter`, which is quick
                on a GPU. Nothing is learned through it.
            gamma: 1 to 5.
        """
        if plain is None:
            plain = scattering.scatter(image, disparity, lens, gamma)
        radius = signed_coc(disparity, lens)
        blur, largest = radius / UNIT, dilated(radius) / UNIT
        shrinks, order = blur.abs().amax((1, 2, 3)).clamp(min=1).sort()
        count = GROUPS if self.training else len(order)
        most = torch.stack([part[-1] for part in shrinks.chunk(count)]).tolist()  # waits once
        found = []
        for group, shrink in zip(order.chunk(count), most, strict=True):
            maps = [x[group] for x in (image, blur, largest)]
            sizes = _rung(shrink) if self.training else shrink
            found.append(adaptive(self.arnet, self.iunet, maps, (gamma - 1) / 4, sizes))
        back = order.argsort()
        neural, error = (torch.cat(part)[back] for part in zip(*found, strict=True))
        if self.training:
            self.parts = plain, neural, error
        return plain * (1 - error) + neural * error

    def own_terms(self, target: Tensor) -> dict[str, Tensor]:
        """What training asks of the parts of its last picture, beside the losses of the picture.

        Where E is near 0 the neural render learns nothing from the picture, and E stays there: so
        the neural render is held to the target everywhere, and E to where the classical is wrong.

        Args:
            target: (B, 3, H, W), sRGB in [0, 1].
        """
        plain, neural, error = (part.float() for part in self.parts)
        wrong = ((plain - target).abs().amax(1, keepdim=True) / WRONG).clamp(max=1)
        return {"neural": F.l1_loss(neural, target), "error": F.l1_loss(error, wrong)}


def _rung(shrink: float) -> float:
    """The next half power of 2, so that few sizes occur."""
    return 2 ** (math.ceil(2 * math.log2(shrink)) / 2)


# --- The methods ------------------------------------------------------------------------------


def network(name: str, paper_width: bool = False) -> BokehMe:
    """The network that training starts from: the published weights for "bokehme-finetuned".

    Args:
        name: of the method.
        paper_width: the published widths instead of those of the embedded file.

    Raises:
        InputError: published weights are asked for and missing, or do not fit.
    """
    if name != "bokehme-finetuned":
        return BokehMe(WIDTHS if paper_width else MINI_WIDTHS)
    found = BokehMe()
    for part, file in zip((found.arnet, found.iunet), PUBLISHED, strict=True):
        path = need_weights(file)
        held = trained.checkpoint(path)
        trained.fit(part, held.get("model", held), path)
    return found


def load(
    name: str,
    device: str = "cpu",
    gamma: float = 2.2,
    blades: int = 0,
    turn: float = 0.0,
    donut: float = 0.0,
    highlights: bool = False,
) -> Callable[..., Tensor]:
    """The renderer: "bokehme" with published weights, "-finetuned" and "-retrained" with their own.

    Args:
        name: of the method.
        device: of the networks; the classical render is computed on the CPU.
        gamma: linear light is image ** gamma.
        blades: of the aperture of the classical render, 0 = a disc.
        turn: radians by which its polygon is turned.
        donut: 0 to 0.5, how dark its middle is.
        highlights: brighten what is bright and out of focus before blurring.

    Raises:
        ValueError: gamma outside [1, 5], or no such aperture.
        InputError: weights that do not fit.
    """
    if not 1 <= gamma <= 5:
        raise ValueError(f"gamma: found {gamma}; accepted: 1 to 5")
    aperture = Aperture(blades, turn, donut)
    if name == "bokehme":
        networks: nn.Module = network("bokehme-finetuned")
    else:
        networks = trained.read(name, network)
    networks.to(device).eval()
    spreading(), covering()  # else the first picture would pay for the compilation

    @torch.no_grad()
    def picture(image: Tensor, disparity: Tensor, lens: Lens) -> Tensor:
        shown, depth = image.to(device).float(), disparity.to(device).float()
        if highlights:
            shown = enhance(shown, depth, lens.column(depth)[0])
        plain = render(shown, signed_coc(depth, lens), gamma, aperture)
        found = networks(shown, depth, lens, plain, gamma).clamp(0, 1).to(image)
        closed = lens.column(image)[1] == 0
        return torch.where(closed, image, found)

    return picture
