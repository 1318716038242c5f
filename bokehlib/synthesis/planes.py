"""Tilted layers seen through a thin lens: the exact gather that makes every target (Sec. 3.3).

Positions are (y, x) in pixels from the image centre, lens points (y, x) in the unit disc, light is
linear and premultiplied. A layer lies in a plane whose disparity is affine in image coordinates,
d(p) = a.p + b, which is what a tilted plane in space projects to. The sensor point q receives
through the lens point u the light of the layer's point

    p = q + K u (d(p) - f) = q + K u (a.q + b - f) / (1 - K a.u),

f the disparity in focus and K the aperture: pixels of blur radius per unit of disparity.
`Layers.render` defines the picture; on a GPU the kernel of `planes_triton` makes it.
"""

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bokehlib.optics import HAS_TRITON, Lens

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
GAMMA = 2.2
SEEN = 1 / 255  # share of a pixel's light below which a layer does not count as visible


def to_linear(image: torch.Tensor) -> torch.Tensor:
    """Display values in [0, 1] to linear light, image ** 2.2."""
    return image**GAMMA


def to_display(light: torch.Tensor) -> torch.Tensor:
    """Linear light to display values, clipped to [0, 1]."""
    return light.clamp(0, 1) ** (1 / GAMMA)


def lens_points(count: int, rotation: torch.Tensor) -> torch.Tensor:
    """Points of the unit disc, each standing for the same area (Vogel's spiral).

    Args:
        count: how many, at least 1.
        rotation: (B,) radians, the turn of each sample's pattern; decides dtype and device.

    Returns:
        (B, count, 2), (y, x).
    """
    i = torch.arange(count, dtype=rotation.dtype, device=rotation.device)
    radius = ((i + 0.5) / count).sqrt()
    angle = i * GOLDEN_ANGLE + rotation[:, None]
    return torch.stack([radius * angle.sin(), radius * angle.cos()], -1)


def lens_points_needed(radius: float) -> int:
    """Lens points of benchmark quality for a largest blur radius in px: about 1/3 a pixel area."""
    return min(max(math.ceil(radius * radius), 64), 1024)


def positions(size: tuple[int, int], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel centres from the image centre: y (H, 1) and x (1, W), in px."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) + (0.5 - n / 2) for n in size)
    return y[:, None], x[None, :]


def affine(planes: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """d(p) = a.p + b for planes (..., 3) = (a_y, a_x, b) at y (H, 1), x (1, W): (..., H, W)."""
    a_y, a_x, b = planes[..., None, None].unbind(-3)
    return a_y * y + a_x * x + b


def centre(canvas: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The window (H, W) in the middle of a canvas (..., H + 2 m_y, W + 2 m_x)."""
    top, left = ((full - n) // 2 for full, n in zip(canvas.shape[-2:], size, strict=True))
    return canvas[..., top : top + size[0], left : left + size[1]]


def unhidden(alpha: torch.Tensor) -> torch.Tensor:
    """Share of a pixel's light that comes from each layer, far to near: (B, L, H, W) of alpha."""
    behind = (1 - alpha).flip(1).cumprod(1).flip(1)  # what this layer and nearer let through
    through = torch.cat([behind[:, 1:], torch.ones_like(behind[:, :1])], 1)
    return alpha * through


@dataclass(frozen=True)
class Layers:
    """A batch of scenes, each a stack of textured planes ordered far to near.

    Of two layers the nearer must have the larger disparity everywhere on the canvas, and the
    farthest should be opaque: nothing is behind it. A scene with fewer layers than the batch
    has fully transparent ones.

    Attributes:
        textures: (B, L, 4, Ht, Wt) premultiplied linear RGBA; larger than the window by a margin
            of the largest blur radius, so that light from outside is there.
        planes: (B, L, 3) = (a_y, a_x, b); disparity a.p + b in [0, 1], per px from the centre.
        size: (H, W) of the window; the canvas exceeds it by an even number of pixels.
        counts: (B,) int32, how many of the layers are a scene's own, the farthest ones; None = all.
    """

    textures: torch.Tensor
    planes: torch.Tensor
    size: tuple[int, int]
    counts: torch.Tensor | None = None

    def disparities(self) -> torch.Tensor:
        """Disparity of every plane over the window, (B, L, H, W)."""
        return self._disparities

    @functools.cached_property
    def _disparities(self) -> torch.Tensor:
        return affine(self.planes, *positions(self.size, self.planes))

    def sharp(self) -> torch.Tensor:
        """The all-in-focus scene in linear light, (B, 3, H, W)."""
        farthest, *nearer = centre(self.textures, self.size).unbind(1)
        light = farthest[:, :3]
        for texture in nearer:
            light = texture[:, :3] + (1 - texture[:, 3:]) * light
        return light

    def disparity(self) -> torch.Tensor:
        """The label, (B, 1, H, W): that of the nearest layer with alpha > 1/2.

        Blending disparities by alpha would invent depths at which there is nothing.
        """
        alpha = centre(self.textures[:, :, 3], self.size)
        planes = self.disparities()
        label = planes[:, 0]
        for layer in range(1, planes.shape[1]):
            label = torch.where(alpha[:, layer] > 0.5, planes[:, layer], label)
        return label[:, None].clamp(0, 1)

    def visible(self) -> torch.Tensor:
        """Share of a window pixel's light that comes from each layer, (B, L, H, W)."""
        return self._visible

    @functools.cached_property
    def _visible(self) -> torch.Tensor:
        return unhidden(centre(self.textures[:, :, 3], self.size))

    def focus_on(self, layer: torch.Tensor) -> torch.Tensor:
        """Mean disparity over the visible part of one layer (B,) of each scene: (B,)."""
        chosen = torch.arange(len(layer), device=layer.device), layer
        seen = self.visible()[chosen]
        mean = (seen * self.disparities()[chosen]).sum((1, 2)) / seen.sum((1, 2))
        # a layer hidden completely has no mean; its plane's centre stands in
        return torch.where(seen.sum((1, 2)) > 0, mean, self.planes[chosen][:, 2])

    def largest_blur(self, focus: torch.Tensor) -> torch.Tensor:
        """Largest |d - f| over all that is visible in the window, (B,), for focus (B,)."""
        off = (self.disparities() - focus[:, None, None, None]).abs()
        return torch.where(self.visible() > SEEN, off, 0).amax((1, 2, 3))

    def render(self, lens: Lens, points: torch.Tensor, chunk: int = 8) -> torch.Tensor:
        """Mean over lens points of the layers seen through each.

        In float32 on a GPU, one kernel does it; it holds the textures as half floats, which
        changes display values by less than 1e-3, and has no gradients.

        Args:
            lens: focus and aperture, floats or (B,) tensors.
            points: (B, P, 2) lens points of the unit disc.
            chunk: lens points handled at once where there is no kernel.

        Returns:
            (B, 3, H, W) linear light.
        """
        focus, aperture = (
            torch.as_tensor(v, dtype=points.dtype, device=points.device).expand(len(points))
            for v in (lens.focus, lens.aperture)
        )
        rays = aperture[:, None, None] * points  # K u in px, (B, P, 2)
        if HAS_TRITON and points.is_cuda and points.dtype == torch.float32:
            return self._gather(focus, rays)
        shifted = self.planes - torch.stack([focus * 0, focus * 0, focus], -1)[:, None]
        total = points.new_zeros(len(points), 3, *self.size)
        farthest = self.textures[:, 0, :3].contiguous()  # nothing behind it: its alpha is not read
        for some in rays.split(chunk, 1):
            light = fetch(farthest, shifted[:, 0], some, self.size)
            for layer in range(1, shifted.shape[1]):
                seen = fetch(self.textures[:, layer], shifted[:, layer], some, self.size)
                light = light.mul_(1 - seen[:, 3:]).add_(seen[:, :3])
            total += light.sum(2)
        return total / points.shape[1]

    def _gather(self, focus: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
        from bokehlib.synthesis import planes_triton

        counts = self.counts
        if counts is None:
            counts = torch.full_like(focus, self.planes.shape[1], dtype=torch.int32)
        return planes_triton.render(self.textures, self.planes, counts, self.size, focus, rays)


def fetch(
    texture: torch.Tensor, plane: torch.Tensor, rays: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """One layer seen through several lens points.

    Args:
        texture: (B, C, Ht, Wt).
        plane: (B, 3) = (a_y, a_x, b - f).
        rays: (B, P, 2), K u in px.
        size: (H, W) of the window.

    Returns:
        (B, C, P, H, W), fetched bilinearly.
    """
    batch, count = rays.shape[:2]
    y, x = positions(size, rays)
    stretch = 1 - (rays * plane[:, None, :2]).sum(-1)  # (B, P): 1 - K a.u
    off = affine(plane, y, x)[:, None] / stretch[..., None, None]  # (B, P, H, W): d(p) - f
    ray_y, ray_x = rays[..., None, None].unbind(2)
    grid = torch.stack(
        [
            torch.addcmul(x, ray_x, off).mul_(2 / texture.shape[-1]),
            torch.addcmul(y, ray_y, off).mul_(2 / texture.shape[-2]),
        ],
        -1,
    )
    seen = F.grid_sample(
        texture,
        grid.view(batch, count * size[0], size[1], 2),
        padding_mode="border",
        align_corners=False,
    )
    return seen.view(batch, -1, count, *size)
