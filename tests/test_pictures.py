"""Laws of the pictures: honest about their disparity, small, the same every time."""

import json

import numpy as np
import pytest
from PIL import Image

from bokehlib import methods, study
from bokehlib.data import demo_photos
from bokehlib.study import pictures, qualitative, results
from bokehlib.study.qualitative import Strip

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


def strip(value=0.5):
    return Strip("T", "N", [("row", [("a", np.full((4, 6, 3), value)), ("b", np.zeros((4, 6)))])])


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
    return {name: pictures.make(name, root, smoke=True) for name in qualitative.STRIPS}


@pytest.mark.parametrize("figure", qualitative.STRIPS)
def test_every_cell_is_a_small_file_and_every_file_a_cell(rendered, figure):
    files, index = contents(rendered[figure])
    cells = [cell for row in index["rows"] for cell in row["cells"]]
    assert sorted(cell["file"] for cell in cells) == sorted(files)
    assert all(set(cell) == {"file", "title"} for cell in cells)
    assert all(row["cells"] and isinstance(row["label"], str) for row in index["rows"])
    for name in files:
        with Image.open(rendered[figure] / name) as picture:
            assert picture.width <= qualitative.SMOKE_WIDTH
            assert picture.mode in ("RGB", "L")


def test_the_focal_stack_goes_from_near_to_far_for_every_method(rendered):
    _, index = contents(rendered["fig6_focal_stack"])
    labels = [study.METHODS[name].label for name in qualitative.SWEPT]
    assert [row["label"] for row in index["rows"]] == 2 * labels  # of both photographs
    for row in index["rows"]:
        focuses = [float(cell["title"].split()[-1]) for cell in row["cells"]]
        assert len(focuses) == 5
        assert focuses == sorted(focuses, reverse=True)


def test_a_larger_aperture_blurs_more(rendered):
    _, index = contents(rendered["figS4_aperture_sweep"])
    for row in index["rows"]:
        detail = []
        for cell in row["cells"]:
            with Image.open(rendered["figS4_aperture_sweep"] / cell["file"]) as picture:
                levels = np.asarray(picture, dtype=float)
            detail.append(np.abs(np.diff(levels, axis=1)).mean())
        assert detail == sorted(detail, reverse=True)


def test_a_method_without_weights_is_left_out_and_named(monkeypatch, tmp_path):
    lacks = methods.lacks
    missing = {"bokehdiff-mini": "no weights"}
    monkeypatch.setattr(methods, "lacks", lambda name: missing.get(name, lacks(name)))
    _, index = contents(pictures.make("fig6_focal_stack", tmp_path, smoke=True))
    assert {row["label"] for row in index["rows"]} == {"Scatter"}
    assert f"{study.METHODS['bokehdiff-mini'].label} is left out" in index["note"]


def test_pictures_stand_until_weights_or_data_change(monkeypatch, tmp_path):
    monkeypatch.setitem(qualitative.STRIPS, "fig1_teaser", lambda smoke: strip())
    assert not pictures.stands("fig1_teaser", tmp_path)
    pictures.make("fig1_teaser", tmp_path)
    assert pictures.stands("fig1_teaser", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(methods, "weights_hash", lambda name: "other")
        assert not pictures.stands("fig1_teaser", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pictures.data, "file_hash", lambda path: "other")
        assert not pictures.stands("fig1_teaser", tmp_path)
    pictures.make("fig1_teaser", tmp_path, smoke=True)
    assert not pictures.stands("fig1_teaser", tmp_path)


def test_a_failure_leaves_the_old_pictures_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setitem(qualitative.STRIPS, "fig1_teaser", lambda smoke: strip())
    folder = pictures.make("fig1_teaser", tmp_path)
    before = contents(folder)
    broken = Strip("T", "N", [("row", [("a", np.zeros((4, 6, 3))), ("b", np.zeros((4, 6, 9)))])])
    monkeypatch.setitem(qualitative.STRIPS, "fig1_teaser", lambda smoke: broken)
    with pytest.raises(TypeError, match="Cannot handle this data type"):
        pictures.make("fig1_teaser", tmp_path)
    assert contents(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_every_strip_of_the_study_is_made_or_says_what_it_needs():
    shown = {artefact.pictures for artefact in study.ARTEFACTS.values() if artefact.pictures}
    assert shown == {*qualitative.STRIPS, *qualitative.LACKING}
    for name in shown:
        assert bool(pictures.lacks(name)) == (name in qualitative.LACKING)
    for name in qualitative.LACKING:
        with pytest.raises(ValueError, match="needs"):
            pictures.make(name)


def test_all_pictures_together_stay_below_4_mb():
    files = [p for p in (results.RESULTS / "pictures").rglob("*") if p.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000


# --- Panels ----------------------------------------------------------------------------------
