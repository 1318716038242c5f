"""PISA from the pairs within reach, chunk by chunk: the reference's numbers in little memory."""

import subprocess
import sys

import pytest
import torch
from memory import peak_bytes

from bokehlib import optics, pisa
from bokehlib.optics import Lens
from bokehlib.pisa import pisa_attention, windowed

BOTH = pytest.mark.parametrize("normalise", ["queries", "keys"])
GRID = (6, 7)
LENS = Lens(torch.tensor([0.0, 0.4]), torch.tensor([6.0, 2.0]))  # mixed radii


def problem(grid=GRID, batch=2, heads=2, depth=4, dtype=torch.float64, largest=3.0):
    """Random q, k, v and radius."""
    tokens = grid[0] * grid[1]
    q, k, v = torch.randn((3, batch, heads, tokens, depth), dtype=dtype)
    return q, k, v, torch.rand((batch, tokens), dtype=dtype) * largest


def scene(grid=GRID, batch=2):
    return torch.rand((batch, 1, 3 * grid[0], 3 * grid[1]))


def results(backend, inputs, **options):
    """Output and the gradients of all inputs: q, k, v, radius, and tensors among the options."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    options = {
        name: x.clone().requires_grad_() if isinstance(x, torch.Tensor) else x
        for name, x in options.items()
    }
    out = pisa_attention(*inputs, GRID, backend=backend, **options)
    leaves = inputs + [x for x in options.values() if isinstance(x, torch.Tensor)]
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out, *torch.autograd.grad(out, leaves, weight, materialize_grads=True)


# --- The same numbers -------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("budget", [1, 20_000, 2**24])
@pytest.mark.parametrize("coc", [True, False])
def test_it_gives_what_the_reference_gives_and_the_same_gradients(
    coc, budget, normalise, monkeypatch
):
    monkeypatch.setitem(windowed.BUDGET, "cpu", budget)
    *inputs, _ = problem()
    radius = optics.token_radius(scene(), LENS, GRID).double()
    held = optics.visibility(scene(), LENS, GRID, coc=coc)
    for seen in (None, held, held.dense().double()):
        for hardness in (1e6, torch.tensor(1e6)):
            options = {"visibility": seen, "normalise": normalise, "coc": coc}
            options["hardness"] = hardness
            both = (results(x, [*inputs, radius], **options) for x in ("reference", "windowed"))
            for expected, found in zip(*both, strict=True):
                assert torch.allclose(found, expected, rtol=1e-9, atol=1e-13)


@BOTH
def test_it_visits_every_pair_within_reach_once_and_little_else(normalise, monkeypatch):
    visits = torch.zeros(42, 42)
    attend = windowed._Pairs.attend

    def counted(self, queries, sources, *parts):
        to, of = (self.number[tokens].flatten() for tokens in (queries, sources))
        visits[to[:, None], of] += 1
        assert len(to) * len(of) < 42 * 42 / 3
        return attend(self, queries, sources, *parts)

    monkeypatch.setattr(windowed._Pairs, "attend", counted)
    monkeypatch.setitem(windowed.BUDGET, "cpu", 1)
    q, k, v, _ = problem()
    radius = optics.token_radius(scene(), LENS, GRID).requires_grad_()
    out = pisa_attention(q, k, v, radius, GRID, normalise=normalise, backend="windowed")
    place = optics.token_positions(GRID)
    apart = optics.distance(place[:, None], place)
    reached = (apart <= optics.reach(radius, 1e6)[:, None]).any(dim=0)
    assert visits.max() == 1
    assert visits[reached].min() == 1
    out.sum().backward()  # and once more to differentiate
    assert visits.max() == 2


def test_half_precision_is_summed_in_float32_and_rounded_once(monkeypatch):
    monkeypatch.setitem(windowed.BUDGET, "cpu", 1)
    inputs = problem(dtype=torch.bfloat16)
    for found, expected in zip(
        results("windowed", inputs), results("reference", inputs), strict=True
    ):
        assert found.dtype == torch.bfloat16
        error = (found.float() - expected.float()).abs()
        assert (error <= 2**-7 * expected.float().abs() + 1e-5).all()
        assert (error == 0).float().mean() > 0.95


# --- Choice of the backend --------------------------------------------------------------------


def test_auto_goes_in_chunks_and_in_one_piece_where_shapes_may_not_follow_values(monkeypatch):
    taken = []
    for name in ("reference", "windowed"):
        plain = pisa.BACKENDS[name]
        monkeypatch.setitem(
            pisa.BACKENDS, name, lambda *a, name=name, plain=plain: taken.append(name) or plain(*a)
        )
    inputs = problem(dtype=torch.float32)
    plain = {"normalise": "keys", "coc": False}
    for options in ({}, plain, {"hardness": torch.tensor(9.0)}):
        pisa_attention(*inputs, GRID, **options)
    pisa_attention(*(x.requires_grad_() for x in inputs), GRID).sum().backward()
    assert taken == 4 * ["windowed"]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    pisa_attention(*inputs, GRID)
    assert taken[4:] == ["reference"]


def test_by_name_it_may_stand_in_a_compiled_function():
    torch._dynamo.reset()
    compiled = torch.compile(pisa_attention, backend="aot_eager")
    for scale in (1, 3):  # another reach, other shapes
        q, k, v, radius = (x.requires_grad_() for x in problem(dtype=torch.float32))
        found, expected = (
            blur(q, k, v, scale * radius, GRID, backend="windowed")
            for blur in (compiled, pisa_attention)
        )
        assert torch.allclose(found, expected, rtol=0, atol=1e-6)
        for a, b in zip(
            *(torch.autograd.grad(x.square().sum(), (q, k, v, radius)) for x in (found, expected)),
            strict=True,
        ):
            assert torch.allclose(a, b, rtol=0, atol=1e-5)


# --- Memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize(("device", "coc"), [("cpu", True), ("cuda", True), ("cuda", False)])
def test_temporaries_stay_within_256_mb(device, coc, learning, monkeypatch):
    monkeypatch.setitem(windowed.BUDGET, "cpu", windowed.BUDGET[device])
    monkeypatch.setitem(windowed.TILE, "cpu", windowed.TILE[device])
    grid, heads = (48, 64), 16
    inputs = problem(grid, batch=1, heads=heads, depth=2, dtype=torch.bfloat16)
    lens = Lens(0.5, 20.0)
    seen = optics.visibility(scene(grid, 1), lens, grid, samples=1) if coc else None
    if coc:
        inputs = *inputs[:3], optics.token_radius(scene(grid, 1), lens, grid)

    def work():
        tensors = [x.requires_grad_(learning) for x in inputs]
        out = pisa_attention(*tensors, grid, visibility=seen, coc=coc)
        if learning:
            out.sum().backward()

    assert 2 * heads * 3072**2 * 4 > 2**30  # two arrays of all pairs would be too much
    assert 0 < peak_bytes(work) <= 2**28


SCRIPT = """
import sys, torch
from bokehlib.pisa import pisa_attention

heads, depth, learning = (int(x) for x in sys.argv[1:])

def kilobytes(what):
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith(what))

def blur(grid):
    tokens = grid[0] * grid[1]
    q, k, v = torch.randn(3, 1, heads, tokens, depth).requires_grad_(bool(learning))
    before = kilobytes("VmRSS")
    out = pisa_attention(q, k, v, torch.full((1, tokens), 8.0), grid)
    if learning:
        out.sum().backward()
    return kilobytes("VmHWM") - before

blur((8, 8))
print(blur((128, 128)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("learning", [0, 1])
def test_128_by_128_tokens_take_at_most_512_mb(learning):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, "4", "32", str(learning)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert 0 < int(run.stdout) <= 512 * 2**10
