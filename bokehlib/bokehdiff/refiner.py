"""Disparity moved to where the picture has its edges, before anything is rendered from it.

An estimated disparity map is right about surfaces and wrong about outlines: they lie some pixels
beside those of the photo. A small convolutional network sees both and says, for every pixel, whose
disparity among its neighbours' it should have,

    refined(p) = d(p + o_k),   k = argmax over the offsets o_k of w_k(p), w = softmax,

so every disparity of the result is one of the map's, none lies between a foreground's and a
background's, and a constant map stays as it is.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bokehlib.io import tensorfiles
from bokehlib.io.weightfiles import need_weights

WEIGHTS = "refiner.safetensors"
WIDTHS = (32, 48, 64, 80)  # channels at 2, 4, 8 and 16 px
RINGS = (2, 4, 6, 9)  # px, distances of the neighbours, in eight directions each
WINDOW = 17  # px, over which the second disparity channel is stretched to [0, 1]
FLAT = 0.02  # of disparity, a contrast that counts as half of one
OFFSETS = (  # (y, x) in px; the pixel itself first
    (0, 0),
    *((y * r, x * r) for r in RINGS for y, x in ((-1, 0), (0, -1), (0, 1), (1, 0))),
    *(
        (y * round(0.71 * r), x * round(0.71 * r))
        for r in RINGS
        for y, x in ((-1, -1), (-1, 1), (1, -1), (1, 1))
    ),
)
STRIDE = 16  # px of the coarsest level


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Refiner(nn.Module):
    """A U-Net at 1/2 to 1/16 of the resolution that weighs every pixel's neighbours."""

    def __init__(self, widths: Sequence[int] = WIDTHS):
        """Start near the identity.

        Args:
            widths: as `WIDTHS`.
        """
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.stem = nn.Conv2d(4 * 5, widths[0], 3, padding=1)
        self.left = nn.ModuleList(_Block(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.right = nn.ModuleList(_Block(a) for a, _ in pairs)
        self.head = nn.Conv2d(widths[0], 4 * len(OFFSETS), 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)
        own = torch.zeros(4 * len(OFFSETS))
        own[:4] = 3.0
        self.head.bias = nn.Parameter(own)

    def weights(self, image: Tensor, disparity: Tensor) -> Tensor:
        """What every pixel takes of its neighbours, (B, len(OFFSETS), H, W), adding up to 1."""
        height, width = disparity.shape[-2:]
        reach = WINDOW // 2
        low, high = (sign * F.max_pool2d(sign * disparity, WINDOW, 1, reach) for sign in (-1, 1))
        stretched = (disparity - low) / (high - low + FLAT)
        x = torch.cat((2 * image - 1, disparity, stretched), dim=1)
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        x = self.stem(F.pixel_unshuffle(x, 2))
        passed = []
        for block, down in zip(self.left, self.down, strict=False):
            passed.append(block(x))
            x = down(passed[-1])
        x = self.left[-1](x)
        for level in reversed(range(len(self.up))):
            x = F.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = self.right[level](x + passed[level])
        logits = F.pixel_shuffle(self.head(F.silu(x)), 2)
        return logits[..., :height, :width].float().softmax(dim=1)

    def forward(self, image: Tensor, disparity: Tensor) -> Tensor:
        """The refined map.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1].
            disparity: (B, 1, H, W) in [0, 1], 1 = nearest.

        Returns:
            Like disparity.
        """
        chosen = self.weights(image, disparity).argmax(dim=1, keepdim=True)
        refined = disparity
        for k, there in enumerate(neighbours(disparity)):
            refined = torch.where(chosen == k, there, refined)
        return refined


def neighbours(disparity: Tensor) -> Iterator[Tensor]:
    """The map (B, 1, H, W) seen from every one of `OFFSETS`; beyond its edge its edge goes on."""
    height, width = disparity.shape[-2:]
    reach = max(RINGS)
    padded = F.pad(disparity, (reach,) * 4, mode="replicate")
    for y, x in OFFSETS:
        yield padded[..., reach + y :, reach + x :][..., :height, :width]


def load(device: str | torch.device = "cpu") -> Refiner:
    """The trained network.

    Raises:
        InputError: if its weight file is missing or broken.
    """
    weights, inside = tensorfiles.read(need_weights(WEIGHTS))
    refiner = Refiner(inside["widths"])
    refiner.load_state_dict(weights)
    return refiner.requires_grad_(False).to(device)
