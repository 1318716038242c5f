"""Laws of physics-inspired self-attention, held against its reference and in chunks alike."""

import math

import pytest
import torch
from torch.nn import functional as F

from bokehlib import optics
from bokehlib.optics import Lens
from bokehlib.pisa import coverage, pisa_attention

BOTH = pytest.mark.parametrize("normalise", ["queries", "keys"])


@pytest.fixture(autouse=True, params=["reference", "windowed"])
def backend(request, monkeypatch):
    """What "auto" takes outside of torch.compile."""
    one_piece = torch.compiler.is_compiling
    chosen = lambda *_: "reference" if one_piece() else request.param  # noqa: E731
    monkeypatch.setattr("bokehlib.pisa._fastest", chosen)


def problem(grid, batch=2, heads=2, depth=4, largest=3.0, seed=0, dtype=torch.float64):
    """Random q, k, v and radius."""
    generator = torch.Generator().manual_seed(seed)
    tokens = grid[0] * grid[1]
    q, k, v = torch.randn((3, batch, heads, tokens, depth), generator=generator, dtype=dtype)
    radius = torch.rand((batch, tokens), generator=generator, dtype=dtype) * largest
    return q, k, v, radius


def scene(grid, batch=2, seed=0, stride=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, 1, grid[0] * stride, grid[1] * stride), generator=generator)


def weights(q, k, radius, grid, **options):
    """W * visibility itself, (B, heads, queries, sources): what unit vectors become."""
    tokens = q.shape[2]
    units = torch.eye(tokens, dtype=q.dtype).expand(*q.shape[:2], tokens, tokens)
    return pisa_attention(q, k, units, radius, grid, **options)


def apart(grid):
    tokens = range(grid[0] * grid[1])
    w = grid[1]
    return torch.tensor(
        [[math.hypot(q // w - k // w, q % w - k % w) for k in tokens] for q in tokens],
        dtype=torch.float64,
    )


def weights_by_hand(q, k, radius, grid, normalise, hardness):
    """Eq. 3 and 5 (with C[s, k]) or Eq. 2 for one head in plain Python: q, k lists of vectors."""
    tokens, w = range(len(q)), grid[1]

    def light(i, j):  # exp(A) C
        x = radius[j] - math.hypot(i // w - j // w, i % w - j % w)
        if x < -min(math.log(1e6) / math.log(hardness), 16):
            return 0.0
        c = (x > 0) + 0.5 * (x == 0) if hardness == math.inf else 1 / (1 + hardness**-x)
        return math.exp(sum(a * b for a, b in zip(q[i], k[j], strict=True)) / len(q[i]) ** 0.5) * c

    table = [[light(i, j) for j in tokens] for i in tokens]
    if normalise == "queries":
        return [[table[i][j] / sum(table[s][j] for s in tokens) for j in tokens] for i in tokens]
    return [[table[i][j] / (sum(table[i]) or math.inf) for j in tokens] for i in tokens]


# --- The equations ----------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("hardness", [1.2, 3.0, 1e6, math.inf])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 3)])
def test_the_weights_are_equations_2_to_6(grid, hardness, normalise):
    q, k, _, radius = problem(grid, batch=1, heads=1)
    radius[0, 0] = 1.0  # a neighbour exactly on the edge
    found = weights(q, k, radius, grid, normalise=normalise, hardness=hardness)[0, 0]
    lists = q[0, 0].tolist(), k[0, 0].tolist(), radius[0].tolist()
    expected = weights_by_hand(*lists, grid, normalise, hardness)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


@pytest.mark.parametrize("hardness", [3.0, 1e6, math.inf])
def test_the_energy_of_every_source_is_conserved(hardness):
    q, k, v, radius = problem((5, 7))
    energy = weights(3 * q, k, radius, (5, 7), hardness=hardness).sum(dim=-2)
    assert torch.allclose(energy, torch.ones_like(energy), rtol=0, atol=1e-12)
    once, twice = (pisa_attention(q, k, n * v, radius, (5, 7), hardness=hardness) for n in (1, 2))
    assert torch.equal(2 * once, twice)


@BOTH
@pytest.mark.parametrize("radius", [0.0, 0.99])
def test_with_a_hard_edge_what_is_in_focus_stays_exactly_itself(radius, normalise):
    for seed, scale in ((0, 1.0), (1, 100.0)):
        q, k, v, _ = problem((5, 7), seed=seed, dtype=torch.float32)
        options = {"normalise": normalise, "hardness": math.inf}
        out = pisa_attention(
            scale * q, scale * k, v, torch.full((2, 35), radius), (5, 7), **options
        )
        assert torch.equal(out, v)
    blurred = pisa_attention(q, k, v, torch.full((2, 35), 1.01), (5, 7), **options)
    assert not torch.equal(blurred, v)


def test_at_hardness_1e6_what_is_in_focus_leaks_no_more_than_the_edge_lets_through():
    # Four neighbours get e^gap C(1) / C(0) each at most, and as much comes back from each.
    gap, grid = 5.0, (6, 8)
    bound = 8 * math.exp(gap) * 1e-6 / 0.5
    tokens = torch.arange(48)
    board = (1.0 - 2.0 * ((tokens // 8 + tokens % 8) % 2)).double().view(1, 1, 48, 1)
    # Worst case: every token prefers its neighbours to itself by the whole gap.
    q, k, v = board * gap / 2, -board, board
    leak = (pisa_attention(q, k, v, torch.zeros(1, 48).double(), grid) - v).abs().max().item()
    assert bound / 2 < leak < bound


def test_the_picture_sharpens_to_itself_as_the_aperture_closes():
    grid = (5, 7)
    q, k, v, _ = problem(grid)
    errors = []
    for aperture in (12.0, 6.0, 3.0, 0.0):
        radius = optics.token_radius(scene(grid), Lens(0.0, aperture), grid).double()
        out = pisa_attention(q, k, v, radius, grid, hardness=math.inf)
        errors.append((out - v).norm().item())
    assert errors[0] > errors[1] > 0
    assert errors[2] == errors[3] == 0  # radii below one token


def test_without_its_physics_it_is_plain_attention():
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        q, k, v, radius = problem((5, 7), dtype=dtype)
        plain = F.scaled_dot_product_attention(q, k, v)
        out = pisa_attention(q, k, v, radius, (5, 7), normalise="keys", coc=False)
        assert torch.allclose(out, plain, rtol=0, atol=tolerance)
        for option in ({"normalise": "queries"}, {"coc": True}):  # each of them matters
            other = {"normalise": "keys", "coc": False} | option
            assert not torch.allclose(pisa_attention(q, k, v, radius, (5, 7), **other), plain)


@BOTH
def test_a_light_changes_the_picture_inside_its_circle_only(normalise):
    grid, light = (7, 9), 31
    q, k, v, radius = problem(grid)
    radius[:, light] = 2.3
    brighter = v.clone()
    brighter[:, :, light] += 1
    options = {"normalise": normalise, "hardness": math.inf}
    before, after = (pisa_attention(q, k, x, radius, grid, **options) for x in (v, brighter))
    changed = (before != after).any(dim=-1)
    inside = apart(grid)[:, light] < 2.3
    assert 1 < inside.sum() < 63
    assert torch.equal(changed, inside.expand(2, 2, -1))


@BOTH
def test_nothing_passes_beyond_the_reach_of_the_mask(normalise):
    grid, hardness = (7, 9), 30.0
    q, k, _, radius = problem(grid, largest=2.0)
    found = weights(q, k, radius, grid, normalise=normalise, hardness=hardness)
    reached = apart(grid) <= optics.reach(radius, hardness)[:, None, :]
    assert torch.equal(found > 0, reached[:, None].expand_as(found))
    assert 0.1 < reached.double().mean() < 0.95


def test_one_unit_of_length_holds_along_both_axes_and_on_every_grid():
    feet = []
    for grid in ((11, 17), (17, 11), (15, 15)):
        h, w = grid
        flat = torch.zeros(1, 1, h * w, 2, dtype=torch.float64)
        centre = h // 2 * w + w // 2
        spread = weights(flat, flat, torch.full((1, h * w), 3.7), grid, hardness=math.inf)
        foot = spread[0, 0, :, centre].view(grid)
        assert torch.equal(foot > 0, apart(grid)[:, centre].view(grid) <= 3.7)
        feet.append(foot[h // 2 - 5 : h // 2 + 6, w // 2 - 5 : w // 2 + 6])
    assert torch.equal(feet[0], feet[1])
    assert torch.equal(feet[0], feet[2])
    assert torch.equal(feet[0], feet[0].T)


@BOTH
def test_a_transposed_problem_has_the_transposed_result(normalise):
    grid, lens = (4, 7), Lens(0.3, 9.0)
    turn = torch.arange(28).view(grid).T.flatten()
    q, k, v, _ = problem(grid)
    disparity = scene(grid).double()
    turned = [x[:, :, turn] for x in (q, k, v)]

    def blur(q, k, v, disparity, grid):
        radius = optics.token_radius(disparity, lens, grid)
        seen = optics.visibility(disparity, lens, grid)
        return pisa_attention(q, k, v, radius, grid, visibility=seen, normalise=normalise)

    out = blur(q, k, v, disparity, grid)
    assert torch.allclose(
        blur(*turned, disparity.mT, grid[::-1]), out[:, :, turn], rtol=0, atol=1e-12
    )
    assert not torch.allclose(blur(*turned, disparity.mT, grid[::-1]), out, rtol=0, atol=1e-2)


@BOTH
def test_visibility_multiplies_after_the_normalisation(normalise):
    grid, lens = (4, 6), Lens(0.3, 9.0)
    q, k, v, _ = problem(grid)
    radius = optics.token_radius(scene(grid), lens, grid)
    seen = optics.visibility(scene(grid), lens, grid)
    expected = weights(q, k, radius, grid, normalise=normalise) * seen.dense()[:, None]
    assert (expected.sum(dim=(-1, -2)) < 24).all()
    for visibility in (seen, seen.dense(), seen.dense().double()):
        out = pisa_attention(q, k, v, radius, grid, visibility=visibility, normalise=normalise)
        assert torch.allclose(out, expected @ v, rtol=0, atol=1e-12)


def test_without_the_mask_visibility_acts_on_all_pairs():
    grid, lens = (3, 5), Lens(0.9, 1.0)
    q, k, _, radius = problem(grid)
    seen = optics.visibility(scene(grid), lens, grid, coc=False)
    plain = weights(q, k, radius, grid, coc=False)
    found = weights(q, k, radius, grid, coc=False, visibility=seen)
    assert torch.allclose(found, plain * seen.dense()[:, None], rtol=0, atol=1e-12)
    assert (found > 0).double().mean() > 0.3


def test_a_constant_image_is_covered_as_the_normalisation_lets_it():
    # Over queries the border is darker: its sources share their light among fewer queries.
    side = 33
    q = torch.zeros(1, 1, side * side, 2)
    even = coverage(q, q, torch.full((1, side * side), 8.0), (side, side)).view(side, side)
    assert even[side // 2, 0].item() == pytest.approx(0.74, abs=0.02)
    assert even[0, 0].item() == pytest.approx(0.54, abs=0.02)
    assert even.max().item() == pytest.approx(1.29, abs=0.02)
    assert even[side // 2, side // 2].item() == pytest.approx(1, abs=1e-5)
    step = torch.full((side, side), 0.55)
    step[:, side // 2 :] = 1.45
    across = coverage(q, q, step.view(1, -1), (side, side), hardness=math.inf)
    near = across.view(side, side)[side // 2, side // 2 - 1 : side // 2 + 1]
    assert near.tolist() == pytest.approx([4 / 3, 2 / 3])
    keys = coverage(q, q, step.view(1, -1), (side, side), normalise="keys")
    assert torch.allclose(keys, torch.ones_like(keys), rtol=0, atol=1e-5)


# --- Precision, gradients, compilation --------------------------------------------------------


def test_half_precision_is_computed_in_float32():
    grid = (5, 7)
    q, k, v, radius = problem(grid, dtype=torch.bfloat16)
    wide = [x.float() for x in (q, k, v, radius)]
    expected = pisa_attention(*wide, grid)
    assert torch.equal(pisa_attention(q, k, v, radius, grid), expected.bfloat16())
    assert torch.equal(pisa_attention(q, k, v, wide[3].double(), grid), expected.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pisa_attention(*wide, grid), expected)
    exact = problem(grid, dtype=torch.float64)
    rounded = pisa_attention(*(x.bfloat16() for x in exact), grid)
    assert torch.allclose(rounded.double(), pisa_attention(*exact, grid), rtol=0, atol=0.05)


@BOTH
def test_logits_far_below_those_outside_the_mask_do_no_harm(normalise):
    # A maximum taken before the mask would underflow every exponential inside it.
    grid = (4, 6)
    q, k, v, radius = problem(grid, dtype=torch.float32)
    q, k = q.abs() * 300, k.abs() * -300
    q[:, :, 0], k[:, :, 0] = -q[:, :, 0], -k[:, :, 0]
    out = pisa_attention(q, k, v, radius * 0.4, grid, normalise=normalise)
    assert out.isfinite().all()
    total = weights(q, k, radius * 0.4, grid, normalise=normalise)
    total = total.sum(dim=-2 if normalise == "queries" else -1)
    assert torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-5)


@BOTH
@pytest.mark.parametrize("coc", [True, False])
def test_gradients_are_those_of_the_definition(coc, normalise):
    grid = (2, 3)
    q, k, v, radius = problem(grid, batch=1, heads=2, depth=2, largest=1.3, seed=1)
    seen = torch.rand((1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (q, k, v, radius, seen)]

    def blur(q, k, v, radius, seen):
        options = {"visibility": seen, "normalise": normalise, "coc": coc, "hardness": 20.0}
        return pisa_attention(q, k, v, radius, grid, **options)

    assert torch.autograd.gradcheck(blur, inputs)


def test_gradients_of_half_precision_reach_every_input():
    grid, lens = (4, 6), Lens(0.3, 9.0)
    q, k, v, _ = (x.requires_grad_() for x in problem(grid, dtype=torch.bfloat16))
    radius = optics.token_radius(scene(grid), lens, grid)
    seen = optics.visibility(scene(grid), lens, grid)
    pisa_attention(q, k, v, radius, grid, visibility=seen).square().sum().backward()
    for x in (q, k, v):
        assert x.grad.dtype == torch.bfloat16
        assert x.grad.isfinite().all()
        assert x.grad.any()


def test_it_is_the_same_every_time_and_draws_no_random_numbers():
    q, k, v, radius = problem((8, 9), dtype=torch.float32)
    before = torch.get_rng_state()
    first, second = (pisa_attention(q, k, v, radius, (8, 9)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_compiles_to_one_graph_and_a_new_hardness_does_not_compile_again():
    grid, lens, graphs = (3, 4), Lens(0.3, 9.0), []

    def note(graph, _):
        graphs.append(graph)
        return graph.forward

    q, k, v, _ = problem(grid, dtype=torch.float32)
    radius = optics.token_radius(scene(grid), lens, grid)
    seen = optics.visibility(scene(grid), lens, grid, hardness=20.0)
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend=note)
    def blur(q, hardness):
        return pisa_attention(q, k, v, radius, grid, visibility=seen, hardness=hardness)

    for hardness in (20.0, 300.0, 1e6):
        tensor = torch.tensor(hardness)
        out = blur(q.requires_grad_(), tensor)
        plain = pisa_attention(q, k, v, radius, grid, visibility=seen, hardness=hardness)
        assert torch.allclose(out, plain, rtol=0, atol=1e-6)
    assert len(graphs) == 1
