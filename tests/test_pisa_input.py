"""Bad input of the attention is named, with what is accepted."""

import math

import pytest
import torch

from bokehlib import optics
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
        ({"backend": "windowed"}, "'windowed'; available: auto, reference"),
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
