"""Laws of the thin-lens optics and of the self-occlusion between tokens."""

import math
import statistics

import pytest
import torch
from memory import peak_bytes

from bokehlib import optics
from bokehlib.optics import Lens


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def strips(*values, stride=3):
    """A disparity map of one row of tokens."""
    row = torch.tensor(values).repeat_interleave(stride)
    return row.expand(1, 1, stride, -1).contiguous()


# --- Lens, circle of confusion, soft edge -----------------------------------------------------


def test_the_circle_of_confusion_is_the_aperture_times_the_distance_from_focus():
    disparity = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 1, 4)
    radius = optics.circle_of_confusion(disparity, Lens(focus=0.25, aperture=20.0))
    assert radius.flatten().tolist() == [5.0, 0.0, 5.0, 15.0]


def test_each_item_of_a_batch_has_its_own_lens():
    disparity = noise(2, 1, 4, 6)
    both = optics.circle_of_confusion(
        disparity, Lens(torch.tensor([0.1, 0.9]), torch.tensor([8.0, 30.0]))
    )
    first = optics.circle_of_confusion(disparity[:1], Lens(0.1, 8.0))
    second = optics.circle_of_confusion(disparity[1:], Lens(0.9, 30.0))
    assert torch.equal(both, torch.cat((first, second)))


def test_a_lens_becomes_columns_in_the_dtype_of_the_map():
    focus, aperture = Lens(0.5, torch.tensor([1.0, 2.0])).column(noise(2, 1, 4, 4).double())
    assert focus.shape == aperture.shape == (2, 1, 1, 1)
    assert focus.dtype == aperture.dtype == torch.float64
    assert aperture.flatten().tolist() == [1.0, 2.0]


def test_a_resized_image_needs_a_lens_scaled_with_it():
    disparity, lens, grid = noise(1, 1, 16, 24), Lens(0.3, 12.0), (4, 6)
    larger = disparity.repeat_interleave(2, -1).repeat_interleave(2, -2)
    small = optics.token_radius(disparity, lens, grid)
    large = optics.token_radius(larger, lens.scaled(2), grid)
    assert torch.allclose(small, large, rtol=1e-6)
    assert not torch.allclose(small, optics.token_radius(larger, lens, grid), rtol=0.1)


def test_the_radius_of_a_token_is_the_mean_of_its_pixels_over_the_stride():
    disparity = torch.zeros(1, 1, 2, 4)
    disparity[..., 0, 2] = 1.0  # one pixel of four in the second token
    assert optics.token_radius(disparity, Lens(0.0, 8.0), (1, 2)).tolist() == [[0.0, 1.0]]
    # Not the radius of the mean disparity, which would be 0 across the focal plane.
    across = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)
    assert optics.token_radius(across, Lens(0.5, 8.0), (1, 1)).tolist() == [[2.0]]


def test_the_soft_step_rises_from_0_over_one_half_to_1():
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    for hardness in (3.0, 1e6, math.inf):
        y = optics.soft_step(x, hardness)
        assert y[2] == 0.5
        assert (y[1:] - y[:-1] >= 0).all()  # S1 prints the falling one
        assert y[0] < 0.04 < 0.96 < y[4]
    assert optics.soft_step(x, math.inf).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert optics.soft_step(torch.tensor(1.0), 3.0).item() == pytest.approx(3 / 4)


@pytest.mark.parametrize("hardness", [1.5, 3.0, 1e6, math.inf])
def test_the_log_of_the_soft_step_is_its_logarithm(hardness):
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected = optics.soft_step(x, hardness).log()
    assert torch.allclose(optics.log_soft_step(x, hardness), expected, rtol=0, atol=1e-12)


def test_the_log_of_the_soft_step_stays_finite_where_the_step_underflows():
    far = optics.log_soft_step(torch.tensor([-100.0]), 1e6)
    assert far.item() == pytest.approx(-100 * math.log(1e6), rel=1e-6)


def test_hardness_may_be_a_tensor():
    x = torch.linspace(-2, 2, 9)
    for hardness in (1.2, 3.0, 1e6):
        tensor = torch.tensor(hardness)
        assert torch.allclose(optics.soft_step(x, tensor), optics.soft_step(x, hardness))
        assert torch.allclose(optics.log_soft_step(x, tensor), optics.log_soft_step(x, hardness))
        assert float(optics.reach(2.0, tensor)) == pytest.approx(optics.reach(2.0, hardness))


def test_beyond_the_reach_the_edge_is_below_a_millionth_or_16_tokens_away():
    assert optics.reach(5.0, math.inf) == 5.0
    assert optics.reach(5.0, 1e6) == pytest.approx(6.0)
    assert optics.reach(5.0, 1.001) == 21.0
    edge = optics.reach(0.0, 10.0)
    assert optics.soft_step(torch.tensor(-edge), 10.0).item() == pytest.approx(1e-6, rel=1e-3)


def test_tokens_are_row_major_and_positions_are_y_x():
    positions = optics.token_positions((2, 3))
    assert positions.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert optics.distance(positions[0], positions).tolist() == pytest.approx(
        [0, 1, 2, 1, math.sqrt(2), math.sqrt(5)]
    )


@pytest.mark.parametrize(
    ("shape", "grid", "named"),
    [
        ((1, 1, 8, 12), (2, 4), "grid 2x4 .* 8x12"),  # 4 by 3 pixels a token
        ((1, 1, 9, 12), (2, 3), "grid 2x3 .* 9x12"),
        ((1, 1, 8, 12), (0, 3), "grid 0x3"),
        ((1, 1, 4, 4), (8, 8), "grid 8x8"),
        ((1, 3, 8, 8), (2, 2), r"\(1, 3, 8, 8\)"),
        ((8, 8), (2, 2), r"\(8, 8\)"),
    ],
)
def test_tokens_that_are_not_square_or_do_not_tile_are_refused(shape, grid, named):
    with pytest.raises(ValueError, match=named):
        optics.token_radius(torch.zeros(shape), Lens(0.5, 1.0), grid)
    with pytest.raises(ValueError, match=named):
        optics.visibility(torch.zeros(shape), Lens(0.5, 1.0), grid)


# --- Visibility -------------------------------------------------------------------------------

WIDE = Lens(0.5, 1000.0)  # reaches every token of a small grid


def seen_by_hand(fine, grid, q, k, samples, points):
    """Eq. 7 to 9 for one pair in plain Python; `fine` is the disparity 3x finer than the grid."""
    h, w = grid

    def at(y, x):
        row = min(max(round(3 * y + 1), 0), 3 * h - 1)
        return fine[row][min(max(round(3 * x + 1), 0), 3 * w - 1)]

    def is_seen(sy, sx):
        ds = at(sy, sx)
        if ds == 1:
            return True
        for i in range(samples):
            d = ds + (i + 0.5) / samples * (1 - ds)
            ratio = (1 - d) * ds / (d * (1 - ds))
            if at(q // w + ratio * (sy - q // w), q % w + ratio * (sx - q % w)) >= d:
                return False
        return True

    normal = statistics.NormalDist(0, 0.5)  # half a token
    seen = 0
    for u, v in points:
        sy = min(max(k // w + normal.inv_cdf(u), -0.5), h - 0.5)
        sx = min(max(k % w + normal.inv_cdf(v), -0.5), w - 0.5)
        seen += is_seen(sy, sx)
    return seen / len(points)


SOBOL = [(0.5, 0.5), (0.75, 0.25), (0.25, 0.75), (0.375, 0.375)]


@pytest.mark.parametrize("supersamples", [1, 4])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 3), (4, 4)])
def test_visibility_is_equations_7_to_9(grid, supersamples):
    disparity = noise(1, 1, 3 * grid[0], 3 * grid[1], seed=3)
    dense = optics.visibility(disparity, WIDE, grid, samples=7, supersamples=supersamples).dense()
    fine, tokens = disparity[0, 0].tolist(), range(grid[0] * grid[1])
    expected = [
        [seen_by_hand(fine, grid, q, k, 7, SOBOL[:supersamples]) for k in tokens] for q in tokens
    ]
    assert torch.equal(dense[0], torch.tensor(expected))
    if grid == (5, 3):
        assert 0.1 < dense.mean() < 0.9  # both answers occur


def test_a_nearer_strip_hides_what_lies_behind_its_ray():
    # From source 6 (disparity .2) to query 0 the ray passes token 3 at disparity 1/3.
    disparity = strips(0.2, 0.2, 0.2, 0.8, 0.2, 0.2, 0.2)
    seen = optics.visibility(disparity, WIDE, (1, 7), supersamples=1).dense()[0]
    assert seen[0, 6] == 0
    assert seen[0, 2] == seen[4, 6] == 1  # nothing between
    assert seen[0, 3] == seen[6, 3] == 1  # the strip itself is in front of all
    assert seen[3, 6] == 0  # by Eq. 8 no light from behind enters a nearer surface
    lower = optics.visibility(strips(*[0.2] * 3, 0.3, *[0.2] * 3), WIDE, (1, 7), supersamples=1)
    assert lower.dense()[0, 0, 6] == 1  # at disparity .3 the strip is behind the ray


@pytest.mark.parametrize("value", [0.0, 1e-8, 0.3, 1 - 5 * 2**-24, 1 - 2**-24, 1.0])
def test_a_plane_of_constant_disparity_never_occludes_itself(value):
    disparity = torch.full((1, 1, 40, 56), value)  # 8 pixels a token do not divide by 3
    assert (optics.visibility(disparity, WIDE, (5, 7)).dense() == 1).all()


def test_disparities_of_exactly_0_and_1_are_infinitely_far_and_always_visible():
    values = (noise(1, 1, 5, 5, seed=1) > 0.5).float()
    disparity = values.repeat_interleave(3, -1).repeat_interleave(3, -2)
    seen = optics.visibility(disparity, WIDE, (5, 5), supersamples=1).dense()[0]
    near = values.flatten() == 1
    assert near.any()
    assert not near.all()
    assert (seen[:, near] == 1).all()
    # Rays from infinity come straight in: only what stands on the query hides them.
    assert (seen[~near][:, ~near] == 1).all()
    assert (seen[near][:, ~near] == 0).all()


def test_a_transposed_scene_has_the_transposed_visibility():
    grid, disparity = (4, 7), noise(2, 1, 32, 56, seed=2)
    turn = torch.arange(28).view(grid).T.flatten()
    seen = optics.visibility(disparity, Lens(0.2, 20.0), grid).dense()
    turned = optics.visibility(disparity.mT, Lens(0.2, 20.0), grid[::-1]).dense()
    assert torch.equal(turned, seen[:, turn][:, :, turn])
    assert not torch.equal(turned, seen)


@pytest.mark.parametrize("hardness", [1e6, math.inf])
def test_visibility_takes_no_more_memory_than_the_reach_needs(hardness):
    grid, disparity, lens = (12, 9), noise(1, 1, 96, 72), Lens(0.0, 30.0)
    largest = optics.token_radius(disparity, lens, grid).max().item()
    seen = optics.visibility(disparity, lens, grid, hardness=hardness)
    assert seen.counts.dtype == torch.uint8
    assert seen.counts.nbytes <= 108 * (2 * largest + 3) ** 2


def test_visibility_holds_the_pairs_within_reach_and_is_0_beyond():
    grid, disparity, lens = (9, 12), noise(2, 1, 72, 96) * 0.2, Lens(0.0, 120.0)
    near = optics.visibility(disparity, lens, grid)
    complete = optics.visibility(disparity, lens, grid, coc=False)
    positions = optics.token_positions(grid)
    apart = optics.distance(positions[:, None], positions[None, :])
    reached = apart <= optics.reach(optics.token_radius(disparity, lens, grid), 1e6)[:, None, :]
    assert 0.05 < reached.float().mean() < 0.9
    assert torch.equal(near.dense(), complete.dense() * reached)
    assert complete.dense()[~reached].sum() > 0


def test_a_block_is_a_part_of_the_dense_matrix():
    seen = optics.visibility(noise(2, 1, 24, 40), Lens(0.4, 30.0), (3, 5))
    dense = seen.dense()
    assert dense.shape == (2, 15, 15)
    for queries, sources in ((slice(0, 4), slice(7, 15)), (slice(3, 3), slice(0, 1))):
        assert torch.equal(seen.block(queries, sources), dense[:, queries, sources])
    assert torch.equal(seen.to("cpu").counts, seen.counts)


def test_items_of_a_batch_do_not_see_each_other():
    disparity = noise(3, 1, 24, 40, seed=5)
    focus, aperture = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([10.0, 40.0, 0.0])
    batch = optics.visibility(disparity, Lens(focus, aperture), (3, 5)).dense()
    for i in range(3):
        lens = Lens(focus[i].item(), aperture[i].item())
        alone = optics.visibility(disparity[i : i + 1], lens, (3, 5)).dense()
        assert torch.equal(batch[i], alone[0])


@pytest.mark.parametrize("pairs", [1, 300])
def test_the_size_of_the_chunks_does_not_matter(pairs, monkeypatch):
    arguments = noise(2, 1, 32, 48, seed=6), Lens(0.3, 25.0), (4, 6)
    whole = optics.visibility(*arguments).counts
    monkeypatch.setitem(optics.CHUNK, "cpu", pairs)
    assert torch.equal(optics.visibility(*arguments).counts, whole)


def test_visibility_is_the_same_every_time_and_draws_no_random_numbers():
    arguments = noise(1, 1, 32, 48), Lens(0.3, 25.0), (4, 6)
    before = torch.get_rng_state()
    first, second = (optics.visibility(*arguments).counts for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_visibility_needs_at_most_256_mb_of_temporaries(device, monkeypatch):
    monkeypatch.setitem(optics.CHUNK, "cpu", optics.CHUNK[device])
    disparity, lens, grid = noise(1, 1, 192, 192), Lens(0.5, 400.0), (64, 64)
    counts = optics.visibility(disparity, lens, grid, samples=1, supersamples=1).counts
    assert counts.numel() * 16 > 2**28  # an index and a look-up of each pair would be too much
    held = peak_bytes(lambda: optics.visibility(disparity, lens, grid, samples=1, supersamples=1))
    assert counts.nbytes < held <= counts.nbytes + 2**28


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"model": "thin_glass"}, "'thin_glass'; known: paper"),
        ({"samples": 0}, "samples 0"),
        ({"supersamples": 0}, "supersamples 0"),
        ({"supersamples": 256}, "supersamples 256"),
    ],
)
def test_bad_options_of_visibility_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        optics.visibility(noise(1, 1, 8, 8), WIDE, (2, 2), **options)
