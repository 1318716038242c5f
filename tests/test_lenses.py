"""A real lens in pixels, and a range that stays sharp."""

import math

import numpy as np
import pytest
import torch

from bokehlib.io import photographic
from bokehlib.optics import Lens, circle_of_confusion


def test_the_disc_is_that_of_the_thin_lens_worked_out_by_similar_triangles():
    # 50 mm at f/2, so a hole of 25 mm, sharp at 2 m; a lamp at 6 m; 36 mm on 1536 px.
    # 1/f = 1/z + 1/v: the sensor is at 2000 * 50 / 1950 = 51.282 mm, the lamp's image at
    # 6000 * 50 / 5950 = 50.420 mm; the cone of 25 mm has 25 * (51.282 / 50.420 - 1) left.
    sensor, image = 2000 * 50 / 1950, 6000 * 50 / 5950
    by_triangles = 25 * (sensor / image - 1) / 2 / (36 / 1536)
    assert by_triangles == pytest.approx(9.117, abs=1e-3)
    assert photographic.blur_radius(6, 2, 50, 2, 36 / 1536) == pytest.approx(by_triangles)
    nearer = 25 * (1 - sensor / (1500 * 50 / 1450)) / 2 / (36 / 1536)
    assert photographic.blur_radius(1.5, 2, 50, 2, 36 / 1536) == pytest.approx(nearer)
    assert photographic.blur_radius(2, 2, 50, 2, 36 / 1536) == 0


@pytest.mark.parametrize("far", [math.inf, 20.0])
@pytest.mark.parametrize("focus", [0.1, 0.6, 1.0])
def test_the_aperture_gives_every_depth_its_disc_by_equation_4(focus, far):
    disparity = np.linspace(0.05, 1, 7)
    depths = [photographic.distance(float(d), 1.5, far) for d in disparity]
    sharp = photographic.distance(focus, 1.5, far)
    opening = photographic.aperture(focus, 85, 1.8, 0.006, 1.5, far)
    radii = circle_of_confusion(torch.tensor(disparity).view(1, 1, 1, -1), Lens(focus, opening))
    expected = [photographic.blur_radius(depth, sharp, 85, 1.8, 0.006) for depth in depths]
    assert radii.flatten().tolist() == pytest.approx(expected, abs=1e-9)


def test_disparity_runs_evenly_with_the_inverse_of_the_distance_between_its_ends():
    assert photographic.distance(1, 2, 8) == pytest.approx(2)
    assert photographic.distance(0, 2, 8) == pytest.approx(8)
    assert 1 / photographic.distance(0.5, 2, 8) == pytest.approx((1 / 2 + 1 / 8) / 2)
    assert photographic.distance(0, 2) == math.inf


def test_focus_at_infinity_is_a_lens_like_any_other():
    far = photographic.aperture(0, 50, 2, 0.02, 1.0)
    assert far == pytest.approx(50**2 / (2 * 2 * 0.02) / 1000)
    assert photographic.aperture(1e-9, 50, 2, 0.02, 1.0) == pytest.approx(far)


def test_nothing_is_sharp_within_the_focal_length():
    with pytest.raises(ValueError, match="40 mm is within the focal length"):
        photographic.aperture(1, 50, 2, 0.02, 0.04)


@pytest.mark.parametrize("size", [(3024, 4032), (4032, 3024)])
def test_the_sensor_follows_from_the_equivalent_by_the_diagonal_however_it_was_held(size):
    phone = photographic.Camera(focal_length=6.0, focal_length_35mm=26.0)
    diagonal = math.hypot(36, 24) * 6 / 26
    assert phone.sensor_width(*size) == pytest.approx(diagonal * 4 / 5)  # 3 to 4 to 5
    assert photographic.Camera(focal_length=6.0).sensor_width(*size) is None


@pytest.fixture
def ramp():
    return np.linspace(0, 1, 101)


def test_a_range_of_nothing_leaves_every_disparity_as_it_is(ramp):
    assert photographic.flatten(ramp, 0.4, 0.4, 0.4) is ramp


@pytest.mark.parametrize("array", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(("low", "high"), [(0.3, 0.5), (0.4, 0.7), (0.0, 0.4), (0.1, 1.0)])
def test_the_range_is_sharp_and_what_is_beyond_loses_just_its_width(ramp, array, low, high):
    focus = 0.4
    given = array(ramp)
    flat = np.asarray(photographic.flatten(given, focus, low, high))
    lens = Lens(focus, 50.0)
    radius = circle_of_confusion(torch.tensor(flat).view(1, 1, 1, -1), lens).flatten().numpy()
    inside = (ramp >= low) & (ramp <= high)
    assert (radius[inside] == 0).all()
    assert radius[ramp > high] == pytest.approx(50 * (ramp[ramp > high] - high))
    assert radius[ramp < low] == pytest.approx(50 * (low - ramp[ramp < low]))
    assert (np.diff(flat) >= 0).all()
    assert np.diff(flat).max() < 0.0101  # continuous: no step is larger than the ramp's
    assert flat.min() >= 0
    assert flat.max() <= 1
    assert np.array_equal(np.asarray(given), ramp)  # the map itself is not touched


def test_rounding_blurs_nothing_inside_the_range():
    all_of_it = np.random.default_rng(0).random(500).astype(np.float32)
    assert set(photographic.flatten(all_of_it, 0.1, 0.0, 1.0).tolist()) == {float(np.float32(0.1))}
