"""Restormer, told about the lens: attention among channels, gated feed-forward, a U of four levels.

Zamir et al. (CVPR 2022) restore a picture with blocks of two parts, each added to what it got.
The first is attention in which channels, not places, look at each other: with q, k, v of every
place from 1x1 and depth-wise 3x3 convolutions, A = softmax(t q k^T) over C/h x C/h, q and k of unit
length over the places. The second gates one half of its channels by GELU of the other half. Three
times the size is halved on the way down and doubled on the way up.

The comparison needs a lens, of which the paper of BokehDiff says only that it was given: here the
input has five channels, the photo, the disparity, and the signed blur radius (disparity - focus) K
in units of 10 px; the network predicts what is to be added to the photo.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bokehlib.baselines import trained
from bokehlib.optics import Lens, signed_coc

EXPANSION = 2.66  # of the feed-forward part
INPUTS = 5
UNIT = 10.0  # px of blur radius that count as 1


@dataclass(frozen=True)
class Widths:
    """Sizes of the network: channels at full size, blocks and heads of each level."""

    channels: int
    blocks: tuple[int, int, int, int]
    refinement: int  # blocks after the last level
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)


PAPER = Widths(48, (4, 6, 6, 8), 4)
MINI = Widths(8, (1, 1, 1, 2), 1)  # of the embedded file


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every place, (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, scale and shift."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelAttention(nn.Module):
    """Channels of a head attend to each other."""

    def __init__(self, channels: int, heads: int):
        """`heads` divides `channels`."""
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Sequential(_mix(channels, 3 * channels), _look(3 * channels))
        self.out = _mix(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        heads = len(self.temperature)
        q, k, v = self.qkv(x).flatten(2).unflatten(1, (3, heads, -1)).unbind(1)  # (B, h, C/h, HW)
        logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature
        return self.out((logits.softmax(dim=-1) @ v).flatten(1, 2).unflatten(-1, x.shape[-2:]))


class GatedForward(nn.Module):
    """Every place by itself and its neighbours, one half gated by the other."""

    def __init__(self, channels: int):
        """Twice `EXPANSION` channels inside."""
        super().__init__()
        inside = int(channels * EXPANSION)
        self.inner = nn.Sequential(_mix(channels, 2 * inside), _look(2 * inside))
        self.out = _mix(inside, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        gate, value = self.inner(x).chunk(2, dim=1)
        return self.out(F.gelu(gate) * value)


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, channels: int, heads: int):
        """Each with a norm before it."""
        super().__init__()
        self.attention = nn.Sequential(ChannelNorm(channels), ChannelAttention(channels, heads))
        self.forward_part = nn.Sequential(ChannelNorm(channels), GatedForward(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.attention(x)
        return x + self.forward_part(x)


def _mix(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def _look(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def _blocks(channels: int, heads: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels, heads) for _ in range(count)))


def _halve(channels: int) -> nn.Sequential:
    fewer = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
    return nn.Sequential(fewer, nn.PixelUnshuffle(2))


def _double(channels: int) -> nn.Sequential:
    more = nn.Conv2d(channels, channels * 2, 3, padding=1, bias=False)
    return nn.Sequential(more, nn.PixelShuffle(2))


class Restormer(nn.Module):
    """The network: image, disparity and lens in, picture out."""

    multiple = 8  # sides that it wants

    def __init__(self, widths: Widths = PAPER):
        """With random weights."""
        super().__init__()
        levels = [widths.channels * 2**n for n in range(4)]
        spec = list(zip(levels, widths.heads, widths.blocks, strict=True))
        self.first = nn.Conv2d(INPUTS, levels[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(_blocks(*level) for level in spec)
        self.shrink = nn.ModuleList(_halve(c) for c in levels[:3])
        self.grow = nn.ModuleList(_double(c) for c in levels[1:])
        self.join = nn.ModuleList(_mix(2 * c, c) for c in levels[1:3])
        # At full size the joined channels are kept, twice as many as on the way down.
        wide, heads = 2 * levels[0], widths.heads[0]
        self.up = nn.ModuleList(
            (_blocks(wide, heads, widths.blocks[0]), *(_blocks(*level) for level in spec[1:3]))
        )
        self.refine = _blocks(wide, heads, widths.refinement)
        self.last = nn.Conv2d(wide, 3, 3, padding=1, bias=False)

    def forward(self, image: Tensor, disparity: Tensor, lens: Lens) -> Tensor:
        """The picture (B, 3, H, W), not clamped.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1], of any size.
            disparity: (B, 1, H, W) in [0, 1].
            lens: in px of this image.
        """
        signed = signed_coc(disparity, lens) / UNIT
        maps = torch.cat((image, disparity, signed), dim=1)
        return image + trained.padded(self._added, maps, self.multiple)

    def _added(self, maps: Tensor) -> Tensor:
        x, kept = self.first(maps), []
        for level in range(3):
            x = self.down[level](x)
            kept.append(x)
            x = self.shrink[level](x)
        x = self.down[3](x)
        for level in (2, 1, 0):
            x = torch.cat((self.grow[level](x), kept[level]), dim=1)
            x = self.up[level](self.join[level - 1](x) if level else x)
        return self.last(self.refine(x))


def network(name: str, paper_width: bool = False) -> Restormer:
    """What training starts from, in the paper's width or that of the embedded file."""
    return Restormer(PAPER if paper_width else MINI)


def load(name: str, device: str = "cpu"):
    """The renderer of a method's own weight file, see `trained.load_own`."""
    return trained.load_own(name, network, device)
