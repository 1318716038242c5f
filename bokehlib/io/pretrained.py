"""Networks that look at pictures for us: LPIPS and DISTS, without a single download.

Both packages bring their own heads and fetch an ImageNet backbone from the web. Here the backbone
comes from `BOKEHLIB_WEIGHTS` or from torch.hub's cache, and a missing one is an error: it is never
replaced by another net. The discriminator's ConvNeXt is looked for in the same places.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import safetensors.torch
import torch

from bokehlib.io.errors import InputError

HUB_FILES = {  # torchvision's name of the ImageNet weights
    "alexnet": "alexnet-owt-7be5be79.pth",
    "convnext_tiny": "convnext_tiny-983f1562.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    "vgg16": "vgg16-397923af.pth",
}
LPIPS_NETS = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}  # lpips -> torchvision


class MissingBackbone(InputError):
    """No weights of this backbone on this machine; the message says where they may lie."""


def lpips_network(net: str) -> torch.nn.Module:
    """LPIPS v0.1 (Zhang et al., 2018) with the heads that the `lpips` package ships.

    Args:
        net: "alex", "squeeze" or "vgg".

    Returns:
        A frozen module in evaluation mode: two images (B, 3, H, W) in [-1, 1] -> (B, 1, 1, 1).

    Raises:
        ValueError: Unknown net.
        MissingBackbone: Its weights are not on this machine.
    """
    if net not in LPIPS_NETS:
        raise ValueError(f"net: found {net!r}; accepted: {', '.join(LPIPS_NETS)}")
    backbone = LPIPS_NETS[net]
    stand_in = SimpleNamespace(**{backbone: _stand_in(backbone)})

    import lpips.pretrained_networks

    with mock.patch.object(lpips.pretrained_networks, "tv", stand_in), _untouched_randomness():
        network = lpips.LPIPS(net=net, version="0.1", verbose=False)
    return network.requires_grad_(False).eval()


def dists_network() -> torch.nn.Module:
    """DISTS (Ding et al., 2020) on VGG16.

    Returns:
        A frozen module in evaluation mode: two images (B, 3, H, W) in [0, 1] -> (B,).

    Raises:
        MissingBackbone: The weights of VGG16, or DISTS's own, are not on this machine.
    """
    stand_in = SimpleNamespace(vgg16=_stand_in("vgg16"))

    from DISTS_pytorch import DISTS_pt

    own = [Path(DISTS_pt.__file__).with_name("weights.pt"), Path(sys.prefix) / "weights.pt"]
    heads = next((path for path in own if path.is_file()), None)
    if heads is None:
        raise MissingBackbone(f"DISTS: found no weights.pt; accepted: {own[0]} or {own[1]}")
    with mock.patch.object(DISTS_pt, "models", stand_in), _untouched_randomness():
        network = DISTS_pt.DISTS(load_weights=False)
    parameters = torch.load(heads, map_location="cpu", weights_only=True)
    network.alpha.data, network.beta.data = parameters["alpha"], parameters["beta"]
    return network.requires_grad_(False).eval()


def find_backbone(backbone: str) -> Path:
    """The file with a backbone's weights: `BOKEHLIB_WEIGHTS` first, then torch.hub's cache.

    Raises:
        MissingBackbone: It is in neither.
    """
    own = os.environ.get("BOKEHLIB_WEIGHTS", "")
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    candidates = [cache / HUB_FILES[backbone]]
    if own:
        features = sorted(Path(own).glob(f"{backbone}_features*.safetensors"))
        candidates = [*features, Path(own) / HUB_FILES[backbone], *candidates]
    for path in candidates:
        if path.is_file():
            return path
    raise MissingBackbone(
        f"{backbone}: found no weights; accepted: {backbone}_features*.safetensors or "
        f"{HUB_FILES[backbone]} in BOKEHLIB_WEIGHTS={own or 'unset'}, or the latter in {cache}"
    )


def backbone_features(backbone: str) -> torch.nn.Sequential:
    """The convolutional part of a torchvision network with its ImageNet weights, in float32.

    Raises:
        MissingBackbone: Its weights are not on this machine.
        RuntimeError: The file lacks weights or holds others.
    """
    path = find_backbone(backbone)
    if path.suffix == ".safetensors":
        weights = safetensors.torch.load_file(path)
    else:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = {key: v for key, v in weights.items() if not key.startswith("classifier.")}
    weights = {key.removeprefix("features."): value.float() for key, value in weights.items()}

    import torchvision

    with torch.device("meta"):  # no random numbers, no memory for the classifier
        features = getattr(torchvision.models, backbone)(weights=None).features
    features.load_state_dict(weights, strict=True, assign=True)
    return features


def _stand_in(backbone: str):
    """What the packages call as torchvision.models.<backbone>(pretrained=True)."""
    features = backbone_features(backbone)
    return lambda pretrained: SimpleNamespace(features=features)


def _untouched_randomness():
    """Construction draws numbers for heads that are then overwritten: keep the global state."""
    return torch.random.fork_rng(devices=[])
