"""Laws of the Triton kernels of PISA, held against the reference: on a GPU, or interpreted."""

import math

import pytest
import torch
from interpreted import (
    DEVICE,
    INTERPRETED,
    all_laws_hold,
    imports_no_triton,
    law,
    needs_triton,
    only_once,
)

from bokehlib import optics
from bokehlib.optics import Lens
from bokehlib.pisa import coverage, pisa_attention

pytestmark = [
    needs_triton,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy's, of what is masked out later
]
INPUTS = ("output", "dq", "dk", "dv")


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """What a kernel forgets to write is NaN."""
    for name in ("empty", "empty_like"):
        plain = getattr(torch, name)

        def poisoned(*arguments, plain=plain, **options):
            new = plain(*arguments, **options)
            return new.fill_(torch.nan) if new.is_floating_point() else new

        monkeypatch.setattr(torch, name, poisoned)


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch):
    """The interpreter renews its hold on Triton's language at every call of a helper: once will do.

    Small tiles, too, cost it as much time as large ones.
    """
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    from bokehlib.pisa import kernel

    held = set()

    def call(self, *arguments, **options):
        if self.fn not in held:
            interpreter._patch_lang(self.fn)
            held.add(self.fn)
        return self.rewrite()(*arguments, **options)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
    for kind in kernel.SETTINGS:
        monkeypatch.setitem(kernel.SETTINGS, kind, (8, 8, ((1, None, 1),) * 4))


def problem(grid, depth=28, dtype=torch.float32, largest=(2.0, 6.0), heads=1):
    """Random q, k, v and gradient of the output, (B, heads, N, depth), and radius (B, N)."""
    tokens = grid[0] * grid[1]
    largest = torch.tensor(largest)[:, None]
    q, k, v, grad = torch.randn((4, len(largest), heads, tokens, depth)).to(DEVICE, dtype)
    return q, k, v, grad, (torch.rand((len(largest), tokens)) * largest).to(DEVICE)


def seen_and_radius(grid, lens, hardness=1e6):
    """Visibility and radius of a random scene of two images."""
    disparity = torch.rand((2, 1, 3 * grid[0], 3 * grid[1])).to(DEVICE)
    seen = optics.visibility(disparity, lens, grid, hardness=hardness, samples=4)
    return seen, optics.token_radius(disparity, lens, grid)


def results(q, k, v, grad, radius, grid, backend="triton", dtype=None, **options):
    """Output, dq, dk and dv, computed in `dtype`."""
    dtype = dtype or q.dtype
    q, k, v = (t.detach().to(dtype).requires_grad_() for t in (q, k, v))
    radius = radius.double() if dtype == torch.float64 else radius
    out = pisa_attention(q, k, v, radius, grid, backend=backend, **options)
    return out, *torch.autograd.grad(out, (q, k, v), grad.to(dtype))


def hold_to_the_reference(q, k, v, grad, radius, grid, **options):
    """The law: at most twice the error of the reference in the same precision."""
    inputs = (q, k, v, grad, radius, grid)
    exact = results(*inputs, backend="reference", dtype=torch.float64, **options)
    rounded = results(*inputs, backend="reference", **options)
    floor = 2e-7 if q.dtype == torch.float32 else 1e-4
    for name, found, r, e in zip(INPUTS, results(*inputs, **options), rounded, exact, strict=True):
        assert found.dtype == q.dtype
        assert found.isfinite().all(), name
        # Where all of it cancels, as in the gradients of a lone token, a rounding is left.
        allowed = 2 * (r.double() - e).norm() + floor * (e.norm() + 0.3 * grad.double().norm())
        assert (found.double() - e).norm() <= allowed, name


# --- Against the reference --------------------------------------------------------------------


@law
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("grid", "hardness"),
    [
        ((1, 1), 1e6),
        *(((5, 7), hardness) for hardness in (math.inf, 1e6, 20.0)),
        ((2, 33), 20.0),
    ],
    ids=str,
)
def test_it_errs_at_most_twice_as_much_as_the_reference(grid, hardness, dtype):
    hold_to_the_reference(*problem(grid, dtype=dtype), grid, hardness=hardness)


@law
@pytest.mark.parametrize(
    ("depth", "dtype"),
    [
        (32, torch.float16),
        (64, torch.float32),
        (80, torch.bfloat16),
        (128, torch.float32),
    ],
)
def test_any_number_of_channels_will_do(depth, dtype):
    hold_to_the_reference(*problem((4, 9), depth, dtype, heads=2), (4, 9))


@law
@pytest.mark.parametrize(
    ("hardness", "dtype"),
    [(20.0, torch.float32), (1e6, torch.bfloat16), (math.inf, torch.float32)],
)
def test_visibility_multiplies_after_the_normalisation(hardness, dtype):
    grid = (7, 10)
    lens = Lens(torch.tensor([0.0, 0.4]), torch.tensor([18.0, 4.0]))
    seen, radius = seen_and_radius(grid, lens, hardness)
    assert 0 < seen.counts.float().mean() < seen.supersamples
    inputs = problem(grid, dtype=dtype)[:4]
    hold_to_the_reference(*inputs, radius, grid, visibility=seen, hardness=hardness)


@law
def test_many_tiles_of_which_few_are_in_reach():
    grid = (33, 20)
    q, k, v, grad, radius = problem(grid)
    radius *= (torch.rand(radius.shape) < 0.05).to(DEVICE)
    hold_to_the_reference(q, k, v, grad, radius, grid)


@law
def test_tokens_whose_channels_or_heads_lie_apart_in_memory():
    grid = (5, 7)
    q, k, v, grad, radius = problem(grid, heads=2)
    woven = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v, grad)]
    fused = torch.cat((q, k, v), dim=-1).chunk(3, dim=-1)
    turned = [t.mT.contiguous().mT for t in (q, k, v, grad)]
    expected = results(q, k, v, grad, radius, grid)
    for other in (woven, turned, [*fused, grad], [q, woven[1], turned[2], woven[3]]):
        found = results(*other, radius, grid)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    even = torch.ones((), device=DEVICE).expand_as(grad)
    found = results(*woven[:3], even, radius, grid)
    expected = results(q, k, v, even.contiguous(), radius, grid)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


# --- Its own laws -----------------------------------------------------------------------------


@law
@pytest.mark.parametrize("hardness", [20.0, 1e6, math.inf])
def test_the_energy_of_every_source_is_conserved(hardness):
    grid = (7, 9)
    q, k, _, _, radius = problem(grid, depth=63)
    units = torch.eye(63, device=DEVICE).expand(2, 1, 63, 63)
    weights = pisa_attention(3 * q, k, units, radius, grid, hardness=hardness, backend="triton")
    assert torch.allclose(weights.sum(dim=-2), torch.ones_like(radius)[:, None], atol=1e-5)
    at = optics.token_positions(grid, DEVICE)
    reached = optics.distance(at[:, None], at[None]) <= optics.reach(radius, hardness)[:, None]
    assert torch.equal(weights[:, 0] > 0, reached)


@law
def test_with_a_hard_edge_what_is_in_focus_stays_exactly_itself():
    q, k, v, grad, radius = problem((5, 7))
    found = results(q, k, v, grad, 0.1 * radius, (5, 7), hardness=math.inf)
    for x, expected in zip(found, (v, 0 * q, 0 * k, grad), strict=True):
        assert torch.allclose(x, expected, rtol=0, atol=1e-5)


@law
def test_what_is_out_of_reach_is_never_touched():
    grid = (8, 40)
    q, k, v, grad, radius = problem(grid, largest=(2.0, 2.0))
    expected = results(q, k, v, grad, radius, grid)
    column = torch.arange(320, device=DEVICE) % 40
    for x in (q, k, v, grad):
        x[1, :, column >= 32] = torch.nan
    for found, wanted in zip(results(q, k, v, grad, radius, grid), expected, strict=True):
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1, :, column < 16], wanted[1, :, column < 16])


@law
def test_logits_far_below_those_outside_the_mask_do_no_harm():
    q, k, v, grad, radius = problem((4, 6))
    q, k = q.abs() * 100, k.abs() * -100
    q[:, :, 0], k[:, :, 0] = -q[:, :, 0], -k[:, :, 0]
    assert all(x.isfinite().all() for x in results(q, k, v, grad, radius * 0.3, (4, 6)))


@law
@pytest.mark.parametrize("hardness", [3.0, 1e6])
def test_a_hardness_that_only_the_device_knows_is_the_same_hardness(hardness):
    inputs = *problem((5, 7)), (5, 7)
    known = results(*inputs, hardness=hardness)
    hidden = results(*inputs, hardness=torch.tensor(hardness, device=DEVICE))
    for a, b in zip(known, hidden, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


@law
def test_it_is_the_same_every_time_and_under_autocast():
    inputs = problem((5, 7))
    first, second = (results(*inputs, (5, 7)) for _ in range(2))
    with torch.autocast(DEVICE, torch.bfloat16):
        third = results(*inputs, (5, 7))
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@law
def test_it_compiles_to_one_graph_forward_and_backward():
    grid = (5, 7)
    seen, radius = seen_and_radius(grid, Lens(0.3, 9.0))
    inputs = (*problem(grid)[:4], radius, grid)
    torch._dynamo.reset()
    compiled = torch.compile(pisa_attention, fullgraph=True, backend="aot_eager")
    for visibility in (None, seen):
        q, k, v = (x.clone().requires_grad_() for x in inputs[:3])
        out = compiled(q, k, v, radius, grid, visibility=visibility, backend="triton")
        found = out, *torch.autograd.grad(out, (q, k, v), inputs[3])
        expected = results(*inputs, visibility=visibility)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@law
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_its_operator_is_what_it_says(monkeypatch):
    import bokehlib.pisa.kernel  # noqa: F401 (registers the operator)

    monkeypatch.undo()  # an operator traced over with poison in it would differ
    grid = (3, 4)
    seen, radius = seen_and_radius(grid, Lens(0.3, 9.0))
    for heads_first in (True, False):
        q, k, v = problem(grid, heads=2)[:3]
        if not heads_first:
            q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
        inputs = [x.requires_grad_() for x in (q, k, v)]
        arguments = (*inputs, radius, seen.counts, None, *grid, 1e6, seen.supersamples)
        torch.library.opcheck(torch.ops.bokehlib.pisa_attention, arguments)


@law
def test_auto_takes_what_can_do_the_job():
    grid = (3, 4)
    q, k, v, _, radius = problem(grid)
    plain = {"normalise": "keys", "coc": False}
    for options in ({}, plain, {"hardness": torch.tensor(1e6, device=DEVICE)}):
        found = pisa_attention(q, k, v, radius, grid, **options)
        other = pisa_attention(q, k, v, radius, grid, backend="reference", **options)
        assert torch.allclose(found, other, rtol=0, atol=1e-5)
        assert DEVICE == "cuda" or torch.equal(found, other)
    pisa_attention(q, k, v, radius.requires_grad_(), grid).sum().backward()
    assert radius.grad.any()
    assert coverage(q, k, radius, grid).shape == (2, 1, 12)


# --- Bad input --------------------------------------------------------------------------------


@law
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalise": "keys"}, "normalise='keys'"),
        ({"coc": False}, "coc=False"),
        ({"hardness": torch.tensor(1.0)}, "hardness is 1.0"),
        ({"visibility": torch.ones(2, 12, 12)}, "dense tensor for visibility"),
        ({"v": torch.ones(2, 1, 12, 1)}, "28 and 1 channels"),
        ({"q": torch.ones(2, 1, 12, 129)}, "129 and 129 channels"),
        ({"q": torch.ones(2, 1, 12, 28, dtype=torch.float64)}, "float64"),
        ({"radius": torch.ones(2, 12, requires_grad=True)}, "radius that requires a gradient"),
        ({"radius": torch.full((2, 12), -1.0)}, "radius has the value -1"),
        ({"radius": torch.full((2, 12), torch.nan)}, "radius has the value nan"),
        ({"grid": (4, 4)}, r"grid \(4, 4\)"),
        ({"hardness": 1.0}, "hardness is 1.0"),
    ],
)
def test_bad_input_is_named_before_any_launch(change, message, monkeypatch):
    from bokehlib.pisa import kernel

    monkeypatch.setattr(kernel, "attention", pytest.fail)
    q, k, v, _, radius = problem((3, 4))
    given = {"q": q, "k": k, "v": v, "radius": radius, "grid": (3, 4), "backend": "triton"} | change
    if "q" in change:
        given |= {"k": given["q"], "v": given["q"]}
    given = {n: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for n, x in given.items()}
    with pytest.raises(ValueError, match=message):
        pisa_attention(**given)


@pytest.mark.skipif(INTERPRETED, reason="this process interprets")
def test_a_cpu_without_the_interpreter_is_refused():
    q = torch.ones(1, 1, 12, 4)
    with pytest.raises(ValueError, match=r"tensors on cpu.*TRITON_INTERPRET"):
        pisa_attention(q, q, q, torch.ones(1, 12), (3, 4), backend="triton")


def test_importing_pisa_imports_no_triton():
    assert imports_no_triton("bokehlib.pisa")


@only_once
def test_all_laws_hold_in_the_interpreter():
    all_laws_hold(__file__)
