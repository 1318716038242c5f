"""Photographs for the study's pictures, each with a disparity that says where it comes from.

A disparity that was made by a rule instead of measured has `made` in its name. All files come with
the package or with the pip packages it needs; nothing is downloaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from bokehlib import data
from bokehlib.io import images

if TYPE_CHECKING:
    import torch

MOTORCYCLE = ("motorcycle_left.png", "motorcycle_disp.npz")  # beside scikit-image's photographs
MOTORCYCLE_OFFSET = 31.086  # px between both cameras' principal points, by its calibration
WOMAN = (  # outline (x, y) in px of the 512 px photo
    *((25, 512), (21, 400), (28, 350), (45, 298), (62, 260), (82, 238), (113, 208), (116, 184)),
    *((132, 163), (158, 151), (180, 149), (182, 130), (166, 115), (156, 100), (152, 75)),
    *((158, 55), (176, 38), (192, 22), (222, 15), (254, 19), (284, 38), (299, 64), (301, 90)),
    *((294, 112), (276, 128), (264, 146), (256, 174), (280, 190), (298, 214), (305, 242)),
    *((328, 258), (345, 288), (355, 322), (362, 360), (372, 512)),
)
HELMET = (278, 344, 499, 566)  # box of its ellipse
HORIZON = 0.41  # share of the height of EveningGlow.webp that lies above it


@dataclass(frozen=True)
class Photo:
    """A photograph with a disparity.

    Attributes:
        image: (H, W, 3) sRGB in [0, 1].
        disparity: (H, W) in [0, 1], 1 = nearest.
        source: where the disparity comes from, in one sentence.
    """

    image: np.ndarray
    disparity: np.ndarray
    source: str

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.image.shape[1]

    def resized(self, width: int) -> "Photo":
        """The same at another width; disparity by nearest neighbour, lest depths be invented."""
        size = width, round(width * self.image.shape[0] / self.width)
        levels = Image.fromarray(np.round(self.image * 255).astype(np.uint8))
        image = np.asarray(levels.resize(size, Image.Resampling.LANCZOS), dtype=np.float32) / 255
        disparity = Image.fromarray(self.disparity).resize(size, Image.Resampling.NEAREST)
        return Photo(image, np.array(disparity), self.source)

    def tensors(self) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Image (1, 3, H, W) and disparity (1, 1, H, W), as a renderer takes them."""
        import torch

        image = torch.from_numpy(self.image).permute(2, 0, 1)[None]
        return image, torch.from_numpy(self.disparity)[None, None]


def stereo_files() -> list[Path]:
    """The motorcycle's left image and its disparity."""
    folder = data.photo_paths()["skimage/astronaut.png"].parent
    return [folder / name for name in MOTORCYCLE]


def motorcycle() -> Photo:
    """scikit-image's stereo pair with its true disparity (Middlebury 2014)."""
    from scipy import ndimage

    picture, disparity = stereo_files()
    shift = np.load(disparity)["arr_0"].astype(np.float32)
    _, (y, x) = ndimage.distance_transform_edt(~np.isfinite(shift), return_indices=True)
    inverse_depth = shift[y, x] + MOTORCYCLE_OFFSET
    source = (
        "True disparity of the stereo pair: pixel shift plus the calibrated offset of the "
        "principal points (so that it is 1/depth) over its maximum; invalid pixels "
        f"({np.mean(~np.isfinite(shift)):.1%}) take the nearest valid one's."
    )
    return Photo(images.read_image(picture), inverse_depth / inverse_depth.max(), source)


def astronaut_made() -> Photo:
    """scikit-image's astronaut with a disparity made by a rule."""
    image = images.read_image(data.photo_paths()["skimage/astronaut.png"])
    drawn = Image.new("F", image.shape[1::-1], 0.15)
    pen = ImageDraw.Draw(drawn)
    pen.polygon(WOMAN, fill=0.7)
    pen.ellipse(HELMET, fill=0.9)
    source = (
        "Disparity made by a rule, not measured: backdrop 0.15, the woman within a polygon drawn "
        "by hand 0.7, her helmet within an ellipse 0.9."
    )
    return Photo(image, np.array(drawn), source)


def evening_glow_made() -> Photo:
    """An embedded photograph of boats on a beach with a disparity made by a rule."""
    image = images.read_image(data.photo_paths()["photos/EveningGlow.webp"])
    height, width = image.shape[:2]
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    column = np.clip((y - HORIZON) / (1 - HORIZON), 0.02, 1)
    source = (
        "Disparity made by a rule, not measured: level ground, 1 at the lower edge and falling "
        "linearly to 0.02 at the horizon; everything above as far as the horizon."
    )
    return Photo(image, np.repeat(column[:, None], width, axis=1), source)
