"""DeepLens: a lens-blur module at a quarter of the size, then guided up-sampling.

Wang et al. (SIGGRAPH Asia 2018) write the blurred picture as a sum of products: of 31 RGB features
of the photo, which are the photo itself and what four convolutions in a row make of it, and 31
maps of kernels, not negative and of sum 1 at every place, that a residual network predicts from the
signed blur. Two guided steps then double the size, each looking at the photo and the blur there.

Two things are ours: the kernel network also sees the photo and the disparity, since what a lens
shows at an edge depends on both; and depth is given, not estimated.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bokehlib.baselines import trained
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens, signed_coc

FEATURES = 31
STAGES = ((3, 30), (5, 30), (5, 15), (5, 15))  # side in px and channels: 90 = 30 RGB features
SHRINK = 4
UNIT = 10.0  # px of blur radius that count as 1
MAPS = 5  # photo, disparity, blur
WIDTHS = (80, 40)  # channels of the kernel network and of the guided steps; the paper's are unknown
BLOCKS = 6


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 px with half of the channels inside, added to what it got."""

    def __init__(self, channels: int, dilation: int = 1):
        """`dilation`: distance of the neighbours that the middle convolution looks at."""
        super().__init__()
        inside = channels // 2
        self.layers = nn.Sequential(
            nn.Conv2d(channels, inside, 1),
            nn.ReLU(),
            nn.Conv2d(inside, inside, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(inside, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(x + self.layers(x))


class LensBlur(nn.Module):
    """Kernels times features, at one size."""

    def __init__(self, width: int):
        """`width`: channels of the kernel network."""
        super().__init__()
        inputs = (3, *(channels for _, channels in STAGES))
        self.stages = nn.ModuleList(
            nn.Conv2d(before, channels, side, padding=side // 2)
            for before, (side, channels) in zip(inputs, STAGES, strict=False)
        )
        blocks = (Bottleneck(width, 1 + n % 3) for n in range(BLOCKS))
        self.kernels = nn.Sequential(
            nn.Conv2d(MAPS, width, 7, padding=3),
            nn.ReLU(),
            *blocks,
            nn.Conv2d(width, FEATURES, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, 5, H, W): photo, disparity, blur -> blurred picture (B, 3, H, W)."""
        weights = F.relu(self.kernels(maps)) + 1e-4
        weights = weights / weights.sum(dim=1, keepdim=True)
        features, x = [maps[:, :3]], maps[:, :3]
        for stage in self.stages:
            x = stage(x)
            features.append(x)
            x = F.relu(x)
        stacked = torch.cat(features, dim=1).unflatten(1, (FEATURES, 3))
        return (stacked * weights[:, :, None]).sum(dim=1)


class GuidedStep(nn.Module):
    """Doubles the size of a picture, guided by the maps at the new size."""

    def __init__(self, width: int):
        """`width`: channels of its layers."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3 + MAPS, width, 3, padding=1),
            nn.ReLU(),
            Bottleneck(width),
            Bottleneck(width),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, picture: Tensor, maps: Tensor) -> Tensor:
        """(B, 3, H/2, W/2), (B, 5, H, W) -> (B, 3, H, W)."""
        larger = F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
        return larger + self.layers(torch.cat((larger, maps), dim=1))


class DeepLens(nn.Module):
    """The network: image, disparity and lens in, picture out."""

    def __init__(self, widths: tuple[int, int] = WIDTHS):
        """With random weights, so many channels in the kernel network and the guided steps."""
        super().__init__()
        self.blur = LensBlur(widths[0])
        self.steps = nn.ModuleList(GuidedStep(widths[1]) for _ in range(2))

    def forward(self, image: Tensor, disparity: Tensor, lens: Lens) -> Tensor:
        """The picture (B, 3, H, W), not clamped.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1], of any size.
            disparity: (B, 1, H, W) in [0, 1].
            lens: in px of this image.
        """
        maps = torch.cat((image, disparity, signed_coc(disparity, lens) / UNIT), dim=1)
        return trained.padded(self._blurred, maps, SHRINK)

    def _blurred(self, maps: Tensor) -> Tensor:
        picture = self.blur(_smaller(maps, SHRINK))
        for step, shrink in zip(self.steps, (2, 1), strict=True):
            picture = step(picture, _smaller(maps, shrink))
        return picture


def _smaller(maps: Tensor, shrink: int) -> Tensor:
    """Area means; the blur radius in px of the smaller picture."""
    small = F.avg_pool2d(maps, shrink) if shrink > 1 else maps
    return torch.cat((small[:, :4], small[:, 4:] / shrink), dim=1)


def network(name: str, paper_width: bool = False) -> DeepLens:
    """What training starts from.

    Raises:
        InputError: the paper's width is asked for; it is not known here.
    """
    if paper_width:
        raise InputError(f"--paper-width: found {name}; accepted: a method whose width is known")
    return DeepLens()


def load(name: str, device: str = "cpu"):
    """The renderer of a method's own weight file, see `trained.load_own`."""
    return trained.load_own(name, network, device)
