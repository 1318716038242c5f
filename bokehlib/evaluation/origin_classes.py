"""Where the light of a pixel comes from, by the true layers: four classes of pixels.

Through each lens point a pixel of the true picture receives light from points of the layers. Such
a point shows in the all-in-focus picture as far as nearer layers let it. Over the lens,

    coverage = share of the pixel's light that comes from what shows there,

and 1 - coverage comes from what is hidden: no renderer can know it, a prior can guess it. What
lies beyond the picture's border counts as shown unless a nearer layer hides it.

The classes are those of `study.ORIGINS`: in focus and smooth blur have one layer's light, all of
it shown; a visible edge has that of several; hidden background is what lacks coverage. Less than
`ORIGIN_SHARE` of the light does not count.

`write_all` makes the committed files anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from bokehlib.data import manifest, synbokeh
from bokehlib.evaluation.origins import BITS
from bokehlib.evaluation.protocol import ORIGIN_SHARE, ORIGINS
from bokehlib.io.images import replacing
from bokehlib.optics import IN_FOCUS_RADIUS, Lens
from bokehlib.synthesis import Synthesiser
from bokehlib.synthesis.planes import Layers, lens_points, lens_points_needed, unhidden

IN_FOCUS, SMOOTH, EDGE, HIDDEN = range(len(ORIGINS))


def coverage_and_shares(
    layers: Layers, lens: Lens, points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of a pixel's light that comes from what shows, and from each layer.

    Args:
        layers: the scenes.
        lens: focus and aperture, floats or (B,) tensors.
        points: (B, P, 2) lens points of the unit disc.

    Returns:
        Coverage (B, H, W) and shares (B, L, H, W), which sum to 1; both in [0, 1].
    """
    alpha = layers.textures[:, :, 3:]  # (B, L, 1, Ht, Wt)
    depth = alpha.shape[1]
    own = torch.eye(depth, dtype=alpha.dtype, device=alpha.device)[None, :, 1:, None, None] * alpha
    # As colours, three at a time, so that the very renderer of the pictures averages them.
    marks = torch.cat([unhidden(alpha[:, :, 0])[:, :, None], own], 2)
    marks = F.pad(marks, (0, 0, 0, 0, 0, -depth % 3))
    found = torch.cat(
        [
            replace(layers, textures=torch.cat([three, alpha], 2)).render(lens, points)
            for three in marks.split(3, 2)
        ],
        1,
    )
    nearer = found[:, 1:depth]
    return found[:, 0], torch.cat([1 - nearer.sum(1, keepdim=True), nearer], 1)


def origins(layers: Layers, lens: Lens, points: torch.Tensor) -> torch.Tensor:
    """Class of every pixel, its number in `study.ORIGINS`: (B, H, W) uint8.

    A pixel of one layer is in focus if the circle of confusion of that layer is below
    `optics.IN_FOCUS_RADIUS` there.

    Args:
        layers: the scenes.
        lens: focus and aperture, floats.
        points: (B, P, 2) lens points of the unit disc.
    """
    coverage, shares = coverage_and_shares(layers, lens, points)
    largest, layer = shares.max(1, keepdim=True)
    radius = lens.aperture * (layers.disparities().gather(1, layer) - lens.focus).abs()
    found = torch.where(radius < IN_FOCUS_RADIUS, IN_FOCUS, SMOOTH)
    found = torch.where(largest < 1 - ORIGIN_SHARE, EDGE, found)[:, 0]
    return torch.where(1 - coverage > ORIGIN_SHARE, HIDDEN, found).to(torch.uint8)


def of_scene(maker: Synthesiser, entry: dict, blurs: Sequence[int]) -> np.ndarray:
    """Classes of some pictures of a manifest's scene, one for each lens: (N, H, W) uint8.

    The lens points are those that made the picture.
    """
    scene = synbokeh.scene_from(entry["scene"])
    layers = maker.layers([scene])
    turned = torch.tensor([scene.rotation], device=layers.textures.device)
    found = []
    for blur in blurs:
        numbers = entry["lens"][blur]
        points = lens_points(lens_points_needed(synbokeh.RADII[blur]), turned)
        lens = Lens(numbers["focus_disparity"], numbers["aperture"])
        found.append(origins(layers, lens, points)[0].cpu().numpy())
    return np.stack(found)


def write(classes: np.ndarray, path: Path) -> None:
    """Classes (N, H, W) of at most four lenses as one lossless grey picture, `BITS` a lens.

    Lenses of a scene have much in common: together they take a third less than each by itself.
    """
    places = BITS * np.arange(len(classes), dtype=np.uint8)[:, None, None]
    picture = Image.fromarray((classes << places).sum(0, dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        picture.convert("RGB").save(temporary, "WEBP", lossless=True, quality=100, method=6)


def write_all(folder: Path) -> None:
    """Write the classes of `synbokeh-mini`, one file per scene; takes minutes on a CPU."""
    frozen = manifest()
    maker = synbokeh.synthesiser()
    for entry in tqdm(frozen["scenes"], desc="where light comes from", unit="scene"):
        with torch.no_grad():
            classes = of_scene(maker, entry, range(len(entry["lens"])))
        write(classes, folder / f"{entry['name']}.webp")
