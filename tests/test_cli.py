"""The command line: what it prints, what it refuses, what it leaves behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import command
from PIL import Image

from bokehlib import cli, methods, study
from bokehlib.io import images

pytestmark = pytest.mark.usefixtures("loud")

WIDTH, HEIGHT = 30, 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a photo, disparity maps and broken files, made the working folder."""
    rng = np.random.default_rng(0)
    images.write_image(tmp_path / "photo.png", rng.random((HEIGHT, WIDTH, 3)))
    damaged_exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"  # Pillow warns of it
    Image.open(tmp_path / "photo.png").save(tmp_path / "photo.jpg", exif=damaged_exif)
    disparity = rng.random((HEIGHT, WIDTH)).astype(np.float32)
    images.write_disparity(tmp_path / "map.png", disparity)
    np.save(tmp_path / "map.npy", disparity)
    np.save(tmp_path / "nan.npy", np.where(disparity > 0.9, np.nan, disparity))
    np.save(tmp_path / "inf.npy", np.where(disparity > 0.9, np.inf, disparity))
    np.save(tmp_path / "depth.npy", 10 * disparity + 1)
    images.write_disparity(tmp_path / "tall.png", disparity.T)
    (tmp_path / "text.png").write_text("not a picture")
    for name in ("photo.jpg", "map.png", "map.npy"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut.{name.partition('.')[2]}").write_bytes(whole[: len(whole) // 2])
    Image.new("RGBA", (WIDTH, HEIGHT), (9, 9, 9, 128)).save(tmp_path / "glass.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "old.png").write_bytes(b"an older picture")
    images.write_image(tmp_path / "out-sheet.png", rng.random((HEIGHT, WIDTH, 3)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _arguments(**changes):
    """`command`, its options named as arguments are."""
    return command(
        {
            ("IMAGE" if key == "IMAGE" else "--" + key.replace("_", "-")): value
            for key, value in changes.items()
        }
    )


def _stack(count, **changes):
    return _arguments(**{"focus": None, "focus_stack": count, "out": "out.webp"} | changes)


def _lens(**changes):
    lens = {"f_number": "2", "focal_length": "50", "sensor_width": "36", "depth_range": "1.5,inf"}
    return _arguments(**{"aperture": None} | lens | changes)


def _state(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


BAD = {  # what is given -> words that the line must have: the argument, the find, the accepted
    "missing image": (_arguments(IMAGE="no.png"), "IMAGE", "no.png", "PNG, JPEG"),
    "empty folder": (_arguments(IMAGE="folder.png"), "IMAGE", "no photo in folder.png", ".png"),
    "cut image": (_arguments(IMAGE="cut.jpg"), "IMAGE", "truncated", "PNG, JPEG"),
    "glass": (_arguments(IMAGE="glass.png"), "IMAGE", "alpha from 128 to 128", "opaque"),
    "missing map": (_arguments(disparity="no.png"), "--disparity", "no.png", ".npy"),
    "cut map": (_arguments(disparity="cut.png"), "--disparity", "truncated", "16-bit"),
    "colour map": (_arguments(disparity="photo.jpg"), "--disparity", "colour", "grey"),
    "photo as its own map": (
        _arguments(disparity="photo.png"), "--disparity", "the photo itself", "side by side",
    ),
    "other aspect": (_arguments(disparity="tall.png"), "--disparity", "20x30", "aspect"),
    "NaN map": (_arguments(disparity="nan.npy"), "--disparity", "NaN or infinite", "[0, 1]"),
    "depth map": (_arguments(disparity="depth.npy"), "--disparity", "values from 1", "[0, 1]"),
    "focus below it": (_arguments(focus="3,20"), "--focus", "3,20", "0 to 19"),
    "focus left of it": (_arguments(focus="-1,3"), "--focus", "-1", "0 to 29"),
    "focus of one number": (_arguments(focus="7"), "--focus", "'7'", "X,Y"),
    "focus in words": (_arguments(focus="x,y"), "--focus", "'x'", "X,Y"),
    "disparity over 1": (
        _arguments(focus=None, focus_disparity="1.01"), "--focus-disparity", "1.01", "0 to 1",
    ),
    "negative aperture": (_arguments(aperture="-3"), "--aperture", "-3", "0 or more"),
    "infinite aperture": (_arguments(aperture="inf"), "--aperture", "inf", "finite"),
    "NaN aperture": (_arguments(aperture="nan"), "--aperture", "nan", "finite"),
    "blur beyond the photo": (
        _arguments(aperture="600"), "--aperture", "an aperture of 600", "30 px, its longer side",
    ),
    "lens beyond the photo": (
        _lens(f_number="0.5", focal_length="500"),
        "--f-number", "an aperture of", "30 px, its longer side",
    ),
    "unknown method": (_arguments(method="magic"), "--method", "magic", "scatter"),
    "method to come": (_arguments(method="deeplens"), "--method", "not part of this", "scatter"),
    "negative seed": (_arguments(seed="-1"), "--seed", "-1", "whole number"),
    "unknown device": (_arguments(device="tpu"), "--device", "tpu", "auto, cpu, cuda"),
    "unknown suffix": (_arguments(out="out.gif"), "--out", ".gif", ".png, .jpg"),
    "folder that is not": (_arguments(out="no/out.png"), "--out", "no folder no", "writable"),
    "folder as output": (_arguments(out="folder.png"), "--out", "a folder", "a file"),
    "output on the image": (_arguments(out="photo.png"), "--out", "IMAGE photo.png", "another"),
    "output on the map": (_arguments(out="./map.png"), "--out", "--disparity map.png", "another"),
    "no depth network": (
        _arguments(disparity=None, estimate_disparity=""),
        "--estimate-disparity", "no weights", "--disparity FILE",
    ),
    "unknown kind": (_arguments(disparity_kind="near"), "--disparity-kind", "'near'", "relative"),
    "kind of an estimate": (
        _arguments(disparity=None, estimate_disparity="", disparity_kind="depth"),
        "--disparity-kind", "with --estimate-disparity", "with --disparity",
    ),
    "network without use": (
        _arguments(depth_model="x"), "--depth-model", "with --disparity", "--estimate-disparity",
    ),
    "map on the image": (
        _arguments(save_disparity="photo.png"), "--save-disparity", "IMAGE photo.png", "another",
    ),
    "map on the output": (
        _arguments(save_disparity="out.png"), "--save-disparity", "as in --out", "another",
    ),
    "map as JPEG": (_arguments(save_disparity="m.jpg"), "--save-disparity", ".jpg", ".png"),
    "range beyond 1": (_arguments(focus_range="1.5"), "--focus-range", "1.5", "0 to 1"),
    "range beside the focus": (
        _arguments(focus=None, focus_disparity="0.5", focus_range="0.6,0.7"),
        "--focus-range", "without the focus, 0.5", "around the focus",
    ),
    "stack of one": (_stack("1"), "--focus-stack", "'1'", "2 to 999"),
    "stack as PNG": (_stack("2", out="out.png"), "--out", "'.png'", ".webp, .gif"),
    "stack and sweep": (_stack("2", aperture_sweep="2"), "--aperture-sweep", "stack", "one of"),
    "stack and focus": (
        _stack("2", focus="1,1"), "--focus", "not allowed", "--focus-stack N",
    ),
    "stack with a fixed range": (
        _stack("2", focus_range="0,1"), "--focus-range", "'0,1'", "not in a stack",
    ),
    "sheet on the image": (
        _arguments(IMAGE="out-sheet.png", aperture_sweep="2", out="out.gif"),
        "--out", "the same file as IMAGE out-sheet.png", "another",
    ),
    "aperture and f-number": (
        _arguments(f_number="2"), "--f-number", "not allowed", "--aperture K",
    ),
    "f-number of nothing": (_lens(f_number="0"), "--f-number", "'0'", "0.1 or more"),
    "f-number of no EXIF": (_lens(f_number="exif"), "--f-number", "none in the EXIF", "number"),
    "no focal length": (_lens(focal_length=None), "--focal-length", "none in the EXIF", "mill"),
    "no sensor": (_lens(sensor_width=None), "--sensor-width", "none in the EXIF", "longer side"),
    "focal length in words": (_lens(focal_length="x"), "--focal-length", "'x'", "millimetres"),
    "lens without use": (
        _arguments(focal_length="50"), "--focal-length", "with --aperture", "with --f-number",
    ),
    "no metres": (_lens(depth_range=None), "--depth-range", "nothing of metres", "--aperture K"),
    "metres upside down": (_lens(depth_range="5,1"), "--depth-range", "'5,1'", "NEAR < FAR"),
    "focus within the lens": (
        _lens(depth_range="0.01,0.04"), "--focal-length", "within the focal length", "farther",
    ),
    "both disparities": (
        _arguments(estimate_disparity=""), "--estimate-disparity", "not allowed", "--disparity",
    ),
    "both focuses": (
        _arguments(focus_disparity="0.5"), "--focus-disparity", "not allowed", "--focus X,Y",
    ),
    "no disparity": (_arguments(disparity=None), "--disparity", "required", "--estimate"),
    "no focus": (_arguments(focus=None), "--focus", "required", "--focus X,Y"),
    "no image": (_arguments(IMAGE=None), "IMAGE", "required", "IMAGE --out FILE"),
    "option without value": ([*_arguments(), "--seed"], "--seed", "no value", "--seed N"),
    "option given twice": ([*_arguments(), "--aperture", "5"], "--aperture", "twice", "once"),
    "unknown option": (_arguments(blur="3"), "--blur", "unknown", "--aperture K"),
    "abbreviated option": ([*_arguments(), "--se", "3"], "--se", "unknown", "--seed N"),
    "no command": ([], "COMMAND", "required", "render, methods, study"),
    "unknown command": (["develop"], "COMMAND", "develop", "render, methods, study"),
    "methods with more": (["methods", "--all"], "--all", "unknown", "no arguments"),
    "unknown training": (["train", "x", "--photos", "p", "--run", "r"], "NAME", "x", "mini_paper"),
    "unknown table": (["study", "table9"], "TABLE", "table9", "tableS2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_all_files_alone(folder, capsys, case):
    argv, *words = BAD[case]
    argv = ["old.png" if word == "out.png" else word for word in argv]
    before = _state(folder)
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    assert len(printed.err.splitlines()) == 1
    for word in words:
        assert word in printed.err
    for noise in ("usage", "Traceback", "Warning"):
        assert noise not in printed.err
    assert _state(folder) == before


def test_missing_weights_are_named_with_the_places_looked_at(folder, capsys, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(folder / "nowhere"))
    lost = study.Method(
        "X", "x", "bokehlib.bokehdiff.pipeline:load_mini", weights=("no-such.safetensors",)
    )
    monkeypatch.setitem(study.METHODS, "layered", lost)
    assert cli.main(_arguments(method=None)) == 2  # the default method
    line = capsys.readouterr().err
    for word in ("--method", "layered", "no-such.safetensors", str(folder / "nowhere")):
        assert word in line


def test_a_file_name_with_a_line_break_still_gives_one_line(folder, capsys):
    assert cli.main(_arguments(IMAGE="two\nlines.png")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# --- As a process ---------------------------------------------------------------------------


def _run(*argv):
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_process_refuses_bad_input_with_exit_code_2(folder):
    done = _run("-m", "bokehlib", *_arguments(aperture="-3"))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("--aperture: found '-3'; accepted: ")


@pytest.mark.parametrize(
    "case",
    [
        *("other aspect", "unknown method", "focus below it"),
        *("unknown training", "blur beyond the photo"),
    ],
)
def test_arguments_and_files_are_checked_before_torch_is_imported(folder, case):
    program = (
        "import sys; from bokehlib.cli import main; code = main(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(code)"
    )
    done = _run("-c", program, *BAD[case][0])
    assert (done.returncode, done.stdout) == (2, "False\n")


def test_importing_the_package_imports_no_torch_but_offers_its_names():
    program = (
        "import sys, bokehlib; print('torch' in sys.modules); "
        "print(bokehlib.Lens(0.4, 24.0).aperture, bokehlib.load.__name__, "
        "bokehlib.optics.__name__, bokehlib.pisa.__name__)"
    )
    done = _run("-c", program)
    assert done.stdout == "False\n24.0 load bokehlib.optics bokehlib.pisa\n"


def test_the_same_command_twice_gives_the_same_file_and_one_line_of_json(folder):
    reports = []
    for name in ("one.png", "two.png"):
        done = _run("-m", "bokehlib", *_arguments(IMAGE="photo.jpg", disparity="map.npy", out=name))
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 1
        reports.append(json.loads(done.stdout))
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()
    seconds = reports[0].pop("seconds")
    assert 0 <= seconds < 60
    assert reports[0] == {
        "method": "scatter",
        "width": WIDTH,
        "height": HEIGHT,
        "focus_disparity": pytest.approx(float(np.load("map.npy")[3, 7]), abs=1e-6),
        "aperture": 4.0,
    }


# --- In this process ------------------------------------------------------------------------


def test_a_closed_aperture_writes_the_photo_itself(folder, capsys):
    assert cli.main(_arguments(aperture="0", out="old.png")) == 0
    assert np.array_equal(images.read_image("old.png"), images.read_image("photo.png"))
    assert json.loads(capsys.readouterr().out)["aperture"] == 0


def test_focus_is_x_then_y_and_the_same_as_its_disparity(folder):
    disparity = images.read_disparity("map.png")
    assert cli.main(_arguments(focus="29,19", out="corner.png")) == 0
    given = _arguments(focus=None, focus_disparity=repr(float(disparity[19, 29])), out="given.png")
    assert cli.main(given) == 0
    assert cli.main(_arguments(focus="19,2", out="elsewhere.png")) == 0
    corner = images.read_image("corner.png")
    assert np.array_equal(corner, images.read_image("given.png"))
    assert not np.array_equal(corner, images.read_image("elsewhere.png"))


def test_the_largest_aperture_is_that_which_the_refusal_names(folder, capsys):
    assert cli.main(_arguments(aperture="600")) == 2
    named = float(re.search(r"accepted: up to ([\d.]+)", capsys.readouterr().err)[1])
    reach = abs(images.read_disparity("map.png") - images.read_disparity("map.png")[3, 7]).max()
    assert named * reach == pytest.approx(WIDTH, rel=1e-3)
    assert cli.main(_arguments(aperture=str(named))) == 0
    assert cli.main(_arguments(aperture=str(named + 0.02))) == 2


def test_what_a_focus_range_keeps_sharp_is_not_counted(folder):
    whole = {"aperture": "600", "focus": None, "focus_disparity": "0.5"}
    assert cli.main(_arguments(**whole, focus_range="0,1")) == 0
    assert cli.main(_arguments(**whole, focus_range="0.2,1")) == 2


def test_a_network_that_follows_rays_takes_a_smaller_blur(folder, capsys):
    from bokehlib.bokehdiff import mini

    for name in ("bokehdiff-mini", "bokehdiff-mini-paper"):
        assert study.METHODS[name].largest_radius == mini.TILE // 4
    images.write_image("wide.png", np.zeros((2, 600, 3)))
    np.save("step.npy", np.linspace(0, 1, 1200).reshape(2, 600))
    given = {"IMAGE": "wide.png", "disparity": "step.npy", "focus": None, "focus_disparity": "0"}
    assert cli.main(_arguments(**given, aperture="300", method="bokehdiff-mini")) == 2
    assert "up to 288 at focus 0" in capsys.readouterr().err
    assert cli.main(_arguments(**given, aperture="300")) == 0


def test_a_map_of_another_size_is_resized(folder):
    images.write_disparity("half.png", np.full((HEIGHT // 2, WIDTH // 2), 0.25))
    images.write_disparity("full.png", np.full((HEIGHT, WIDTH), 0.25))
    for name in ("half", "full"):
        focus = {"focus": None, "focus_disparity": "1"}
        assert cli.main(_arguments(disparity=f"{name}.png", out=f"{name}-out.png", **focus)) == 0
    assert (folder / "half-out.png").read_bytes() == (folder / "full-out.png").read_bytes()


def test_an_interrupted_run_leaves_nothing_and_says_so_in_one_line(folder, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "load", interrupted)
    before = _state(folder)
    assert cli.main(_arguments()) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert _state(folder) == before


def test_the_seed_decides_what_a_method_draws(folder, monkeypatch):
    import torch

    def noisy(image, disparity, lens):
        return torch.rand(image.shape)

    monkeypatch.setattr(methods, "load", lambda name, device: noisy)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert cli.main(_arguments(out=f"{name}.png", seed=seed)) == 0
    a, b, c = ((folder / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_study_hands_its_names_and_switches_to_the_batch(monkeypatch):
    calls = []

    def reproduce(names, **switches):
        calls.append((list(names), switches))
        return 1

    monkeypatch.setattr("bokehlib.study.runner.reproduce", reproduce)
    assert cli.main(["study", "tableS2", "speed", "--smoke"]) == 1
    assert cli.main(["study", "--fresh"]) == 1
    assert calls == [
        (["tableS2", "speed"], {"smoke": True, "fresh": False}),
        (list(study.OUTPUTS), {"smoke": False, "fresh": True}),
    ]


def test_methods_are_listed_one_a_line_in_aligned_columns(capsys):
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(study.METHODS)
    columns = set()
    for line, name in zip(lines, study.METHODS, strict=True):
        state = methods.lacks(name) or "ready"
        assert line.split() == [name, *state.split(), *methods.phrase(name).split()]
        columns.add((line.index(state, len(name)), line.rindex(methods.phrase(name))))
    assert len(columns) == 1
