"""Does a renderer leave what is in focus as it is? PSNR over regions of the picture.

- A photograph at one disparity, in focus under an open aperture, must come back unchanged: it is
  compared with itself.
- A scene is compared with its true picture, over the pixels in focus that no nearer disc reaches,
  over those under the blur of something nearer, and over all others, which are blurred themselves.
  The rim of the first region limits even the all-in-focus photo, so it is measured without too.

PSNR = -10 log10(e), e the mean square error over the region's pixels and channels of pictures in
sRGB, clamped to [0, 1]; at most `HIGHEST`, since equal pictures would have an infinite one.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.data import photo_paths
from bokehlib.evaluation.focus import sharp_and_reached
from bokehlib.evaluation.protocol import FOCUS_APERTURE, FOCUS_REGIONS
from bokehlib.io.images import read_image
from bokehlib.optics import Lens

if TYPE_CHECKING:
    from bokehlib.data.datasets import Sample

Renderer = Callable[[Tensor, Tensor, Lens], Tensor]

CONSTANT, IN_FOCUS, INSIDE, UNDER, BLURRED = FOCUS_REGIONS
HIGHEST = 100.0  # dB
FEWEST = 100  # pixels; a smaller region of a scene says nothing
RIM = 2  # px
PLANE = 0.5  # disparity of a photograph, and of the focus
SIZE, SMOKE_SIZE = (256, 384), (64, 96)  # px


def photographs(smoke: bool = False) -> dict[str, Tensor]:
    """Name -> photograph (1, 3, H, W) of the benchmark, cut to `SIZE`; one small one for smoke.

    Raises:
        InputError: a package that brings some of them is not installed.
    """
    height, width = SMOKE_SIZE if smoke else SIZE
    paths = list(photo_paths().items())[: 1 if smoke else None]
    return {
        name: torch.from_numpy(read_image(path)[:height, :width]).permute(2, 0, 1)[None]
        for name, path in paths
    }


@torch.inference_mode()
def constant(
    render: Renderer,
    photos: Mapping[str, Tensor],
    device: str | torch.device = "cpu",
    aperture: float = FOCUS_APERTURE,
) -> list[dict[str, Any]]:
    """Photographs at one disparity in focus, against themselves.

    Args:
        render: (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W).
        photos: name -> (1, 3, H, W), sRGB in [0, 1].
        device: Where the renderer gets its tensors.
        aperture: In pixels of blur radius per unit of disparity.

    Returns:
        One row a photograph: region "constant", image, psnr in dB and pixels.

    Raises:
        ValueError: The render is not finite or of another shape.
    """
    rows = []
    for name, photo in photos.items():
        image = photo.contiguous().to(device)
        plane = torch.full_like(image[:, :1], PLANE)
        error = square_error(render(image, plane, Lens(PLANE, aperture)), photo)
        rows.append(_row(CONSTANT, name, error, torch.ones_like(error, dtype=torch.bool)))
    return rows


@torch.inference_mode()
def scenes(
    render: Renderer, samples: Iterable["Sample"], device: str | torch.device = "cpu"
) -> list[dict[str, Any]]:
    """Scenes against their true pictures, region by region.

    Args:
        render: As for `constant`.
        samples: From `datasets.load_dataset`, one lens per scene.
        device: Where the renderer gets its tensors.

    Returns:
        One row a scene and region of at least `FEWEST` pixels: region, image, psnr in dB and
        pixels. Together "in focus", "under near blur" and "blurred" are the whole picture;
        "in focus, 2 px inside" is the first without what is within `RIM` of another region.

    Raises:
        ValueError: The render is not finite or of another shape.
    """
    rows = []
    for sample in samples:
        image, disparity = sample.image.to(device), sample.disparity.to(device)
        error = square_error(render(image, disparity, sample.lens), sample.target)
        for region, mask in _regions(sample.disparity, sample.lens).items():
            if mask.sum() >= FEWEST:
                rows.append(_row(region, sample.name, error, mask))
    return rows


def _regions(disparity: Tensor, lens: Lens) -> dict[str, Tensor]:
    """Region -> (1, 1, H, W) bool, from the true disparity."""
    sharp, reached = sharp_and_reached(disparity, lens)
    clear = sharp & ~reached
    # Beyond the picture's border lies no other region: the border is no rim.
    rim = F.max_pool2d((~clear).float(), 2 * RIM + 1, stride=1, padding=RIM) > 0
    return {IN_FOCUS: clear, INSIDE: ~rim, UNDER: sharp & reached, BLURRED: ~sharp}


def square_error(render: Tensor, truth: Tensor) -> Tensor:
    """Mean square error over the channels, (1, 1, H, W) in float64 on the CPU."""
    if render.shape != truth.shape or not render.isfinite().all():
        found = f"{tuple(render.shape)}, finite: {bool(render.isfinite().all())}"
        raise ValueError(f"render: found {found}; accepted: {tuple(truth.shape)}, finite")
    difference = render.cpu().double().clamp(0, 1) - truth.double().clamp(0, 1)
    return difference.square().mean(dim=1, keepdim=True)


def region_psnr(error: Tensor, mask: Tensor) -> dict[str, Any]:
    """PSNR in dB over the pixels of a mask, at most `HIGHEST`, and how many they are."""
    mean = float(error[mask].mean())
    psnr = HIGHEST if mean == 0 else min(-10 * math.log10(mean), HIGHEST)
    return {"psnr": psnr, "pixels": int(mask.sum())}


def _row(region: str, image: str, error: Tensor, mask: Tensor) -> dict[str, Any]:
    return {"region": region, "image": image} | region_psnr(error, mask)
