"""Files to arrays and back."""

import os

import numpy as np
import pytest
from PIL import Image

from bokehlib.io import images
from bokehlib.io.errors import InputError


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 11, 3)).astype(np.float32) / 255


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".TIFF"])
def test_a_lossless_file_gives_back_every_level(tmp_path, picture, suffix):
    path = tmp_path / f"picture{suffix}"
    images.write_image(path, picture)
    assert np.array_equal(images.read_image(path), picture)


def test_levels_are_rounded_and_clipped_not_cut_or_wrapped(tmp_path):
    path = tmp_path / "levels.png"
    images.write_image(path, np.array([[[0.6 / 255, -3.0, 7.0]]]))
    assert np.asarray(Image.open(path)).tolist() == [[[1, 0, 255]]]


def test_a_jpeg_keeps_the_picture_close(tmp_path):
    smooth = np.linspace(0, 1, 32 * 32 * 3, dtype=np.float32).reshape(32, 32, 3)
    images.write_image(tmp_path / "smooth.jpg", smooth)
    assert np.abs(images.read_image(tmp_path / "smooth.jpg") - smooth).max() < 0.02


@pytest.mark.parametrize("suffix", list(images.FORMATS))
def test_the_same_picture_gives_the_same_bytes(tmp_path, picture, suffix):
    for name in ("one", "two"):
        images.write_image(tmp_path / f"{name}{suffix}", picture)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_picture_is_read_as_displayed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored left column is the displayed top row
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:, 0] = 255
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    shown = images.read_image(tmp_path / "turned.png")
    assert shown.shape == (24, 16, 3)
    assert (shown[0] == 1).all()
    assert (shown[1:] == 0).all()


def test_grey_becomes_three_equal_channels_at_full_depth(tmp_path):
    deep = np.array([[0, 1, 256], [4097, 65534, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(tmp_path / "shallow.png")
    for name, full in (("deep", deep / 65535), ("shallow", (deep >> 8) / 255)):
        read = images.read_image(tmp_path / f"{name}.png")
        assert read.dtype == np.float32
        assert np.array_equal(read, np.repeat(full[..., None].astype(np.float32), 3, -1))


def test_alpha_is_dropped_only_where_it_hides_nothing(tmp_path, picture):
    levels = np.dstack([np.round(picture * 255), np.full((7, 11), 255)]).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "opaque.png")
    assert np.array_equal(images.read_image(tmp_path / "opaque.png"), picture)
    levels[3, 4, 3] = 17
    Image.fromarray(levels).save(tmp_path / "cutout.png")
    with pytest.raises(InputError, match=r"IMAGE: .*cutout.png: .*alpha from 17 to 255.*opaque"):
        images.read_image(tmp_path / "cutout.png")


def _damage(tmp_path, kind):
    path = tmp_path / f"{kind}.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "truncated jpeg":
        Image.fromarray(noise).save(path, format="JPEG")
        path.write_bytes(path.read_bytes()[:1200])
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "text", "empty", "truncated", "truncated jpeg"]
)
@pytest.mark.parametrize("read", [images.read_image, images.read_disparity])
def test_a_broken_file_is_named_with_its_argument(tmp_path, kind, read):
    path = _damage(tmp_path, kind)
    with pytest.raises(InputError) as caught:
        read(path, "--thing")
    message = str(caught.value)
    assert message.startswith(f"--thing: {path}: found ")
    assert "; accepted: " in message


def test_a_disparity_map_survives_sixteen_bits(tmp_path):
    disparity = np.random.default_rng(0).random((5, 9)).astype(np.float32)
    disparity[0, :2] = 0, 1
    images.write_disparity(tmp_path / "map.png", disparity)
    read = images.read_disparity(tmp_path / "map.png")
    assert read.dtype == np.float32
    assert np.abs(read - disparity).max() <= 0.51 / 65535
    assert read[0, :2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("RGB", "png"), ("RGBA", "png"), ("L", "jpg"), ("RGB", "jpg")],
)
def test_an_eight_bit_grey_map_reads_alike_in_any_mode(tmp_path, mode, suffix):
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1))
    path = tmp_path / f"ramp.{suffix}"
    Image.fromarray(ramp).convert(mode).save(path, **({"quality": 100} if suffix == "jpg" else {}))
    assert np.abs(images.read_disparity(path) - ramp / np.float32(255)).max() <= 2 / 255


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, bool])
def test_an_array_of_values_up_to_one_is_taken_as_it_is(tmp_path, dtype):
    array = np.array([[0, 1, 0], [1, 0, 1]], dtype)
    np.save(tmp_path / "map.npy", array)
    read = images.read_disparity(tmp_path / "map.npy")
    assert read.dtype == np.float32
    assert np.array_equal(read, array.astype(np.float32))


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([[0.5, np.nan]]), "1 NaN or infinite"),
        (np.array([[np.inf, -np.inf]]), "2 NaN or infinite"),
        (np.array([[0.25, 1.5]]), "values from 0.25 to 1.5"),
        (np.array([[-0.5, 1.0]]), "values from -0.5 to 1"),
        (np.array([[0, 255]], np.uint8), "values from 0 to 255"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.zeros((2, 2), complex), "complex128 values"),
        (np.array([[None]]), "broken or truncated"),
    ],
)
def test_an_array_that_is_no_disparity_is_refused(tmp_path, array, found):
    np.save(tmp_path / "map.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=rf"--disparity: .*map.npy: found .*{found}.*; accepted: "):
        images.read_disparity(tmp_path / "map.npy")


def test_a_map_of_the_right_size_is_not_touched():
    disparity = np.random.default_rng(0).random((5, 9)).astype(np.float32)
    assert images.match_size(disparity, 5, 9) is disparity


def test_a_smaller_map_is_interpolated_bilinearly_between_pixel_centres():
    disparity = np.array([[0.0, 1.0], [0.4, 0.2]], np.float32)
    share = np.array([0, 0.25, 0.75, 1])  # of the right, or lower, pixel
    rows = disparity[:1] * (1 - share[:, None]) + disparity[1:] * share[:, None]  # (4, 2)
    expected = rows[:, :1] * (1 - share) + rows[:, 1:] * share
    assert np.abs(images.match_size(disparity, 4, 4) - expected).max() < 1e-6


@pytest.mark.parametrize("size", [(214, 321), (213, 320), (854, 1282), (43, 64)])
def test_a_map_of_another_size_and_the_same_aspect_fits(size):
    fitted = images.match_size(np.full(size, 0.3, np.float32), 427, 641)
    assert fitted.shape == (427, 641)
    assert np.abs(fitted - 0.3).max() < 1e-6


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("no"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, picture, monkeypatch, error):
    def half_a_file(self, path, **options):
        path.write_bytes(b"half")
        raise error

    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", half_a_file)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError
    with pytest.raises(expected):
        images.write_image(path, picture)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["picture.png"]


def test_a_written_file_has_the_usual_permissions(tmp_path, picture):
    (tmp_path / "usual").touch()
    images.write_image(tmp_path / "picture.png", picture)
    modes = [(tmp_path / name).stat().st_mode for name in ("usual", "picture.png")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(
    ("name", "found"),
    [("picture.gif", "suffix '.gif'"), ("picture", "suffix ''"), ("no/picture.png", "no folder")],
)
def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path, name, found):
    with pytest.raises(InputError, match=rf"--out: .*found {found}.*accepted: .*\.png, \.jpg"):
        images.check_output(tmp_path / name)


def test_a_write_protected_folder_is_refused_beforehand(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may always write
    with pytest.raises(InputError, match=r"--out: .*write-protected"):
        images.check_output(tmp_path / "picture.png")
