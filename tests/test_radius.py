"""Asked aperture against measured blur."""

import functools
import math

import made_up
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize, signal
from torch.nn import functional as F

import bokehlib
from bokehlib import study
from bokehlib.evaluation import blur_radius
from bokehlib.evaluation.blur_radius import sweep
from bokehlib.optics import circle_of_confusion
from bokehlib.study import radius_fit, results
from bokehlib.study.provenance import provenance
from bokehlib.study.radius_fit import fit

FEW = (2, 5, 12, 40)


def _disc(size):
    """A disc of radius `size` px: how much of each pixel it covers."""
    reach = math.ceil(size) + 1
    steps = (np.arange((2 * reach + 1) * 16) + 0.5) / 16 - reach - 0.5
    inside = np.hypot(*np.meshgrid(steps, steps)) <= size
    cover = inside.reshape(2 * reach + 1, 16, 2 * reach + 1, 16).mean(axis=(1, 3))
    return cover / cover.sum()


def _ideal(image, disparity, lens, too_much=1.0):
    """What a perfect lens makes of a flat scene."""
    size = float(circle_of_confusion(disparity, lens).flatten()[0])
    kernel = _disc(too_much * size)
    reach = len(kernel) // 2
    linear = image.double().numpy() ** 2.2
    outside = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    blurred = signal.fftconvolve(
        np.pad(linear, outside, mode="edge"), kernel[None, None], mode="valid", axes=(2, 3)
    )
    return torch.from_numpy(blurred.clip(0, 1) ** (1 / 2.2))


@pytest.fixture(scope="module")
def ideal():
    return sweep(_ideal, FEW)


@pytest.mark.parametrize("way", ["moment", "edge"])
def test_a_perfect_lens_blurs_as_much_as_it_is_asked_to(ideal, way):
    slope, intercept, worst = fit(ideal, way)
    assert abs(slope - 1) < 0.005
    assert abs(intercept) < 0.15
    assert worst < 0.1


@pytest.mark.parametrize("way", ["moment", "edge"])
def test_the_published_excess_of_blur_is_found(way):
    rows = sweep(functools.partial(_ideal, too_much=1.45), FEW)
    slope, _, worst = fit(rows, way)
    assert abs(slope - 1.45) < 0.02
    assert 2.9 < worst < 3.1  # 45 % where 15 % are allowed


def test_the_classical_renderer_passes_the_marks():
    rows = sweep(bokehlib.load("scatter"), FEW)
    for way in ("moment", "edge"):
        slope, intercept, worst = fit(rows, way)
        assert abs(slope - 1) < 0.02
        assert abs(intercept) < 0.3
        assert worst < 0.2


def test_every_radius_is_asked_for_on_both_sides_of_the_focus():
    asked = []

    def render(image, disparity, lens):
        blur = circle_of_confusion(disparity, lens)
        asked.append((bool(disparity.mean() > lens.focus), blur.mean().item(), blur.std().item()))
        return image

    rows = sweep(render, (3, 7))
    assert [(row["side"], row["asked"]) for row in rows] == [
        *(("near", 3), ("near", 7), ("far", 3), ("far", 7))
    ]
    for (near, blur, spread), row in zip(asked, rows, strict=True):
        assert near == (row["side"] == "near")
        assert blur == pytest.approx(row["asked"], rel=1e-5)
        assert spread < 1e-5


def test_a_renderer_that_does_nothing_measures_no_blur():
    for row in sweep(lambda image, disparity, lens: image, FEW):
        assert row["moment"] < 0.05
        assert row["edge"] < 0.6  # the step from one pixel to the next


def test_too_much_blur_on_the_far_side_alone_shows_there_alone():
    def render(image, disparity, lens):
        return _ideal(image, disparity, lens, 1.0 if disparity.mean() > lens.focus else 1.45)

    rows = sweep(render, FEW)
    near, far = ([row for row in rows if row["side"] == side] for side in ("near", "far"))
    assert fit(near).worst < 0.1 < 2 < fit(far).worst


@pytest.mark.parametrize("way", ["moment", "edge"])
def test_a_colour_shift_is_no_blur(way):
    def render(image, disparity, lens):
        return 0.9 * _ideal(image, disparity, lens) + 0.03

    assert fit(sweep(render, FEW), way).worst < 0.6


@pytest.mark.parametrize("way", ["moment", "edge"])
def test_a_picture_that_is_shifted_is_not_blurred_more(way):
    def render(image, disparity, lens):
        padded = F.pad(_ideal(image, disparity, lens), (4, 4, 4, 4), mode="replicate")
        return padded[..., 2:-6, 7:-1]

    assert fit(sweep(render, FEW), way).worst < 0.1


def test_a_picture_without_the_square_cannot_be_measured():
    rows = sweep(lambda image, disparity, lens: torch.zeros_like(image), (3, 7))
    assert all(math.isnan(row["moment"]) and math.isnan(row["edge"]) for row in rows)
    assert all(math.isnan(value) for value in fit(rows))


def test_a_ring_of_darkness_around_the_square_cannot_be_measured():
    def render(image, disparity, lens):
        dark = torch.zeros_like(image)
        dark[1, :, 20:-20, 20:-20] = 0.05
        return image - dark * (image < 0.5)

    assert all(math.isnan(row["moment"]) for row in sweep(render, (12,)))


def test_lost_light_is_found_missing(ideal):
    assert all(abs(row["light"] - 1) < 0.001 for row in ideal)

    def render(image, disparity, lens):
        return (0.6 * _ideal(image, disparity, lens) ** 2.2) ** (1 / 2.2)

    assert all(abs(row["light"] - 0.6) < 0.001 for row in sweep(render, FEW))


def test_the_fit_is_the_line_and_the_worst_point_counts_in_its_marks():
    line = [{"asked": r, "moment": 1.02 * r + 0.5} for r in (2, 10, 30)]
    assert tuple(fit(line)) == pytest.approx((1.02, 0.5, 0.7 / 1.5))
    assert fit([{"asked": 2, "edge": 3.5}, {"asked": 20, "edge": 20}], "edge").worst == 1
    assert fit([{"asked": 20, "edge": 17}, {"asked": 2, "edge": 2}], "edge").worst == 1


def test_the_summary_has_a_row_a_method_side_and_way_and_speaks_of_that_side_alone():
    sweeps = [
        {"method": method, "side": side, "asked": asked, "moment": asked, "edge": wide * asked}
        | {"light": 1.0 if asked == 2 else 0.8}
        for method, wide in {"one": 1.0, "two": 2.0}.items()
        for side in ("near", "far")
        for asked in (2.0, 20.0)
    ]
    sweeps[-1]["moment"] = math.nan
    table = radius_fit.summary(pd.DataFrame(sweeps)).set_index(["method", "side", "measure"])
    assert len(table) == 8
    assert np.allclose(table["light"], 0.9)
    assert np.allclose(table.xs("two").xs("edge", level="measure")["slope"], 2)
    assert np.allclose(table.loc["two", "near", "moment"], (1, 0, 0, 0.9))
    assert table.loc["two", "far", "moment"][["slope", "intercept", "worst"]].isna().all()


def test_the_sweeps_rows_have_the_columns_of_its_file():
    (row, _) = sweep(lambda image, disparity, lens: image, (2,))
    assert list(row) == [*study.PROBES["radius"].columns]
    assert set(radius_fit.MEASURES) < set(row)


def test_a_discs_edge_rises_from_10_to_90_percent_over_twice_the_constant():
    def response(u):
        return 0.5 + (u * math.sqrt(1 - u * u) + math.asin(u)) / math.pi

    assert abs(optimize.brentq(lambda u: response(u) - 0.9, 0, 1) - blur_radius.RISE) < 1e-6


# --- Files -----------------------------------------------------------------------------------


def swept(asked):
    return [{"side": "far", "asked": r, "moment": r, "edge": np.nan, "light": 1.0} for r in asked]


def test_radius_sweeps_come_back_by_method_and_are_no_scores(tmp_path):
    assert results.read_probe("radius", tmp_path).empty
    made_up.write(tmp_path, made_up.rows())
    results.write_probe(swept((2.0, 3.0)), made_up.STAMP, "radius", "scatter", tmp_path)
    results.write_probe(swept((4.0,)), made_up.STAMP, "radius", "input", tmp_path)
    read = results.read_probe("radius", tmp_path)
    assert list(read["method"]) == ["input", "scatter", "scatter"]
    assert list(read["asked"]) == list(read["moment"]) == [4, 2, 3]
    assert read["edge"].isna().all()
    assert {str(kind) for kind in read.dtypes[["asked", "light"]]} == {"float64"}
    assert set(results.read_scores(root=tmp_path)["dataset"]) == {"synbokeh-mini"}


def test_a_sweep_stands_with_its_weights_and_radii(tmp_path):
    asked = results.probe_parameters("radius", "scatter", smoke=False)
    stamp = provenance(asked, 0, "w", "", "cpu")
    results.write_probe(swept((2.0,)), stamp, "radius", "scatter", tmp_path)

    def stands(method="scatter", weights="w", parameters=asked):
        what = ("radius", method, "exact", weights, "", parameters)
        return results.is_up_to_date(*what, tmp_path)

    assert stands()
    assert not stands(method="input")
    assert not stands(weights="x")
    smoke = results.probe_parameters("radius", "scatter", smoke=True)
    assert not stands(parameters=smoke)
    assert not stands(parameters=asked | {"radii": smoke["radii"]})
