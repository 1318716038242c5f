"""Cut-outs for the layers: drawn ones with hair, leaves, wires and glass, or a folder of files.

A drawn cut-out is a union of soft-edged primitives. A family is one short function that turns a
random generator into primitives on a 256 px square; its colour comes from a photograph when a
scene is drawn. The families of evaluation are never trained on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bokehlib.io.errors import InputError
from bokehlib.synthesis import families
from bokehlib.synthesis.primitives import BLOB, CAPSULE, HARMONICS, SIDE, Primitives

FAMILIES = {
    "hair": families.hair,
    "leaves": families.leaves,
    "wires": families.wires,
    "glass": families.glass,
    "rods": families.rods,
    "fur": families.fur,
    "fern": families.fern,
    "fence": families.fence,
    "bubbles": families.bubbles,
}
TRAIN_FAMILIES = ("hair", "leaves", "wires", "glass")
RELIEF_FAMILIES = ("rods",)  # of the refiner's training besides: round things show it at a glance
EVAL_FAMILIES = ("fur", "fern", "fence", "bubbles")
EXTENSIONS = (".png", ".webp", ".tif", ".tiff")
EVALUATIONS = 1 << 22  # pixels times primitives rasterised at once


@dataclass(frozen=True)
class Cutouts:
    """A bank of cut-outs.

    Attributes:
        rgba: (M, 4, S, S) uint8, straight alpha, sRGB.
        coloured: (M,) bool; False: colour is not the cut-out's own but comes from a photograph.
    """

    rgba: torch.Tensor
    coloured: torch.Tensor

    def __len__(self) -> int:
        """How many cut-outs there are."""
        return len(self.rgba)

    @staticmethod
    def join(banks: Sequence["Cutouts"]) -> "Cutouts":
        """Several banks of the same side length as one."""
        return Cutouts(
            torch.cat([bank.rgba for bank in banks]), torch.cat([bank.coloured for bank in banks])
        )


def draw_cutouts(
    names: Sequence[str], each: int, seed: int, device: torch.device | str = "cpu"
) -> Cutouts:
    """Draw `each` cut-outs of every named family; cut-out n of a family depends on (seed, n).

    Returns:
        A bank of len(names) * each cut-outs of 256 px, families in turn: 0, 1, ..., 0, 1, ...

    Raises:
        KeyError: for an unknown family.
    """
    for name in names:
        if name not in FAMILIES:
            raise KeyError(f"unknown family {name!r}; known: {', '.join(FAMILIES)}")
    alpha = torch.stack(
        [
            rasterise(FAMILIES[name](np.random.default_rng([seed, n])), device=device)
            for n in range(each)
            for name in names
        ]
    )
    alpha = (alpha * 255).round().to(torch.uint8)
    rgba = torch.cat([torch.full_like(alpha, 255).expand(-1, 3, -1, -1), alpha], 1)
    return Cutouts(rgba, torch.zeros(len(rgba), dtype=torch.bool, device=device))


def load_cutouts(folder: str | Path, device: torch.device | str = "cpu") -> Cutouts:
    """Every RGBA file of a folder, cropped to its alpha box and fitted into a 256 px square.

    Raises:
        InputError: if the folder has no picture with an alpha channel.
    """
    read = (read_cutout(file, device=device) for file in sorted(Path(folder).glob("*")))
    bank = [cutout for cutout in read if cutout is not None]
    if not bank:
        raise InputError(
            f"cutouts {folder}: found no picture with transparency; "
            f"accepted: a folder of RGBA files ({', '.join(EXTENSIONS)})"
        )
    return Cutouts(torch.stack(bank), torch.ones(len(bank), dtype=torch.bool, device=device))


def read_cutout(
    file: Path, side: int = SIDE, device: torch.device | str = "cpu"
) -> torch.Tensor | None:
    """An RGBA file as (4, side, side) uint8, as in `load_cutouts`; None for anything else."""
    from PIL import Image

    if file.suffix.lower() not in EXTENSIONS:
        return None
    with Image.open(file) as picture:
        if "A" not in picture.getbands() and "transparency" not in picture.info:
            return None
        rgba = torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)
    return _fit(rgba.to(device), side) if (rgba[3] > 0).any() else None


def _fit(rgba: torch.Tensor, side: int) -> torch.Tensor:
    """Crop (4, H, W) uint8 to its alpha box, scale its long side to `side`, centre it."""
    rows, columns = ((rgba[3] > 0).any(axis).nonzero() for axis in (1, 0))
    box = rgba[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].float()[None]
    scale = side / max(box.shape[-2:])
    size = [max(1, round(n * scale)) for n in box.shape[-2:]]
    # weighted by alpha, so that the colour of what cannot be seen does not leak into the edge
    box = torch.cat([box[:, :3] * box[:, 3:], box[:, 3:]], 1)
    box = F.interpolate(box, size=size, mode="bilinear", antialias=True)
    box = torch.cat([box[:, :3] / box[:, 3:].clamp(min=1e-3), box[:, 3:]], 1)
    top, left = ((side - n) // 2 for n in size)
    box = F.pad(box, (left, side - size[1] - left, top, side - size[0] - top))
    return box[0].clamp(0, 255).round().to(torch.uint8)


def rasterise(
    primitives: Primitives, side: int = SIDE, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Alpha of a union of primitives, (1, side, side) in [0, 1], edges antialiased over a pixel.

    Each primitive is evaluated on a patch just large enough; the union is the maximum, so the
    order does not matter.
    """
    canvas = torch.zeros(side * side, device=device)
    for kind, coverage in ((CAPSULE, _capsule_coverage), (BLOB, _blob_coverage)):
        rows = primitives[kind] * kind.scale(side / SIDE)
        half = 2.0 ** np.ceil(np.log2(kind.reach(rows) + 1.5))
        for size in np.unique(half):
            group = torch.from_numpy(rows[half == size]).to(device, torch.float32)
            centres = torch.from_numpy(kind.centre(rows[half == size])).to(device, torch.float32)
            patch = int(min(2 * size, 2 * side))
            for part, middle in zip(
                *(t.split(max(1, EVALUATIONS // patch**2)) for t in (group, centres)), strict=True
            ):
                _stamp(canvas, side, patch, part, middle, coverage)
    return canvas.view(1, side, side)


def _stamp(canvas, side, patch, rows, centres, coverage) -> None:
    """Evaluate primitives (n, .) on patches around centres (n, 2) and take the maximum."""
    offset = torch.arange(patch, device=rows.device) - patch // 2
    y = centres[:, 0, None].floor().long() + offset  # (n, patch)
    x = centres[:, 1, None].floor().long() + offset
    alpha = coverage(rows[..., None, None], y[:, :, None] + 0.5, x[:, None, :] + 0.5)
    inside = ((y >= 0) & (y < side))[:, :, None] & ((x >= 0) & (x < side))[:, None, :]
    pixel = (y[:, :, None] * side + x[:, None, :])[inside]
    canvas.scatter_reduce_(0, pixel, alpha[inside], "amax")


def _capsule_coverage(rows: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Alpha (n, h, w) of tapered strokes: the share of a pixel's width that the stroke covers."""
    y0, x0, y1, x1, r0, r1, opacity = rows.unbind(1)
    dy, dx = y1 - y0, x1 - x0
    along = ((y - y0) * dy + (x - x0) * dx) / (dy * dy + dx * dx).clamp(min=1e-6)
    along = along.clamp(0, 1)
    distance = torch.hypot(y - y0 - along * dy, x - x0 - along * dx)
    radius = r0 + along * (r1 - r0)
    covered = torch.minimum(radius, distance + 0.5) - torch.maximum(-radius, distance - 0.5)
    return opacity * covered.clamp(0, 1)


def _blob_coverage(rows: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Alpha (n, h, w) of star-convex outlines: filled, or a ring where a width is given."""
    cy, cx, size, stretch, turn, width, sides, softness, opacity = rows[:, :9].unbind(1)
    harmonics = rows[:, 9:].unflatten(1, (HARMONICS, 2))
    v, u = y - cy, x - cx
    u, v = turn.cos() * u + turn.sin() * v, (turn.cos() * v - turn.sin() * u) * stretch
    distance, angle = torch.hypot(u, v), torch.atan2(v, u)
    outline, slope = torch.ones_like(angle), torch.zeros_like(angle)
    for k in range(HARMONICS):
        amount, phase = harmonics[:, k].unbind(1)
        outline = outline + amount * torch.cos((k + 2) * angle + phase)
        slope = slope - (k + 2) * amount * torch.sin((k + 2) * angle + phase)
    corner = torch.where(sides > 2, math.pi / sides.clamp(min=3), torch.zeros_like(sides))
    wedge = torch.where(
        sides > 2, torch.remainder(angle, 2 * corner.clamp(min=0.01)) - corner, 0 * angle
    )
    outline = outline * corner.cos() / wedge.cos()
    # divided by the gradient's length, so that an edge is one pixel soft wherever it leans
    lean = torch.sqrt(1 + (slope / outline.clamp(min=0.2)) ** 2)
    inside = (size * outline - distance) / lean / torch.where(stretch > 1, stretch.sqrt(), 1.0)
    inside = torch.where(width > 0, width / 2 - inside.abs(), inside)
    return opacity * (0.5 + inside / softness.clamp(min=1)).clamp(0, 1)
