"""One-step diffusion for lens blur (Sec. 3.1) as a diffusers pipeline.

    z = E(image);  eps = U-Net(z, t);  z0 = (z - beta_t eps) / alpha_t  (Eq. 1);  out = D(z0)

No noise is added anywhere, the timestep is fixed, and the optics reach the network through PISA.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput

from bokehlib import optics
from bokehlib.optics import Lens
from bokehlib.pisa.processor import TokenOptics, install, pisa_sites

SAMPLING = (16, 4)  # disparities along a ray, sources a token


@dataclass
class BokehOutput(BaseOutput):
    """Result of `BokehPipeline`.

    Attributes:
        images: a list of PIL images ("pil"), a (B, H, W, 3) array ("np") or a (B, 3, H, W)
            tensor ("pt"), sRGB in [0, 1].
    """

    images: list | np.ndarray | torch.Tensor


class BokehPipeline(DiffusionPipeline):
    """Renders the lens blur of an all-in-focus photo in one denoising step."""

    model_cpu_offload_seq = "vae->unet->vae"

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler,
        timestep: int = 499,
        sites: tuple[str, ...] = ("down_blocks",),
        normalise: str = "queries",
        coc: bool = True,
        occlusion: bool = True,
    ):
        """Register the components and put PISA into the U-Net.

        Args:
            vae: encoder and decoder of the latents.
            unet: predicts the noise; any latent channels, with or without SDXL's conditions.
            scheduler: owns Eq. 1; deterministic.
            timestep: the T of Sec. 3.1.
            sites: where PISA stands, see `bokehlib.study.Pisa`.
            normalise: "queries" or "keys".
            coc: whether the circle-of-confusion mask is on.
            occlusion: whether self-occlusion is on.
        """
        super().__init__()
        self.register_modules(vae=vae, unet=unet, scheduler=scheduler)
        self.register_to_config(
            timestep=timestep,
            sites=tuple(sites),
            normalise=normalise,
            coc=coc,
            occlusion=occlusion,
        )
        self.image_processor = VaeImageProcessor(do_normalize=False, do_resize=False)
        scheduler.set_timesteps(1)
        install(unet, tuple(sites), normalise, coc)

    @property
    def latent_stride(self) -> int:
        """Pixels per latent, in y and x alike."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def size_multiple(self) -> int:
        """Padded images are a multiple of this many pixels: one token of the coarsest grid."""
        return self.latent_stride * 2 ** (len(self.unet.config.block_out_channels) - 1)

    @torch.no_grad()
    def __call__(
        self,
        image,
        disparity,
        lens: Lens,
        output_type: str = "pil",
        return_dict: bool = True,
    ):
        """Render a photo, or a batch of equal size.

        Args:
            image: PIL image(s), array or tensor (B, 3, H, W), sRGB in [0, 1], any H and W.
            disparity: (B, 1, H, W) tensor or (H, W) array in [0, 1], 1 = nearest.
            lens: focus (a disparity) and aperture (pixels of radius per unit of disparity).
            output_type: "pil", "np" or "pt".
            return_dict: a `BokehOutput`, or the plain tuple.

        Returns:
            A `BokehOutput` with images of the input's size.

        Raises:
            ValueError: if image and disparity differ in size, or a value is not finite.
        """
        weight = next(self.unet.parameters())
        picture = self.image_processor.preprocess(image).to(weight.device, weight.dtype)
        depth = torch.as_tensor(disparity).to(weight.device, torch.float32)
        depth = depth.reshape(-1, 1, *depth.shape[-2:])
        self.check_inputs(picture, depth, lens)
        result = self.transform(picture, depth, lens).clamp(0, 1).float()
        self.maybe_free_model_hooks()
        images = self.image_processor.postprocess(
            result, output_type, do_denormalize=[False] * len(result)
        )
        return BokehOutput(images=images) if return_dict else (images,)

    def check_inputs(self, image, disparity, lens: Lens) -> None:
        """Raise a ValueError that names what does not fit."""
        if image.shape[-2:] != disparity.shape[-2:] or image.shape[0] != disparity.shape[0]:
            raise ValueError(
                f"disparity {tuple(disparity.shape)} does not fit image {tuple(image.shape)}"
            )
        values = {"image": image, "disparity": disparity}
        values |= {name: torch.as_tensor(getattr(lens, name)) for name in ("focus", "aperture")}
        for name, value in values.items():
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} has NaN or infinite values; accepted: finite values")
        if (values["aperture"] < 0).any():
            raise ValueError(f"aperture {lens.aperture}; accepted: 0 or more")

    def transform(
        self,
        image: torch.Tensor,
        disparity: torch.Tensor,
        lens: Lens,
        hardness: float = 1e6,
        halo: int | None = None,
        sampling: tuple[int, int] = SAMPLING,
    ) -> torch.Tensor:
        """The differentiable map of Sec. 3.1, used in training and inference alike.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1].
            disparity: (B, 1, H, W) in [0, 1].
            lens: focus and aperture for pixels of this image.
            hardness: of the circle-of-confusion mask (S1).
            halo: pixels of reflected margin; None = the largest radius, rounded up to a token.
            sampling: disparities and sources that visibility tries for each pair (Eq. 8, 9).

        Returns:
            (B, 3, H, W), not clamped.
        """
        height, width = image.shape[-2:]
        if halo is None:
            largest = float(optics.circle_of_confusion(disparity, lens).amax())
            halo = self.size_multiple * math.ceil(largest / self.size_multiple)
        padded = reflect(image, halo, self.size_multiple)
        depth = reflect(disparity, halo, self.size_multiple)
        latent = self.encode(padded)
        denoised = self.denoise(latent, self.token_optics(depth, lens, hardness, sampling))
        return self.decode(denoised)[..., halo : halo + height, halo : halo + width]

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, 3, H, W), sRGB in [0, 1] -> scaled latent, the mode of the posterior."""
        return self.vae.encode(2 * image - 1).latent_dist.mode() * self.vae.config.scaling_factor

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Scaled latent -> sRGB (B, 3, H, W), not clamped."""
        return (self.vae.decode(latent / self.vae.config.scaling_factor).sample + 1) / 2

    def denoise(self, latent: torch.Tensor, tokens: dict[int, TokenOptics]) -> torch.Tensor:
        """One U-Net call at the fixed timestep, then Eq. 1 through the scheduler."""
        noise = self.unet(
            latent,
            self.config.timestep,
            cross_attention_kwargs={"optics": tokens},
            **self.context(latent),
        ).sample
        return self.scheduler.step(noise, self.config.timestep, latent).pred_original_sample

    def token_optics(
        self, disparity, lens: Lens, hardness: float, sampling: tuple[int, int] = SAMPLING
    ) -> dict[int, TokenOptics]:
        """Radius and visibility for each token grid that carries PISA, computed once per image."""
        found = {}
        for stride in self._pisa_strides():
            grid = (disparity.shape[-2] // stride, disparity.shape[-1] // stride)
            seen = None
            if self.config.occlusion:
                seen = optics.visibility(
                    disparity, lens, grid, "paper", *sampling, hardness, self.config.coc
                )
            radius = optics.token_radius(disparity, lens, grid)
            found[grid[0] * grid[1]] = TokenOptics(grid, radius, seen, hardness)
        return found

    def context(self, latent: torch.Tensor) -> dict:
        """Conditions that stay constant: an empty prompt and, for SDXL shapes, the image size."""
        config = self.unet.config
        batch = latent.shape[0]
        context: dict = {
            "encoder_hidden_states": latent.new_zeros(batch, 1, config.cross_attention_dim)
        }
        if config.addition_embed_type == "text_time":
            size = [side * self.latent_stride for side in latent.shape[-2:]]
            times = latent.new_tensor([*size, 0, 0, *size]).expand(batch, -1)
            text = config.projection_class_embeddings_input_dim
            text -= times.shape[1] * config.addition_time_embed_dim
            added = {"text_embeds": latent.new_zeros(batch, text), "time_ids": times}
            context["added_cond_kwargs"] = added
        return context

    def _pisa_strides(self) -> set[int]:
        """Pixels per token of the grids that carry PISA, from the blocks' places."""
        levels = len(self.unet.config.block_out_channels)
        strides = set()
        for name in pisa_sites(self.unet):
            part, _, rest = name.partition(".")
            index = int(rest.split(".")[0]) if part != "mid_block" else 0
            level = {"down_blocks": index, "mid_block": levels - 1}.get(part, levels - 1 - index)
            strides.add(self.latent_stride * 2**level)
        return strides


def reflect(image: torch.Tensor, halo: int, multiple: int) -> torch.Tensor:
    """Pad by reflection: `halo` pixels on every side, then below and right to a multiple.

    Unlike `torch.nn.functional.pad` it goes on reflecting where the halo exceeds the image, so
    that images from 1x1 upwards work.

    Args:
        image: (B, C, H, W).
        halo: margin in pixels.
        multiple: the padded sides are multiples of it.

    Returns:
        (B, C, H + 2 halo + ..., W + 2 halo + ...).
    """
    for axis in (-2, -1):
        side = image.shape[axis]
        total = multiple * math.ceil((side + 2 * halo) / multiple)
        if total == side:
            continue
        period = max(2 * side - 2, 1)
        place = (torch.arange(total, device=image.device) - halo) % period
        image = image.index_select(axis, torch.minimum(place, period - place))
    return image
