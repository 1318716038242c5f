"""Drawing scenes: photographs and cut-outs as tilted layers, lamps, and a lens (Sec. 3.3)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bokehlib.optics import Lens
from bokehlib.synthesis.mattes import TRAIN_FAMILIES, Cutouts, draw_cutouts, load_cutouts
from bokehlib.synthesis.photos import Crop, Photos, uniform, upload
from bokehlib.synthesis.planes import Layers, lens_points, positions, to_display, to_linear

Plane = tuple[float, float, float]
Lamp = tuple[float, float, float, float, float, float]

WITH_LAMPS = 1 / 3  # share of scenes
SMALLEST_RADIUS = 2.0  # px, of a scene's largest blur
NEAREST = 0.97  # disparity that nothing exceeds


@dataclass(frozen=True)
class Foreground:
    """One cut-out in a scene.

    Attributes:
        cutout: its number in the bank.
        texture: photograph that colours it, unless it has a colour of its own.
        contrast: share of the texture that is kept around its mean colour.
        tint: gain of the texture's linear R, G, B.
        y: its middle, px below the window's centre.
        x: its middle, px right of the window's centre.
        side: px, of its square.
        angle: radians, turned clockwise as displayed.
        flip: mirrored left to right before it is turned.
    """

    cutout: int
    texture: Crop
    contrast: float
    tint: tuple[float, float, float]
    y: float
    x: float
    side: float
    angle: float
    flip: bool


@dataclass(frozen=True)
class Scene:
    """Everything drawn for a scene, in plain numbers.

    Attributes:
        background: the photograph that lies farthest.
        foregrounds: far to near.
        planes: (a_y, a_x, b) of the background and each foreground; disparity a.p + b.
        lamps: (y, x, radius in px, R, G, B in linear light) on the background.
        focus: number of the layer in focus, 0 = background.
        radius: px, the largest blur over what is visible.
        rotation: radians, of the pattern of lens points.
    """

    background: Crop
    foregrounds: tuple[Foreground, ...]
    planes: tuple[Plane, ...]
    lamps: tuple[Lamp, ...]
    focus: int
    radius: float
    rotation: float


@dataclass(frozen=True)
class Batch:
    """Pairs for training: image and target (B, 3, H, W), disparity (B, 1, H, W), lens of (B,)."""

    image: torch.Tensor
    disparity: torch.Tensor
    target: torch.Tensor
    lens: Lens

    def part(self, rows: slice) -> "Batch":
        """Some of the pairs."""
        size = len(self.image)
        focus, aperture = (
            torch.as_tensor(x).expand(size)[rows] for x in (self.lens.focus, self.lens.aperture)
        )
        images = (self.image[rows], self.disparity[rows], self.target[rows])
        return Batch(*images, Lens(focus, aperture))


def training_cutouts(folder: str | Path | None = None, each: int = 48) -> list[Cutouts]:
    """The built-in families of training, and what RGBA files there are in `folder`/cutouts."""
    banks = [draw_cutouts(TRAIN_FAMILIES, each, seed=0)]
    if folder is not None and (Path(folder) / "cutouts").is_dir():
        banks.append(load_cutouts(Path(folder) / "cutouts"))
    return banks


class Synthesiser:
    """Draws scenes and renders them as pairs; sample n depends on (seed, n) alone."""

    def __init__(
        self,
        photos: Sequence[torch.Tensor],
        cutouts: Sequence[Cutouts],
        size: tuple[int, int] = (256, 256),
        margin: int = 32,
        device: torch.device | str = "cpu",
        points: int = 96,
        max_radius: float = 26.0,
    ):
        """Put photographs and cut-outs on the device.

        Args:
            photos: uint8 (3, H, W), sRGB.
            cutouts: banks; with several, each is drawn from equally often.
            size: (H, W) of the pictures in px.
            margin: px of scene around them, at least the largest radius.
            device: where all pixel work happens.
            points: lens points of a training target.
            max_radius: px, upper end of the largest blur of a scene.

        Raises:
            ValueError: if the margin is below the largest radius.
        """
        if margin < max_radius:
            raise ValueError(
                f"margin {margin} px; accepted: the largest radius {max_radius} or more"
            )
        self.photos = Photos(photos, device)
        bank = Cutouts.join(cutouts)
        self.rgba, self.coloured = bank.rgba.to(device), bank.coloured.to(device)
        self.banks = np.cumsum([0] + [len(bank) for bank in cutouts]).tolist()
        self.size, self.margin, self.points, self.max_radius = size, margin, points, max_radius
        self.canvas = size[0] + 2 * margin, size[1] + 2 * margin
        self.device = self.photos.device

    def draw(self, seed: int, n: int) -> Scene:
        """The parameters of scene n."""
        rng = np.random.default_rng([seed, n])
        background = self.photos.draw(rng, self.size)
        count = int(rng.integers(1, 3))
        foregrounds = tuple(self._draw_foreground(rng) for _ in range(count))
        planes = self._draw_planes(rng, count)
        lamps = self._draw_lamps(rng)
        focus = int(rng.integers(2)) * int(rng.integers(1, count + 1))
        low, high = math.log(SMALLEST_RADIUS), math.log(self.max_radius)
        radius, rotation = math.exp(uniform(rng, low, high)), uniform(rng, 0, 2 * math.pi)
        return Scene(background, foregrounds, planes, lamps, focus, radius, rotation)

    def _draw_foreground(self, rng: np.random.Generator) -> Foreground:
        bank = int(rng.integers(len(self.banks) - 1))
        cutout = int(rng.integers(self.banks[bank], self.banks[bank + 1]))
        texture = self.photos.draw(rng, self.size)
        contrast, gain = uniform(rng, 0.25, 1), uniform(rng, 0.5, 1.4)
        red, green, blue = (gain * uniform(rng, 0.8, 1.2) for _ in range(3))
        y, x = (uniform(rng, -0.32, 0.32) * n for n in self.size)
        side = min(self.size) * uniform(rng, 0.75, 1.3)
        angle, flip = uniform(rng, -0.4, 0.4), rng.random() < 0.5
        tint = (red, green, blue)
        return Foreground(cutout, texture, contrast, tint, y, x, side, angle, flip)

    def _draw_planes(self, rng: np.random.Generator, foregrounds: int) -> tuple[Plane, ...]:
        """Planes whose disparities on the canvas lie in disjoint intervals, far to near."""
        far = uniform(rng, 0.02, 0.15)
        near = far + uniform(rng, 0, 0.2)
        planes = [self._tilt(rng, far, near)]
        share = (NEAREST - near) / foregrounds  # of the room in front of the background
        for _ in range(foregrounds):
            far = near + share * uniform(rng, 0.15, 0.7)
            near = far + share * uniform(rng, 0, 0.3)
            planes.append(self._tilt(rng, far, near))
        return tuple(planes)

    def _tilt(self, rng: np.random.Generator, far: float, near: float) -> Plane:
        """A plane in a random direction, with disparity from far to near over the canvas."""
        angle = uniform(rng, 0, 2 * math.pi)
        height, width = self.canvas
        a_y, a_x = math.sin(angle), math.cos(angle)
        slope = (near - far) / (abs(a_y) * height + abs(a_x) * width)
        return slope * a_y, slope * a_x, (far + near) / 2

    def _draw_lamps(self, rng: np.random.Generator) -> tuple[Lamp, ...]:
        if rng.random() >= WITH_LAMPS:
            return ()
        lamps = []
        for _ in range(int(rng.integers(3, 13))):
            y, x = (uniform(rng, -0.5, 0.5) * n for n in self.size)
            radius, light = uniform(rng, 1, 2.5), math.exp(uniform(rng, math.log(2), math.log(20)))
            green = uniform(rng, 0.6, 1)
            blue = green * uniform(rng, 0.4, 1)
            lamps.append((y, x, radius, light, light * green, light * blue))
        return tuple(lamps)

    def layers(self, scenes: Sequence[Scene]) -> Layers:
        """The textured layers of a batch of scenes."""
        own = [f for scene in scenes for f in scene.foregrounds]
        crops = [scene.background for scene in scenes] + [f.texture for f in own]
        light = to_linear(self.photos.take(crops, self.size, self.margin))
        background, colour = light.split([len(scenes), len(own)])
        counts = [len(scene.planes) for scene in scenes]
        depth = max(counts)
        textures = light.new_zeros(len(scenes), depth, 4, *self.canvas)
        textures[:, 0, :3] = self._add_lamps(background, [scene.lamps for scene in scenes])
        textures[:, 0, 3] = 1
        places = [i * depth + layer for i, count in enumerate(counts) for layer in range(1, count)]
        if own:
            textures.flatten(0, 1)[self._tensor(places).long()] = self._paste(own, colour)
        nothing = ((0.0, 0.0, 1.0),)  # the plane of a layer that a scene lacks
        planes = [scene.planes + nothing * (depth - len(scene.planes)) for scene in scenes]
        return Layers(textures, self._tensor(planes), self.size, self._tensor(counts).int())

    def _tensor(self, numbers) -> torch.Tensor:
        return upload(numbers, self.device)

    def _paste(self, foregrounds: Sequence[Foreground], colour: torch.Tensor) -> torch.Tensor:
        """Premultiplied linear RGBA (B, 4, Ht, Wt) of cut-outs coloured by (B, 3, Ht, Wt)."""
        numbers = [
            (f.cutout, f.contrast, *f.tint, f.y, f.x, *turn, f.side, -1.0 if f.flip else 1.0)
            for f in foregrounds
            for turn in [(math.sin(f.angle), math.cos(f.angle))]
        ]
        table = self._tensor(numbers)
        chosen, contrast, tint = table[:, 0].long(), table[:, 1], table[:, 2:5, None, None]
        colour = torch.lerp(
            colour.mean((2, 3), keepdim=True), colour, contrast[:, None, None, None]
        )
        colour = colour * tint
        rgba = self.rgba[chosen].float() / 255
        rgba = torch.cat([to_linear(rgba[:, :3]) * rgba[:, 3:], rgba[:, 3:]], 1)
        centre_y, centre_x, sine, cosine, side, flip = table[:, 5:, None, None].unbind(1)
        y, x = positions(self.canvas, table)
        y, x = y - centre_y, x - centre_x
        across = flip * (cosine * x + sine * y) * (2 / side)
        down = (cosine * y - sine * x) * (2 / side)
        placed = F.grid_sample(rgba, torch.stack([across, down], -1), align_corners=False)
        own = self.coloured[chosen][:, None, None, None]
        light = torch.where(own, placed[:, :3], colour.clamp(max=1) * placed[:, 3:])
        return torch.cat([light, placed[:, 3:]], 1)

    def _add_lamps(self, light: torch.Tensor, lamps: Sequence[tuple[Lamp, ...]]) -> torch.Tensor:
        lit = [i for i, some in enumerate(lamps) if some]
        if not lit:
            return light
        most = max(map(len, lamps))
        dark = ((0.0, 0.0, 1.0, 0.0, 0.0, 0.0),)
        table = self._tensor([lamps[i] + dark * (most - len(lamps[i])) for i in lit])
        centre_y, centre_x, radius = table[:, :, :3, None, None].unbind(2)
        y, x = positions(self.canvas, light)
        distance = torch.hypot(y - centre_y, x - centre_x)
        cover = (radius + 0.5 - distance).clamp(0, 1)
        places = self._tensor(lit).long()
        shining = light[places]
        for lamp in range(most):
            shining.addcmul_(table[:, lamp, 3:, None, None], cover[:, lamp, None])
        return light.index_copy(0, places, shining)

    def lens(self, scenes: Sequence[Scene], layers: Layers) -> Lens:
        """The lens of each scene: focus on its layer, aperture from its largest radius."""
        focus = layers.focus_on(self._tensor([scene.focus for scene in scenes]).long())
        radius = self._tensor([scene.radius for scene in scenes])
        return Lens(focus, radius / layers.largest_blur(focus).clamp(min=1e-3))

    @torch.no_grad()
    def batch(self, seed: int, ns: Iterable[int]) -> Batch:
        """Samples ns as training pairs."""
        scenes = [self.draw(seed, n) for n in ns]
        layers = self.layers(scenes)
        lens = self.lens(scenes, layers)
        points = lens_points(self.points, self._tensor([scene.rotation for scene in scenes]))
        target = layers.render(lens, points)
        return Batch(to_display(layers.sharp()), layers.disparity(), to_display(target), lens)
