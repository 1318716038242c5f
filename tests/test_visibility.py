"""Laws of self-occlusion through a thin lens."""

import itertools
import math

import pytest
import torch

from bokehlib import optics
from bokehlib.optics import Lens
from bokehlib.optics import rays as visibility
from bokehlib.optics.occlusion import MODELS
from bokehlib.pisa import coverage


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def thin(disparity, lens, grid, **options):
    return optics.visibility(disparity, lens, grid, "thin_lens", **options)


def own_light(seen):
    """M[s, s] of the first item, (h, w)."""
    return seen.dense()[0].diagonal().view(seen.grid)


def within_reach(disparity, lens, grid):
    """Which (query, source) pairs the discs of a hard edge hold, and one token more."""
    place = optics.token_positions(grid)
    apart = optics.distance(place[:, None], place)
    return apart <= optics.token_radius(disparity, lens, grid)[0] + 1


# --- The model, ray by ray --------------------------------------------------------------------

SQUARE = [(-0.375, -0.375), (0.125, 0.125), (0.375, -0.125), (-0.125, 0.375)]


def through_lens(y, x):
    """The concentric map from [-1/2, 1/2]^2 to the unit disc, for one point off the axes."""
    if abs(y) > abs(x):
        return 2 * y * math.cos(math.pi / 4 * x / y), 2 * y * math.sin(math.pi / 4 * x / y)
    return 2 * x * math.sin(math.pi / 4 * y / x), 2 * x * math.cos(math.pi / 4 * y / x)


class ByHand:
    """The model for one pair at a time in plain Python; `fine` is 3x finer than the tokens."""

    def __init__(self, fine, grid, focus, aperture, samples, thickness):
        self.fine, self.grid, self.focus, self.aperture = fine, grid, focus, aperture
        self.samples, self.thickness = samples, thickness
        self.nearest = max(max(row) for row in fine)

    def inside(self, y, x):
        h, w = self.grid
        return (
            min(max(y, -1 / 3), h - 1 + 1 / 3),
            min(max(x, -1 / 3), w - 1 + 1 / 3),
        )

    def at(self, y, x):
        y, x = self.inside(y, x)
        return self.fine[round(3 * y + 1)][round(3 * x + 1)]

    def slope(self, y, x, axis):
        side = self.grid[axis]
        if side < 3:
            return 0.0
        place = [y, x]
        place[axis] = min(max(place[axis], 1), side - 2)
        low, mid, high = (
            self.at(*(p + i * (a == axis) for a, p in enumerate(place))) for i in (-1, 0, 1)
        )
        if (mid - low) * (high - mid) <= 0:
            return 0.0
        return min(mid - low, high - mid, key=abs)

    def arrives(self, s, drift):
        """The ray from s that moves sideways by `drift` tokens per unit of disparity."""
        ds, slopes = self.at(*s), [self.slope(*s, axis) for axis in (0, 1)]
        step = (self.nearest - ds) / self.samples
        for i in range(self.samples):
            d = ds + (i + 0.5) * step
            there = self.inside(*(p + v * (d - ds) for p, v in zip(s, drift, strict=True)))
            found = self.at(*there)
            plane = ds + 1e-6
            for slope, p, o in zip(slopes, there, s, strict=True):
                plane += slope * (p - o) + abs(slope) / 2
            if max(d, plane) <= found < d + max(self.thickness, step):
                return False
        return True

    def seen(self, q, s):
        w, ds = self.grid[1], self.at(*divmod(s, self.grid[1]))
        s, q, count = divmod(s, w), divmod(q, w), 0
        for offset in SQUARE:
            if self.aperture * abs(ds - self.focus) < 1:
                drift = [self.aperture * u for u in through_lens(*offset)]
            else:
                to = [b - a - o for a, b, o in zip(q, s, offset, strict=True)]
                u = [side / (ds - self.focus) for side in to]
                drift = [side * min(1, self.aperture / math.hypot(*u)) for side in u]
            count += self.arrives(s, drift)
        return count / 4


@pytest.mark.parametrize("thickness", [0.05, 0.2, math.inf])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 3), (4, 4)])
def test_visibility_is_the_share_of_rays_that_cross_no_surface(grid, thickness):
    fine = noise(3 * grid[0], 3 * grid[1], seed=3)
    lens, tokens = Lens(0.4, 3 * 7.0), range(grid[0] * grid[1])
    options = {"samples": 7, "coc": False, "thickness": thickness}
    dense = thin(fine[None, None], lens, grid, **options).dense()
    scene = ByHand(fine.tolist(), grid, 0.4, 7.0, 7, thickness)
    expected = [[scene.seen(q, s) for s in tokens] for q in tokens]
    assert torch.equal(dense[0], torch.tensor(expected))
    if grid == (5, 3):
        assert 0.1 < dense.mean() < 0.9  # both answers occur


@pytest.mark.parametrize("count", [1, 3, 4, 64, 255])
def test_points_of_token_and_lens_lie_inside_and_are_spread_evenly(count):
    square, disc = visibility.query_offsets(count), visibility.lens_points(count)
    assert square.shape == disc.shape == (count, 2)
    assert len(torch.unique(disc, dim=0)) == count
    assert square.abs().max() < 0.5
    assert disc.norm(dim=1).max() < 1
    if count in (4, 64):
        assert square.mean(dim=0).abs().max() < 1e-12
        assert disc.mean(dim=0).norm() < 0.1
        assert disc.square().sum(dim=1).mean().item() == pytest.approx(0.5, abs=0.1)


# --- Laws of a lens ---------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.25), (0.25, 0.0), (0.6, 0.3)])
def test_an_affine_change_of_all_disparities_changes_nothing(a, b):
    grid = (12, 15)
    disparity = (noise(1, 1, 36, 45, seed=4) * 2**10).round() / 2**10
    lens = Lens(0.25, 12.0)
    before = thin(disparity, lens, grid, thickness=0.0625)
    after = thin(a * disparity + b, Lens(a * 0.25 + b, 12.0 / a), grid, thickness=a * 0.0625)
    assert 0.1 < before.dense()[before.dense() > 0].mean() < 0.9
    differ = (before.counts != after.counts).float().mean()
    assert differ <= (0 if a < 0.6 else 1e-3)  # 0.6 is not exact in binary


def test_a_scene_at_another_size_has_the_same_visibility():
    grid, disparity, lens = (8, 9), noise(1, 1, 24, 27, seed=5), Lens(0.3, 20.0)
    larger = disparity.repeat_interleave(2, -1).repeat_interleave(2, -2)
    before, after = thin(disparity, lens, grid), thin(larger, lens.scaled(2), grid)
    assert torch.equal(before.counts, after.counts)


def tilted(grid, stride, angle, low, high):
    y, x = (torch.arange(float(side * stride)) for side in grid)
    along = math.sin(math.radians(angle)) * y[:, None] + math.cos(math.radians(angle)) * x
    along = (along - along.min()) / (along.max() - along.min())
    return (low + (high - low) * along)[None, None]


@pytest.mark.parametrize("angle", [0, 90, 217])
@pytest.mark.parametrize("stride", [1, 4, 8])
def test_a_tilted_plane_never_hides_itself(angle, stride):
    grid = (8, 11)
    tilts, lenses = ((0.05, 0.9), (0.3, 0.35), (0.0, 1.0)), (0.0, 0.6, 1.0)
    for (low, high), focus, radius in itertools.product(tilts, lenses, (3.0, 30.0)):
        plane = tilted(grid, stride, angle, low, high)
        lens = Lens(focus, radius * stride / max(abs(high - focus), abs(low - focus)))
        # A curtain hides all that a thinner surface hides.
        seen = thin(plane, lens, grid, samples=6, thickness=math.inf).dense()[0]
        inside = within_reach(plane, lens, grid)
        assert (seen[inside] == 1).all(), (low, high, focus, radius)


@pytest.mark.parametrize("value", [0.0, 1e-8, 0.3, 1 - 2**-24, 1.0])
@pytest.mark.parametrize("focus", [0.0, 0.3, 1.0])
def test_a_plane_of_constant_disparity_never_hides_itself(value, focus):
    disparity = torch.full((1, 1, 40, 56), value)
    assert (thin(disparity, Lens(focus, 200.0), (5, 7), coc=False).dense() == 1).all()


def disc_before_wall(focus, blur, tokens=41, size=8.0, stride=3):
    """A disc at 0.8 before a wall at 0.2, and a lens that blurs one by `blur` tokens."""
    side = (torch.arange(tokens * stride) + 0.5) / stride - tokens / 2
    away = (side[:, None] ** 2 + side**2).sqrt()
    return torch.where(away < size, 0.8, 0.2)[None, None], Lens(focus, stride * blur / 0.6)


def test_around_a_near_disc_the_coverage_of_a_focused_wall_stays_one():
    grid = (41, 41)
    disparity, lens = disc_before_wall(0.2, blur=4.0)
    seen = thin(disparity, lens, grid, supersamples=64)
    q = torch.zeros(1, 1, 41 * 41, 1)
    radius = optics.token_radius(disparity, lens, grid)
    full = coverage(q, q, radius, grid, visibility=seen)[0, 0]
    away = (optics.token_positions(grid) - 20).norm(dim=1)
    beyond = full[(away > 12.5) & (away < 17)]  # where the disc's blur does not reach
    assert (beyond - 1).abs().max() < 1e-6
    rim = (away > 9) & (away <= 12.5)  # the wall is hidden where the disc spreads: a balance
    assert (full[rim] - 1).abs().max() < 0.15
    assert (full[rim].mean() - 1).abs() < 0.03
    paper = optics.visibility(disparity, lens, grid)
    over = coverage(q, q, radius, grid, visibility=paper)[0, 0]
    assert over[(away > 9) & (away < 10)].mean() > 1.2  # Eq. 8 adds the disc to the whole wall
    assert (own_light(seen).flatten()[away > 12.5] == 1).all()


def wire(focus, blur, tokens=31, stride=3):
    disparity = torch.full((1, 1, 9 * stride, tokens * stride), 0.2)
    middle = tokens // 2 * stride
    disparity[..., middle : middle + stride] = 0.8
    return disparity, Lens(focus, stride * blur / 0.6), (9, tokens)


@pytest.mark.parametrize("supersamples", [4, 16, 64])
@pytest.mark.parametrize("blur", [2.0, 4.0, 8.0])
def test_beside_a_wire_no_more_is_lost_than_the_width_that_it_hides(blur, supersamples):
    lost = 1 - own_light(thin(*wire(0.2, blur), supersamples=supersamples))[4]
    lost[15] = 0  # the wire itself
    assert 0.4 < lost.sum() <= 1
    far = (torch.arange(31) - 15).abs() > blur + 1
    assert lost[far].sum() == 0


def test_a_curtain_instead_of_a_wire_darkens_all_around_it():
    thin_wire, curtain = (
        own_light(thin(*wire(0.2, 8.0), supersamples=64, thickness=thickness))[4]
        for thickness in (0.05, math.inf)
    )
    assert (curtain <= thin_wire).all()
    around = [*range(11, 15), *range(16, 20)]
    assert (1 - curtain)[around].sum() > 2.5 * (1 - thin_wire)[around].sum()
    assert (curtain[around] < 0.9).all()


def test_light_from_behind_enters_a_blurred_foreground():
    grid, query, source = (41, 41), 20 * 41 + 13, 20 * 41 + 6  # 1 within the disc, 6 without
    disparity, lens = disc_before_wall(1.0, blur=6.0)  # blurs the disc by 2 tokens, the wall by 8
    assert thin(disparity, lens, grid).dense()[0, query, source] == 1  # past the rim, at 11.25
    assert optics.visibility(disparity, lens, grid).dense()[0, query, source] == 0
    deeper = query + 2  # more than the disc's own blur behind its rim
    assert thin(disparity, lens, grid).dense()[0, deeper, source + 2] == 0


def test_a_sharp_source_is_seen_through_the_whole_lens_from_everywhere():
    grid = (41, 41)
    disparity, lens = disc_before_wall(0.2, blur=4.0)
    counts = thin(disparity, lens, grid).counts[0]
    middle = counts.shape[-1] // 2
    wall = optics.token_radius(disparity, lens, grid)[0] == 0
    inner = ((optics.token_positions(grid) - 20).abs() < 20).all(dim=1)
    own, above = counts[:, middle, middle], counts[:, middle - 1, middle]
    assert torch.equal(own[wall & inner], above[wall & inner])
    assert 0 < (own[wall] < 4).float().mean() < 0.5


# --- Numbers, memory, batches -----------------------------------------------------------------


@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("aperture", [0.0, 1e-6, 60.0, 1e6])
def test_disparities_of_0_1_and_the_focus_are_finite(focus, aperture):
    values = (noise(1, 1, 15, 15, seed=1) * 3).floor() / 2
    seen = thin(values, Lens(focus, aperture), (5, 5), coc=False)
    assert set(values.unique().tolist()) == {0.0, 0.5, 1.0}
    assert seen.counts.max() <= 4
    near = (values[0, 0, 1::3, 1::3] == 1).flatten()
    assert (seen.dense()[0][:, near] == 1).all()  # nothing is nearer
    if aperture < 1:
        assert (seen.dense() == 1).all()  # a pinhole


def test_it_is_the_same_every_time_and_draws_no_random_numbers():
    arguments = noise(1, 1, 32, 48), Lens(0.3, 25.0), (4, 6)
    before = torch.get_rng_state()
    first, second = (thin(*arguments).counts for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rays", [1, 300])
def test_the_size_of_the_chunks_does_not_matter(rays, monkeypatch):
    arguments = noise(2, 1, 32, 48, seed=6), Lens(0.3, 25.0), (4, 6)
    whole = thin(*arguments).counts
    monkeypatch.setitem(visibility.CHUNK, "cpu", rays)
    assert torch.equal(thin(*arguments).counts, whole)


def test_items_of_a_batch_do_not_see_each_other():
    disparity = noise(3, 1, 24, 40, seed=5) * torch.tensor([0.3, 1.0, 0.7]).view(3, 1, 1, 1)
    focus, aperture = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([150.0, 60.0, 40.0])
    batch = thin(disparity, Lens(focus, aperture), (3, 5)).dense()
    for i in range(3):
        lens = Lens(focus[i].item(), aperture[i].item())
        assert torch.equal(batch[i], thin(disparity[i : i + 1], lens, (3, 5)).dense()[0])


def test_a_transposed_scene_has_the_transposed_visibility():
    grid, disparity = (4, 7), noise(2, 1, 12, 21, seed=2)
    turn = torch.arange(28).view(grid).T.flatten()
    seen = thin(disparity, Lens(0.2, 30.0), grid).dense()
    turned = thin(disparity.mT, Lens(0.2, 30.0), grid[::-1]).dense()
    assert (turned != seen[:, turn][:, :, turn]).float().mean() < 1e-3
    assert not torch.equal(turned, seen)


def test_it_holds_the_pairs_within_reach_and_is_0_beyond():
    grid, disparity, lens = (9, 12), noise(2, 1, 72, 96), Lens(0.5, 60.0)
    near, complete = (thin(disparity, lens, grid, coc=coc) for coc in (True, False))
    place = optics.token_positions(grid)
    apart = optics.distance(place[:, None], place[None, :])
    reached = apart <= optics.reach(optics.token_radius(disparity, lens, grid), 1e6)[:, None, :]
    assert torch.equal(near.dense(), complete.dense() * reached)
    assert complete.dense()[~reached].sum() > 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_needs_at_most_256_mb_of_temporaries(device, monkeypatch):
    monkeypatch.setitem(visibility.CHUNK, "cpu", visibility.CHUNK[device])
    disparity, lens, grid = noise(1, 1, 144, 144), Lens(0.5, 90.0), (48, 48)

    def work():
        return thin(disparity, lens, grid, samples=1)

    counts = work().counts
    assert counts.numel() * 4 > 2**22  # several chunks
    with torch.profiler.profile(profile_memory=True) as record:
        work()
    changes = [
        e.nbytes() for e in record.profiler.kineto_results.events() if e.name() == "[memory]"
    ]
    assert counts.nbytes < max(itertools.accumulate(changes)) <= counts.nbytes + 2**28


@pytest.mark.parametrize("model", MODELS)
def test_a_given_extent_makes_the_window_wider_or_narrower(model):
    arguments = noise(2, 1, 72, 96), Lens(0.1, 70.0), (9, 12), model
    fitting = optics.visibility(*arguments)
    e = fitting.extent
    assert 2 < e < 9
    given = {extent: optics.visibility(*arguments, extent=extent) for extent in (0, e - 2, e + 2)}
    for extent, seen in given.items():
        assert seen.extent == extent
    inner = given[e + 2].counts[:, :, 2:-2, 2:-2]
    assert torch.equal(inner, fitting.counts)
    assert given[e + 2].counts.sum() == inner.sum()
    assert torch.equal(given[e - 2].counts, fitting.counts[:, :, 2:-2, 2:-2])
    assert torch.equal(given[0].counts, fitting.counts[:, :, e : e + 1, e : e + 1])
    widest = optics.visibility(*arguments, extent=99)
    assert widest.extent == 11
    assert torch.equal(widest.dense(), fitting.dense())


@pytest.mark.parametrize("hardness", [6.0, 1e6, math.inf])
def test_attention_takes_the_extent_of_the_largest_radius_and_no_smaller_one(hardness):
    grid, disparity, lens = (9, 12), noise(1, 1, 72, 96), Lens(0.0, 25.0)
    radius = optics.token_radius(disparity, lens, grid)
    q = torch.zeros(1, 1, 108, 1)
    enough = int(optics.reach(radius.max().item(), hardness))
    options = {"hardness": hardness}
    seen = thin(disparity, lens, grid, extent=enough, **options)
    assert coverage(q, q, radius, grid, visibility=seen, **options).isfinite().all()
    fewer = thin(disparity, lens, grid, extent=enough - 1, **options)
    with pytest.raises(ValueError, match=f"holds {enough - 1} tokens"):
        coverage(q, q, radius, grid, visibility=fewer, **options)


def test_all_pairs_are_held_whatever_the_extent():
    arguments = noise(1, 1, 32, 48), Lens(0.3, 25.0), (4, 6)
    expected = thin(*arguments, coc=False)
    assert torch.equal(thin(*arguments, coc=False, extent=1).counts, expected.counts)
    assert expected.extent == 5


def test_a_hardness_that_only_the_device_knows_is_the_same_hardness():
    arguments = noise(1, 1, 32, 48), Lens(0.3, 25.0), (4, 6)
    known, hidden = (thin(*arguments, hardness=h) for h in (20.0, torch.tensor(20.0)))
    assert torch.equal(known.counts, hidden.counts)
    assert hidden.hardness == 20.0


def test_a_negative_extent_is_named():
    with pytest.raises(ValueError, match="extent -1; accepted: from 0"):
        thin(noise(1, 1, 8, 8), Lens(0.5, 8.0), (2, 2), extent=-1)


@pytest.mark.parametrize("thickness", [0.0, -1.0, math.nan])
def test_a_bad_thickness_is_named(thickness):
    with pytest.raises(ValueError, match=f"thickness {thickness}; accepted: above 0"):
        thin(noise(1, 1, 8, 8), Lens(0.5, 8.0), (2, 2), thickness=thickness)
