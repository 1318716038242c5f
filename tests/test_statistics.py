"""Paired differences and their verdicts."""

import numpy as np
import pytest
from scipy import stats

from bokehlib.study.statistics import paired_difference


def _rng(seed=0):
    return np.random.default_rng(seed)


def _scores(rng, scenes, lenses, gain, spread, noise=0.05):
    """Two methods; the second's scores, the gain of the first varying by scene."""
    scene = np.repeat(np.arange(scenes), lenses)
    second = 30 + rng.normal(0, 3, scenes)[scene] + rng.normal(0, 2, scenes * lenses)
    by_scene = gain + rng.normal(0, spread, scenes)
    return second + by_scene[scene] + rng.normal(0, noise, scenes * lenses), second, scene


def _wider(number):
    """The factor by which the deviations of so many scenes or seeds are widened."""
    quantile = stats.t.ppf(0.975, number - 1) / stats.norm.ppf(0.975)
    return np.sqrt(number / (number - 1)) * quantile


def test_resampling_is_that_of_its_definition():
    first, second, scene = _scores(_rng(), 7, 9, 3.0, 0.5)
    keep = np.arange(63) % 9 <= scene  # scenes of 1 to 7 lenses
    first, second, scene = first[keep], second[keep], scene[keep]
    values = first - second
    own = np.array([values[scene == s].mean() for s in range(7)])[scene]
    values = values + (_wider(7) - 1) * (own - values.mean())
    rng, means = _rng(1), []
    for _ in range(20_000):
        rows = np.concatenate([np.flatnonzero(scene == s) for s in rng.integers(0, 7, 7)])
        means.append(values[rows].mean())
    result = paired_difference(first, second, scene, resamples=20_000)
    assert result.mean == pytest.approx((first - second).mean(), abs=1e-12)
    assert result.low == pytest.approx(np.percentile(means, 2.5), abs=0.02)
    assert result.high == pytest.approx(np.percentile(means, 97.5), abs=0.02)


def test_scenes_and_seeds_are_widened_and_resampled_independently():
    rng = _rng()
    seeds, scenes = (axis.ravel() for axis in np.meshgrid(np.arange(3), np.arange(6)))
    values = rng.normal(0, 1, 6)[scenes] + rng.normal(0, 1, 3)[seeds]
    table = values.reshape(6, 3)
    assert _wider(3) == pytest.approx(2.69, abs=0.01)
    scene_deviation = table.mean(axis=1, keepdims=True) - table.mean()
    seed_deviation = table.mean(axis=0) - table.mean()
    table = table + (_wider(6) - 1) * scene_deviation + (_wider(3) - 1) * seed_deviation
    means = [table[rng.integers(0, 6, 6)][:, rng.integers(0, 3, 3)].mean() for _ in range(20_000)]
    result = paired_difference(values, 0 * values, scenes, seeds, resamples=20_000)
    assert result.mean == pytest.approx(values.mean(), abs=1e-12)
    assert result.low == pytest.approx(np.percentile(means, 2.5), abs=0.06)
    assert result.high == pytest.approx(np.percentile(means, 97.5), abs=0.06)


def test_recipes_that_differ_by_chance_alone_are_seldom_called_different():
    rng = _rng(7)
    seeds, scenes = (axis.ravel() for axis in np.meshgrid(np.arange(3), np.arange(24)))
    called = alone = 0
    for _ in range(300):
        chance = rng.normal(0, 0.3, 3)[seeds] + rng.normal(0, 0.3, 24)[scenes]
        equal = np.zeros_like(chance)
        called += paired_difference(chance, equal, scenes, seeds, resamples=500).verdict[0] in "bw"
        alone += paired_difference(chance, equal, scenes, resamples=500).verdict[0] in "bw"
    assert called / 300 < 0.11
    assert alone / 300 > 0.4  # if trainings were no matter of chance


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize(("gain", "verdict"), [(1.0, "better"), (-1.0, "worse")])
def test_a_clear_difference_is_called_by_its_direction(gain, verdict, higher):
    first, second, scene = _scores(_rng(), 12, 5, gain if higher else -gain, 0.3)
    result = paired_difference(first, second, scene, higher_is_better=higher)
    assert result.verdict == verdict
    assert result.low < result.mean < result.high


def test_a_method_against_itself_shows_no_difference():
    first, _, scene = _scores(_rng(), 12, 5, 0, 0)
    assert paired_difference(first, first, scene) == (0, 0, 0, "no difference shown")


def test_equal_methods_are_called_different_about_one_time_in_twenty():
    rng = _rng(3)
    called = alone = 0
    for _ in range(300):
        first, second, scene = _scores(rng, 30, 5, 0.0, 0.5)
        called += paired_difference(first, second, scene, resamples=500).verdict[0] in "bw"
        pictures = np.arange(len(scene))
        alone += paired_difference(first, second, pictures, resamples=500).verdict[0] in "bw"
    assert called / 300 < 0.11
    assert alone / 300 > 0.25  # what the lenses of a scene would do if taken one by one


def test_eight_scenes_are_called_different_no_oftener_than_thirty():
    rng = _rng(4)
    called = 0
    for _ in range(400):
        first, second, scene = _scores(rng, 8, 4, 0.0, 0.5)
        called += paired_difference(first, second, scene, resamples=500).verdict[0] in "bw"
    assert called / 400 < 0.075


def test_what_one_lucky_training_gained_is_not_shown_for_the_recipe():
    rng = _rng(5)
    seeds, scenes = (axis.ravel() for axis in np.meshgrid(np.arange(3), np.arange(12)))
    luck = np.array([0.9, -0.1, -0.2])[seeds]
    first, second = 30 + luck + rng.normal(0, 0.1, 36), np.full(36, 30.0)
    assert paired_difference(first, second, scenes).verdict == "better"
    assert paired_difference(first, second, scenes, seeds).verdict == "no difference shown"


def test_the_same_arguments_give_the_same_interval_whatever_the_order_of_rows():
    first, second, scene = _scores(_rng(), 9, 4, 0.1, 0.5)
    result = paired_difference(first, second, scene)
    assert paired_difference(first, second, [f"scene_{s}" for s in scene]) == result
    assert paired_difference(first, second, scene, seed=1) != result
    order = _rng(2).permutation(len(scene))
    shuffled = paired_difference(first[order], second[order], scene[order])
    assert shuffled[:3] == pytest.approx(result[:3], abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([1, 2], [1, 2, 3], ["a", "b"]), "one .rows,. for all"),
        (([1, np.nan], [1, 2], ["a", "b"]), "found 1 rows with NaN"),
        (([1, 2], [np.inf, 2], ["a", "b"]), "found 1 rows with NaN or infinite"),
        (([1, 2], [1, 2], ["a", "a"]), "found 1; accepted: 2 or more"),
        (([1, 2, 3], [1, 2, 3], ["a", "b", "b"], [0, 0, 1]), "no row of scene a for seed 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        paired_difference(*arguments)
