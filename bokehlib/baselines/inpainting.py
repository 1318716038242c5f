"""Painting what stands behind a foreground: LaMa where the user has it, else OpenCV."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bokehlib.io.weightfiles import LAMA, find_weights

RADIUS = 3  # px around a hole that OpenCV's method looks at
DEPTH = 65_535
MULTIPLE = 8  # LaMa wants sides that this divides


class Inpainter:
    """Fills holes of pictures and of disparity maps.

    LaMa is the TorchScript export `big-lama.pt` (picture and mask in, picture out); without it
    Telea's method paints every channel by itself.
    """

    def __init__(self, device: str = "cpu"):
        """Load LaMa onto the device if it is in BOKEHLIB_WEIGHTS."""
        path = find_weights(LAMA)
        self.device, self.network = device, None
        if path is not None:
            self.network = torch.jit.load(path, map_location=device).eval()

    @torch.no_grad()
    def __call__(self, picture: Tensor, hole: Tensor) -> Tensor:
        """Fill where `hole` (1, 1, H, W) is true in a picture (1, C, H, W) in [0, 1].

        Returns:
            (1, C, H, W) in [0, 1]; what is outside the hole stays as it is, bit for bit.
        """
        if not hole.any() or hole.all():
            return picture
        painted = _telea(picture, hole) if self.network is None else self._lama(picture, hole)
        return torch.where(hole, painted.to(picture).clamp(0, 1), picture)

    def _lama(self, picture: Tensor, hole: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        margin = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        colours = picture.expand(-1, 3, -1, -1).float().to(self.device)
        mask = F.pad(hole.float().to(self.device), margin, mode="replicate")
        assert self.network is not None
        painted = self.network(F.pad(colours, margin, mode="replicate"), mask)
        painted = painted[..., :height, :width]
        return painted if picture.shape[1] == 3 else painted.mean(1, keepdim=True)


def _telea(picture: Tensor, hole: Tensor) -> Tensor:
    import cv2

    mask = hole[0, 0].cpu().numpy().astype(np.uint8)
    # 16 bits: it overshoots wildly on floats, and 8 are too few for disparities.
    channels = (picture[0].clamp(0, 1) * DEPTH).round().cpu().numpy().astype(np.uint16)
    filled = [cv2.inpaint(c, mask, RADIUS, cv2.INPAINT_TELEA) for c in channels]
    return torch.from_numpy(np.stack(filled).astype(np.float32) / DEPTH)[None]
