"""The whole model at SDXL's size with random weights: time and memory by stage, and rounding."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from bokehlib.bokehdiff import sdxl
from bokehlib.bokehdiff.inference import accelerate
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.data import demo_photos
from bokehlib.extras.benchmark.timing import Row, milliseconds, peak_gib, wall_seconds
from bokehlib.optics import Lens, circle_of_confusion
from bokehlib.pisa.authors import install_published, published_optics
from bokehlib.pisa.processor import install

SIZES = {"sdxl-1024x1024": (1024, 1024), "sdxl-1536x1024": (1024, 1536)}  # height, width
LARGE = {"sdxl-6000x4000": (4000, 6000)}  # 24 megapixels, in tiles
TILE, RADIUS = 1024, 64.0  # px; the largest radius of the photograph
SMOKE = {"sdxl-1024x1024": (128, 128), "sdxl-1536x1024": (128, 192)}, {"sdxl-6000x4000": (200, 300)}
SMOKE_TILE, SMOKE_RADIUS = 256, 16.0


class Model:
    """The pipeline with seeded random weights in single precision, and one photograph."""

    def __init__(self, device: str, smoke: bool):
        """Build it."""
        with torch.device(device):
            self.pipeline: BokehPipeline = sdxl.build(small=smoke)
        self.pipeline.set_progress_bar_config(disable=True)
        self.device, self.mode = device, "eager" if smoke else "reduce-overhead"
        self.sizes, self.large = SMOKE if smoke else (SIZES, LARGE)
        self.tile, self.radius = (SMOKE_TILE, SMOKE_RADIUS) if smoke else (TILE, RADIUS)

    def halve(self) -> None:
        """Go on in bfloat16."""
        for part in (self.pipeline.vae, self.pipeline.unet):
            part.to(torch.bfloat16)

    def photo(self, size: tuple[int, int]) -> tuple[Tensor, Tensor, Lens]:
        """Image, disparity and a lens under which the largest radius is the same at every size."""
        weight = next(self.pipeline.unet.parameters())
        image, disparity = (
            F.interpolate(t.to(self.device), size, mode="bilinear")
            for t in demo_photos.motorcycle().tensors()
        )
        focus = float(disparity.mean())
        largest = float(circle_of_confusion(disparity, Lens(focus, 1.0)).amax())
        image = image.to(weight.dtype, memory_format=torch.channels_last)
        return image, disparity, Lens(focus, self.radius / largest)

    def render(self, size: tuple[int, int], published: bool = False) -> Callable[[], Tensor]:
        """From image and disparity to the picture, without margins: the network sees `size`."""
        image, disparity, lens = self.photo(size)
        if not published:
            return lambda: self.pipeline.transform(image, disparity, lens, halo=0)

        def render():  # the published layers take maps of their own
            maps: Any = published_optics(disparity, lens)
            return self.pipeline.decode(self.pipeline.denoise(self.pipeline.encode(image), maps))

        return render

    def whole(self, what: str, size: tuple[int, int], published: bool = False) -> Row:
        """One picture."""
        return _total(what, self.render(size, published))

    def compiled(self, what: str, size: tuple[int, int]) -> list[Row]:
        """What the first call takes beyond a later one, compilation included; a later one."""
        render = self.render(size)
        first = 1e3 * wall_seconds(render)
        total = _total(what, render)
        assert total.milliseconds is not None
        return [Row(f"{what}/compile", milliseconds=first - total.milliseconds), total]

    def in_tiles(self, what: str, size: tuple[int, int]) -> Row:
        """One large picture."""
        image, disparity, lens = self.photo(size)
        render = partial(self.pipeline.render_in_tiles, image, disparity, lens, self.tile)
        return Row(what, milliseconds=milliseconds(render, 1, 1), peak_gib=peak_gib(render))

    def stages(self, what: str, size: tuple[int, int], published: bool = False) -> Iterator[Row]:
        """Encoder, optics, U-Net and decoder, each by itself on what the one before left."""
        pipeline, (image, disparity, lens) = self.pipeline, self.photo(size)

        def optics() -> Any:
            if published:
                return published_optics(disparity, lens)
            return pipeline.token_optics(disparity, lens, 1e6)

        latent, seen = pipeline.encode(image).clone(), optics()
        denoised = pipeline.denoise(latent, seen).clone()
        works: dict[str, Callable[[], Any]] = {
            "encode": partial(pipeline.encode, image),
            "optics": optics,
            "unet": partial(pipeline.denoise, latent, seen),
            "decode": partial(pipeline.decode, denoised),
        }
        for stage, work in works.items():
            yield Row(f"{what}/{stage}", milliseconds=milliseconds(work))


@torch.no_grad()
def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """Published layers in single precision; ours and the plain model in bfloat16.

    Args:
        device: "cuda" or "cpu".
        smoke: a tiny model on tiny images.
        note: gets "psnr_to_float32": of the accelerated bfloat16 model's picture, in dB.
    """
    model = Model(device, smoke)
    what, size = next(iter(model.sizes.items()))
    exact = model.render(size)().float()
    install_published(model.pipeline.unet)
    yield model.whole(f"{what}-published", size, published=True)
    yield from model.stages(f"{what}-published", size, published=True)
    model.pipeline.install_pisa()
    model.halve()
    yield model.whole(f"{what}-eager", size)
    accelerate(model.pipeline, mode=model.mode)
    yield from model.compiled(what, size)
    found, span = model.render(size)().float(), float(exact.amax() - exact.amin())
    note["psnr_to_float32"] = round(float(peak_signal_noise_ratio(found, exact, span)), 2)
    yield from model.stages(what, size)
    for large, pixels in model.large.items():
        yield model.in_tiles(large, pixels)
    install(model.pipeline.unet, ())
    yield from model.compiled(f"{what}-plain", size)
    yield from model.stages(f"{what}-plain", size)


@torch.no_grad()
def wide_rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """Ours at the other size, as in `rows`; each size is compiled by itself."""
    model = Model(device, smoke)
    model.halve()
    accelerate(model.pipeline, mode=model.mode)
    for what, size in list(model.sizes.items())[1:]:
        yield from model.compiled(what, size)
        yield from model.stages(what, size)


def _total(what: str, render: Callable) -> Row:
    return Row(what, milliseconds=milliseconds(render), peak_gib=peak_gib(render))
