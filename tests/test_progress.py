"""Progress of a long render: shown on a terminal alone, and only when it takes long."""

import io
import sys
import time
from functools import partial

import pytest
import torch
from commands import command

from bokehlib import cli, methods
from bokehlib.classical import scattering
from bokehlib.io import images, progress
from bokehlib.optics import Lens


class Terminal(io.StringIO):
    def isatty(self):
        return True


def _stderr(monkeypatch, kind):
    """In the test itself: pytest replaces stderr after the fixtures."""
    monkeypatch.setattr(sys, "stderr", kind())
    return sys.stderr


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 1e-9)
    monkeypatch.setattr(progress, "tqdm", partial(progress.tqdm, mininterval=0))


@pytest.fixture
def scene():
    return torch.rand(1, 3, 40, 56), torch.rand(1, 1, 40, 56)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("method", ["scatter", "layered", "bokehdiff-mini"])
def test_a_long_render_counts_what_is_done(monkeypatch, scene, method):
    terminal = _stderr(monkeypatch, Terminal)
    methods.load(method, device="cpu")(*scene, Lens(0.5, 9.0))
    shown = terminal.getvalue()
    assert "blur: " in shown
    assert "%" in shown
    assert shown.rsplit("\r", 1)[-1].strip() == ""  # no line is left behind


def test_a_short_render_and_a_file_show_nothing(scene, monkeypatch):
    terminal = _stderr(monkeypatch, Terminal)
    scattering.scatter(*scene, Lens(0.5, 9.0))
    with progress.elapsed("rendering"):
        pass
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "DELAY", 1e-9)
    file = _stderr(monkeypatch, io.StringIO)
    scattering.scatter(*scene, Lens(0.5, 9.0))
    with progress.elapsed("rendering"):
        time.sleep(0.05)
    assert file.getvalue() == ""


@pytest.mark.usefixtures("loud", "impatient")
def test_the_command_says_what_it_renders_and_for_how_long(tmp_path, monkeypatch, capsys):
    def slow(image, disparity, lens):
        time.sleep(0.3)
        return image

    monkeypatch.setattr(methods, "load", lambda name, device: slow)
    monkeypatch.chdir(tmp_path)
    images.write_image("photo.png", torch.rand(20, 30, 3).numpy())
    images.write_disparity("map.png", torch.rand(20, 30).numpy())
    terminal = _stderr(monkeypatch, Terminal)
    assert cli.main(command({})) == 0
    assert "rendering photo.png with scatter: 00:00" in terminal.getvalue()
    assert len(capsys.readouterr().out.splitlines()) == 1
