"""Laws of the figures: same bytes, right numbers, small files."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from cells import execute
from made_up import fill, rows, write
from PIL import Image

from bokehlib import study
from bokehlib.data import perturb
from bokehlib.study import figures, pictures, results


def leave_pictures(root, count=2):
    folder = root / "pictures" / "fig6_focal_stack"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    cells = [{"file": "a.png", "title": f"focus {n}"} for n in range(count)]
    index = {"title": "Stack", "note": "", "rows": [{"label": "noise", "cells": cells}]}
    (folder / "index.json").write_text(json.dumps(index))


def grid(root):
    return figures.image_grid(pictures.read("fig6_focal_stack", root))


def test_figures_written_twice_have_the_same_bytes_and_drawings_hundredths_of_a_point(tmp_path):
    leave_pictures(tmp_path)
    for suffix in (".svg", ".webp"):
        drawn = [
            results.write_figure(grid(tmp_path), "fig6", tmp_path / folder, suffix).read_bytes()
            for folder in ("one", "two")
        ]
        assert drawn[0] == drawn[1]
    text = (tmp_path / "one/figures/fig6.svg").read_text()
    drawing = re.sub(r'base64,[^"]*', "", text)
    assert max(len(n) for n in re.findall(r"[1-9]\d*\.(\d+)", drawing)) == 2
    assert "scale(0.015625)" in text  # of letters


# --- Fig. 7 ----------------------------------------------------------------------------------


def panels(root):
    """Label of a method -> its four panels, from the top."""
    axes = np.array(execute("43_robustness", root)["figure"].axes).reshape(4, -1)
    return {upper.get_title().replace("\n", " "): axes[:, n] for n, upper in enumerate(axes[0])}


def test_the_robustness_curve_takes_radius_zero_from_the_exact_rows_of_its_lens(tmp_path):
    fill(tmp_path)
    write(tmp_path, rows(blurs=(0, 1, 3), psnr=99.0))  # other lenses must not count
    found = panels(tmp_path)
    assert list(found) == [study.METHODS[name].label for name in study.EMBEDDED]
    heights = {line.get_color(): list(line.get_ydata()) for line in found["Scatter"][0].lines}
    assert heights[study.METHODS["scatter"].colour] == [24.0, 26.0, 24.0]


def test_each_named_error_has_median_and_quartiles_of_what_every_picture_loses(tmp_path):
    fill(tmp_path)
    images = [f"s{n}" for n in range(5)]
    exact = [row for n, i in enumerate(images) for row in rows(images=(i,), psnr=20.0 + 10 * n)]
    wrong = {"perturbation": "coarse"}
    made = [row | wrong | {"psnr": row["psnr"] - n} for n, row in enumerate(exact)]
    write(tmp_path, exact)
    write(tmp_path, made[::2], part="disturbed")  # of each picture the first lens
    _, axes, *_ = panels(tmp_path)["Scatter"]
    places = [label.get_text() for label in axes.get_xticklabels()]
    assert places == [*study.ROBUSTNESS_DISTURBANCES.values()]
    (bars,) = axes.containers
    place = list(study.ROBUSTNESS_DISTURBANCES).index("coarse")
    x, y = bars.lines[0].get_data()
    assert (x[place], y[place]) == (place, -4)  # the median of 0, -2, -4, -6 and -8
    assert list(bars.lines[2][0].get_segments()[place][:, 1]) == [-6, -2]
    assert np.isnan(np.delete(y, place)).all()


def test_named_errors_are_those_that_can_be_made():
    assert list(study.ROBUSTNESS_DISTURBANCES) == list(perturb.DISTURBANCES)
    assert f"power {perturb.GAMMA}" in study.ROBUSTNESS_DISTURBANCES["gamma"]
    assert perturb.COARSE == 8


# --- Asked and measured blur -----------------------------------------------------------------


def test_the_radius_sweep_draws_each_side_and_way_and_what_is_allowed():
    swept = [
        {"method": "scatter", "side": side, "asked": asked, "moment": asked, "light": 1.0}
        | {"edge": 5.0 if side == "far" else asked}
        for side in ("near", "far")
        for asked in (2.0, 8.0)
    ]
    (axes,) = figures.radius_sweep(pd.DataFrame(swept)).axes
    drawn = {
        (line.get_marker(), line.get_markerfacecolor() == "none"): list(line.get_ydata())
        for line in axes.lines
        if line.get_marker() != "None"
    }
    near, far = {("o", False): [2, 8], ("o", True): [2, 8]}, {("^", False): [2, 8]}
    assert drawn == near | far | {("^", True): [5, 5]}
    band = axes.collections[0].get_paths()[0].vertices
    at_ends = band[np.isclose(band[:, 0], band[:, 0].max())][:, 1]
    assert at_ends.max() - at_ends.min() == pytest.approx(2 * 1.5)  # 15 % of 10 px


# --- Pictures --------------------------------------------------------------------------------


def test_a_grid_of_photographs_stays_a_small_file(tmp_path):
    leave_pictures(tmp_path, count=6)  # noise is the worst that WebP can meet
    path = results.write_figure(grid(tmp_path), "fig6_focal_stack", tmp_path, ".webp")
    assert path.stat().st_size < results.PICTURE_BYTES


def test_pictures_of_a_row_have_one_height_and_their_own_shape(tmp_path):
    leave_pictures(tmp_path)
    figure = grid(tmp_path)
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({round(box.height, 6) for box in boxes}) == 1
    assert [round(box.width * width / box.height / height, 3) for box in boxes] == [1.333] * 2
    assert boxes[0].x1 < boxes[1].x0


def test_absent_pictures_and_scores_are_said_to_be_absent(tmp_path):
    assert pictures.read("fig1_teaser", tmp_path) == {}
    absent = [
        execute("43_robustness", tmp_path)["figure"],
        execute("46_image_grids", tmp_path, figure="fig1_teaser")["grid"],
        figures.radius_sweep(results.read_probe("radius", tmp_path)),
    ]
    assert all(figure.texts[0].get_text().startswith("not run") for figure in absent)
