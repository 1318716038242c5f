"""The two networks of MPIB. Attributes carry the names of the published weight files.

MPINet looks at the photo and its disparity with a residual network (ResNet-18 in the published
width), then once for every plane at what it found and at where that plane's pixels are, and says
for each plane how much of the painted background it shows and where it is opaque. AUPNet doubles
the size of the opacities, looking at the photo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PLANES = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@dataclass(frozen=True)
class Widths:
    """Channels of the networks, and what normalises them."""

    encoder: tuple[int, ...] = (64, 64, 128, 256, 512)  # at 1/2 ... 1/32 of the size
    decoder: tuple[int, ...] = (16, 32, 64, 128, 256)  # at 1/1 ... 1/16
    blocks: int = 2  # in each of the last four levels of the encoder
    mask: int = 16  # what is made of a plane's mask
    alpha: int = 16  # of AUPNet
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d


PAPER = Widths()
MINI = Widths((16, 24, 32, 48, 64), (8, 16, 24, 32, 48), 1, 8, 4, partial(nn.GroupNorm, 1))


def normalised(image: Tensor) -> Tensor:
    """As networks trained on ImageNet want it."""
    mean, std = (image.new_tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return (image - mean) / std


class _Padded(nn.Sequential):
    """A convolution without bias whose borders are continued; the weights lie under `1`."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1):
        pad = nn.ReplicationPad2d(side // 2)
        super().__init__(pad, nn.Conv2d(inputs, outputs, side, stride, bias=False))


class _Residual(nn.Module):
    """Two convolutions of 3x3 px added to what they got."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm):
        super().__init__()
        self.conv1, self.bn1 = _Padded(inputs, outputs, 3, stride), norm(outputs)
        self.conv2, self.bn2 = _Padded(outputs, outputs, 3), norm(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_Padded(inputs, outputs, 1, stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        added = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(added + (x if self.downsample is None else self.downsample(x)))


class _ResNet(nn.Module):
    """The residual network without its classifier, on photo and disparity."""

    def __init__(self, widths: Widths):
        super().__init__()
        first = widths.encoder[0]
        self.conv1, self.bn1 = _Padded(4, first, 7, 2), widths.norm(first)
        before = first
        for level, channels in enumerate(widths.encoder[1:], start=1):
            stride = 1 if level == 1 else 2
            blocks = [_Residual(before, channels, stride, widths.norm)]
            for _ in range(widths.blocks - 1):
                blocks.append(_Residual(channels, channels, 1, widths.norm))
            setattr(self, f"layer{level}", nn.Sequential(*blocks))
            before = channels

    def forward(self, maps: Tensor) -> list[Tensor]:
        found = [F.relu(self.bn1(self.conv1(maps)))]
        x = F.max_pool2d(found[0], 3, 2, 1)
        for level in range(1, 5):
            x = getattr(self, f"layer{level}")(x)
            found.append(x)
        return found


class _Encoder(nn.Module):
    def __init__(self, widths: Widths):
        super().__init__()
        self.encoder = _ResNet(widths)


class _Convolution(nn.Module):
    """3x3 px, with bias, borders continued."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, [1] * 4, mode="replicate"))


class _Layer(nn.Module):
    """A convolution, a norm and an ELU."""

    def __init__(self, inputs: int, outputs: int, norm):
        super().__init__()
        self.conv, self.bn = _Convolution(inputs, outputs), norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.bn(self.conv(x)))


def _key(*parts: str | int) -> str:
    """The published name of a decoder's layer: the characters of a Python tuple, dashes between."""
    return "-".join(str(parts))


def _for_each(maps: Tensor, count: int) -> Tensor:
    """Maps (B, C, H, W) once for every plane of their picture, (count, C, H, W)."""
    planes = count // len(maps)
    return maps[:, None].expand(-1, planes, -1, -1, -1).flatten(0, 1)


class _Decoder(nn.Module):
    def __init__(self, widths: Widths):
        super().__init__()
        self.embedder = _Layer(1, widths.mask, widths.norm)
        self.convs = nn.ModuleDict()
        before = widths.encoder[-1] + widths.mask
        for level in range(4, -1, -1):
            channels = widths.decoder[level]
            beside = widths.encoder[level - 1] + widths.mask if level else 0
            self.convs[_key("upconv", level, 0)] = _Layer(before, channels, widths.norm)
            self.convs[_key("upconv", level, 1)] = _Layer(channels + beside, channels, widths.norm)
            before = channels
        self.convs[_key("dispconv", 0)] = _Convolution(before, 2)

    def forward(self, found: list[Tensor], mask: Tensor) -> Tensor:
        """What the encoder found, (B, C, h, w) each, masks (B S, 1, H, W) -> (B S, 2, H, W)."""
        plane = self.embedder(mask)

        def beside(level: int) -> list[Tensor]:
            size = found[level].shape[-2:]
            small = F.interpolate(plane, size=size, mode="bilinear", align_corners=True)
            return [_for_each(found[level], len(mask)), small]

        x = torch.cat(beside(4), dim=1)
        for level in range(4, -1, -1):
            x = self.convs[_key("upconv", level, 0)](x)
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = torch.cat((x, *beside(level - 1)), dim=1) if level else x
            x = self.convs[_key("upconv", level, 1)](x)
        return torch.sigmoid(self.convs[_key("dispconv", 0)](x))


class MPINet(nn.Module):
    """Photo and disparity in, planes out."""

    def __init__(self, widths: Widths = PAPER):
        """With random weights."""
        super().__init__()
        self.encoder, self.decoder = _Encoder(widths), _Decoder(widths)

    def forward(self, image: Tensor, disparity: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Weight of the background and opacity of the planes, (B S, 1, H, W) in [0, 1] each.

        Args:
            image: (B, 3, H, W), sRGB; sides that 32 divides.
            disparity: (B, 1, H, W) in [0, 1].
            planes: (B, S), numbers of the planes that are wanted, 0 = farthest.
        """
        centre = ((planes + 0.5) / PLANES).to(image)[..., None, None]
        mask = ((disparity - centre).abs() <= 0.5 / PLANES).to(image).flatten(0, 1)[:, None]
        found = self.encoder.encoder(torch.cat((normalised(image), disparity), dim=1))
        made = self.decoder(found, mask)
        return made[:, :1], made[:, 1:]


class AUPNet(nn.Module):
    """Opacities of half the size and the photo in, opacities of the photo's size out."""

    def __init__(self, widths: Widths = PAPER):
        """With random weights."""
        super().__init__()
        c, norm = widths.alpha, widths.norm
        self.conv_image = nn.Sequential(_Layer(4, c, norm), _Layer(c, c, norm))
        self.conv_alpha = _Layer(1, c, norm)
        self.upsample = nn.Sequential(_Layer(2 * c, 2 * c, norm), _Layer(2 * c, 2 * c, norm))
        self.conv_output = nn.Sequential(
            _Layer(3 * c, 2 * c, norm), _Layer(2 * c, c, norm), _Convolution(c, 1)
        )

    def forward(self, image: Tensor, disparity: Tensor, alpha: Tensor) -> Tensor:
        """(B, 3, H, W), (B, 1, H, W), (B S, 1, H/2, W/2) -> (B S, 1, H, W) in [0, 1]."""
        seen = self.conv_image(torch.cat((normalised(image), disparity), dim=1))
        small = F.max_pool2d(seen, 2)
        seen, small = (_for_each(x, len(alpha)) for x in (seen, small))
        x = self.upsample(torch.cat((small, self.conv_alpha(alpha)), dim=1))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return torch.sigmoid(self.conv_output(torch.cat((x, seen), dim=1)))
