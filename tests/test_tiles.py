import itertools

import pytest
import torch
from torch.nn import functional as F

from bokehlib.bokehdiff import tiling
from bokehlib.bokehdiff.tiling import reflect
from bokehlib.optics import Lens

LENS = Lens(0.5, 10.0)
RADIUS = 5
OPTIONS = {"side": 64, "halo": 8, "multiple": 8, "ramp": 16}


def scene(height, width):
    return torch.rand(1, 3, height, width), torch.rand(1, 1, height, width)


def blur(image, disparity, lens):
    """Looks RADIUS pixels far and mixes the disparity in; beyond a crop's edge it sees black."""
    return F.avg_pool2d(image * (1 + disparity), 2 * RADIUS + 1, 1, RADIUS)


def keep(image, disparity, lens):
    return image


def whole(transform, image, disparity, halo, multiple):
    padded, depth = reflect(image, halo, multiple), reflect(disparity, halo, multiple)
    height, width = image.shape[-2:]
    return transform(padded, depth, LENS)[..., halo : halo + height, halo : halo + width]


def layouts():
    for length, halo, ramp, sides in itertools.product(
        (1, 7, 64, 129, 640), (0, 3, 8), (0, 1, 16), (40, 64, 128)
    ):
        yield length, sides, halo, 8, ramp


@pytest.mark.parametrize("layout", layouts(), ids=str)
def test_weights_sum_to_one_and_keep_a_halo_from_every_inner_edge(layout):
    length, side, halo, multiple, _ = layout
    total = torch.zeros(length)
    for span in tiling._spans(*layout):
        total[span.target] += span.weight
        places = torch.arange(len(span.source))[span.inside][span.weight != 0]
        assert span.weight.min() >= 0
        assert len(span.source) <= side
        assert len(span.source) % multiple == 0
        assert halo <= places.min()
        assert places.max() < len(span.source) - halo
    torch.testing.assert_close(total, torch.ones(length))


@pytest.mark.parametrize("layout", layouts(), ids=str)
def test_neighbours_are_blended_over_the_ramp_at_least(layout):
    length, *_, ramp = layout
    spans = tiling._spans(*layout)
    for one, two in itertools.pairwise(spans):
        weights = torch.zeros(2, length)
        weights[0, one.target], weights[1, two.target] = one.weight, two.weight
        assert (weights > 0).all(dim=0).sum() >= ramp


def test_all_tiles_have_one_size_and_lie_on_the_token_grid():
    seen = []
    index = torch.arange(211.0 * 285).view(1, 1, 211, 285)

    def note(image, disparity, lens):
        seen.append(disparity)
        return image

    tiling.render(note, index.expand(1, 3, -1, -1), index, LENS, **OPTIONS)
    assert {crop.shape for crop in seen} == {(1, 1, 64, 64)}
    assert len(seen) > 20
    for crop in seen:
        y, x = divmod(int(crop[0, 0, 8, 8]), 285)  # behind the margin; never reflected
        assert y % 8 == x % 8 == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (64, 64), (90, 133), (131, 517)], ids=str)
def test_tiles_equal_the_whole_image_where_the_transform_looks_no_further_than_the_halo(size):
    image, disparity = scene(*size)
    expected = whole(blur, image, disparity, 8, 8)
    found = tiling.render(blur, image, disparity, LENS, **OPTIONS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_halo_below_what_the_transform_looks_at_shows():
    image, disparity = scene(90, 133)
    narrow = tiling.render(blur, image, disparity, LENS, **OPTIONS | {"halo": 0})
    expected = whole(blur, image, disparity, 0, 8)
    assert (narrow - expected).abs().max() > 1e-4


def test_a_constant_image_stays_constant_across_all_borders():
    image = torch.full((2, 3, 150, 211), 0.3)
    found = tiling.render(keep, image, image[:, :1], LENS, **OPTIONS)
    assert (found - 0.3).abs().max() <= 2e-7


def test_a_light_at_a_border_between_tiles_spreads_as_anywhere():
    first, second = tiling._spans(133, 64, 8, 8, 16)[:2]
    border = (second.target.start + first.target.stop) // 2
    for x in (second.target.start + 8, border - 1, border, first.target.stop - 9):
        light = torch.zeros(1, 3, 90, 133)
        light[..., 45, x] = 1
        found = tiling.render(blur, light, torch.zeros(1, 1, 90, 133), LENS, **OPTIONS)
        spread = torch.zeros(90, 133)
        spread[45 - RADIUS : 46 + RADIUS, x - RADIUS : x + RADIUS + 1] = (2 * RADIUS + 1) ** -2
        torch.testing.assert_close(found, spread.expand_as(found), rtol=0, atol=1e-8)


def test_an_image_that_fits_into_one_tile_is_rendered_whole_bit_for_bit():
    image, disparity = scene(40, 33)
    found = tiling.render(blur, image, disparity, LENS, **OPTIONS)
    assert torch.equal(found, whole(blur, image, disparity, 8, 8))


def test_lens_batch_and_channels_pass_through_and_sums_are_float32():
    lens = Lens(torch.tensor([0.1, 0.9]), 3.0)

    def focus(image, disparity, given):
        assert given is lens
        return given.focus.view(-1, 1, 1, 1).expand(2, 5, *image.shape[-2:]).half()

    image, disparity = torch.rand(2, 3, 100, 90).half(), torch.rand(2, 1, 100, 90)
    found = tiling.render(focus, image, disparity, lens, **OPTIONS)
    assert found.shape == (2, 5, 100, 90)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, 0, 50, 50], lens.focus, rtol=0, atol=1e-4)


def test_progress_counts_the_tiles_and_is_silent_for_one():
    lists = []

    def progress(crops):
        lists.append(len(crops))
        return crops

    for size in ((40, 40), (90, 133)):
        tiling.render(keep, *scene(*size), LENS, **OPTIONS, progress=progress)
    assert lists == [3 * 4]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"side": 60}, "tile of 60 px; accepted: multiples of 8 px"),
        ({"side": 0}, "tile of 0 px"),
        ({"side": 32}, r"tile of 32 px for a halo of 8 px .* ramp of 16 px; accepted: from 40 px"),
        ({"halo": 30}, "tile of 64 px for a halo of 30 px"),
    ],
    ids=str,
)
def test_a_tile_that_does_not_fit_is_named_with_what_it_must_hold(change, named):
    with pytest.raises(ValueError, match=named):
        tiling.render(keep, *scene(90, 133), LENS, **OPTIONS | change)


def test_the_least_accepted_tile_works():
    image, disparity = scene(90, 133)
    for halo in (0, 3, 8):
        options = OPTIONS | {"halo": halo}
        with pytest.raises(ValueError, match="from") as caught:
            tiling.render(keep, image, disparity, LENS, **options | {"side": 16})
        least = int(str(caught.value).split("from ")[1].split()[0])
        with pytest.raises(ValueError, match="accepted"):
            tiling.render(keep, image, disparity, LENS, **options | {"side": least - 8})
        found = tiling.render(keep, image, disparity, LENS, **options | {"side": least})
        torch.testing.assert_close(found, image, rtol=0, atol=1e-6)


def test_reflection_goes_on_beyond_the_image_and_keeps_the_inside():
    row = torch.arange(4.0).view(1, 1, 1, 4)
    padded = reflect(row, 5, 2)[0, 0, 0]
    assert padded.tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
