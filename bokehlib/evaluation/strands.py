"""How well is the picture rendered round hair, wire and twigs? PSNR inside a band about strands.

The band is that of the true disparity, `disturb.strand_band`, whatever wrong one is rendered from.
PSNR = -10 log10(e), e the mean square error over the band's pixels and channels, in sRGB.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bokehlib.data.perturb import disturb, strand_band
from bokehlib.evaluation.sharpness import FEWEST, region_psnr, square_error
from bokehlib.optics import Lens

if TYPE_CHECKING:
    from bokehlib.data.datasets import Sample

Renderer = Callable[[Tensor, Tensor, Lens], Tensor]


@torch.inference_mode()
def bands(
    render: Renderer,
    samples: Iterable["Sample"],
    errors: Sequence[int | str],
    device: str | torch.device = "cpu",
) -> list[dict[str, Any]]:
    """Scenes against their true pictures, inside the band.

    Args:
        render: (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W).
        samples: From `datasets.load_dataset`; those with fewer than `FEWEST` pixels are left out.
        errors: Of the disparity, as `disturb.disturb` takes them; 0 for the exact one.
        device: Where the renderer gets its tensors.

    Returns:
        One row a sample and error: image, blur, perturbation, psnr in dB and pixels.

    Raises:
        ValueError: The render is not finite or of another shape, or an error is unknown.
    """
    rows = []
    for sample in samples:
        band = strand_band(sample.disparity)
        if band.sum() < FEWEST:
            continue
        image = sample.image.to(device)
        for error in errors:
            disparity = disturb(sample.disparity, error).to(device)
            off = square_error(render(image, disparity, sample.lens), sample.target)
            found = {"image": sample.name, "blur": sample.blur, "perturbation": str(error)}
            rows.append(found | region_psnr(off, band))
    return rows
