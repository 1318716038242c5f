"""Laws of the figures: same bytes, right numbers, readable labels, small files."""

import json

import numpy as np
import pandas as pd
from made_up import fill, rows, write
from PIL import Image

from bokehlib import study
from bokehlib.study import figures, results
from bokehlib.study.robustness_figure import OTHERS, robustness


def pictures(root, count=2):
    folder = root / "pictures" / "fig6_focal_stack"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    cells = [{"file": "a.png", "title": f"focus {n}"} for n in range(count)]
    index = {"title": "Stack", "note": "", "rows": [{"label": "noise", "cells": cells}]}
    (folder / "index.json").write_text(json.dumps(index))


def test_figures_written_twice_have_the_same_bytes(tmp_path):
    fill(tmp_path)
    pictures(tmp_path)
    for suffix in (".svg", ".webp"):
        drawn = []
        for folder in ("one", "two"):
            figure = robustness(results.read_scores(root=tmp_path))
            strip = figures.strip(results.read_pictures("fig6_focal_stack", tmp_path))
            drawn.append(
                [
                    results.write_figure(figure, "fig7", tmp_path / folder, suffix).read_bytes(),
                    results.write_figure(strip, "fig6", tmp_path / folder, suffix).read_bytes(),
                ]
            )
        assert drawn[0] == drawn[1]


def columns(figure):
    """Label of a method -> its four panels, from the top."""
    grid = np.array(figure.axes).reshape(4, -1)
    return {
        upper.get_title("left").replace("\n", " "): grid[:, n] for n, upper in enumerate(grid[0])
    }


def test_the_robustness_curve_takes_radius_zero_from_the_exact_rows_of_its_lens(tmp_path):
    fill(tmp_path)
    write(tmp_path, rows(blurs=(0, 1, 3), psnr=99.0))  # other lenses must not count
    panel, *_ = columns(robustness(results.read_scores(root=tmp_path)))["Scatter"]
    heights = {line.get_color(): list(line.get_ydata()) for line in panel.lines}
    assert heights[study.METHODS["scatter"].colour] == [24.0, 26.0, 24.0]


def test_every_method_has_a_column_under_its_name_and_the_others_stand_behind_it(tmp_path):
    fill(tmp_path)
    panels = columns(robustness(results.read_scores(root=tmp_path)))
    assert list(panels) == [study.METHODS[m].label for m in study.EMBEDDED]
    for name in study.EMBEDDED:
        upper, lower, *_ = panels[study.METHODS[name].label]
        colours = [line.get_color() for line in upper.lines]
        exact = [25.0 + n for n, other in enumerate(study.EMBEDDED) if other != name]
        assert [line.get_ydata()[1] for line in upper.lines[:-1]] == exact  # always in this order
        assert colours == [OTHERS] * (len(study.EMBEDDED) - 1) + [study.METHODS[name].colour]
        assert [label.get_text() for label in lower.get_xticklabels()] == ["−2", "0", "+2"]


def test_each_named_error_has_median_and_quartiles_of_what_every_picture_loses(tmp_path):
    fill(tmp_path)
    images = [f"s{n}" for n in range(5)]
    exact = [row for n, i in enumerate(images) for row in rows(images=(i,), psnr=20.0 + 10 * n)]
    wrong = {"perturbation": "coarse"}
    made = [row | wrong | {"psnr": row["psnr"] - n} for n, row in enumerate(exact)]
    write(tmp_path, exact)
    write(tmp_path, made[::2], part="disturbed")  # of each picture the first lens
    panels = columns(robustness(results.read_scores(root=tmp_path)))
    *_, axes, below = panels["Scatter"]
    places = [label.get_text() for label in below.get_xticklabels()]
    assert places == [*study.ROBUSTNESS_DISTURBANCES.values()]
    (bars,) = axes.containers
    place = list(study.ROBUSTNESS_DISTURBANCES).index("coarse")
    x, y = bars.lines[0].get_data()
    assert x[place] == place
    assert y[place] == -4  # of 0, -2, -4, -6 and -8
    assert list(bars.lines[2][0].get_segments()[place][:, 1]) == [-6, -2]
    assert np.isnan(np.delete(y, place)).all()
    assert [text.get_text() for text in panels["Input"][2].texts] == ["not run"]


# --- Asked and measured blur -----------------------------------------------------------------


def sweeps(**edges):
    rows = [
        {"method": method, "side": side, "asked": asked, "moment": asked, "light": 1.0}
        | {"edge": edge if side == "far" else asked}
        for method, edge in edges.items()
        for side in ("near", "far")
        for asked in (2.0, 8.0)
    ]
    return pd.DataFrame(rows)


def test_the_radius_sweep_draws_moments_filled_edges_open_and_each_side_by_itself():
    figure = figures.radius_sweep(sweeps(scatter=5.0))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == study.METHODS["scatter"].label
    points = [line for line in axes.lines if line.get_marker() != "None"]
    drawn = {
        (line.get_marker(), line.get_markerfacecolor() == "none"): list(line.get_ydata())
        for line in points
    }
    assert drawn == {
        ("o", False): [2, 8],
        ("o", True): [2, 8],
        ("^", False): [2, 8],
        ("^", True): [5, 5],
    }
    (perfect,) = [line for line in axes.lines if line.get_marker() == "None"]
    assert list(perfect.get_xdata()) == list(perfect.get_ydata())


def test_a_radius_that_was_not_measured_has_no_point():
    (axes,) = figures.radius_sweep(sweeps(scatter=np.nan)).axes
    assert sum(np.isnan(line.get_ydata()).sum() for line in axes.lines) == 2


def test_a_strip_of_photographs_stays_a_small_file(tmp_path):
    pictures(tmp_path, count=6)  # noise is the worst that WebP can meet
    strip = figures.strip(results.read_pictures("fig6_focal_stack", tmp_path))
    path = results.write_figure(strip, "fig6_focal_stack", tmp_path, ".webp")
    assert path.stat().st_size < results.PICTURE_BYTES


def test_absent_pictures_and_scores_are_said_to_be_absent(tmp_path):
    assert results.read_pictures("fig1_teaser", tmp_path) == {}
    empty = robustness(results.read_scores(root=tmp_path))
    assert empty.texts[0].get_text().startswith("not run")
    empty = figures.radius_sweep(results.read_probe("radius", tmp_path))
    assert empty.texts[0].get_text().startswith("not run")
