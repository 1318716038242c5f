"""One-step diffusion for lens blur (Sec. 3.1) as a diffusers pipeline.

    z = E(image);  eps = U-Net(z, t);  z0 = (z - beta_t eps) / alpha_t  (Eq. 1);  out = D(z0)

No noise is added anywhere, the timestep is fixed, and the optics reach the network through PISA.
Beyond the paper, each off by default, are `residual` and the optics as channels beside the latent.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput

from bokehlib import optics
from bokehlib.bokehdiff import residual, tiling, unet_changes
from bokehlib.bokehdiff.tiling import reflect
from bokehlib.optics import Lens
from bokehlib.pisa.processor import TokenOptics, for_any_lens, install, pisa_sites

SAMPLING = (16, 4)  # disparities along a ray, sources a token
RAMP = 4  # tokens of the coarsest grid over which neighbouring tiles are blended, at least


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
        visibility_model: str = "paper",
        divide_by_coverage: bool = False,
        detail: bool = False,
        optics_channels: bool = False,
        classical: bool = False,
        fine: bool = False,
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
            visibility_model: of self-occlusion, "paper" or "thin_lens".
            divide_by_coverage: see `bokehlib.pisa.processor.PisaProcessor`.
            detail: whether what the autoencoder loses comes back where the lens leaves the photo
                sharp; with `classical`, whether it is corrected only where it may be wrong.
            optics_channels: add defocus and disparity as channels to the latent.
            classical: whether the network corrects the classical render.
            fine: whether self-attention on the way down stands at the latents' own size, too.
        """
        super().__init__()
        self.register_modules(vae=vae, unet=unet, scheduler=scheduler)
        self.register_to_config(
            timestep=timestep,
            sites=tuple(sites),
            normalise=normalise,
            coc=coc,
            occlusion=occlusion,
            visibility_model=visibility_model,
            divide_by_coverage=divide_by_coverage,
            detail=detail,
            optics_channels=optics_channels,
            classical=classical,
            fine=fine,
        )
        self.image_processor = VaeImageProcessor(do_normalize=False, do_resize=False)
        self.prompt: tuple[torch.Tensor, torch.Tensor] | None = None  # see `set_prompt`
        scheduler.set_timesteps(1)
        unet_changes.expand_conv_in(
            unet, vae.config.latent_channels + self.extra_channels, zero_output=classical
        )
        if fine:
            unet_changes.add_latent_resolution_attention(unet)
        self.install_pisa()

    def install_pisa(self) -> None:
        """Put the attention of this pipeline's switches into its U-Net."""
        switches = ("sites", "normalise", "coc", "divide_by_coverage")
        install(self.unet, *(self.config[switch] for switch in switches))

    @property
    def extra_channels(self) -> int:
        """Channels that the U-Net takes beside the latent."""
        rendered = self.vae.config.latent_channels * self.config.classical
        return rendered + residual.OPTICS * self.config.optics_channels

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
        tile: int | None = None,
    ):
        """Render a photo, or a batch of equal size.

        Args:
            image: PIL image(s), array or tensor (B, 3, H, W), sRGB in [0, 1], any H and W.
            disparity: (B, 1, H, W) tensor or (H, W) array in [0, 1], 1 = nearest.
            lens: focus (a disparity) and aperture (pixels of radius per unit of disparity).
            output_type: "pil", "np" or "pt".
            return_dict: a `BokehOutput`, or the plain tuple.
            tile: side in pixels of the tiles in which a large image is rendered, margins included:
                a multiple of `size_multiple`, and more than two halos (the largest radius, rounded
                up to a token) and a ramp of 4 tokens. An image that fits into one tile with its
                halo is rendered whole. None = whole, whatever its size.

        Returns:
            A `BokehOutput` with images of the input's size.

        Raises:
            ValueError: if image and disparity differ in size, a value is not finite, or the tile
                does not fit the halo.
        """
        weight = next(self.vae.parameters())
        picture = self.image_processor.preprocess(image).to(weight.device, weight.dtype)
        depth = torch.as_tensor(disparity).to(weight.device, torch.float32)
        depth = depth.reshape(-1, 1, *depth.shape[-2:])
        self.check_inputs(picture, depth, lens)
        if tile is None:
            result = self.transform(picture, depth, lens)
        else:
            result = self.render_in_tiles(picture, depth, lens, tile)
        result = result.clamp_(0, 1).float()
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
            halo = self.halo(disparity, lens)
        padded = reflect(image, halo, self.size_multiple)
        depth = reflect(disparity, halo, self.size_multiple)
        out = self.one_step(padded, depth, lens, self.token_optics(depth, lens, hardness, sampling))
        return out[..., halo : halo + height, halo : halo + width]

    def one_step(self, image: torch.Tensor, disparity: torch.Tensor, lens: Lens, tokens):
        """`transform` of an image (B, 3, H, W) that is padded already, given `token_optics`."""
        if self.config.classical:
            return residual.correct_layers(self, image, disparity, lens, tokens)
        latent = self.encode(image)
        channels = self.optics_channels(disparity, lens, latent)
        out = self.decode(self.denoise(latent, tokens, *channels))
        if self.config.detail:
            out = residual.keep_detail(self, out, image, latent, disparity, lens)
        return out

    def optics_channels(
        self, disparity: torch.Tensor, lens: Lens, latent: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Defocus and disparity like the latent, where the U-Net takes them."""
        if not self.config.optics_channels:
            return ()
        return (residual.optics_channels(disparity, lens, self.latent_stride).to(latent),)

    def halo(self, disparity: torch.Tensor, lens: Lens) -> int:
        """The largest radius in pixels, rounded up to a token of the coarsest grid."""
        largest = float(optics.circle_of_confusion(disparity, lens).amax())
        return self.size_multiple * math.ceil(largest / self.size_multiple)

    def render_in_tiles(
        self, image: torch.Tensor, disparity: torch.Tensor, lens: Lens, side: int
    ) -> torch.Tensor:
        """`transform` in tiles of one size, blended; side and errors as for `__call__`.

        Group norms and plain attention average over a tile instead of the image, so the result
        differs a little from the whole image's.
        """
        return tiling.render(
            partial(self.transform, halo=0),
            image,
            disparity,
            lens,
            side=side,
            halo=self.halo(disparity, lens),
            multiple=self.size_multiple,
            ramp=RAMP * self.size_multiple,
            progress=self.progress_bar,
        )

    @property
    def _two_dtypes(self) -> bool:
        """Whether the autoencoder computes in a wider type than the U-Net."""
        return self.vae.dtype != self.unet.dtype

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Image (B, 3, H, W), sRGB in [0, 1] -> scaled latent, the mode of the posterior."""
        latent = self.vae.encode(2 * image - 1).latent_dist.mode() * self.vae.config.scaling_factor
        return latent.to(self.unet.dtype) if self._two_dtypes else latent

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Scaled latent -> sRGB (B, 3, H, W), not clamped."""
        latent = latent.to(self.vae.dtype) if self._two_dtypes else latent
        return (self.vae.decode(latent / self.vae.config.scaling_factor).sample + 1) / 2

    def denoise(
        self, latent: torch.Tensor, tokens: dict[int, TokenOptics], *beside: torch.Tensor
    ) -> torch.Tensor:
        """One U-Net call at the fixed timestep, then Eq. 1 through the scheduler.

        Args:
            latent: scaled, (B, C, h, w).
            tokens: from `token_optics`, or what other processors than PISA's understand.
            beside: further channels on its grid, `extra_channels` in all, E(c) first.
        """
        noise = self.unet(
            torch.cat((latent, *beside), dim=1) if beside else latent,
            self.config.timestep,
            cross_attention_kwargs={"optics": tokens},
            **self.context(latent),
        ).sample
        if self.config.classical:
            share = self.scheduler.alphas_cumprod[self.config.timestep]
            return beside[0] - float((1 / share - 1).sqrt()) * noise
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
                how = (self.config.visibility_model, *sampling, hardness, self.config.coc)
                seen = optics.visibility(disparity, lens, grid, *how)
            radius = optics.token_radius(disparity, lens, grid)
            found[grid[0] * grid[1]] = TokenOptics(grid, radius, seen, hardness)
        return for_any_lens(found, hardness) if self.unet._compiled_call_impl else found

    def set_prompt(self, hidden: torch.Tensor, pooled: torch.Tensor) -> None:
        """Embeddings of the one prompt that all pictures share; without it they are zeros.

        Args:
            hidden: (1, tokens, channels) for cross-attention.
            pooled: (1, channels) for SDXL's added condition.
        """
        self.prompt = hidden, pooled

    def context(self, latent: torch.Tensor) -> dict:
        """Conditions that stay constant: the prompt and, for SDXL shapes, the image size."""
        config, batch = self.unet.config, latent.shape[0]
        added = config.addition_embed_type == "text_time"
        text = 0
        if added:
            text = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        prompt = self.prompt or (
            torch.zeros(1, 1, config.cross_attention_dim),
            torch.zeros(1, text),
        )
        hidden, pooled = (t.to(latent).expand(batch, *t.shape[1:]) for t in prompt)
        context: dict = {"encoder_hidden_states": hidden}
        if added:
            size = [side * self.latent_stride for side in latent.shape[-2:]]
            times = latent.new_tensor([*size, 0, 0, *size]).expand(batch, -1)
            context["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": times}
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
