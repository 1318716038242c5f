"""The accelerated networks compute what the plain ones do."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from bokehlib import Lens
from bokehlib.bokehdiff import mini, sdxl
from bokehlib.bokehdiff.inference import GroupNorm, accelerate
from bokehlib.pisa.processor import for_any_lens, pisa_sites


@pytest.mark.parametrize("shape", [(2, 12, 5, 7), (3, 12, 40)])
def test_the_group_norm_is_torch_s(shape):
    plain, ours = nn.GroupNorm(4, 12, eps=1e-3), GroupNorm(4, 12, eps=1e-3)
    with torch.no_grad():
        for values in (plain.weight, plain.bias):
            values.normal_()
    ours.load_state_dict(plain.state_dict())
    x = 3 * torch.randn(shape) + 2
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)


def test_the_group_norm_sums_in_single_precision():
    x = 100 + torch.randn(1, 8, 64, 64)
    exact = nn.GroupNorm(2, 8)(x.bfloat16().float())
    found = GroupNorm(2, 8).bfloat16()(x.bfloat16()).float()
    assert (found - exact).abs().max() < 0.02


@pytest.fixture(scope="module")
def picture():
    draw = torch.Generator().manual_seed(0)
    image, disparity = (torch.rand(1, c, 64, 96, generator=draw) for c in (3, 1))
    return image, disparity, Lens(0.3, 20.0)


@pytest.mark.parametrize("build", [mini.tiny, lambda: sdxl.build(small=True)], ids=["mini", "sdxl"])
def test_an_accelerated_pipeline_renders_the_same_picture(build, picture):
    pipeline = build().to(torch.float32)
    with torch.no_grad():
        before = pipeline.transform(*picture)
        after = accelerate(pipeline, mode="eager").transform(*picture)
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, rtol=0, atol=2e-4)


def test_nothing_of_a_network_is_left_out(picture):
    pipeline = accelerate(sdxl.build(small=True), mode="eager")
    norms = [m for m in pipeline.unet.modules() if isinstance(m, nn.GroupNorm)]
    assert norms
    assert all(type(norm) is GroupNorm for norm in norms)
    assert pipeline.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_another_lens_or_hardness_compiles_nothing_anew(picture):
    image, disparity, _ = picture
    pipeline = mini.tiny()
    torch._dynamo.reset()
    counted = CompileCounter()
    pipeline.unet.compile(backend=counted, fullgraph=True, dynamic=False)
    plain = mini.tiny()
    with torch.no_grad():
        for aperture, hardness in ((20.0, 1e6), (50.0, 1e6), (50.0, 30.0), (0.0, 3.0)):
            asked = image, disparity, Lens(0.3, aperture), hardness, 0
            found, expected = pipeline.transform(*asked), plain.transform(*asked)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert counted.frame_count == 1


def test_for_any_lens_keeps_all_but_the_form_of_hardness(picture):
    _, disparity, lens = picture
    plain = mini.tiny().token_optics(disparity, lens, 40.0)
    ready = for_any_lens(plain, 40.0)
    assert ready.keys() == plain.keys()
    for tokens, here in ready.items():
        assert here.visibility is plain[tokens].visibility
        assert float(here.hardness) == 40.0


def test_the_sdxl_shapes_are_the_paper_s():
    """PISA on every self-attention of the down blocks: 4 on 16 px tokens, 20 on 32 px tokens."""
    with torch.device("meta"):
        pipeline = sdxl.build()
    assert len(pisa_sites(pipeline.unet)) == 24
    assert pipeline._pisa_strides() == {16, 32}
    assert sum(p.numel() for p in pipeline.unet.parameters()) == 2_567_463_684
    assert sum(p.numel() for p in pipeline.vae.parameters()) == 83_653_863
