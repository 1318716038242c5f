"""The errors that docs/troubleshooting.md quotes are the ones that the program prints."""

import re
import sys
from pathlib import Path

import numpy as np
import phonefiles
import pytest
import torch
from commands import command
from PIL import Image

from bokehlib import cli
from bokehlib.io import images
from bokehlib.io.places import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"```text\n(.*)\n```", PAGE)
SIZE = (20, 30)


@pytest.fixture
def folder(tmp_path, monkeypatch, loud):
    """The user's files, made the working folder."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images.write_image("photo.png", rng.random((*SIZE, 3)))
    images.write_image("photo.jpg", rng.random((*SIZE, 3)))
    Path("cut.jpg").write_bytes(Path("photo.jpg").read_bytes()[:900])
    glass = np.full((*SIZE, 4), 255, np.uint8)
    glass[:5, :, 3] = 0
    Image.fromarray(glass).save("cutout.png")
    images.write_disparity("map.png", rng.random(SIZE))
    images.write_disparity("tall.png", rng.random(SIZE[::-1]))
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[..., 0] = 255
    Image.fromarray(colours).save("rainbow.png")
    np.save("depth.npy", np.linspace(0.8, 12.5, 600).reshape(SIZE))
    np.save("holes.npy", np.where(np.arange(600).reshape(SIZE) < 3, np.nan, 0.5))
    phonefiles.heic(Path("plain.heic"))
    Path("phone.heic").write_bytes(Path("plain.heic").read_bytes())
    Path("zoe").mkdir()
    Path("zoe/config.json").write_text('{"model_type": "zoedepth"}')
    Path("zoe/model.safetensors").touch()
    return tmp_path


ESTIMATED = {"--disparity": None, "--estimate-disparity": ""}
LENS = {"--aperture": None, "--f-number": "2"}
FOUND = {  # how a quoted line begins -> what differs from the good command
    "IMAGE: cut.jpg": {"IMAGE": "cut.jpg"},
    "IMAGE: cutout.png": {"IMAGE": "cutout.png"},
    "IMAGE: phone.heic": {"IMAGE": "phone.heic"},
    "--disparity: plain.heic": {"--disparity": "plain.heic"},
    "--disparity: photo.png": {"--disparity": "photo.png"},
    "--disparity: depth.npy": {"--disparity": "depth.npy"},
    "--disparity: holes.npy": {"--disparity": "holes.npy"},
    "--disparity: rainbow.png": {"--disparity": "rainbow.png"},
    "--disparity: found 20x30": {"--disparity": "tall.png"},
    "--estimate-disparity: found no weights": ESTIMATED,
    "--estimate-disparity: found zoe": ESTIMATED | {"--depth-model": "zoe"},
    "--focus: found 5000,10": {"--focus": "5000,10"},
    "--focus-range": {"--focus": None, "--focus-disparity": "0.5", "--focus-range": "0.6,0.7"},
    "--aperture": {"--aperture": "600"},
    "--focal-length": LENS,
    "--depth-range": LENS | {"--focal-length": "50", "--sensor-width": "36"},
    "--out: found photo.png": {"--out": "photo.png"},
    "device": {"--device": "cuda"},
}


def _printed(changes, capsys):
    assert cli.main(command(changes)) == 2
    return capsys.readouterr().err.rstrip("\n")


def test_every_quoted_line_has_its_command_and_every_command_its_line():
    begins = [[begin for begin in FOUND if line.startswith(begin)] for line in QUOTED]
    assert all(len(found) == 1 for found in begins), begins
    assert sorted(found[0] for found in begins) == sorted(FOUND)


@pytest.mark.parametrize("begin", FOUND)
def test_the_program_prints_what_the_page_quotes(folder, capsys, monkeypatch, begin):
    if begin == "IMAGE: phone.heic":
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
    if begin == "device":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    quoted = next(line for line in QUOTED if line.startswith(begin))
    before = sorted(path.name for path in folder.rglob("*"))
    printed = _printed(FOUND[begin], capsys)
    if quoted.endswith("..."):
        assert printed.startswith(quoted[:-3])
    else:
        assert printed == quoted
    assert sorted(path.name for path in folder.rglob("*")) == before
