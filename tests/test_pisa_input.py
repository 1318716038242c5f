"""Bad input of the attention is named, with what is accepted."""

import math

import pytest
import torch

from bokehlib import optics, pisa
from bokehlib.optics import Lens
from bokehlib.pisa import coverage, pisa_attention

GRID = (3, 4)
Q = torch.zeros(2, 1, 12, 4)
GOOD = {"q": Q, "k": Q, "v": Q, "radius": torch.ones(2, 12), "grid": GRID}
SEEN = optics.visibility(torch.rand(2, 1, 12, 16), Lens(1.0, 0.0), GRID)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"q": Q[0]}, r"\(1, 12, 4\), \(2, 1, 12, 4\)"),
        ({"k": Q[:, :, :6]}, r"\(2, 1, 6, 4\).*accepted: one \(B, heads, N, D\)"),
        ({"v": Q[:1]}, r"\(1, 1, 12, 4\)"),
        ({"v": Q.double()}, "torch.float32, torch.float32, torch.float64"),
        ({"q": Q.int(), "k": Q.int(), "v": Q.int()}, "torch.int32"),
        ({"grid": (3, 5)}, r"\(3, 5\) has not the 12 tokens"),
        ({"grid": (-3, -4)}, r"\(-3, -4\)"),
        ({"grid": (12,)}, r"\(12,\)"),
        ({"radius": torch.ones(12)}, r"radius .*\(12,\).*\(2, 12\)"),
        ({"radius": torch.ones(2, 12, dtype=torch.int64)}, "radius is torch.int64"),
        ({"radius": torch.full((2, 12), -0.5)}, "radius has the value -0.5"),
        ({"radius": torch.full((2, 12), math.nan)}, "radius has the value nan"),
        ({"hardness": 1.0}, "hardness is 1.0"),
        ({"hardness": math.nan}, "hardness is nan"),
        ({"normalise": "rows"}, "'rows'; known: queries, keys"),
        ({"backend": "fast"}, "'fast'; available: auto, reference, triton, windowed"),
        ({"visibility": torch.ones(2, 12, 11)}, r"visibility .*\(2, 12, 11\)"),
        ({"visibility": torch.ones(2, 12, 12).int()}, "visibility is torch.int32"),
        ({"visibility": SEEN, "grid": (4, 3)}, r"2 x \(3, 4\) tokens.*2 x \(4, 3\)"),
        ({"visibility": SEEN, "coc": False}, "coc=False"),
        ({"visibility": SEEN, "hardness": 10.0}, "hardness 10.0 .* made for 1000000.0"),
        ({"visibility": SEEN, "radius": torch.full((2, 12), 2.5)}, "radius up to 2.5 .* holds"),
    ],
)
def test_bad_input_is_named(changed, named):
    pisa_attention(**GOOD)
    with pytest.raises(ValueError, match=named):
        pisa_attention(**(GOOD | changed))


def test_coverage_takes_the_same_options_and_refuses_the_same():
    arguments = [GOOD[name] for name in ("q", "k", "radius", "grid")]
    assert coverage(*arguments).shape == (2, 1, 12)
    with pytest.raises(ValueError, match="'rows'"):
        coverage(*arguments, normalise="rows")


def test_a_radius_is_read_once_until_it_changes(monkeypatch):
    reads, read = [], pisa._read_extremes
    monkeypatch.setattr(pisa, "_read_extremes", lambda x: reads.append(x) or read(x))
    radius, hardness = torch.ones(2, 12), torch.tensor(9.0)
    for _ in range(3):
        pisa_attention(Q, Q, Q, radius, GRID, hardness=hardness)
    assert len(reads) == 2
    radius[1, 3] = 1.5
    pisa_attention(Q, Q, Q, radius, GRID)
    assert len(reads) == 3
    radius.view(-1)[5] = math.nan  # through a view too
    for _ in range(2):
        with pytest.raises(ValueError, match="radius has the value nan"):
            pisa_attention(Q, Q, Q, radius, GRID)
    assert len(reads) == 4
    hardness.fill_(1.0)
    with pytest.raises(ValueError, match="hardness is 1"):
        pisa_attention(Q, Q, Q, torch.ones(2, 12), GRID, hardness=hardness)


def test_what_is_known_of_a_radius_goes_with_it():
    before = len(pisa._extremes_of)
    radius = torch.ones(2, 12)
    pisa_attention(Q, Q, Q, radius, GRID)
    assert len(pisa._extremes_of) == before + 1
    del radius
    assert len(pisa._extremes_of) == before


def test_changes_in_inference_mode_are_seen():
    with torch.inference_mode():
        radius = torch.ones(2, 12)
        pisa_attention(Q, Q, Q, radius, GRID)
        radius[0, 0] = -1
        with pytest.raises(ValueError, match="radius has the value -1"):
            pisa_attention(Q, Q, Q, radius, GRID)
