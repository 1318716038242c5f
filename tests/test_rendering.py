"""Photos as people have them, through the command: in by one file, out as they came."""

import json

import miniatures
import numpy as np
import phonefiles
import pytest
from PIL import Image, ImageCms

from bokehlib import cli, methods
from bokehlib.io import disparity_maps, images, photographic, photos

pytestmark = pytest.mark.usefixtures("loud")

P3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()[:-4] + b"wide"
SIZE = phonefiles.SIZE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def seen(monkeypatch):
    """What a renderer is given; its picture is the photo itself."""
    calls = []

    def renderer(image, disparity, lens):
        calls.append((image[0].permute(1, 2, 0).numpy(), disparity[0, 0].numpy(), lens))
        return image

    monkeypatch.setattr(methods, "load", lambda name, device: renderer)
    return calls


def _render(image, disparity, *words, out="out.png", aperture=("--aperture", "5"), focus="60,9"):
    given = ["--disparity", disparity] if disparity else []
    argv = ["render", image, "--out", out, *given, *aperture, "--method", "scatter"]
    return cli.main([*argv, *(["--focus", focus] if focus else []), *words])


def _report(capsys):
    return json.loads(capsys.readouterr().out)


# --- One file for photo and map --------------------------------------------------------------


def test_a_heic_photo_renders_by_its_own_map_and_keeps_its_profile(folder, seen):
    phonefiles.heic(folder / "a.heic", phonefiles.ramp(), icc_profile=P3)
    assert _render("a.heic", "a.heic", "--save-disparity", "map.png") == 0
    (image, disparity, _), photo = seen[0], photos.read("a.heic")
    assert np.array_equal(image, photo.image)
    expected = images.match_size(disparity_maps.read("a.heic").disparity, *SIZE)
    assert np.array_equal(disparity, expected)
    assert photos.read("out.png").icc == P3
    assert images.read_disparity("map.png") == pytest.approx(expected, abs=1e-5)


def test_a_heic_without_a_map_loses_nothing(folder, capsys):
    phonefiles.heic(folder / "a.heic")
    (folder / "out.png").write_bytes(b"old")
    assert _render("a.heic", "a.heic") == 2
    assert "without a depth map" in capsys.readouterr().err
    assert (folder / "out.png").read_bytes() == b"old"


def test_an_android_photo_and_one_side_by_side_render_by_their_own_maps(folder, seen, capsys):
    phonefiles.dynamic_depth(folder / "a.jpg", phonefiles.ramp())
    assert _render("a.jpg", "./a.jpg") == 0
    grey = np.repeat(np.kron(phonefiles.ramp(), np.ones((2, 2), np.uint8))[..., None], 3, -1)
    Image.fromarray(np.concatenate([phonefiles.photo(), grey], 1)).save("b.png")
    assert _render("b.png", "b.png") == 0
    (_, android, _), (photo, beside, _) = seen
    assert (android[:, 0] > android[:, -1]).all()
    assert (beside[:, 0] < beside[:, -1]).all()
    assert np.array_equal(np.round(photo * 255), phonefiles.photo())
    wide = [json.loads(line)["width"] for line in capsys.readouterr().out.splitlines()]
    assert wide == [SIZE[1], SIZE[1]]


def test_the_kind_of_a_map_reaches_its_reader(folder, seen):
    Image.fromarray(phonefiles.photo()).save("a.png")
    np.save("metres.npy", 1.0 + phonefiles.ramp() / 51)
    assert _render("a.png", "metres.npy", "--disparity-kind", "depth") == 0
    assert seen[0][1][0, [0, -1]] == pytest.approx([1, 1 / 6], abs=0.01)


# --- Bits and light --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_in_are_sixteen_bits_out(folder, seen, suffix):
    levels = np.random.default_rng(0).integers(0, 65536, (*SIZE, 3)) / np.float32(65535)
    photos.write(f"a{suffix}", levels.astype(np.float32), bits=16, icc=P3)
    images.write_disparity("map.png", np.full(SIZE, 0.5))
    assert _render(f"a{suffix}", "map.png", out=f"out{suffix}") == 0
    photo = photos.read(f"out{suffix}")
    assert (photo.bits, photo.icc) == (16, P3)
    assert np.array_equal(photo.image, levels.astype(np.float32))


def test_scatter_blurs_the_light_of_an_exr_above_white_too(folder, capsys):
    light = np.full((41, 41, 3), 0.01, np.float32)
    light[20, 20] = 500  # a lamp
    miniatures.write_exr(folder / "a.exr", {"RGB": light})
    np.save("map.npy", np.zeros((41, 41)))
    lens = {"aperture": ("--aperture", "6"), "focus": ""}
    for out in ("out.exr", "out.png"):
        assert _render("a.exr", "map.npy", "--focus-disparity", "1", out=out, **lens) == 0
    assert "clipped_pixels" not in capsys.readouterr().out
    blurred = photos.read("out.exr").image ** 2.2
    assert blurred.sum() == pytest.approx(light.sum(), rel=0.02)  # no light is lost
    assert blurred[20, 20].max() < 50
    disc = images.read_image("out.png")
    assert (disc[20, 20] == 1).all()  # brighter than white all over
    assert (disc[20, 16] == 1).all()


def test_other_methods_take_light_up_to_white_and_say_what_they_lost(folder, capsys, monkeypatch):
    given = []

    def renderer(image, disparity, lens):
        given.append(float(image.max()))
        return image

    monkeypatch.setattr(methods, "load", lambda name, device: renderer)
    light = np.full((8, 8, 3), 0.5, np.float32)
    light[0, :3] = 7
    miniatures.write_exr(folder / "a.exr", {"RGB": light})
    np.save("map.npy", np.zeros((8, 8)))
    words = ["--aperture", "1", "--focus-disparity", "0", "--out", "o.exr"]
    assert cli.main(["render", "a.exr", "--disparity", "map.npy", *words]) == 0
    assert given == [1]
    assert _report(capsys)["clipped_pixels"] == 3


def test_an_exr_is_in_linear_light_from_end_to_end(folder, seen):
    light = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    miniatures.write_exr(folder / "a.exr", {"RGB": light})
    np.save("map.npy", np.zeros((8, 8)))
    assert _render("a.exr", "map.npy", out="o.exr", focus="1,1") == 0
    assert seen[0][0] == pytest.approx(light ** (1 / 2.2), abs=1e-6)
    assert photos.read("o.exr").image ** 2.2 == pytest.approx(light, abs=1e-5)


# --- A real lens -----------------------------------------------------------------------------


def _phone_photo(path, **fields):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x920A: 6.86, 0x829D: 1.78, 0xA405: 24} | fields)
    Image.fromarray(phonefiles.photo()).save(path, exif=exif)


def test_the_lens_of_exif_gives_the_aperture(folder, seen, capsys):
    _phone_photo("a.jpg")
    images.write_disparity("map.png", np.full(SIZE, 0.5))
    words = ("--depth-range", "0.8,inf")
    assert _render("a.jpg", "map.png", *words, aperture=("--f-number", "exif")) == 0
    sensor = photographic.Camera(6.86, 1.78, 24).sensor_width(*SIZE)
    focus = float(images.read_disparity("map.png")[0, 0])
    expected = photographic.aperture(focus, 6.86, 1.78, sensor / SIZE[1], 0.8)
    assert _report(capsys)["aperture"] == pytest.approx(expected)
    assert seen[0][2].aperture == pytest.approx(expected)


def test_the_lens_given_goes_before_exif_and_a_tall_photo_has_the_sensor_upright(folder, capsys):
    for name, picture in (("wide", phonefiles.photo()), ("tall", phonefiles.photo(SIZE[::-1]))):
        Image.fromarray(picture).save(f"{name}.png")
        images.write_disparity(f"{name}-map.png", np.full(picture.shape[:2], 1.0))
        words = ("--focal-length", "50", "--sensor-width", "36", "--depth-range", "2,inf")
        lens = {"aperture": ("--f-number", "2"), "focus": "3,3"}
        assert _render(f"{name}.png", f"{name}-map.png", *words, **lens) == 0
    found = [json.loads(line)["aperture"] for line in capsys.readouterr().out.splitlines()]
    assert found == pytest.approx([photographic.aperture(1, 50, 2, 36 / 96, 2)] * 2)


def test_the_metres_of_a_phones_map_serve_as_its_range(folder, capsys):
    phonefiles.gdepth(folder / "a.jpg", phonefiles.ramp(), "RangeInverse", 1, 5, "m")
    words = ("--focal-length", "50", "--sensor-width", "36")
    assert _render("a.jpg", "a.jpg", *words, aperture=("--f-number", "2"), focus="0,0") == 0
    assert _report(capsys)["aperture"] == pytest.approx(photographic.aperture(1, 50, 2, 36 / 96, 1))


def test_a_stack_through_a_lens_has_the_aperture_of_each_focus(folder, capsys):
    Image.fromarray(phonefiles.photo()).save("a.png")
    images.write_disparity("map.png", phonefiles.ramp(SIZE) / 255)
    words = ("--focal-length", "50", "--sensor-width", "36", "--depth-range", "0.3,2")
    words += ("--focus-stack", "3")
    lens = {"aperture": ("--f-number", "2"), "focus": "", "out": "s.webp"}
    assert _render("a.png", "map.png", *words, **lens) == 0
    found = _report(capsys)
    expected = [photographic.aperture(f, 50, 2, 36 / 96, 0.3, 2) for f in found["focus_disparity"]]
    assert found["aperture"] == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == 3


# --- Focus -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "low", "high"), [("0.1", 0.4, 0.6), ("0.35,0.55", 0.35, 0.55)])
def test_a_range_in_focus_is_flat_for_the_renderer(folder, seen, capsys, asked, low, high):
    Image.fromarray(phonefiles.photo()).save("a.png")
    ramp = np.tile(np.linspace(0, 1, SIZE[1], dtype=np.float32), (SIZE[0], 1))
    np.save("map.npy", ramp)
    words = ("--focus-disparity", "0.5", "--focus-range", asked)
    assert _render("a.png", "map.npy", *words, focus="") == 0
    flat = seen[0][1]
    inside = (ramp > low + 1e-6) & (ramp < high - 1e-6)
    assert (flat[inside] == 0.5).all()
    assert flat[ramp > high] == pytest.approx(ramp[ramp > high] - (high - 0.5), abs=1e-6)
    assert _report(capsys)["focus_range"] == pytest.approx([0.5 - low, high - 0.5])


def test_an_estimated_map_is_made_for_the_focus_and_can_be_saved(folder, seen, monkeypatch):
    Image.fromarray(phonefiles.photo()).save("a.png")
    ramp = (phonefiles.ramp(SIZE) / 255).astype(np.float32)
    asked = []

    def estimate(image, model, device, download):
        asked.append((image.shape, model, download))
        return disparity_maps.DepthMap(ramp, "made up by the test")

    monkeypatch.setattr("bokehlib.io.estimate.check", lambda model, download: None)
    monkeypatch.setattr("bokehlib.io.estimate.estimate", estimate)
    words = ("--estimate-disparity", "--depth-model", "mine", "--save-disparity", "m.png")
    assert _render("a.png", None, *words) == 0
    assert asked == [((*SIZE, 3), "mine", False)]
    assert seen[0][2].focus == pytest.approx(float(ramp[9, 60]))
    assert images.read_disparity("m.png") == pytest.approx(ramp, abs=1e-5)
    assert _render("a.png", None, *words, focus="96,0") == 2
    assert len(asked) == 1  # a focus outside the photo is found before the network is asked
