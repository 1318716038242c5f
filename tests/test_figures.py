"""Laws of the figures: same bytes, right numbers, readable labels, small files."""

import json

import numpy as np
from made_up import fill, rows, write
from PIL import Image

from bokehlib import figures, results, study


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
    for suffix in (".svg", ".png"):
        drawn = []
        for folder in ("one", "two"):
            figure = figures.robustness(results.read_scores(root=tmp_path))
            strip = figures.strip(results.read_pictures("fig6_focal_stack", tmp_path))
            drawn.append(
                [
                    results.write_figure(figure, "fig7", tmp_path / folder, suffix).read_bytes(),
                    results.write_figure(strip, "fig6", tmp_path / folder, suffix).read_bytes(),
                ]
            )
        assert drawn[0] == drawn[1]


def test_the_robustness_curve_takes_radius_zero_from_the_exact_rows_of_its_lens(tmp_path):
    fill(tmp_path)
    write(tmp_path, rows(blurs=(0, 1, 3), psnr=99.0))  # other lenses must not count
    figure = figures.robustness(results.read_scores(root=tmp_path))
    heights = {line.get_color(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert heights[study.METHODS["scatter"].colour] == [24.0, 26.0, 24.0]


def test_methods_are_named_at_their_lines_without_overlap(tmp_path):
    fill(tmp_path)
    figure = figures.robustness(results.read_scores(root=tmp_path))
    for axes in figure.axes:
        labels = {text.get_text(): text.xy[1] for text in axes.texts}
        assert set(labels) == {study.METHODS[m].label for m in study.EMBEDDED}
        low, high = axes.get_ylim()
        assert np.diff(sorted(labels.values())).min() >= 0.099 * (high - low)


def test_a_strip_of_photographs_stays_a_small_file(tmp_path):
    pictures(tmp_path, count=6)  # noise is the worst that PNG can meet
    strip = figures.strip(results.read_pictures("fig6_focal_stack", tmp_path))
    path = results.write_figure(strip, "fig6_focal_stack", tmp_path, ".png")
    assert path.stat().st_size < results.PICTURE_BYTES


def test_pictures_of_a_row_have_one_height_and_their_own_shape(tmp_path):
    pictures(tmp_path)
    strip = figures.strip(results.read_pictures("fig6_focal_stack", tmp_path))
    width, height = strip.get_size_inches()
    boxes = [axes.get_position() for axes in strip.axes]
    assert len({round(box.height, 6) for box in boxes}) == 1
    assert [round(box.width * width / box.height / height, 3) for box in boxes] == [1.333] * 2
    assert boxes[0].x1 < boxes[1].x0


def test_absent_pictures_and_scores_are_said_to_be_absent(tmp_path):
    assert results.read_pictures("fig1_teaser", tmp_path) == {}
    empty = figures.robustness(results.read_scores(root=tmp_path))
    assert empty.texts[0].get_text().startswith("not run")
