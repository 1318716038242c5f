"""The SDXL model at its real size with random weights: kernels, repeats and rounding, on a GPU."""

from functools import partial

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from bokehlib.bokehdiff import sdxl
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.bokehdiff.sdxl import loading
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.optics import Lens
from bokehlib.pisa import pisa_attention, processor
from bokehlib.study import AS_PUBLISHED, FULL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device of 80 GiB"),
]
SIZES = {"square": (512, 512), "wide": (1024, 1536)}  # in one piece, and in tiles
LEAST = {"float16": 35.0, "bfloat16": 25.0}  # dB to float32; in this order: weights stay rounded


def build(kind, recipe):
    with torch.device("cuda"):
        pipeline = sdxl.build(recipe, kind=kind)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def render(pipeline, size):
    """A random image blurred over a ramp with a near box."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *size, generator=draw)
    disparity = torch.linspace(0.1, 0.6, size[0]).view(-1, 1).repeat(1, size[1])
    disparity[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 0.9
    inputs = image.cuda(), disparity[None, None].cuda(), Lens(0.4, 100.0)
    return pipeline(*inputs, output_type="pt").images


def test_the_kernels_are_the_reference_in_every_layer(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # TF32 rounds to 10 bits
    pipeline = build(BokehPipeline, FULL)
    assert len(processor.pisa_sites(pipeline.unet)) == 24
    fast = render(pipeline, SIZES["square"])
    monkeypatch.setattr(processor, "pisa_attention", partial(pisa_attention, backend="reference"))
    torch.testing.assert_close(render(pipeline, SIZES["square"]), fast, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "recipe"), [(BokehPipeline, FULL), (PublishedPipeline, AS_PUBLISHED)]
)
def test_pictures_repeat_themselves_and_narrow_types_stay_near_them(kind, recipe, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    pipeline = build(kind, recipe)
    exact = {shape: render(pipeline, size) for shape, size in SIZES.items()}
    for shape, picture in exact.items():
        assert torch.isfinite(picture).all()
        assert torch.equal(picture, render(pipeline, SIZES[shape]))
    for dtype, least in LEAST.items():
        loading.to_dtype(pipeline, loading.DTYPES[dtype])
        for shape, picture in exact.items():
            found = render(pipeline, SIZES[shape])
            assert peak_signal_noise_ratio(found, picture, 1.0) >= least, (dtype, shape)
        loading.to_dtype(pipeline, torch.float32)
