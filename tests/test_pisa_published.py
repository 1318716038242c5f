import math
from itertools import chain

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from networks import two_levels

from bokehlib.optics import Lens
from bokehlib.pisa import pisa_attention
from bokehlib.pisa.authors import (
    PublishedProcessor,
    install_published,
    published_attention,
    published_optics,
)
from bokehlib.pisa.processor import PlainProcessor


def layer(size, tokens, batch=1, heads=2, depth=8, seed=0):
    """q, k, v and disp_coc in float64; circles from nothing to the whole picture."""
    draw = torch.Generator().manual_seed(seed)
    qkv = (torch.randn(batch, heads, tokens, depth, generator=draw).double() for _ in range(3))
    disp_coc = torch.rand(batch, 2, *size, generator=draw).double()
    return *qkv, disp_coc * torch.tensor([0.95, 60.0]).view(2, 1, 1)


def bilinear(plane, y, x, dark_outside):
    """Value of a list of rows at (y, x), whole numbers being centres of pixels."""
    top, left, value = math.floor(y), math.floor(x), 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            inside = 0 <= row < len(plane) and 0 <= column < len(plane[0])
            if dark_outside and not inside:
                continue
            r, c = min(max(row, 0), len(plane) - 1), min(max(column, 0), len(plane[0]) - 1)
            value += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[r][c]
    return value


def resized(plane, height, width):
    y, x = len(plane) / height, len(plane[0]) / width
    return [
        [bilinear(plane, (i + 0.5) * y - 0.5, (j + 0.5) * x - 0.5, False) for j in range(width)]
        for i in range(height)
    ]


def hidden(q, k, d, fine, h, w, segments):
    """Whether source k, as the published code has it, is hidden from query q."""

    def place(n):  # (y, x), counted as if the grid were h wide (B3)
        return (n // h + 0.5) / w, (n % h + 0.5) / h

    for n in range(segments):
        share = 0.1 + 0.8 * n / (segments - 1)
        own, other = (share * d[t] + 1 - share for t in (k, q))
        ratio = (1 - other) * d[k] / (other * (1 - d[k]))  # with the query's disparity (B2)
        y, x = (a + ratio * (b - a) for a, b in zip(place(q), place(k), strict=True))
        if bilinear(fine, y * 3 * h - 0.5, x * 3 * w - 0.5, True) > own:
            return True
    return False


def by_hand(q, k, v, disp_coc, hardness, segments, h, w):
    """The layer in loops over the pairs of one head of one image."""
    disparity, coc = (resized(plane, h, w) for plane in disp_coc)
    fine = resized(disp_coc[0], 3 * h, 3 * w)
    d, r = (list(chain(*rows)) for rows in (disparity, coc))
    out = [[0.0] * len(v[0]) for _ in q]
    most = 0.99 if hardness < 1e6 else 1.0
    for source in range(h * w):
        logits = [np.dot(x, k[source]) / math.sqrt(len(x)) for x in q]
        weights = []
        for query in range(h * w):
            dy = 51.2 * (query // w - source // w) / (h - 1)
            dx = 51.2 * (query % w - source % w) / (w - 1)
            edge = math.log(hardness) * (r[source] - math.hypot(dy, dx))
            mask = 1 / (1 + math.exp(min(-edge, 700)))
            weights.append(math.exp(logits[query] - max(logits)) * mask)
        for query, weight in enumerate(weights):
            share = weight / sum(weights)
            share *= 1 - most * hidden(query, source, d, fine, h, w, segments)
            out[query] = [a + share * b for a, b in zip(out[query], v[source], strict=True)]
    return out


@pytest.mark.parametrize("case", [0, 1])
def test_it_agrees_with_what_the_published_code_computed(shared, case):
    file = shared / "reference" / "published_pisa.npz"
    if not file.is_file():
        pytest.skip(f"needs the outputs recorded from the published code in {file}")
    stored = np.load(file)
    given = [torch.tensor(stored[f"case{case}_{name}"]) for name in ("q", "k", "v", "disp_coc")]
    options = {"hardness": stored[f"case{case}_hardness"].item()}
    options["segments"] = stored[f"case{case}_segments"].item()
    expected = torch.tensor(stored[f"case{case}_out"])
    torch.testing.assert_close(
        published_attention(*given, **options), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 32), (4, 4)), ((24, 40), (3, 5)), ((40, 16), (5, 2)), ((35, 34), (4, 4))],
)
@pytest.mark.parametrize(("hardness", "segments"), [(1e7, 7), (30.0, 4)])
def test_it_is_the_published_maths_written_as_loops(size, grid, hardness, segments):
    given = layer(size, grid[0] * grid[1], batch=2)
    out = published_attention(*given, hardness=hardness, segments=segments)
    for item, head in ((0, 1), (1, 0)):
        q, k, v = (t[item, head].tolist() for t in given[:3])
        expected = by_hand(q, k, v, given[3][item].tolist(), hardness, segments, *grid)
        torch.testing.assert_close(out[item, head], torch.tensor(expected).double())


def test_it_is_the_same_every_time_and_draws_no_random_numbers():
    given = layer((64, 64), 64)
    before = torch.get_rng_state()
    assert torch.equal(published_attention(*given), published_attention(*given))
    assert torch.equal(before, torch.get_rng_state())


def test_the_nearest_disparity_divides_by_zero_and_is_seen_from_everywhere():
    q, k, _, disp_coc = layer((64, 64), 64)
    disp_coc[:, 0, 16:24, 40:48] = 1.0  # token (2, 5)
    out = published_attention(q, k, torch.eye(64).double().expand(1, 2, 64, 64), disp_coc)
    arrived = out.sum(dim=2)  # of the light of every source
    assert torch.isfinite(out).all()
    torch.testing.assert_close(arrived[..., 2 * 8 + 5], torch.ones(1, 2).double())
    assert (arrived < 0.9).any()
    everywhere = published_attention(q, k, k, disp_coc.clamp(min=1.0))
    assert torch.isfinite(everywhere).all()


def test_a_source_whose_loudest_query_lies_out_of_reach_is_not_a_number():
    q, k, v, disp_coc = (t.float() for t in layer((64, 64), 64, heads=1, depth=1))
    q[:], k[:], disp_coc[:, 1] = -50.0, 4.0, 10.0  # a token's pitch is 7.3
    q[:, :, 63] = 50.0
    ours = pisa_attention(q, k, v, torch.full((1, 64), 1.4), (8, 8), backend="reference")
    theirs = published_attention(q, k, v, disp_coc)
    assert torch.isfinite(ours).all()
    assert theirs.isnan().all()


def test_on_a_plane_it_is_our_attention_with_another_unit_of_length():
    q, k, v, disp_coc = layer((64, 64), 64)
    disp_coc[:, 0] = 0.5
    pitch = 51.2 / 7  # 8 tokens from border to border
    middle = disp_coc[:, 1].unflatten(-1, (8, 8)).unflatten(-3, (8, 8))[:, :, 3:5, :, 3:5]
    radius = middle.mean(dim=(2, 4)).flatten(1) / pitch
    options = {"hardness": 1e7**pitch, "backend": "reference"}
    ours = pisa_attention(q, k, v, radius, (8, 8), **options)
    torch.testing.assert_close(published_attention(q, k, v, disp_coc), ours, rtol=1e-4, atol=1e-4)


def test_gradients_reach_queries_keys_and_values():
    q, k, v, disp_coc = layer((16, 16), 4, heads=1, depth=2)
    inputs = [t.requires_grad_() for t in (q, k, v)]
    assert torch.autograd.gradcheck(lambda *t: published_attention(*t, disp_coc), inputs)


def test_half_precision_is_computed_in_float32():
    *qkv, disp_coc = layer((64, 64), 64)
    qkv = [t.bfloat16() for t in qkv]
    out = published_attention(*qkv, disp_coc.float())
    expected = published_attention(*(t.float() for t in qkv), disp_coc.float())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(published_attention(*qkv, disp_coc.float()), out)


def test_the_layer_is_told_disparity_and_tenths_of_the_radius_in_pixels():
    disparity = torch.rand(2, 1, 6, 8)
    told = published_optics(disparity, Lens(torch.tensor([0.2, 0.5]), torch.tensor([20.0, 30.0])))
    assert torch.equal(told[:, :1], disparity)
    torch.testing.assert_close(told[0, 1], (disparity[0, 0] - 0.2).abs() * 2)
    torch.testing.assert_close(told[1, 1], (disparity[1, 0] - 0.5).abs() * 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"k": torch.rand(1, 2, 63, 8)}, r"q, k, v have shapes .*\(1, 2, 63, 8\)"),
        ({"disp_coc": torch.rand(1, 1, 64, 64)}, r"disp_coc has shape \(1, 1, 64, 64\).*\(1, 2"),
        ({"disp_coc": torch.rand(2, 2, 64, 64)}, r"disp_coc has shape \(2, 2, 64, 64\)"),
        ({"disp_coc": torch.rand(1, 2, 64, 72)}, r"64 x 72 px makes 8 x 9 tokens of 8 px.* 64"),
        ({"disp_coc": torch.rand(1, 2, 4, 4)}, r"4 x 4 px makes 0 x 0 tokens of 0 px.* 64"),
        ({"hardness": 1.0}, "hardness is 1.0; accepted: above 1"),
        ({"segments": 0}, "segments is 0; accepted: from 1"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    given = dict(zip(("q", "k", "v", "disp_coc"), layer((64, 64), 64), strict=True))
    with pytest.raises(ValueError, match=named):
        published_attention(**given | change)


@pytest.fixture
def tiny_unet():
    """Two levels with SDXL's places: self-attentions in `down_blocks.1.attentions.0`."""
    return two_levels().requires_grad_(False)


def test_it_stands_in_two_self_attentions_and_all_others_are_plain(tiny_unet):
    install_published(tiny_unet)
    kinds = {name: type(one) for name, one in tiny_unet.attn_processors.items()}
    published = [name for name, kind in kinds.items() if kind is PublishedProcessor]
    place = "down_blocks.1.attentions.0.transformer_blocks"
    assert published == [f"{place}.{n}.attn1.processor" for n in (0, 1)]
    assert set(kinds.values()) == {PublishedProcessor, PlainProcessor}


def test_the_lens_reaches_a_unet_through_it(tiny_unet):
    install_published(tiny_unet)
    latent, text = torch.randn(1, 4, 16, 16), torch.zeros(1, 1, 16)
    disparity = torch.rand(1, 1, 128, 128)

    def noise(lens):
        options = {"optics": published_optics(disparity, lens)}
        return tiny_unet(latent, 499, text, cross_attention_kwargs=options).sample

    narrow, wide = noise(Lens(0.2, 0.0)), noise(Lens(0.2, 300.0))
    assert narrow.shape == latent.shape
    assert torch.isfinite(wide).all()
    assert not torch.equal(narrow, wide)


def test_the_processor_is_the_attention_between_the_layers_projections(tiny_unet):
    install_published(tiny_unet)
    attention = tiny_unet.down_blocks[1].attentions[0].transformer_blocks[1].attn1
    tokens = torch.randn(1, 64, 16)
    disp_coc = layer((64, 64), 64)[3].float()
    heads = [
        projection(tokens).view(1, 64, attention.heads, -1).permute(0, 2, 1, 3)
        for projection in (attention.to_q, attention.to_k, attention.to_v)
    ]
    merged = published_attention(*heads, disp_coc).permute(0, 2, 1, 3).reshape(1, 64, 16)
    expected = attention.to_out[0](merged)
    torch.testing.assert_close(attention(tokens, optics=disp_coc), expected)


@pytest.mark.parametrize("optics", [None, {64: "of our own layer"}])
def test_the_processor_names_what_it_got_instead_of_its_optics(tiny_unet, optics):
    install_published(tiny_unet)
    attention = tiny_unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1
    with pytest.raises(ValueError, match=f"got {type(optics).__name__} for optics.* tensor"):
        attention(torch.randn(1, 64, 16), optics=optics)


def test_a_unet_without_its_place_is_refused():
    unet = UNet2DConditionModel(
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=1,
        cross_attention_dim=8,
        norm_num_groups=4,
    )
    with pytest.raises(ValueError, match=r"no self-attention in 'down_blocks\.1\.attentions\.0\."):
        install_published(unet)
