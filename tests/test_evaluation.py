"""Scoring any renderer, and what a wrong disparity map does."""

import math
from dataclasses import dataclass

import pytest
import torch

from bokehlib.data.perturb import disturb
from bokehlib.evaluation.metrics import METRICS, Measure
from bokehlib.evaluation.scoring import score
from bokehlib.optics import Lens


@dataclass(frozen=True)
class Sample:
    name: str
    blur: int
    image: torch.Tensor
    disparity: torch.Tensor
    lens: Lens
    target: torch.Tensor


def _random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def samples():
    return [
        Sample(
            name,
            blur,
            _random(1, 3, 40, 48, seed=n),
            _random(1, 1, 40, 48, seed=n),
            Lens(0.2 * n, 3.0 + n),
            _random(1, 3, 40, 48, seed=n + 10),
        )
        for n, (name, blur) in enumerate([("b", 0), ("b", 1), ("a", 0)])
    ]


def test_a_perfect_renderer_scores_perfectly(samples, shared, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(shared / "weights"))
    truth = {sample.lens: sample.target for sample in samples}
    rows = score(lambda i, d, lens: truth[lens], samples, Measure(), "m", "d", progress=False)
    for row in rows:
        assert (row["psnr"], row["ssim"]) == (math.inf, 1)
        assert (row["lpips_alex"], row["lpips_squeeze"]) == (0, 0)


def test_a_row_says_what_was_measured_in_the_order_of_the_samples(samples):
    measure = Measure()
    rows = score(lambda i, d, lens: i, samples, measure, "method", "data", progress=False)
    assert list(rows[0]) == [
        *("dataset", "image", "method", "blur", "perturbation"),
        *("psnr", "ssim", "lpips_alex", "lpips_squeeze", "lpips_vgg", "dists", "seconds"),
    ]
    assert [(row["image"], row["blur"]) for row in rows] == [("b", 0), ("b", 1), ("a", 0)]
    for row, sample in zip(rows, samples, strict=True):
        assert (row["dataset"], row["method"], row["perturbation"]) == ("data", "method", 0)
        expected = measure(sample.image, sample.target)
        assert {name: row[name] for name in expected} == expected
        assert all(math.isnan(row[name]) for name in METRICS if name not in expected)


@pytest.mark.parametrize("perturbation", [-2, "gamma"])
def test_the_renderer_gets_the_wrong_disparity_and_the_true_focus(samples, perturbation):
    seen = []

    def renderer(image, disparity, lens):
        seen.append((disparity, lens))
        return image

    rows = score(renderer, samples, Measure(), "m", "d", perturbation=perturbation, progress=False)
    for (disparity, lens), sample, row in zip(seen, samples, rows, strict=True):
        assert torch.equal(disparity, disturb(sample.disparity, perturbation))
        assert lens == sample.lens
        assert row["perturbation"] == perturbation


def test_seconds_are_those_of_the_renderer_alone(samples, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def renderer(image, disparity, lens):
        clock[0] += lens.aperture
        return image

    def slow_measure(prediction, target):
        clock[0] += 1000
        return {}

    slow_measure.device = torch.device("cpu")
    rows = score(renderer, samples, slow_measure, "m", "d", progress=False)
    assert [row["seconds"] for row in rows] == [3, 4, 5]


def test_a_renderer_that_returns_nonsense_gets_no_score(samples):
    with pytest.raises(ValueError, match="NaN"):
        score(lambda i, d, lens: i * math.nan, samples, Measure(), "m", "d", progress=False)


def test_the_progress_bar_can_be_turned_off_and_says_who_is_measured(samples, capfd):
    score(lambda i, d, lens: i, samples, Measure(), "m", "d", progress=False)
    assert capfd.readouterr().err == ""
    score(lambda i, d, lens: i, samples, Measure(), "m", "d")
    assert "m on d" in capfd.readouterr().err
