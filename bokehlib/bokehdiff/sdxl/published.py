"""The published code's inference as a pipeline: its tiles, its size conditions, its attention.

It is here so that the authors' weights can be used as they were trained. Their layer is
`bokehlib.pisa.authors`, slips included; labels (B5, B8, B9 ...) are those of docs/divergences.md.
Where their code fails, an image is padded by reflection until it does not (B7, B8).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bokehlib.bokehdiff.assembly import BEYOND_THE_PAPER
from bokehlib.bokehdiff.pipeline import SAMPLING, BokehPipeline
from bokehlib.bokehdiff.tiling import reflect
from bokehlib.optics import Lens
from bokehlib.pisa.authors import TRAINED, PublishedOptics, install_published, published_optics

TILE = 64  # latents, the side of a tile
OVERLAP = 16  # latents that neighbours share, at least
WHOLE = 8192  # latents up to which an image is no tiles but one piece
EDGE = 2.0  # the blending weight is exp(-x^2 - y^2) with x and y from -EDGE to EDGE
HARDNESS = 1e7
SEGMENTS, TRAINING_SEGMENTS = 7, 5  # disparities that a ray is followed through


class PublishedPipeline(BokehPipeline):
    """Renders as the published code does, without its randomness.

    z = E(image), one U-Net call a tile at t = 499, the predicted noise of overlapping tiles
    blended, z0 by Eq. 1, out = D(z0). Encoder and decoder go in tiles of their own beyond 1024 px.
    """

    def install_pisa(self) -> None:
        """Put the published layer where the published network has it (D1).

        Raises:
            ValueError: if the pipeline goes beyond the paper, which the published code does not.
        """
        found = [switch for switch in BEYOND_THE_PAPER if self.config[switch]]
        if found:
            raise ValueError(f"published semantics with {', '.join(found)}; accepted: without")
        install_published(self.unet)
        self.vae.enable_tiling()

    def transform(
        self,
        image: Tensor,
        disparity: Tensor,
        lens: Lens,
        hardness: float = HARDNESS,
        halo: int | None = None,
        sampling: tuple[int, int] = SAMPLING,
    ) -> Tensor:
        """The map of `BokehPipeline.transform` by the published code.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1].
            disparity: (B, 1, H, W) in [0, 1].
            lens: its aperture is the published K, in pixels of this image.
            hardness: of the mask's edge; 1e7 at their inference, the step's number in training.
            halo: has no meaning here: the published code knows no margin.
            sampling: likewise; a ray is followed through 7 disparities, 5 in training.

        Returns:
            (B, 3, H, W), not clamped.
        """
        height, width = image.shape[-2:]
        image, disparity = (self._pad(x) for x in (image, disparity))
        segments = TRAINING_SEGMENTS if hardness < TRAINED else SEGMENTS
        maps = PublishedOptics(published_optics(disparity, lens), hardness, segments)
        tokens: Any = maps
        out = self.decode(self.denoise(self.encode(image), tokens))
        return out[..., :height, :width]

    def render_in_tiles(self, image: Tensor, disparity: Tensor, lens: Lens, side: int) -> Tensor:
        """Refused: the published code has tiles of its own."""
        raise ValueError(f"tile of {side} px; accepted with published semantics: none")

    def predict_noise(self, latent: Tensor, optics: PublishedOptics) -> Tensor:
        """What the U-Net predicts, in tiles that overlap if the latent is large.

        Args:
            latent: scaled, (B, C, h, w).
            optics: on the pixels of the whole image.

        Returns:
            Like latent.
        """
        if latent.shape[-2] * latent.shape[-1] <= WHOLE:
            return self._predict(latent, optics, latent.shape[-2:], (0, 0))
        total = torch.zeros_like(latent, dtype=torch.promote_types(latent.dtype, torch.float32))
        weights = torch.zeros_like(total[:1, :1])
        window = _window(TILE).to(total)
        stride = self.latent_stride
        corners = list(_corners(*latent.shape[-2:]))
        for y, x in self.progress_bar(corners):
            place: Any = (..., slice(y, y + TILE), slice(x, x + TILE))
            pixels: Any = (..., *(slice(stride * n, stride * (n + TILE)) for n in (y, x)))
            seen = replace(optics, maps=optics.maps[pixels])
            noise = self._predict(latent[place], seen, latent.shape[-2:], (y, x))
            total[place] += window * noise
            weights[place] += window
        return (total / weights).to(latent)

    def _predict(self, latent: Tensor, optics: PublishedOptics, whole, corner) -> Tensor:
        context = self.context(latent)
        if "added_cond_kwargs" in context:
            # Sides of the whole image in pixels, but the corner in latents (B9).
            sides = [side * self.latent_stride for side in whole]
            times = torch.tensor([*sides, *corner, *sides], device=latent.device)
            context["added_cond_kwargs"]["time_ids"] = times.float().expand(len(latent), -1)
        return self.unet(
            latent, self.config.timestep, cross_attention_kwargs={"optics": optics}, **context
        ).sample

    def denoise(self, latent: Tensor, tokens: Any, *beside: Tensor) -> Tensor:
        """Eq. 1 with `predict_noise`; `tokens` are `PublishedOptics`, `beside` is empty."""
        noise = self.predict_noise(latent, tokens)
        return self.scheduler.step(noise, self.config.timestep, latent).pred_original_sample

    def _pad(self, picture: Tensor) -> Tensor:
        """Reflected below and right: one piece of whole tokens, or at least a tile of latents."""
        token = 2 * self.latent_stride  # of the published layer, one level down
        sides = [token * math.ceil(side / token) for side in picture.shape[-2:]]
        if sides[0] * sides[1] <= WHOLE * self.latent_stride**2:
            return reflect(picture, 0, token)
        return _at_least(reflect(picture, 0, self.latent_stride), TILE * self.latent_stride)


def _at_least(picture: Tensor, side: int) -> Tensor:
    """Reflected below and right to this many pixels in both axes, or more where it has more."""
    for axis in (-2, -1):
        length = picture.shape[axis]
        if length < side:
            period = max(2 * length - 2, 1)
            place = torch.arange(side, device=picture.device) % period
            picture = picture.index_select(axis, torch.minimum(place, period - place))
    return picture


def _corners(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row and column of every tile, in latents."""
    for y in _starts(height):
        for x in _starts(width):
            yield y, x


def _starts(length: int) -> list[int]:
    """First places of tiles along an axis of at least one tile, evenly spread, rounded down.

    Where the axis is one tile long the published code renders it twice in one place, which changes
    nothing in the mean; here once.
    """
    gaps = (length - OVERLAP) // (TILE - OVERLAP)
    return sorted({(length - TILE) * n // gaps for n in range(gaps + 1)})


def _window(side: int) -> Tensor:
    x = torch.linspace(-EDGE, EDGE, side, dtype=torch.float64)
    return (-(x[:, None] ** 2) - x**2).exp()
