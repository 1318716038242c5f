"""Both semantics at SDXL's shape against computations of all pairs, written here once more."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bokehlib import optics
from bokehlib.bokehdiff import sdxl
from bokehlib.bokehdiff.sdxl import published
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.optics import Lens
from bokehlib.pisa.processor import AttentionProcessor, PlainProcessor
from bokehlib.study import AS_PUBLISHED, FULL

SMALL_TILES = {"TILE": 16, "OVERLAP": 4, "WHOLE": 512}
SMALL_APERTURE = 400.0  # of a tile of 8 tokens, each of which is 7.3 units of 10 px wide (B5)
PISA = "down_blocks.1.attentions.0."
SHARE = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[499]  # alpha-bar


@pytest.fixture
def small_tiles(monkeypatch):
    for name, value in SMALL_TILES.items():
        monkeypatch.setattr(published, name, value)


def scene(height, width, seed=0):
    """Image and smooth disparity in float64."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=draw).double()
    coarse = torch.rand(1, 1, 6, 6, generator=draw).double()
    disparity = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return image, disparity.clamp(0.02, 0.98)


def exact(kind, recipe=FULL):
    return sdxl.tiny(recipe, kind=kind).to(torch.float64)


# --- The published code's, by hand ------------------------------------------------------------


def interpolation(new, old):
    """(new, old): linear, pixel centres at halves, the last pixel beyond the border."""
    matrix = np.zeros((new, old))
    for i in range(new):
        at = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
        low = min(int(at), old - 2)
        matrix[i, low], matrix[i, low + 1] = 1 - (at - low), at - low
    return matrix


def resized(plane, height, width):
    return interpolation(height, len(plane)) @ plane @ interpolation(width, len(plane[0])).T


def looked_up(plane, y, x):
    """Bilinear values at (y, x) in pixels; 0 outside."""
    value, (height, width) = 0.0, plane.shape
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for row in (top, top + 1):
        for column in (left, left + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            found = plane[row.clip(0, height - 1), column.clip(0, width - 1)]
            value = value + inside * found * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def hidden(d, fine, h, w):
    """(queries, sources): whether any of seven points between finds a nearer surface."""
    n = np.arange(h * w)
    y, x = (n // h + 0.5) / w, (n % h + 0.5) / h  # as if h wide (B3)
    found = np.zeros((h * w, h * w), bool)
    for share in np.linspace(0.1, 0.9, 7):
        ray = share * d + 1 - share
        ratio = (1 - ray[:, None]) * d[None] / (ray[:, None] * (1 - d[None]))  # the query's (B2)
        at = [(p[:, None] + ratio * (p[None] - p[:, None])) for p in (y, x)]
        found |= looked_up(fine, at[0] * 3 * h - 0.5, at[1] * 3 * w - 0.5) > ray[None]
    return found


class DensePublished(AttentionProcessor):
    """`optics` are (2, H, W): disparity and circle of confusion in units of 10 px."""

    told, seen = None, None  # of the last layer: all layers of a tile share them

    def attend(self, q, k, v, attention_mask, optics):
        (height, width), tokens = optics.shape[1:], q.shape[2]
        stride = int(math.sqrt(height * width / tokens))
        h, w = height // stride, width // stride
        d, coc = (resized(plane, h, w).ravel() for plane in optics)
        if optics is not self.told:
            self.told, self.seen = optics, 1 - hidden(d, resized(optics[0], 3 * h, 3 * w), h, w)
        y, x = np.divmod(np.arange(h * w), w)
        apart = 51.2 * np.hypot((y[:, None] - y[None]) / (h - 1), (x[:, None] - x[None]) / (w - 1))
        near = 1 / (1 + np.exp(np.clip(-math.log(1e7) * (coc[None] - apart), None, 700)))
        logits = (q[0] @ k[0].transpose(1, 2)).numpy() / math.sqrt(q.shape[-1])
        weights = np.exp(logits - logits.max(axis=1, keepdims=True)) * near
        weights = weights / weights.sum(axis=1, keepdims=True) * self.seen
        return torch.from_numpy(weights) @ v


def published_by_hand(pipeline, image, disparity, focus, aperture, tile, overlap, whole):
    """The published inference of an image whose sides suit it, (1, 3, H, W)."""
    vae, unet, (height, width) = pipeline.vae, pipeline.unet, image.shape[-2:]
    dense = DensePublished()
    unet.set_attn_processor(
        {
            name: dense if PISA in name and "attn1" in name else PlainProcessor()
            for name in unet.attn_processors
        }
    )
    d = disparity[0, 0].numpy()
    maps = np.stack([d, abs(d - focus) * aperture / 10])
    z = vae.encode(image * 2 - 1).latent_dist.mode() * 0.13025
    h, w = z.shape[-2:]
    hidden_states, pooled = (t.double() for t in pipeline.prompt)

    def noise(y, x, side_y, side_x):
        ids = torch.tensor([[height, width, y, x, height, width]]).double()
        part = maps[:, 8 * y : 8 * (y + side_y), 8 * x : 8 * (x + side_x)]
        return unet(
            z[..., y : y + side_y, x : x + side_x],
            499,
            hidden_states,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": ids},
            cross_attention_kwargs={"optics": part},
        ).sample.numpy()

    if h * w <= whole:
        eps = noise(0, 0, h, w)
    else:
        axis = np.linspace(-2, 2, tile)
        window = np.array([[math.exp(-(a * a + b * b)) for b in axis] for a in axis])
        eps, total = np.zeros(z.shape), np.zeros((h, w))
        for y in starts(h, tile, overlap):
            for x in starts(w, tile, overlap):
                eps[..., y : y + tile, x : x + tile] += window * noise(y, x, tile, tile)
                total[y : y + tile, x : x + tile] += window
        eps /= total
    x0 = (z - math.sqrt(1 - SHARE) * torch.from_numpy(eps)) / math.sqrt(SHARE)
    return vae.decode(x0 / 0.13025).sample / 2 + 0.5


def starts(length, tile, overlap):
    """A side of one tile has two in one place, which weigh like one."""
    count = 1 + (length - overlap) // (tile - overlap)
    return sorted({*np.linspace(0, length - tile, count).astype(int).tolist()})


@torch.no_grad()
def both(size, aperture, tile=64, overlap=16, whole=8192):
    image, disparity = scene(*size)
    found = exact(PublishedPipeline).transform(image, disparity, Lens(0.4, aperture))
    asked = (exact(PublishedPipeline), image, disparity, 0.4, aperture)
    return found, published_by_hand(*asked, tile, overlap, whole)


def assert_equal(found, expected):
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)], ids=str)
def test_an_image_in_one_piece_is_the_published_inference_by_hand(size):
    assert_equal(*both(size, SMALL_APERTURE))


def test_an_image_in_tiles_is_the_published_inference_by_hand(small_tiles):
    assert_equal(*both((168, 264), SMALL_APERTURE, 16, 4, 512))


@pytest.mark.parametrize("changed", ["aperture", "disparity", "focus"])
@torch.no_grad()
def test_the_lens_reaches_the_picture(changed):
    image, disparity = scene(128, 128)
    pipeline, given = exact(PublishedPipeline), {"focus": 0.4, "aperture": SMALL_APERTURE}
    before = pipeline.transform(image, disparity, Lens(**given))
    if changed == "disparity":
        disparity = disparity.flip(-1)
    else:
        given[changed] *= 2
    assert (pipeline.transform(image, disparity, Lens(**given)) - before).abs().max() > 1e-3


def test_tiles_stand_where_the_published_code_puts_them():
    assert (published.TILE, published.OVERLAP, published.WHOLE) == (64, 16, 8192)
    for length in range(64, 600):
        assert published._starts(length) == starts(length, 64, 16), length


@torch.no_grad()
def test_a_noise_that_is_the_same_everywhere_stays_so_across_tiles(small_tiles, monkeypatch):
    pipeline = exact(PublishedPipeline)
    monkeypatch.setattr(pipeline, "_predict", lambda latent, *_: torch.full_like(latent, 0.7))
    latent = torch.rand(1, 4, 37, 50).double()
    maps = published.PublishedOptics(torch.rand(1, 2, 296, 400), 1e7)
    noise = pipeline.predict_noise(latent, maps)
    torch.testing.assert_close(noise, torch.full_like(latent, 0.7))


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (33, 65), (40, 900), (170, 263)], ids=str)
def test_any_size_comes_back_as_it_went_in(size, small_tiles):
    image, disparity = (t.float() for t in scene(*size))
    pipeline = sdxl.tiny(kind=PublishedPipeline)
    pipeline.set_progress_bar_config(disable=True)
    out = pipeline(image, disparity, Lens(0.3, 30.0), output_type="pt").images
    assert out.shape == image.shape
    assert torch.isfinite(out).all()


def test_it_is_the_same_every_time_and_draws_no_random_numbers():
    image, disparity = (t.float() for t in scene(64, 64))
    pipeline, before = sdxl.tiny(kind=PublishedPipeline), torch.get_rng_state()
    first, second = (
        pipeline(image, disparity, Lens(0.3, 60.0), output_type="pt").images for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_large_pictures_go_through_the_autoencoder_in_its_own_tiles():
    assert sdxl.tiny(kind=PublishedPipeline).vae.use_tiling
    assert not sdxl.tiny().vae.use_tiling


def test_what_the_published_code_does_not_have_is_refused():
    with pytest.raises(ValueError, match="published semantics with classical; accepted: without"):
        sdxl.tiny(replace(FULL, classical=True), kind=PublishedPipeline)
    image, disparity = scene(64, 64)
    with pytest.raises(ValueError, match="tile of 64 px; accepted with published semantics: none"):
        sdxl.tiny(kind=PublishedPipeline)(image, disparity, Lens(0.3, 60.0), tile=64)


# --- Ours, by hand ----------------------------------------------------------------------------


class DenseOurs(AttentionProcessor):
    """`optics`: tokens -> (radius (N,), positions (N, 2), visibility (N, N)), all in tokens."""

    def attend(self, q, k, v, attention_mask, optics):
        radius, place, seen = optics[q.shape[2]]
        apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
        reach = radius[None] + 1  # where the step has fallen to 1e-6
        step = math.log(1e6) * (radius[None] - apart)
        near = np.where(apart > reach, 0, 1 / (1 + np.exp(np.clip(-step, None, 700))))
        weights = np.exp((q[0] @ k[0].transpose(1, 2)).numpy() / math.sqrt(q.shape[-1])) * near
        weights = weights / weights.sum(axis=1, keepdims=True) * seen
        return torch.from_numpy(weights) @ v


def ours_by_hand(pipeline, image, disparity, lens, sites, occlusion):
    vae, unet, (height, width) = pipeline.vae, pipeline.unet, image.shape[-2:]
    unet.set_attn_processor(
        {
            name: DenseOurs()
            if "attn1" in name and any(s in name for s in sites)
            else PlainProcessor()
            for name in unet.attn_processors
        }
    )
    blur = lens.aperture * (disparity[0, 0].numpy() - lens.focus).__abs__()
    halo = 32 * math.ceil(blur.max() / 32)
    edges = [(halo, -(-(n + 2 * halo) // 32) * 32 - halo - n) for n in (height, width)]
    pad = [(0, 0), (0, 0), *edges]
    picture, depth = (
        torch.from_numpy(np.pad(t.numpy(), pad, mode="reflect")) for t in (image, disparity)
    )
    blur, told = np.pad(blur, edges, mode="reflect"), {}
    for stride in (16, 32):
        h, w = (n // stride for n in blur.shape)
        radius = blur.reshape(h, stride, w, stride).mean(axis=(1, 3)).ravel() / stride
        place = np.stack(np.divmod(np.arange(h * w), w), axis=-1)
        seen = 1.0
        if occlusion:  # held to Eq. 7 to 9 in test_optics.py
            seen = optics.visibility(depth, lens, (h, w)).dense()[0].double().numpy()
        told[h * w] = radius, place, seen
    z = vae.encode(picture * 2 - 1).latent_dist.mode() * 0.13025
    hidden_states, pooled = (t.double() for t in pipeline.prompt)
    ids = torch.tensor([[*blur.shape, 0, 0, *blur.shape]]).double()
    eps = unet(
        z,
        499,
        hidden_states,
        added_cond_kwargs={"text_embeds": pooled, "time_ids": ids},
        cross_attention_kwargs={"optics": told},
    ).sample
    x0 = (z - math.sqrt(1 - SHARE) * eps) / math.sqrt(SHARE)
    out = vae.decode(x0 / 0.13025).sample / 2 + 0.5
    return out[..., halo : halo + height, halo : halo + width]


@pytest.mark.parametrize(
    ("recipe", "occlusion"),
    [
        (FULL, True),
        (replace(FULL, pisa=replace(FULL.pisa, occlusion=False)), False),
        (AS_PUBLISHED, True),
    ],
    ids=["the paper's", "without occlusion", "where the authors have it"],
)
@torch.no_grad()
def test_ours_is_eq_1_to_9_by_hand(recipe, occlusion):
    image, disparity = scene(130, 150)
    lens = Lens(0.4, 60.0)
    found = exact(sdxl.BokehPipeline, recipe).transform(image, disparity, lens)
    pipeline = exact(sdxl.BokehPipeline, recipe)
    sites = recipe.pisa.sites
    assert_equal(found, ours_by_hand(pipeline, image, disparity, lens, sites, occlusion))
