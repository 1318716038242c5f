"""Laws of the pictures: honest about their disparity, small, the same every time."""

import json

import numpy as np
import pytest
import torch
from cells import execute
from PIL import Image

from bokehlib import methods, study
from bokehlib.data import demo_photos
from bokehlib.study import pictures, results

SHOTS = {
    "motorcycle": demo_photos.motorcycle,
    "astronaut_made": demo_photos.astronaut_made,
    "evening_glow_made": demo_photos.evening_glow_made,
}


def contents(folder):
    """File name -> bytes, and the index without its stamp."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".webp"}
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return files, {key: index[key] for key in ("title", "note", "rows")}


# --- Photographs -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOTS)
def test_a_photograph_has_a_disparity_of_its_size_in_range(name):
    shot = SHOTS[name]()
    assert shot.disparity.shape == shot.image.shape[:2]
    assert shot.disparity.dtype == shot.image.dtype == np.float32
    assert shot.disparity.min() >= 0
    assert shot.disparity.max() <= 1
    image, disparity = shot.tensors()
    assert image.shape[-2:] == disparity.shape[-2:]


@pytest.mark.parametrize("name", SHOTS)
def test_a_disparity_that_was_not_measured_says_so_in_its_name_and_note(name):
    assert ("made by a rule" in SHOTS[name]().source) == name.endswith("_made")


def test_the_motorcycles_disparity_is_one_over_depth():
    shift = np.load(demo_photos.stereo_files()[1])["arr_0"]
    valid = np.isfinite(shift)
    depth = 994.978 * 193.001 / (shift[valid] + 31.086)  # mm, by the data set's calibration
    found = demo_photos.motorcycle().disparity[valid]
    np.testing.assert_allclose(found, depth.min() / depth, rtol=1e-5)
    assert found.max() == 1


def test_invalid_pixels_take_the_nearest_valid_ones_value_and_their_share_is_said():
    shift = np.load(demo_photos.stereo_files()[1])["arr_0"]
    valid, shot = np.isfinite(shift), demo_photos.motorcycle()
    assert f"({np.mean(~valid):.1%})" in shot.source
    places = np.argwhere(valid)
    for y, x in np.argwhere(~valid)[::4000]:
        apart = ((places - (y, x)) ** 2).sum(1)
        nearest = places[apart == apart.min()]
        assert shot.disparity[y, x] in shot.disparity[tuple(nearest.T)]


def test_resizing_invents_no_depth():
    shot = demo_photos.astronaut_made()
    small = shot.resized(96)
    assert small.image.shape == (96, 96, 3)
    assert set(np.unique(small.disparity)) == set(np.unique(shot.disparity))


# --- Folders of pictures ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for figure in pictures.FIGURES:
        execute("32_render_figures", root, figure=figure, smoke=True)
    torch.set_grad_enabled(True)
    return root / "pictures"


@pytest.mark.parametrize("figure", pictures.FIGURES)
def test_every_cell_is_a_small_file_and_every_file_a_cell(rendered, figure):
    files, index = contents(rendered / figure)
    cells = [cell for row in index["rows"] for cell in row["cells"]]
    assert sorted(cell["file"] for cell in cells) == sorted(files)
    assert index["rows"]
    assert all(row["cells"] and isinstance(row["label"], str) for row in index["rows"])
    for name in files:
        with Image.open(rendered / figure / name) as picture:
            assert picture.width <= 192
            assert picture.mode in ("RGB", "L")


def test_titles_and_notes_are_those_of_the_committed_pictures(rendered):
    for figure in pictures.FIGURES:
        _, made = contents(rendered / figure)
        _, committed = contents(results.RESULTS / "pictures" / figure)
        assert (made["title"], made["note"]) == (committed["title"], committed["note"])


def test_the_focal_stack_goes_from_near_to_far_for_every_method(rendered):
    _, index = contents(rendered / "fig6_focal_stack")
    labels = [study.METHODS[name].label for name in ("scatter", "bokehdiff-mini")]
    assert [row["label"] for row in index["rows"]] == 2 * labels  # of both photographs
    for row in index["rows"]:
        focuses = [float(cell["title"].split()[-1]) for cell in row["cells"]]
        assert len(focuses) == 5
        assert focuses == sorted(focuses, reverse=True)


def test_a_larger_aperture_blurs_more(rendered):
    _, index = contents(rendered / "figS4_aperture_sweep")
    for row in index["rows"]:
        detail = []
        for cell in row["cells"]:
            with Image.open(rendered / "figS4_aperture_sweep" / cell["file"]) as picture:
                levels = np.asarray(picture, dtype=float)
            detail.append(np.abs(np.diff(levels, axis=1)).mean())
        assert detail == sorted(detail, reverse=True)


def test_a_method_without_weights_is_skipped_and_named(monkeypatch, tmp_path):
    lacks = methods.lacks
    missing = {"bokehdiff-mini": "no weights"}
    monkeypatch.setattr(methods, "lacks", lambda name: missing.get(name, lacks(name)))
    execute("32_render_figures", tmp_path, figure="fig6_focal_stack", smoke=True)
    torch.set_grad_enabled(True)
    _, index = contents(tmp_path / "pictures" / "fig6_focal_stack")
    assert {row["label"] for row in index["rows"]} == {"Scatter"}
    assert f"{study.METHODS['bokehdiff-mini'].label} is skipped" in index["note"]


def write(root, channels=3, smoke=False):
    cells = [("a", np.zeros((4, 6, 3), np.uint8)), ("b", np.zeros((4, 6, channels), np.uint8))]
    return pictures.write("fig1_teaser", "T", "N", [("row", cells)], root, smoke)


def test_pictures_are_up_to_date_until_weights_or_data_change(monkeypatch, tmp_path):
    assert not pictures.is_up_to_date("fig1_teaser", tmp_path)
    write(tmp_path)
    assert pictures.is_up_to_date("fig1_teaser", tmp_path)
    for module, name in ((methods, "weights_hash"), (pictures.data, "file_hash")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda _: "other")
            assert not pictures.is_up_to_date("fig1_teaser", tmp_path)
    write(tmp_path, smoke=True)
    assert not pictures.is_up_to_date("fig1_teaser", tmp_path)


def test_a_failure_leaves_the_old_pictures_and_nothing_else(tmp_path):
    folder = write(tmp_path)
    before = contents(folder)
    with pytest.raises(TypeError, match="Cannot handle this data type"):
        write(tmp_path, channels=9)
    assert contents(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_every_grid_of_the_study_has_its_pictures_or_says_what_it_needs():
    shown = {output.pictures for output in study.OUTPUTS.values() if output.pictures}
    assert shown == {*pictures.FIGURES, *pictures.MISSING}
    assert {name for name in shown if pictures.missing(name)} == {*pictures.MISSING}
    with pytest.raises(KeyError, match="fig6_focal_stack"):
        pictures.missing("fig99")


def test_all_pictures_together_stay_below_4_mb():
    files = [p for p in (results.RESULTS / "pictures").rglob("*") if p.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000


# --- Panels ----------------------------------------------------------------------------------


def test_panels_show_arrays_and_tensors_alike():
    figure = pictures.panels({"photo": torch.rand(1, 3, 4, 6), "map": np.zeros((4, 6))}, vmin=0)
    first, second, bar = figure.axes
    assert [first.get_title(), second.get_title()] == ["photo", "map"]
    assert first.images[0].get_array().shape == (4, 6, 3)
    assert second.images[0].get_array().shape == (4, 6)
    assert bar.get_label() == "<colorbar>"
