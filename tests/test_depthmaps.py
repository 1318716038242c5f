"""Disparity from every file that people have: near is 1, and wrong values are named."""

import math

import miniatures
import numpy as np
import phonefiles
import pytest
from PIL import Image

from bokehlib.io import disparity_maps, images
from bokehlib.io.errors import InputError

DEPTH = np.array([[1.0, 2.0, 4.0], [8.0, 2.0, 1.0]], np.float32)  # metres


def _pfm(path, values, order="<", kind="Pf"):
    scale = -1.0 if order == "<" else 1.0
    head = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode()
    path.write_bytes(head + values[::-1].astype(f"{order}f4").tobytes())


def _write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".pfm":
        _pfm(path, values)
    else:
        miniatures.write_exr(path, {"Y": values.astype(np.float32)})
    return path


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".exr"])
def test_floats_in_range_are_taken_as_they_are(tmp_path, suffix):
    values = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    found = disparity_maps.read(_write(tmp_path / f"map{suffix}", values))
    assert found.disparity.dtype == np.float32
    assert np.array_equal(found.disparity, values)
    assert found.depth_range is None


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".exr"])
@pytest.mark.parametrize(
    ("kind", "values", "disparity", "span"),
    [
        ("depth", DEPTH, 1 / DEPTH, (1.0, math.inf)),
        ("inverse", 0.5 / DEPTH, 1 / DEPTH, (2.0, math.inf)),
        ("relative", 30 / DEPTH - 7, (1 / DEPTH - 1 / 8) / (1 - 1 / 8), None),
    ],
)
def test_near_is_one_whatever_the_values_are(tmp_path, suffix, kind, values, disparity, span):
    found = disparity_maps.read(_write(tmp_path / f"map{suffix}", values), kind=kind)
    assert found.disparity == pytest.approx(disparity, abs=1e-6)
    assert found.disparity[0, 0] == found.disparity.max() == 1
    assert found.depth_range == (span and pytest.approx(span))


def test_a_picture_of_depths_is_turned_too_and_an_endless_depth_is_zero(tmp_path):
    Image.fromarray((DEPTH * 1000).astype(np.uint16)).save(tmp_path / "mm.png")
    found = disparity_maps.read(tmp_path / "mm.png", kind="depth")
    assert found.disparity == pytest.approx(1 / DEPTH, abs=1e-6)
    np.save(tmp_path / "sky.npy", np.array([[2.0, math.inf]]))
    assert disparity_maps.read(tmp_path / "sky.npy", kind="depth").disparity.tolist() == [[1, 0]]


def test_the_channel_z_of_an_exr_is_a_depth_by_its_name(tmp_path):
    miniatures.write_exr(tmp_path / "z.exr", {"Z": DEPTH})
    assert disparity_maps.read(tmp_path / "z.exr").disparity == pytest.approx(1 / DEPTH, abs=1e-6)
    colours = np.dstack([1 / DEPTH, 1 / DEPTH, 0 * DEPTH])
    miniatures.write_exr(tmp_path / "c.exr", {"RGB": colours.astype(np.float32)})
    with pytest.raises(InputError, match=r"--disparity: .*c.exr: found a colour picture"):
        disparity_maps.read(tmp_path / "c.exr")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pfm_runs_from_the_lowest_row_in_either_order_of_bytes(tmp_path, order):
    values = np.arange(6, dtype=np.float32).reshape(2, 3) / 5
    _pfm(tmp_path / "a.pfm", values, order)
    assert np.array_equal(disparity_maps.read(tmp_path / "a.pfm").disparity, values)
    body = (tmp_path / "a.pfm").read_bytes().split(b"\n", 3)[3]
    assert np.frombuffer(body, f"{order}f4")[0] == values[1, 0]


@pytest.mark.parametrize(
    ("blob", "found"),
    [
        (b"", "no .pfm header"),
        (b"Pf\n3\n-1\n", "no .pfm header"),
        (b"Pf\n3 2\nx\n", "no .pfm header"),
        (b"Pf\n3 2\n-1\n" + bytes(20), "'Pf', 3x2 and 20 bytes"),
        (b"PF\n1 1\n-1\n" + bytes(12), "'PF', 1x1 and 12 bytes"),
        (b"Pf\n-1 -1\n-1\n" + bytes(4), "-1x-1"),
    ],
)
def test_a_file_that_is_no_grey_pfm_is_named(tmp_path, blob, found):
    (tmp_path / "a.pfm").write_bytes(blob)
    with pytest.raises(InputError, match=rf"--disparity: .*a.pfm: found .*{found}.*accepted: "):
        disparity_maps.read(tmp_path / "a.pfm")


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("", [[0.0, 1.5]], "values from 0 to 1.5; .*--disparity-kind relative"),
        ("", [[0.0, math.nan]], "1 NaN or infinite"),
        ("relative", [[2.0, 2.0]], "one value everywhere, 2"),
        ("relative", [[2.0, math.inf]], "1 NaN or infinite"),
        ("inverse", [[-0.1, 2.0]], "values from -0.1 to 2"),
        ("inverse", [[0.0, 0.0]], "values from 0 to 0"),
        ("depth", [[0.0, 2.0]], "1 pixels of 0"),
        ("depth", [[math.nan, 2.0]], "1 NaN"),
        ("depth", [[math.inf, math.inf]], "values from inf to inf"),
    ],
)
def test_values_that_are_not_of_their_kind_are_refused(tmp_path, kind, values, found):
    np.save(tmp_path / "map.npy", np.array(values))
    with pytest.raises(InputError, match=rf"--disparity: .*map.npy: found {found}"):
        disparity_maps.read(tmp_path / "map.npy", kind=kind)


# --- Phones ----------------------------------------------------------------------------------

NEAR, FAR = 1.5, 10.0
LEVEL = phonefiles.ramp() / 255.0
BETWEEN = 1 / FAR + LEVEL * (1 / NEAR - 1 / FAR)  # inverse depth: brighter is nearer
PLAIN = NEAR + LEVEL * (FAR - NEAR)  # depth: brighter is farther
REPRESENTATIONS = {
    "none": (None, LEVEL),
    "inverse depth": ({"kind": 0, "near": NEAR, "far": FAR}, BETWEEN * NEAR),
    "disparity": ({"kind": 1, "low": 0.1, "high": 0.8}, (0.1 + LEVEL * 0.7) / 0.8),
    "disparity about a plane": ({"kind": 1, "low": -0.3, "high": 0.8}, LEVEL),
    "depth": ({"kind": 2, "near": NEAR, "far": FAR}, NEAR / PLAIN),
    "depth without a range": ({"kind": 2}, 1 - LEVEL),
    "uneven": ({"kind": 3}, LEVEL),
}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_heic_photo_brings_its_own_map_with_near_at_one(tmp_path, name):
    representation, expected = REPRESENTATIONS[name]
    phonefiles.heic(tmp_path / "a.heic", phonefiles.ramp(), representation)
    found = disparity_maps.read(tmp_path / "a.heic")
    assert found.disparity.shape == phonefiles.SMALL
    assert found.disparity == pytest.approx(expected, abs=0.012)  # HEVC loses a level or two
    assert found.disparity.max() == pytest.approx(1)
    assert "HEIC" in found.source
    assert found.depth_range is None  # the unit of z is not said


def test_the_map_of_a_turned_heic_photo_is_turned_with_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    phonefiles.heic(tmp_path / "a.heic", phonefiles.ramp(), exif=exif.tobytes())
    photo = images.read_image(tmp_path / "a.heic")
    found = disparity_maps.read(tmp_path / "a.heic").disparity
    assert found.shape == phonefiles.SMALL[::-1]
    assert images.match_size(found, *photo.shape[:2])[[0, -1], 5] == pytest.approx([0, 1], abs=0.03)


def test_a_heic_without_a_map_says_what_would_have_one(tmp_path):
    phonefiles.heic(tmp_path / "a.heic")
    with pytest.raises(InputError, match="a HEIC photo without a depth map; accepted: one taken"):
        disparity_maps.read(tmp_path / "a.heic")


def test_a_heic_whose_map_is_cut_off_is_broken(tmp_path):
    path = tmp_path / "a.heic"
    phonefiles.heic(path, phonefiles.ramp())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a.heic: found a broken depth map"):
        disparity_maps.read(path)


FORMS = {
    "RangeInverse": (1 / NEAR - LEVEL * (1 / NEAR - 1 / FAR)) * NEAR,
    "RangeLinear": NEAR / (NEAR + LEVEL * (FAR - NEAR)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("write", [phonefiles.gdepth, phonefiles.dynamic_depth])
def test_a_jpeg_of_android_brings_its_map_whose_dark_is_near(tmp_path, write, form):
    write(tmp_path / "a.jpg", phonefiles.ramp(), form, NEAR, FAR)
    found = disparity_maps.read(tmp_path / "a.jpg")
    assert found.disparity == pytest.approx(FORMS[form], abs=0.02)
    assert found.disparity[:, 0] == pytest.approx(1, abs=0.01)
    assert found.depth_range == (pytest.approx(NEAR, abs=0.02), math.inf)
    assert form in found.source


def test_metres_are_known_only_where_the_photo_says_them(tmp_path):
    phonefiles.gdepth(tmp_path / "a.jpg", phonefiles.ramp(), units="")
    assert disparity_maps.read(tmp_path / "a.jpg").depth_range is None


@pytest.mark.parametrize("part", [300, 60000])
def test_metadata_of_any_length_are_put_together(tmp_path, part):
    noise = np.random.default_rng(0).integers(0, 256, phonefiles.SMALL, dtype=np.uint8)
    phonefiles.gdepth(tmp_path / "a.jpg", noise, "RangeLinear", 1, 2, part=part)
    expected = 1 / (1 + noise / 255)
    found = disparity_maps.read(tmp_path / "a.jpg").disparity
    assert found / found.max() == pytest.approx(expected / expected.max(), abs=1e-5)


def test_the_map_is_found_by_its_meaning_where_it_has_no_name(tmp_path):
    phonefiles.dynamic_depth(tmp_path / "a.jpg", phonefiles.ramp(), said="semantic")
    assert disparity_maps.read(tmp_path / "a.jpg").disparity[:, 0] == pytest.approx(1, abs=0.01)


def test_the_map_of_a_turned_android_photo_is_turned_with_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    phonefiles.gdepth(tmp_path / "a.jpg", phonefiles.ramp(), near=NEAR, far=FAR, exif=exif)
    photo = images.read_image(tmp_path / "a.jpg")
    found = disparity_maps.read(tmp_path / "a.jpg").disparity
    assert found.shape[0] > found.shape[1]
    assert photo.shape[0] > photo.shape[1]
    assert found == pytest.approx(np.rot90(FORMS["RangeInverse"]), abs=0.02)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"near": 5, "far": 1}, "Near 5 and Far 1, which are no range"),
        ({"near": 0, "far": 1}, "Near 0 and Far 1"),
        ({"near": "x"}, "could not convert"),
        ({"said": "nothing"}, "no file of that name"),
    ],
)
def test_metadata_that_make_no_sense_are_named(tmp_path, options, found):
    phonefiles.dynamic_depth(tmp_path / "a.jpg", phonefiles.ramp(), **options)
    with pytest.raises(InputError, match=rf"a.jpg: found a broken depth map .*{found}"):
        disparity_maps.read(tmp_path / "a.jpg")


@pytest.mark.parametrize("lost", [10, 2000])
def test_a_photo_that_ends_within_its_map_is_broken(tmp_path, lost):
    path = tmp_path / "a.jpg"
    phonefiles.dynamic_depth(path, phonefiles.ramp())
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(InputError, match=r"a.jpg: found a broken depth map"):
        disparity_maps.read(path)


# --- Within the photo's own file -------------------------------------------------------------


def _side_by_side(path, colour=0):
    right = np.repeat(np.kron(phonefiles.ramp(), np.ones((2, 2), np.uint8))[..., None], 3, -1)
    right[5, 5, 0] = min(int(right[5, 5, 0]) + colour, 255)
    Image.fromarray(np.concatenate([phonefiles.photo(), right], axis=1)).save(path)
    return images.read_image(path)


def test_photo_and_map_side_by_side_come_apart(tmp_path):
    whole = _side_by_side(tmp_path / "a.png")
    photo, found = disparity_maps.of_photo(tmp_path / "a.png", whole)
    assert np.array_equal(np.round(photo * 255), phonefiles.photo())
    assert found.disparity[::2, ::2] == pytest.approx(LEVEL, abs=1e-6)


@pytest.mark.parametrize("kind", ["a colour at the right", "an odd width"])
def test_a_photo_alone_is_not_taken_for_one_with_its_map(tmp_path, kind):
    whole = _side_by_side(tmp_path / "a.png", colour=60 if kind == "a colour at the right" else 0)
    if kind == "an odd width":
        whole = np.concatenate([whole, whole[:, -1:]], axis=1)
    with pytest.raises(InputError, match="the photo itself without a depth map in it"):
        disparity_maps.of_photo(tmp_path / "a.png", whole)


def test_an_exr_may_hold_photo_and_depth(tmp_path):
    channels = {"RGB": miniatures.light(0), "Z": np.full((48, 64), 3, np.float32)}
    channels["Z"][0, 0] = 1.5
    miniatures.write_exr(tmp_path / "a.exr", channels)
    _, found = disparity_maps.of_photo(tmp_path / "a.exr", miniatures.light(0))
    assert found.disparity[0, :2].tolist() == [1, 0.5]
