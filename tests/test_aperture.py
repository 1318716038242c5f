"""One aperture a method and data set: it is recovered, never chosen per picture, never known."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from bokehlib.baselines.scatter import scatter
from bokehlib.data import SEARCH_GRID, SEARCH_STEPS
from bokehlib.evaluation import aperture_search
from bokehlib.evaluation.metrics import Measure
from bokehlib.evaluation.scoring import score
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens


@dataclass(frozen=True)
class Sample:
    name: str
    blur: int
    image: torch.Tensor
    disparity: torch.Tensor
    lens: Lens
    target: torch.Tensor


def made_with(apertures):
    """Samples whose truths are scatter's own pictures at these apertures, which they keep quiet."""
    samples = []
    for n, true in enumerate(apertures):
        rng = np.random.default_rng(n)
        cells = torch.from_numpy(rng.uniform(size=(1, 3, 10, 12))).float()
        image = torch.nn.functional.interpolate(cells, scale_factor=4, mode="bicubic").clamp(0, 1)
        disparity = torch.full((1, 1, 40, 48), 0.2)
        disparity[..., 10:30, 15:35] = 0.7
        lens = Lens(0.7, true)
        truth = scatter(image, disparity, lens)
        hidden = replace(lens, aperture=math.nan)
        samples.append(Sample(f"s{n}", 0, image, disparity, hidden, truth))
    return samples


class Recorder:
    """Scatter, noting every aperture that a picture is rendered at."""

    def __init__(self):
        self.asked = []

    def __call__(self, image, disparity, lens):
        self.asked.append((image.sum().item(), lens.aperture))
        return scatter(image, disparity, lens)

    def by_picture(self):
        pictures = {picture for picture, _ in self.asked}
        return [[k for p, k in self.asked if p == picture] for picture in pictures]


@pytest.mark.parametrize("true", [7.3, 24.0, 61.0])
def test_a_known_aperture_is_recovered(true):
    found = aperture_search.best_aperture(scatter, made_with([true] * 2), progress=False)
    assert found.aperture == pytest.approx(true, rel=0.03)
    assert found.ssim > 0.995
    assert found.crossed_apertures == pytest.approx((true, true), rel=0.03)
    assert found.crossed_ssim == pytest.approx(found.ssim, abs=2e-3)


def test_every_picture_is_tried_at_the_same_apertures_and_none_twice_at_one():
    renderer = Recorder()
    aperture_search.best_aperture(renderer, made_with([20.0] * 2), progress=False)
    tried = renderer.by_picture()
    assert all(len(set(one)) == len(one) for one in tried)
    grid = np.geomspace(2, 200, 12)
    for one in tried:
        assert one[:12] == pytest.approx(grid, rel=1e-3)
        assert len(one) <= SEARCH_GRID + 2 * SEARCH_STEPS


def test_pictures_with_different_lenses_get_one_aperture_and_the_cross_figure_shows_it():
    samples = made_with([10.0, 10.0, 60.0, 60.0])
    found = aperture_search.best_aperture(scatter, samples, progress=False)
    assert isinstance(found.aperture, float)
    assert found.crossed_apertures == pytest.approx((60, 10), rel=0.03)
    assert found.crossed_ssim < found.ssim - 0.02
    rows = score(scatter, samples, Measure(networks=False), "m", "d", 0, False, found.aperture)
    assert np.mean([row["ssim"] for row in rows]) == pytest.approx(found.ssim)
    for other in (5.0, 10.0, 60.0, 150.0):
        rows = score(scatter, samples, Measure(networks=False), "m", "d", 0, False, other)
        assert np.mean([row["ssim"] for row in rows]) <= found.ssim


def test_what_is_found_is_never_worse_than_the_grid():
    """Even where the curve has several peaks."""
    samples = made_with([3.0, 150.0, 3.0, 150.0])
    found = aperture_search.best_aperture(scatter, samples, progress=False)
    for other in np.geomspace(2, 200, 12):
        rows = score(scatter, samples, Measure(networks=False), "m", "d", 0, False, float(other))
        assert np.mean([row["ssim"] for row in rows]) <= found.ssim + 1e-4


def test_a_peak_that_the_section_misses_is_still_found_on_the_grid():
    grid = [aperture_search._rounded(k) for k in np.geomspace(2, 200, 12)]

    class Spike:
        def mean(self, k, chosen):
            return float(k == grid[5])

    assert aperture_search._climb(Spike(), grid, [0]) == grid[5]


def test_a_single_picture_has_no_cross_figure():
    found = aperture_search.best_aperture(scatter, made_with([20.0]), progress=False)
    assert math.isnan(found.crossed_ssim)
    assert all(map(math.isnan, found.crossed_apertures))


def test_a_set_that_says_its_aperture_is_never_searched():
    known = [replace(sample, lens=Lens(0.7, 20.0)) for sample in made_with([20.0])]
    with pytest.raises(InputError, match="found 20 px, which the data set says"):
        aperture_search.best_aperture(scatter, known, progress=False)
    with pytest.raises(InputError, match="found 9; accepted: none, since the data set says it"):
        score(scatter, known, Measure(networks=False), "m", "d", 0, False, aperture=9.0)


def test_a_set_that_does_not_say_its_aperture_is_not_scored_without_one():
    with pytest.raises(InputError, match="found none; accepted: one for all"):
        score(scatter, made_with([20.0]), Measure(networks=False), "m", "d", progress=False)


def test_the_aperture_that_is_printed_is_the_one_that_was_measured():
    found = aperture_search.best_aperture(scatter, made_with([20.0]), progress=False)
    assert float(f"{found.aperture:.4g}") == found.aperture
