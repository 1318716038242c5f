"""The whole model at SDXL's size with random weights: time and memory by stage, and rounding."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bokehlib.benchmark.timing import Row, milliseconds, peak_gib, synchronize
from bokehlib.bokehdiff import sdxl
from bokehlib.bokehdiff.inference import accelerate
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.data import demo_photos
from bokehlib.optics import Lens, circle_of_confusion
from bokehlib.pisa.authors import install_published, published_optics
from bokehlib.pisa.processor import install

SIZES = {"sdxl-1024x1024": (1024, 1024), "sdxl-1536x1024": (1024, 1536)}  # height, width
LARGE = {"sdxl-6000x4000": (4000, 6000)}  # 24 megapixels
TILE = 1024
PLAIN = "sdxl-1024x1024-plain"  # what the others of this size are compared with
COMPARED = ("sdxl-1024x1024", "sdxl-1024x1024-eager", "sdxl-1024x1024-published", PLAIN)
RADIUS = 64.0  # px, the largest of the photograph's
SMOKE = {"sdxl-1024x1024": (128, 128), "sdxl-1536x1024": (128, 192)}, {"sdxl-6000x4000": (200, 300)}
SMOKE_TILE, SMOKE_RADIUS = 256, 16.0


class Model:
    """The pipeline with one photograph, and what is asked of it."""

    def __init__(self, device: str, smoke: bool):
        """Build it in single precision with seeded random weights."""
        with torch.device(device):
            self.pipeline: BokehPipeline = sdxl.build(small=smoke)
        self.pipeline.set_progress_bar_config(disable=True)
        self.device, self.smoke = device, smoke
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

    def render(self, size: tuple[int, int]) -> Callable[[], Tensor]:
        """From image and disparity to the picture, without margins: the network sees `size`."""
        image, disparity, lens = self.photo(size)
        return lambda: self.pipeline.transform(image, disparity, lens, halo=0)

    def render_published(self, size: tuple[int, int]) -> Callable[[], Tensor]:
        """The same through the published layers, which take their own maps."""
        image, disparity, lens = self.photo(size)

        def render():
            maps: Any = published_optics(disparity, lens)
            return self.pipeline.decode(self.pipeline.denoise(self.pipeline.encode(image), maps))

        return render

    def stages(self, what: str, size: tuple[int, int], published: bool = False) -> Iterator[Row]:
        """Encoder, optics, U-Net and decoder, each by itself on what the one before left."""
        pipeline, (image, disparity, lens) = self.pipeline, self.photo(size)

        def optics() -> Any:
            if published:
                return published_optics(disparity, lens)
            return pipeline.token_optics(disparity, lens, 1e6)

        latent, seen = pipeline.encode(image).clone(), optics()
        denoised = pipeline.denoise(latent, seen).clone()
        works = {
            "encode": lambda: pipeline.encode(image),
            "optics": optics,
            "unet": lambda: pipeline.denoise(latent, seen),
            "decode": lambda: pipeline.decode(denoised),
        }
        for stage, work in works.items():
            yield Row(f"{what}/{stage}", milliseconds=milliseconds(work))


@torch.no_grad()
def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """All measurements of whole models; `note` is filled with what is no time.

    Published layers and their model in single precision, ours and the plain one in bfloat16.

    Args:
        device: "cuda" or "cpu".
        smoke: a tiny model on tiny images.
        note: gets "psnr_to_float32": of the accelerated bfloat16 model's picture, in dB.
    """
    model = Model(device, smoke)
    what, size = next(iter(model.sizes.items()))
    unet = model.pipeline.unet
    exact = model.render(size)().float()
    install_published(unet)
    yield _total(f"{what}-published", model.render_published(size))
    yield from model.stages(f"{what}-published", size, published=True)
    model.pipeline.install_pisa()
    model.halve()
    yield _total(f"{what}-eager", model.render(size))
    accelerate(model.pipeline, mode="eager" if smoke else "reduce-overhead")
    yield from _started(what, model.render(size))
    note["psnr_to_float32"] = round(_psnr(model.render(size)().float(), exact), 2)
    yield from model.stages(what, size)
    for large, pixels in model.large.items():
        yield _large(model, large, pixels)
    install(unet, ())
    yield from _started(f"{what}-plain", model.render(size))
    yield from model.stages(f"{what}-plain", size)


@torch.no_grad()
def wide_rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """Ours at the other size, as in `rows`; each size is compiled by itself."""
    model = Model(device, smoke)
    model.halve()
    accelerate(model.pipeline, mode="eager" if smoke else "reduce-overhead")
    for what, size in list(model.sizes.items())[1:]:
        yield from _started(what, model.render(size))
        yield from model.stages(what, size)


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of whole models with their ratio to the plain one if that is there too."""
    plain = [row["milliseconds"] for row in rows if row["what"] == PLAIN]
    return [
        row | {"ratio_to_plain": row["milliseconds"] / plain[0]}
        if plain and row["what"] in COMPARED
        else row
        for row in rows
    ]


def _started(what: str, render: Callable) -> list[Row]:
    """What the first call takes beyond a later one, compilation and all, and the later one."""
    start = time.perf_counter()
    render()
    synchronize()
    first = 1e3 * (time.perf_counter() - start)
    total = _total(what, render)
    assert total.milliseconds is not None
    return [Row(f"{what}/compile", milliseconds=first - total.milliseconds), total]


def _total(what: str, render: Callable) -> Row:
    return Row(what, milliseconds=milliseconds(render), peak_gib=peak_gib(render))


def _large(model: Model, what: str, size: tuple[int, int]) -> Row:
    image, disparity, lens = model.photo(size)
    side = model.tile

    def render():
        return model.pipeline.render_in_tiles(image, disparity, lens, side)

    return Row(what, milliseconds=milliseconds(render, 1, 1), peak_gib=peak_gib(render))


def _psnr(found: Tensor, exact: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, the peak being the range of the exact picture."""
    span = exact.amax() - exact.amin()
    return float(20 * span.log10() - 10 * (found - exact).square().mean().log10())
