"""Refocusing by click: what a click means, what the page renders, and the page in a browser."""

import base64
import io
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from bokehlib import cli
from bokehlib.classical import scattering
from bokehlib.data.demo_photos import Photo
from bokehlib.extras import refocus
from bokehlib.io import estimate, images
from bokehlib.io.disparity_maps import DepthMap
from bokehlib.optics import Lens

PATIENCE = 120_000  # ms, for machines with much else to do
FAR, NEAR = 0.2, 0.9
HEIGHT, WIDTH = 200, 300
BLOB = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
}"""


def photo(enlarged=1):
    """Noise, its left half near and its right half far."""
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH, 3), dtype=np.float32)
    depth = np.full((HEIGHT, WIDTH), NEAR, dtype=np.float32)
    depth[:, WIDTH // 2 :] = FAR
    larger = (array.repeat(enlarged, 0).repeat(enlarged, 1) for array in (noise, depth))
    return Photo(*larger, "made")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The same as files in the working folder, and a tall map."""
    images.write_image(tmp_path / "a photo.png", photo().image)
    images.write_disparity(tmp_path / "map.png", photo().disparity)
    images.write_disparity(tmp_path / "tall.png", photo().disparity.T)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sharpness(picture):
    """Detail of the near half and of the far one, away from their edges."""
    rough = ndimage.laplace(picture.mean(axis=-1))[20:-20]
    _, width = rough.shape
    near, far = rough[:, 20 : width // 2 - 40], rough[:, width // 2 + 40 : -20]
    return near.std(), far.std()


# --- What a click means ----------------------------------------------------------------------


@pytest.mark.parametrize("enlarged", [1, 4])
def test_a_click_focuses_on_the_disparity_under_it(enlarged):
    shot = refocus.Refocus(photo(enlarged))
    height, width = shot.view.disparity.shape
    assert max(height, width) == min(WIDTH * enlarged, refocus.WORKING)
    assert shot.focus_at(width // 2 - 2, height - 1) == pytest.approx(NEAR, abs=1e-4)
    assert shot.focus_at(width // 2 + 2, 0) == pytest.approx(FAR, abs=1e-4)


def test_the_page_shows_what_the_method_renders_at_the_working_size():
    shot = refocus.Refocus(photo(4))
    image, disparity = shot.view.tensors()
    lens = Lens(FAR, 40 * refocus.WORKING / (4 * WIDTH))
    expected = scattering.scatter(image, disparity, lens)[0].permute(1, 2, 0)
    shown = torch.from_numpy(shot.render(FAR, 40, method="scatter"))
    torch.testing.assert_close(shown, expected.float(), atol=1e-6, rtol=0)


def test_what_lies_within_the_range_is_in_focus_and_orange():
    shot = refocus.Refocus(photo())
    orange = np.ptp(shot.focus_map(FAR, 40), axis=-1) > 0
    assert orange[:, WIDTH // 2 :].all()
    assert not orange[:, : WIDTH // 2].any()
    assert (np.ptp(shot.focus_map(FAR, 40, NEAR - FAR), axis=-1) > 0).all()
    near, _ = sharpness(shot.render(FAR, 40, NEAR - FAR, "scatter"))
    assert near > 0.9 * sharpness(photo().image)[0]


def test_the_printed_command_renders_the_picture_of_the_page(files, capsys):
    shot = refocus.read("a photo.png", "map.png")
    setting = shot.focus_at(0, 0), 11.5, 0.05, "scatter"
    program, *arguments = shlex.split(shot.command(*setting))[2:]
    assert program == "bokehlib"
    assert cli.main(arguments) == 0
    rendered = images.read_image(files / "refocused.png")
    np.testing.assert_allclose(rendered, shot.render(*setting), atol=1 / 255)


def test_a_map_can_be_estimated_and_the_command_says_so(files, monkeypatch):
    monkeypatch.setattr(estimate, "check", lambda download: None)
    found = DepthMap(photo().disparity, "a network")
    monkeypatch.setattr(estimate, "estimate", lambda *_, **__: found)
    shot = refocus.read("a photo.png", estimated=True)
    assert shot.focus_at(0, 0) == pytest.approx(NEAR, abs=1e-4)
    assert "render 'a photo.png' --estimate-disparity --focus" in shot.command(NEAR, 4)


# --- What is refused -------------------------------------------------------------------------

BAD = {  # what is given -> words of the line
    "no.png": ("PHOTO", "no.png"),
    "'a photo.png'": ("--disparity", "a photo.png", "--estimate-disparity"),
    "'a photo.png' --disparity no.png": ("--disparity", "no.png"),
    "'a photo.png' --disparity tall.png": ("--disparity", "aspect"),
    "'a photo.png' --disparity map.png --download": ("--download", "--estimate-disparity"),
    "'a photo.png' --disparity map.png --estimate-disparity": ("--disparity", "--estimate"),
    "--disparity map.png": ("PHOTO", "none"),
    "--method magic": ("--method", "magic", "scatter"),
    "--port 65536": ("--port", "65536", "65535"),
    "--port 80.5": ("--port", "80.5"),
    "--colour red": ("--colour",),
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_one_line_before_anything_is_served(given, files, capsys, monkeypatch):
    monkeypatch.setattr(refocus, "serve", None)
    assert cli.main(["refocus", *shlex.split(given)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in (*BAD[given], "accepted"))


def test_a_taken_port_is_one_line(files, capsys):
    page = refocus.Refocus(photo()).page("scatter")
    port = refocus.serve(page).rstrip("/").rpartition(":")[2]
    given = ["a photo.png", "--disparity", "map.png", "--port", port, "--no-browser"]
    try:
        assert cli.main(["refocus", *given]) == 2
    finally:
        page.close(verbose=False)
    assert f"--port: found {port}, taken" in capsys.readouterr().err


# --- In a browser ----------------------------------------------------------------------------


@pytest.fixture
def address(files):
    """The page of the photo, served by the command until Ctrl-C."""
    given = ["a photo.png", "--disparity", "map.png", "--method", "scatter", "--no-browser"]
    command = [sys.executable, "-m", "bokehlib", "refocus", *given]
    environment = os.environ | {"PYTHONPATH": str(refocus.Path(refocus.__file__).parents[2])}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    yield server.stdout.readline().split()[0]
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 130


def click(tab, across, focus):
    """Click on a share of the picture's width; the refocused photo (H, W, 3) in [0, 1]."""
    picture = tab.get_by_alt_text("refocused photo")
    box, before = picture.bounding_box(), picture.get_attribute("src")
    picture.click(position={"x": box["width"] * across, "y": box["height"] / 2})
    tab.wait_for_function(
        "before => document.querySelector('img[alt=\"refocused photo\"]').src !== before",
        arg=before,
    )
    assert f"--focus-disparity {focus} " in tab.locator("textarea").input_value()
    shown = Image.open(io.BytesIO(base64.b64decode(picture.evaluate(BLOB)))).convert("RGB")
    return np.asarray(shown, dtype=np.float32) / 255


def test_a_click_in_a_browser_sharpens_what_is_under_it_and_asks_no_network(address):
    browser = pytest.importorskip("browser")
    if not browser.CHROMIUM:
        pytest.skip(browser.needs_chromium.kwargs["reason"])
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": browser.CHROMIUM, "args": ["--no-sandbox"]}
        tab = playwright.chromium.launch(**options, timeout=PATIENCE).new_page()
        tab.set_default_timeout(PATIENCE)
        asked, errors = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(address)
        tab.wait_for_function("document.querySelector('textarea')?.value.includes('render')")
        near, far = sharpness(click(tab, 0.25, NEAR))
        assert near > 3 * far
        near, far = sharpness(click(tab, 0.75, FAR))
        assert far > 3 * near
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
