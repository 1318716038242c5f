"""Focal stacks and aperture sweeps: which pictures, resumed after a kill, nothing half written."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence

from bokehlib import cli, methods
from bokehlib.io import animation as series
from bokehlib.io import images, photos
from bokehlib.io.animation import Frame

pytestmark = pytest.mark.usefixtures("loud")

WIDTH, HEIGHT = 32, 20
RGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images.write_image(tmp_path / "photo.png", rng.random((HEIGHT, WIDTH, 3)))
    ramp = np.tile(np.linspace(0.2, 0.8, WIDTH), (HEIGHT, 1))
    images.write_disparity(tmp_path / "map.png", ramp)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _flat(value):
    return lambda: lambda frame: np.full((HEIGHT, WIDTH, 3), value(frame))


FRAMES = [Frame(focus, 8.0) for focus in (0.1, 0.5, 0.9)]


def test_a_stack_runs_evenly_from_the_farthest_to_the_nearest():
    disparity = np.array([[0.3, 0.9], [0.6, 0.5]])
    frames = series.focal_stack(disparity, lambda focus: 10 * focus, 4)
    assert [frame.focus for frame in frames] == pytest.approx([0.3, 0.5, 0.7, 0.9])
    assert [frame.aperture for frame in frames] == pytest.approx([3, 5, 7, 9])


def test_a_sweep_runs_evenly_from_the_photo_itself():
    frames = series.aperture_sweep(0.4, 12.0, 4)
    assert [(frame.focus, frame.aperture) for frame in frames] == [
        (0.4, 0.0), (0.4, 4.0), (0.4, 8.0), (0.4, 12.0)
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_the_animation_goes_there_and_back_and_repeats(folder, suffix):
    series.make(_flat(lambda frame: frame.focus), FRAMES, folder / f"a{suffix}", "key")
    with Image.open(folder / f"a{suffix}") as animation:
        shown = [
            np.asarray(f.convert("RGB")).mean() / 255 for f in ImageSequence.Iterator(animation)
        ]
        assert animation.info["loop"] == 0
        assert animation.info["duration"] == series.PERIOD
    assert [f.mean() for f in shown] == pytest.approx([0.1, 0.5, 0.9, 0.5], abs=0.01)


def test_the_sheet_shows_every_picture_in_its_place(folder):
    series.make(_flat(lambda frame: frame.focus), FRAMES, folder / "a.gif", "key")
    sheet = images.read_image(folder / "a-sheet.png")
    step_x, step_y = 200 + series._GAP, HEIGHT + series._LABEL + series._GAP
    assert sheet.shape[:2] == (2 * step_y + series._GAP, 2 * step_x + series._GAP)
    for number, frame in enumerate(FRAMES):
        y, x = (number // 2 * step_y + series._GAP, number % 2 * step_x + series._GAP)
        picture = sheet[y : y + HEIGHT, x : x + WIDTH]
        assert picture == pytest.approx(np.full_like(picture, frame.focus), abs=0.01)
        below = sheet[y + HEIGHT : y + HEIGHT + series._LABEL, x : x + 180]
        assert below.min() < 0.5  # something is written there


def test_bits_and_profile_of_the_photo_are_those_of_its_pictures(folder):
    value = 1000.0 / 65535
    made = _flat(lambda frame: value)
    series.make(made, FRAMES, folder / "a.webp", "key", bits=16, icc=RGB)
    photo = photos.read(folder / "a-frames-key/000.png")
    assert (photo.bits, photo.icc) == (16, RGB)
    assert photo.image == pytest.approx(np.full_like(photo.image, value), rel=1e-6)
    for name in ("a.webp", "a-sheet.png"):
        with Image.open(folder / name) as picture:
            assert picture.info["icc_profile"] == RGB


def test_a_gif_holds_no_profile_so_its_colours_are_brought_to_srgb(folder):
    swapped = RGB.replace(b"rXYZ", b"XXXX", 1).replace(b"gXYZ", b"rXYZ", 1)
    swapped = swapped.replace(b"XXXX", b"gXYZ", 1)  # a profile in which red is green
    red = np.tile(np.array([1.0, 0, 0]), (HEIGHT, WIDTH, 1))
    for name, icc in (("plain", None), ("swapped", swapped), ("broken", b"no profile")):
        series.make(lambda: lambda frame: red, FRAMES[:2], folder / f"{name}.gif", "key", icc=icc)
    colours = {}
    for name in ("plain", "swapped", "broken"):
        with Image.open(folder / f"{name}.gif") as animation:
            colours[name] = animation.convert("RGB").getpixel((3, 3))
    assert colours["plain"] == colours["broken"] == (255, 0, 0)
    assert colours["swapped"][1] > 200 > 100 > colours["swapped"][0]


# --- Killed and resumed ----------------------------------------------------------------------


def _stopped_at(number):
    def load():
        def render(frame):
            if frame == FRAMES[number]:
                raise KeyboardInterrupt
            return np.full((HEIGHT, WIDTH, 3), frame.focus)

        return render

    return load


def test_an_interrupted_series_goes_on_where_it_stopped(folder, capsys):
    with pytest.raises(KeyboardInterrupt):
        series.make(_stopped_at(1), FRAMES, folder / "a.webp", "key")
    assert sorted(os.listdir(folder / "a-frames-key")) == ["000.png"]
    assert not (folder / "a.webp").exists()
    first = (folder / "a-frames-key/000.png").stat().st_mtime_ns
    assert series.make(_flat(lambda frame: frame.focus), FRAMES, folder / "a.webp", "key") == 2
    assert (folder / "a-frames-key/000.png").stat().st_mtime_ns == first
    series.make(_flat(lambda frame: frame.focus), FRAMES, folder / "b.webp", "key")
    for name in ("{}.webp", "{}-sheet.png", "{}-frames-key/002.png"):
        whole, resumed = ((folder / name.format(letter)).read_bytes() for letter in "ba")
        assert whole == resumed
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/3] focus 0.100  aperture 8 (the first)"
    assert lines[2].startswith("[2/3] focus 0.500")
    assert re.fullmatch(r"\[3/3\] .* \(about \d+ s left\)", lines[3])


def test_nothing_is_loaded_where_every_picture_stands(folder):
    series.make(_flat(lambda frame: 0.5), FRAMES, folder / "a.webp", "key")

    def load():
        raise AssertionError("no picture was missing")

    (folder / "a.webp").unlink()
    assert series.make(load, FRAMES, folder / "a.webp", "key") == 0
    assert (folder / "a.webp").exists()


def test_every_setting_changes_the_key_and_so_the_folder():
    photo = photos.Photograph(np.zeros((2, 3, 3), np.float32))
    other = photos.Photograph(np.ones((2, 3, 3), np.float32))
    profiled = photos.Photograph(photo.image, icc=RGB)
    near, far = np.ones((2, 3)), np.zeros((2, 3))
    given = (photo, far, FRAMES, {"method": "a"})
    changed = [(other, *given[1:]), (profiled, *given[1:]), (photo, near, *given[2:])]
    changed += [(*given[:2], FRAMES[:2], given[3]), (*given[:3], {"method": "b"})]
    assert len({series.key(*values) for values in (given, *changed)}) == 6
    assert series.key(*given) == series.key(*given)


# --- Through the command ---------------------------------------------------------------------


def _render(*words):
    argv = ["render", "photo.png", "--disparity", "map.png", "--aperture", "6"]
    return cli.main([*argv, "--method", "scatter", *words])


def test_a_stack_writes_the_pictures_that_the_single_commands_write(folder, capsys):
    assert _render("--focus-stack", "3", "--out", "stack.webp", "--focus-range", "0.1") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["focus_disparity"] == pytest.approx([0.2, 0.5, 0.8], abs=1e-4)
    assert report["aperture"] == [6, 6, 6]
    assert report["focus_range"] == [0.1, 0.1]
    assert re.fullmatch(r"stack-frames-[0-9a-f]{8}", report["frames"])
    assert report["sheet"] == "stack-sheet.png"
    disparity = images.read_disparity("map.png")
    focus = repr(float(disparity.max()))
    assert _render("--focus-disparity", focus, "--out", "one.png", "--focus-range", "0.1") == 0
    assert (folder / "one.png").read_bytes() == Path(report["frames"], "002.png").read_bytes()
    assert _render("--focus-disparity", focus, "--out", "narrow.png") == 0
    assert (folder / "narrow.png").read_bytes() != (folder / "one.png").read_bytes()


def test_a_sweep_begins_with_the_photo(folder, capsys):
    assert _render("--aperture-sweep", "3", "--focus", "5,5", "--out", "sweep.gif") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["aperture"] == [0, 3, 6]
    photo, first = (images.read_image(p) for p in ("photo.png", f"{report['frames']}/000.png"))
    assert np.array_equal(photo, first)


def test_a_changed_photo_is_not_taken_for_the_old_one(folder, capsys):
    for _ in range(2):
        assert _render("--aperture-sweep", "2", "--focus", "5,5", "--out", "a.gif") == 0
    images.write_image("photo.png", np.zeros((HEIGHT, WIDTH, 3)))
    assert _render("--aperture-sweep", "2", "--focus", "5,5", "--out", "a.gif") == 0
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["rendered"] for report in reports] == [2, 0, 2]


def test_what_a_method_draws_does_not_depend_on_where_a_series_was_cut(folder, monkeypatch):
    import torch

    def noisy(image, disparity, lens):
        return torch.rand(image.shape)

    monkeypatch.setattr(methods, "load", lambda name, device: noisy)
    words = ("--aperture-sweep", "3", "--focus", "5,5", "--out", "a.webp")
    assert _render(*words) == 0
    (one,) = folder.glob("a-frames-*/001.png")
    whole = one.read_bytes()
    one.unlink()
    assert _render(*words) == 0
    assert one.read_bytes() == whole


def test_a_killed_process_leaves_whole_pictures_and_the_next_one_finishes(folder):
    rng = np.random.default_rng(1)
    images.write_image("photo.png", rng.random((160, 256, 3)))
    words = ["render", "photo.png", "--disparity", "map.png", "--aperture", "40", "--method"]
    words += ["scatter", "--focus-stack", "6", "--out", "a.webp"]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-m", "bokehlib", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stderr:
            if line.startswith("[3/6]"):
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    (frames,) = folder.glob("a-frames-*")
    whole = [name for name in os.listdir(frames) if re.fullmatch(r"\d{3}\.png", name)]
    assert sorted(whole) == ["000.png", "001.png"]
    (frames / ".bokehlib-1.png").write_bytes(b"half a picture")
    assert not (folder / "a.webp").exists()
    assert cli.main(words) == 0
    for number in range(6):
        images.read_image(frames / f"{number:03d}.png")
    with Image.open("a.webp") as animation:
        assert animation.n_frames == 10
    assert not list(frames.glob(".bokehlib-*"))
