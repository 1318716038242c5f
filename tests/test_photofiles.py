"""Photos keep their bits, their light, their profile and what the camera said."""

import io

import numpy as np
import phonefiles
import pytest
from PIL import Image, ImageCms

from bokehlib.io import images, photos
from bokehlib.io.errors import InputError

RGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = RGB[:16] + b"GRAY" + RGB[20:]


@pytest.fixture
def deep():
    levels = np.random.default_rng(0).integers(0, 65536, (6, 10, 3))
    return levels.astype(np.float32) / np.float32(65535)


@pytest.mark.parametrize("icc", [None, RGB], ids=["plain", "profile"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_sixteen_bits_a_channel_survive_writing_and_reading(tmp_path, deep, suffix, icc):
    path = tmp_path / f"deep{suffix}"
    photos.write(path, deep, bits=16, icc=icc)
    photo = photos.read(path)
    assert photo.bits == 16
    assert photo.icc == icc
    assert np.array_equal(photo.image, deep)
    with Image.open(path) as shallow:  # an independent reader, which sees the upper 8 bits
        assert np.abs(np.asarray(shallow) / 255 - deep).max() < 1 / 255


def test_grey_of_sixteen_bits_is_read_at_full_depth(tmp_path):
    levels = np.array([[0, 1, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    photo = photos.read(tmp_path / "grey.png")
    assert photo.bits == 16
    assert np.array_equal(photo.image[..., 1], levels / np.float32(65535))


@pytest.mark.parametrize("turn", range(1, 9))
def test_sixteen_bits_are_turned_as_eight_are(tmp_path, turn):
    import cv2

    levels = np.random.default_rng(1).integers(0, 256, (4, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(levels).save(tmp_path / "shallow.png", exif=exif)
    kinds, blobs = [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif.tobytes()[6:], np.uint8)]
    wide = np.ascontiguousarray(levels[..., ::-1].astype(np.uint16) * 257)
    done, encoded = cv2.imencodeWithMetadata(".png", wide, kinds, blobs)
    assert done
    (tmp_path / "deep.png").write_bytes(encoded.tobytes())
    shallow, deep = (photos.read(tmp_path / f"{name}.png") for name in ("shallow", "deep"))
    assert (shallow.bits, deep.bits) == (8, 16)
    assert np.abs(shallow.image - deep.image).max() < 1e-6


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_profile_of_a_photo_is_kept_in_every_format_that_holds_one(tmp_path, suffix):
    photos.write(tmp_path / f"a{suffix}", np.full((4, 4, 3), 0.5), icc=RGB)
    assert photos.read(tmp_path / f"a{suffix}").icc == RGB


def test_a_profile_that_fits_no_colours_is_dropped(tmp_path):
    Image.new("L", (4, 4), 99).save(tmp_path / "grey.png", icc_profile=GREY)
    assert photos.read(tmp_path / "grey.png").icc is None


def test_inks_become_colours_and_their_profile_goes(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "inks.jpg", quality=100)
    photo = photos.read(tmp_path / "inks.jpg")
    assert photo.icc is None
    assert photo.image[1, 1] == pytest.approx([1, 0, 0], abs=0.03)


def test_openexr_is_linear_light_also_above_white(tmp_path):
    light = np.random.default_rng(0).uniform(0, 9, (5, 8, 3)).astype(np.float32)
    photos.write(tmp_path / "a.exr", light ** (1 / 2.2))
    photo = photos.read(tmp_path / "a.exr")
    assert photo.bits == 32
    assert photo.image**2.2 == pytest.approx(light, rel=1e-5)
    assert photo.image.max() > 1
    photos.write(tmp_path / "b.exr", photo.image)
    assert photos.read(tmp_path / "b.exr").image == pytest.approx(photo.image, rel=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr"])
def test_the_same_deep_picture_gives_the_same_bytes(tmp_path, deep, suffix):
    for name in ("a", "b"):
        photos.write(tmp_path / f"{name}{suffix}", deep, bits=16, icc=RGB)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_failed_write_of_a_deep_picture_leaves_the_old_one(tmp_path, deep, monkeypatch):
    path = tmp_path / "deep.png"
    path.write_bytes(b"old")

    def fails(levels, icc):
        raise OSError("no encoder")

    monkeypatch.setattr(photos, "_png", fails)
    with pytest.raises(InputError, match="found no encoder"):
        photos.write(path, deep, bits=16)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["deep.png"]


def test_transparent_pixels_of_sixteen_bits_are_refused(tmp_path):
    import cv2

    levels = np.full((3, 3, 4), 65535, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    assert photos.read(tmp_path / "a.png").image.min() == 1
    levels[1, 1, 3] = 65534  # what 8 bits would not show
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    with pytest.raises(InputError, match="transparent"):
        photos.read(tmp_path / "a.png")


# --- HEIC and EXIF ---------------------------------------------------------------------------


def test_a_heic_photo_is_read_like_any_other(tmp_path):
    phonefiles.heic(tmp_path / "a.heic", icc_profile=RGB)
    photo = photos.read(tmp_path / "a.heic")
    assert photo.icc == RGB
    assert np.abs(photo.image - phonefiles.photo() / 255).max() < 0.05
    renamed = tmp_path / "a.jpg"  # as some programs export it
    renamed.write_bytes((tmp_path / "a.heic").read_bytes())
    assert np.array_equal(photos.read(renamed).image, photo.image)


def test_a_heic_photo_of_a_turned_camera_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    phonefiles.heic(tmp_path / "a.heic", exif=exif.tobytes())
    upright = np.rot90(phonefiles.photo(), -1) / 255
    assert np.abs(photos.read(tmp_path / "a.heic").image - upright).max() < 0.05


@pytest.mark.parametrize("kept", [0.1, 0.4, 0.95])
@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_a_truncated_photo_is_named(tmp_path, name, kept):
    path = tmp_path / name
    if name == "a.heic":
        phonefiles.heic(path)
    else:
        Image.fromarray(phonefiles.photo()).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError, match=rf"IMAGE: .*{name}: found (a broken|not a)"):
        photos.read(path)


def test_without_the_reader_of_heic_its_absence_is_the_fault(tmp_path, monkeypatch):
    phonefiles.heic(tmp_path / "a.heic")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(InputError, match="no reader of it; accepted: the package pillow-heif"):
        photos.read(tmp_path / "a.heic")


def _photo_with(path, fields):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(fields)
    Image.new("RGB", (8, 6)).save(path, exif=exif)
    return photos.read(path).camera


def test_the_camera_is_what_exif_says(tmp_path):
    camera = _photo_with(tmp_path / "a.jpg", {0x920A: 6.86, 0x829D: 1.78, 0xA405: 24})
    found = (camera.focal_length, camera.f_number, camera.focal_length_35mm)
    assert found == pytest.approx((6.86, 1.78, 24))


def test_what_exif_does_not_say_or_says_wrongly_is_unknown(tmp_path):
    assert _photo_with(tmp_path / "a.jpg", {}) == photos.Camera()
    assert _photo_with(tmp_path / "b.jpg", {0x829D: 0.0, 0xA405: 0}) == photos.Camera()


def test_eight_bits_read_as_before(tmp_path):
    stored = io.BytesIO()
    Image.fromarray(phonefiles.photo()).save(stored, "PNG")
    (tmp_path / "a.png").write_bytes(stored.getvalue())
    assert np.array_equal(
        photos.read(tmp_path / "a.png").image, images.read_image(tmp_path / "a.png")
    )
