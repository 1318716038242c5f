"""What people's disparity files are like: holes, added axes, rounded sizes, turned photos."""

import json

import numpy as np
import pytest
from PIL import Image

from bokehlib import cli
from bokehlib.cli import render_folder
from bokehlib.io import disparity_maps, images, map_repair
from bokehlib.io.errors import InputError

RAMP = np.tile(np.linspace(0.1, 0.9, 12, dtype=np.float32), (8, 1))


@pytest.mark.parametrize("shape", [(8, 12), (1, 8, 12), (8, 12, 1), (1, 1, 8, 12)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_axes_of_length_one_around_a_map_are_dropped(tmp_path, shape, suffix):
    path = tmp_path / f"map{suffix}"
    save = np.save if suffix == ".npy" else lambda file, values: np.savez(file, depth=values)
    save(path, RAMP.reshape(shape))
    assert np.array_equal(disparity_maps.read(path).disparity, RAMP)


def test_a_float_tiff_holds_any_kind_of_values(tmp_path):
    path = tmp_path / "map.tiff"
    Image.fromarray(2 / RAMP).save(path)
    found = disparity_maps.read(path, kind="depth")
    assert found.disparity == pytest.approx(RAMP / RAMP.max(), abs=1e-6)


def _damaged(path):
    """A whole archive whose compressed bytes are not."""
    np.savez_compressed(path, a=np.random.default_rng(0).random((40, 50)))
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda path: np.savez(path, a=RAMP, b=RAMP), "2 arrays: a, b"),
        (lambda path: path.write_bytes(b"PK\3\4 no archive"), "broken or truncated .npz"),
        (lambda path: _damaged(path), "broken or truncated .npz"),
        (lambda path: np.savez(path, a=np.zeros((2, 8, 12))), r"shape \(2, 8, 12\)"),
        (lambda path: np.savez(path, a=np.array(["x"])), "<U1 values"),
    ],
)
def test_an_archive_that_is_no_map_is_refused(tmp_path, write, found):
    path = tmp_path / "map.npz"
    write(path)
    with pytest.raises(InputError, match=found):
        disparity_maps.read(path)


# --- Unknown pixels --------------------------------------------------------------------------


def test_holes_continue_the_background_and_known_pixels_stay():
    scene = np.full((9, 12), 0.2)
    scene[3:6, 4:8] = 0.8  # an object
    known = np.ones_like(scene, bool)
    known[3:6, 8:10] = False  # what it hides from a second camera
    known[4, 5] = False  # and a pixel that was not matched inside it
    filled = map_repair.fill_holes(np.where(known, scene, np.nan), known, np.fmin)
    assert np.array_equal(filled, scene)
    depth = map_repair.fill_holes(np.where(known, 1 / scene, 0), known, np.fmax)
    assert depth == pytest.approx(1 / scene)


def test_a_map_with_one_known_pixel_is_filled_from_it():
    known = np.zeros((5, 7), bool)
    known[1, 2] = True
    assert (map_repair.fill_holes(np.full((5, 7), 0.3), known, np.fmin) == 0.3).all()


@pytest.mark.parametrize(
    ("kind", "unknown", "said"),
    [
        ("disparity", np.nan, "3 NaN or infinite values.*--fill-holes"),
        ("inverse", np.inf, "3 NaN or infinite values.*--fill-holes"),
        ("depth", np.nan, "3 NaN or infinite values.*--fill-holes"),
        (
            "depth",
            0.0,
            "3 pixels of 0.*--fill-holes where 0 means no measurement.*--disparity-kind",
        ),
    ],
)
def test_unknown_pixels_are_refused_with_the_cure_and_filled_when_asked(
    tmp_path, kind, unknown, said
):
    values = 1 / RAMP if kind == "depth" else RAMP.copy()
    values[2:5, 6] = unknown
    np.save(tmp_path / "map.npy", values)
    with pytest.raises(InputError, match=said):
        disparity_maps.read(tmp_path / "map.npy", kind=kind)
    found = disparity_maps.read(tmp_path / "map.npy", kind=kind, fill=True)
    assert found.filled == 3
    assert np.isfinite(found.disparity).all()
    assert found.disparity[3, 6] == pytest.approx(found.disparity[3, 5])  # the farther side


@pytest.mark.parametrize(("kind", "value"), [("", np.nan), ("depth", 0.0)])
def test_a_map_without_a_known_pixel_is_refused_even_then(tmp_path, kind, value):
    np.save(tmp_path / "map.npy", np.full((4, 5), value))
    with pytest.raises(InputError, match="no pixel known"):
        disparity_maps.read(tmp_path / "map.npy", kind=kind, fill=True)


def test_depths_of_a_picture_with_zeros_name_one_cure(tmp_path):
    path = tmp_path / "kinect.png"
    levels = np.full((6, 8), 200, np.uint8)
    levels[:, 0] = 0
    Image.fromarray(levels).save(path)
    with pytest.raises(InputError, match="6 pixels of 0; accepted: above 0; --fill-holes"):
        disparity_maps.read(path, kind="depth")


# --- Size and orientation --------------------------------------------------------------------


@pytest.mark.parametrize("size", [(518, 686), (512, 672), (384, 512), (504, 672)])
def test_a_size_that_a_network_has_rounded_fits(size):
    assert images.match_size(np.full(size, 0.5, np.float32), 3000, 4000).shape == (3000, 4000)


@pytest.mark.parametrize("size", [(518, 518), (512, 640), (4000, 3000)])
def test_another_aspect_ratio_is_refused(size):
    with pytest.raises(InputError, match="within 3%"):
        images.match_size(np.full(size, 0.5, np.float32), 3000, 4000)


def _scene(height, width):
    """A photo and its map, whose edges agree, as stored: an object left of the middle."""
    disparity = np.full((height, width), 0.2, np.float32)
    disparity[height // 5 : height // 2, width // 8 : width // 3] = 0.9
    image = np.repeat(disparity[..., None] * 0.9, 3, axis=-1)
    return image, disparity


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("size", [(40, 60), (48, 48)])
def test_the_map_of_a_turned_photo_is_turned_where_only_that_fits(turn, size):
    stored, disparity = _scene(*size)
    shown = np.stack([map_repair.upright(stored[..., c], turn) for c in range(3)], axis=-1)
    upright = map_repair.upright(disparity, turn)
    found, said = map_repair.oriented(disparity, shown, turn)
    assert said == map_repair.TURNED
    assert found == pytest.approx(upright)
    found, said = map_repair.oriented(upright, shown, turn)
    assert said == map_repair.AS_STORED
    assert found == pytest.approx(upright)


def test_a_map_without_edges_stays_as_it_is_stored():
    shown = np.zeros((30, 30, 3), np.float32)
    found, said = map_repair.oriented(np.full((30, 30), 0.5, np.float32), shown, 6)
    assert (said, found.shape) == (map_repair.AS_STORED, (30, 30))


def test_a_map_that_fits_neither_way_is_refused_in_one_line():
    with pytest.raises(InputError, match="20x30 pixels for an image of 50x40"):
        map_repair.oriented(np.full((30, 20), 0.5, np.float32), np.zeros((40, 50, 3)), 6)


# --- The command -----------------------------------------------------------------------------


def _render(capsys, image, disparity, *more):
    words = ["render", image, "--disparity", disparity, "--focus-disparity", "0.9"]
    code = cli.main([*words, "--aperture", "3", "--out", "out.png", "--method", "input", *more])
    printed = capsys.readouterr()
    return json.loads(printed.out) if code == 0 else printed.err


def test_the_line_says_how_a_turned_photo_was_read_and_what_was_filled(
    tmp_path, monkeypatch, capsys, loud
):
    monkeypatch.chdir(tmp_path)
    image, disparity = _scene(40, 60)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((image * 255).astype(np.uint8)).save("turned.jpg", exif=exif)
    Image.fromarray((image * 255).astype(np.uint8)).save("plain.jpg")
    np.save("map.npy", np.where(disparity > 0.8, np.nan, disparity))
    assert "--fill-holes" in _render(capsys, "plain.jpg", "map.npy")
    plain = _render(capsys, "plain.jpg", "map.npy", "--fill-holes")
    assert plain["filled_pixels"] == (disparity > 0.8).sum()
    assert "disparity_orientation" not in plain
    np.save("whole.npy", disparity)
    turned = _render(capsys, "turned.jpg", "whole.npy")
    assert (turned["width"], turned["height"]) == (40, 60)
    assert turned["disparity_orientation"] == map_repair.TURNED
    assert "filled_pixels" not in turned


def test_maps_beside_their_photos_are_no_photos(tmp_path, monkeypatch, capsys, loud):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    image, disparity = _scene(20, 30)
    for name, ending in zip("abc", render_folder.ENDINGS, strict=False):
        images.write_image(folder / f"{name}.png", image)
        images.write_disparity(folder / f"{name}{ending}.png", disparity)
    words = ["render", "photos", "--disparity", "photos", "--focus-disparity", "0.9"]
    assert cli.main([*words, "--aperture", "3", "--out", "made", "--method", "input"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == ["a.png", "b.png", "c.png"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
    ]


def _folder(tmp_path, photos, maps, where):
    image, disparity = _scene(20, 30)
    for name in photos:
        (tmp_path / "photos").mkdir(exist_ok=True)
        images.write_image(tmp_path / "photos" / name, image)
    for name in maps:
        (tmp_path / where).mkdir(exist_ok=True)
        images.write_disparity(tmp_path / where / name, disparity)
    return ["render", "photos", "--disparity", where, "--focus-disparity", "0.9", "--aperture", "3"]


def test_a_name_like_a_maps_is_a_photo_where_maps_lie_elsewhere(
    tmp_path, monkeypatch, capsys, loud
):
    monkeypatch.chdir(tmp_path)
    words = _folder(tmp_path, ["x.png", "x_d.png"], ["x.png", "x_d.png"], "maps")
    assert cli.main([*words, "--out", "made", "--method", "input"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == ["x.png", "x_d.png"]


def test_capitals_do_not_make_a_map_a_photo(tmp_path, monkeypatch, capsys, loud):
    monkeypatch.chdir(tmp_path)
    words = _folder(tmp_path, ["x.png"], ["x_Depth.png"], "photos")
    assert cli.main([*words, "--out", "made", "--method", "input"]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == "x.png"


def test_a_place_that_cannot_be_a_folder_is_one_line(tmp_path, monkeypatch, capsys, loud):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    words = _folder(tmp_path, ["x.png"], ["x.png"], "maps")
    assert cli.main([*words, "--out", "file/sub", "--method", "input"]) == 2
    assert capsys.readouterr().err.startswith("--out: file/sub: found Not a directory")
