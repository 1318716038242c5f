"""Refocusing by click: what a click means, and the page in a real browser."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
from browser import CHROMIUM, needs_chromium
from PIL import Image

import bokehlib
from bokehlib import cli
from bokehlib.data.demo_photos import Photo
from bokehlib.extras import refocus
from bokehlib.io import images
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens

FAR, NEAR = 0.2, 0.9
PATIENCE = 120_000  # ms, for machines with much else to do


def photo(height=200, width=300):
    """Noise, its left half near and its right half far."""
    noise = np.random.default_rng(0).random((height // 2, width // 2, 3), dtype=np.float32)
    depth = np.full((height, width), NEAR, dtype=np.float32)
    depth[:, width // 2 :] = FAR
    return Photo(noise.repeat(2, 0).repeat(2, 1), depth, "made")


def test_a_click_focuses_on_the_disparity_under_it_at_any_size():
    for height, width in ((200, 300), (1200, 1800)):
        opened = refocus.Refocus(photo(height, width))
        shown = opened.view.disparity.shape
        assert max(shown) <= refocus.WORKING
        assert opened.focus_at(shown[1] // 4, shown[0] // 2) == pytest.approx(NEAR, abs=1e-4)
        assert opened.focus_at(3 * shown[1] // 4, 0) == pytest.approx(FAR, abs=1e-4)


def test_the_view_is_what_the_method_renders_at_that_size():
    large = photo(400, 1024)
    opened = refocus.Refocus(large)
    found = opened.render(NEAR, 40.0, 0.0, "layered")
    small = large.resized(512)
    image, disparity = small.tensors()
    with torch.inference_mode():
        expected = bokehlib.load("layered")(image, disparity, Lens(NEAR, 20.0))
    assert found == pytest.approx(expected[0].permute(1, 2, 0).numpy(), abs=1e-6)


def test_a_range_in_focus_keeps_what_is_near_the_focus_sharp():
    opened = refocus.Refocus(photo(64, 96))
    sharp = opened.render(NEAR - 0.05, 10.0, 0.1, "scatter")[:, :30]
    assert np.abs(sharp - opened.view.image[:, :30]).mean() < 0.005
    assert np.abs(opened.render(FAR, 10.0, 0.1, "scatter")[:, :30] - sharp).mean() > 0.1
    coloured = opened.focus_map(NEAR - 0.05, 10.0, 0.1)
    assert (coloured[:, :48, 0] > coloured[:, :48, 2]).all()
    assert (coloured[:, 48:, 0] == coloured[:, 48:, 2]).all()


def test_the_command_renders_the_picture_that_is_shown(tmp_path, monkeypatch, capsys, loud):
    monkeypatch.chdir(tmp_path)
    shot = photo()
    images.write_image("my photo.png", shot.image)
    images.write_disparity("map.png", shot.disparity)
    opened = refocus.read("my photo.png", "map.png")
    words = opened.command(NEAR, 12.0, 0.05, "layered").split(" -m bokehlib ")[1]
    assert cli.main(shlex.split(words)) == 0
    written = images.read_image("refocused.png")
    assert written == pytest.approx(opened.render(NEAR, 12.0, 0.05, "layered"), abs=1 / 255)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "--port: found '70000'"),
        (["--method", "none"], "--method: found 'none'"),
        (["--download"], "--download: found alone"),
        (["--disparity", "map.png"], "--disparity FILE: found without a photo"),
        (["absent.png"], "PHOTO: absent.png: found no such file"),
    ],
)
def test_bad_options_are_one_line_before_a_server_starts(words, said, monkeypatch, capsys, loud):
    monkeypatch.setattr(refocus, "serve", pytest.fail)
    assert cli.main(["refocus", *words]) == 2
    line = capsys.readouterr().err
    assert line.startswith(said)
    assert line.count("\n") == 1


def test_a_photo_without_a_map_is_refused(tmp_path):
    images.write_image(tmp_path / "a.png", photo().image)
    with pytest.raises(InputError, match="--disparity: found none given and none in"):
        refocus.read(str(tmp_path / "a.png"))


# --- In a browser ----------------------------------------------------------------------------


@pytest.fixture
def address(tmp_path):
    """The page, served by the command."""
    pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[study]'")
    shot = photo()
    images.write_image(tmp_path / "photo.png", shot.image)
    images.write_disparity(tmp_path / "map.png", shot.disparity)
    files = [str(tmp_path / "photo.png"), "--disparity", str(tmp_path / "map.png")]
    command = [sys.executable, "-m", "bokehlib", "refocus", *files, "--no-browser"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    said = ""
    for line in server.stdout:
        said += line
        if "Ctrl-C" in line:
            break
    yield re.search(r"http://127\.0\.0\.1:\d+", said)[0]
    os.killpg(server.pid, 15)
    server.wait(60)


def _roughness(page, left, right):
    """Mean step between neighbours in a part of the picture that the page shows."""
    page.locator("#picture img").screenshot(path="shown.png")
    shown = np.asarray(Image.open("shown.png").convert("L"), dtype=np.float32)
    part = shown[:, round(left * shown.shape[1]) : round(right * shown.shape[1])]
    return np.abs(np.diff(part, axis=1)).mean()


@needs_chromium
def test_a_click_in_the_browser_brings_that_side_into_focus(address, tmp_path, monkeypatch):
    from playwright.sync_api import sync_playwright

    monkeypatch.chdir(tmp_path)
    with sync_playwright() as playwright:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"], "timeout": PATIENCE}
        page = playwright.chromium.launch(**options).new_page(
            viewport={"width": 1280, "height": 900}
        )
        page.set_default_timeout(PATIENCE)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        command = page.locator("#command textarea")
        for side, (left, right), focus in ((0.75, (0.6, 0.95), FAR), (0.2, (0.05, 0.4), NEAR)):
            box = page.locator("#picture img").bounding_box()
            place = {"x": side * box["width"], "y": 0.5 * box["height"]}
            page.locator("#picture img").click(position=place)
            page.wait_for_function(
                "wanted => document.querySelector('#command textarea').value.includes(wanted)",
                arg=f"--focus-disparity {focus:.4g}",
            )
            assert "--method layered" in command.input_value()
            for _ in range(PATIENCE // 500):  # the picture follows its command
                page.wait_for_timeout(500)
                other = _roughness(page, 1 - right, 1 - left)
                if _roughness(page, left, right) > 2 * other:
                    break
            else:
                pytest.fail("the side that was clicked never came into focus")
        foreign = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
        assert not foreign, foreign
