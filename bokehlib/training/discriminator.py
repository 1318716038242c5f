"""The discriminator of Eq. 11: features of a frozen ConvNeXt and a small head that learns."""

import logging
import math

import torch
from torch.nn.utils.parametrizations import spectral_norm

from bokehlib.io.pretrained import MissingBackbone, backbone_features

BACKBONE = "convnext_tiny"
CHANNELS = 768  # of its last feature map, one place a 32 px
HIDDEN = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which it was trained on


class Discriminator(torch.nn.Module):
    """Tells true pictures from made ones, at every place of a feature map."""

    mean: torch.Tensor
    std: torch.Tensor
    pretrained: torch.Tensor

    def __init__(self, features: torch.nn.Module, channels: int, pretrained: bool):
        """Freeze the backbone and put a head with random weights on it.

        Args:
            features: images (B, 3, H, W) in ImageNet's normalisation -> (B, channels, h, w).
            channels: of the features.
            pretrained: whether the features were learnt; decides the label alone.
        """
        super().__init__()
        self.features = features.requires_grad_(False)
        self.head = torch.nn.Sequential(
            spectral_norm(torch.nn.Conv2d(channels, HIDDEN, 1)),
            torch.nn.LeakyReLU(0.2),
            spectral_norm(torch.nn.Conv2d(HIDDEN, 1, 1)),
        )
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        # A buffer, so that a run that is resumed keeps its backbone together with its name.
        self.register_buffer("pretrained", torch.tensor(pretrained))
        self.train()

    @property
    def label(self) -> str:
        """The backbone as tables and notes name it."""
        return "ConvNeXt, ImageNet" if self.pretrained else "ConvNeXt, random"

    def train(self, mode: bool = True) -> "Discriminator":
        """Set the mode of the head; the backbone stays in evaluation mode (no random depth)."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) in [-1, 1], sides of 32 px or more -> logits (B, 1, h, w).

        Positive means true. In training mode every call moves the vectors of the spectral norm.
        """
        return self.head(self.features(((image + 1) / 2 - self.mean) / self.std))


def convnext(seed: int) -> Discriminator:
    """The discriminator of a training run, on ConvNeXt-T.

    Where its ImageNet weights are not on this machine the backbone is random, which the label and
    one line on stderr say.

    Args:
        seed: of all random weights; the global state of random numbers is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            found = Discriminator(backbone_features(BACKBONE), CHANNELS, pretrained=True)
        except MissingBackbone as missing:
            import torchvision

            # At ConvNeXt's own layer scale of 1e-6 the blocks of a random net would do nothing.
            network = torchvision.models.convnext_tiny(weights=None, layer_scale=1.0)
            found = _random(network.features, CHANNELS)
            logging.getLogger(__name__).warning("discriminator: %s (%s)", found.label, missing)
    return found


def tiny(seed: int = 0) -> Discriminator:
    """The same with a handful of random channels: smoke runs and tests."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [CNBlockConfig(8, 8, 1), CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _random(ConvNeXt(blocks, layer_scale=1.0).features, 16)


def _random(features: torch.nn.Module, channels: int) -> Discriminator:
    """With weights that keep the variance: the small ones of a net to be trained lose it."""
    for layer in features.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.weight[0].numel()))
    return Discriminator(features, channels, pretrained=False)
