"""How good is a render where its light must be guessed? PSNR by the origin of the light.

Every pixel of `synbokeh-mini` has a class of `study.ORIGINS`, by the true layers of its scene
(`origin_classes`). PSNR = -10 log10(e), e the mean square error over the pixels of a class
and their channels, in sRGB.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bokehlib import data
from bokehlib.evaluation.protocol import ORIGINS
from bokehlib.evaluation.sharpness import FEWEST, region_psnr, square_error
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens

if TYPE_CHECKING:
    from bokehlib.data.datasets import Sample

Renderer = Callable[[Tensor, Tensor, Lens], Tensor]
BITS = 2  # of a pixel's grey that hold its class under one lens, the first lens lowest


def read(scene: str, root: Path | None = None) -> np.ndarray:
    """Classes of a scene's pixels for each of its lenses, (lenses, H, W) uint8.

    Args:
        scene: its name in `synbokeh-mini`.
        root: folder of the files; None: the committed ones.

    Raises:
        InputError: no such scene of `synbokeh-mini` has them, or its file is none of theirs.
    """
    path = (root or data.ORIGINS) / f"{scene}.webp"
    lenses = {entry["name"]: len(entry["lens"]) for entry in data.manifest()["scenes"]}
    try:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
        places = BITS * np.arange(lenses[scene], dtype=np.uint8)[:, None, None]
        return (grey >> places) & (2**BITS - 1)
    except (OSError, ValueError, KeyError) as error:
        found = "no such file" if not path.exists() else type(error).__name__
        raise InputError(
            f"{path}: found {found}; accepted: a scene of synbokeh-mini, "
            "from bokehlib.evaluation.origin_classes"
        ) from None


@torch.inference_mode()
def by_origin(
    render: Renderer, samples: Iterable["Sample"], device: str | torch.device = "cpu"
) -> list[dict[str, Any]]:
    """Scenes against their true pictures, class by class.

    Args:
        render: (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W).
        samples: of `synbokeh-mini`, from `datasets.load_dataset`.
        device: Where the renderer gets its tensors.

    Returns:
        One row a sample and class of at least `FEWEST` pixels: origin, image, blur, psnr in dB
        and pixels. The four classes together are the whole picture.

    Raises:
        InputError: A sample is none of `synbokeh-mini`.
        ValueError: The render is not finite or of another shape.
    """
    rows = []
    for sample in samples:
        classes = torch.from_numpy(read(sample.name)[sample.blur])[None, None]
        # A smoke run's pictures are smaller: every pixel has the class of the one it lies on.
        classes = F.interpolate(classes, size=sample.target.shape[-2:], mode="nearest-exact")
        image, disparity = sample.image.to(device), sample.disparity.to(device)
        error = square_error(render(image, disparity, sample.lens), sample.target)
        for number, origin in enumerate(ORIGINS):
            mask = classes == number
            if mask.sum() >= FEWEST:
                found = {"origin": origin, "image": sample.name, "blur": sample.blur}
                rows.append(found | region_psnr(error, mask))
    return rows
