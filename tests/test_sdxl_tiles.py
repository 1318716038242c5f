"""Large images at SDXL's shape: what every tile is told is what the whole image would be told."""

import pytest
import torch

from bokehlib.bokehdiff import sdxl, tiling
from bokehlib.optics import Lens
from bokehlib.study import FULL

TILE, HALO = 256, 32
LENS = Lens(0.4, 60.0)  # up to 30 px, less than the halo


def scene(height=200, width=520):
    """A ramp with near boxes, some of which lie on the borders of tiles."""
    disparity = torch.linspace(0.15, 0.6, width).expand(height, width).clone()
    for x in range(20, width - 40, 90):
        disparity[60:140, x : x + 40] = 0.85
    return torch.rand(1, 3, height, width), disparity[None, None]


def told(pipeline, image, disparity, tile):
    """What every piece of the image is told, with the pixel of its first place."""
    places = torch.arange(disparity.numel()).view(disparity.shape).double()
    seen, optics = [], pipeline.token_optics

    def noted(depth, *given):
        seen.append((depth, optics(depth, *given)))
        return seen[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "token_optics", noted)
        patch.setattr(pipeline, "one_step", lambda picture, *_: picture)
        out = pipeline(image, disparity, LENS, output_type="pt", tile=tile).images
    return seen, out, places


@torch.no_grad()
def test_radius_and_visibility_of_every_token_are_the_whole_images_on_every_tile():
    image, disparity = scene()
    pipeline = sdxl.tiny(FULL)
    assert pipeline.halo(disparity, LENS) == HALO
    pieces, _, _ = told(pipeline, image, disparity, TILE)
    ((depth, whole),), _, _ = told(pipeline, image, disparity, None)
    assert len(pieces) > 2
    ramp = 4 * pipeline.size_multiple
    rows, columns = (tiling._spans(n, TILE, HALO, 32, ramp) for n in disparity.shape[-2:])
    corners = [(_first(y), _first(x)) for y in rows for x in columns]
    assert len(corners) == len(pieces)
    for (y, x), (crop, tokens) in zip(corners, pieces, strict=True):
        assert torch.equal(crop, depth[..., y : y + TILE, x : x + TILE])
        for stride in (16, 32):
            compare(whole, depth.shape, tokens, crop.shape, stride, y // stride, x // stride)


def _first(span):
    """Where a tile begins in the image between its margins."""
    return span.target.start - span.inside.start + HALO


def compare(whole, whole_shape, tokens, shape, stride, top, left):
    """Radius and visibility of pairs that lie a halo within the tile."""
    (height, width), (h, w) = ([n // stride for n in s[-2:]] for s in (whole_shape, shape))
    large, small = whole[height * width], tokens[h * w]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    inner = HALO // stride
    used = (y >= inner) & (y < h - inner) & (x >= inner) & (x < w - inner)
    here = (y * w + x)[used]
    there = ((y + top) * width + x + left)[used]
    assert torch.equal(small.radius[:, here], large.radius[:, there])
    assert small.hardness == large.hardness
    found = small.visibility.dense()[:, here][:, :, here]
    expected = large.visibility.dense()[:, there][:, :, there]
    apart = torch.stack((here // w, here % w))
    near = (apart[:, :, None] - apart[:, None]).abs().amax(dim=0) <= 2
    assert torch.equal(found[0][near], expected[0][near])
    assert (expected < 1).any() or stride == 32


@torch.no_grad()
def test_a_constant_stays_constant_across_the_borders_of_tiles():
    image, disparity = scene()
    image = torch.full_like(image, 0.3)
    _, out, _ = told(sdxl.tiny(FULL), image, disparity, TILE)
    torch.testing.assert_close(out, image, rtol=0, atol=1e-6)
