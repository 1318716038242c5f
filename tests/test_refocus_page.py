"""Laws of the refocusing app in a real browser, served as a page through Voilà."""

import base64
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from browser import CHROMIUM, needs_chromium
from PIL import Image

from bokehlib.io import images
from bokehlib.refocus.session import _roughness

pytest.importorskip("voila", reason="needs voila: pip install -e '.[study]'")
pytestmark = needs_chromium
PATIENCE = 120_000  # ms, for machines with much else to do
BLOB = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of a photo of noise, its left half near and its right half far."""
    folder = tmp_path_factory.mktemp("photo")
    noise = np.random.default_rng(0).random((80, 120, 3), dtype=np.float32)
    images.write_image(folder / "photo.png", noise.repeat(2, 0).repeat(2, 1))
    depth = np.full((160, 240), 0.9, dtype=np.float32)
    depth[:, 120:] = 0.2
    images.write_disparity(folder / "map.png", depth)
    files = [str(folder / "photo.png"), "--disparity", str(folder / "map.png")]
    command = [sys.executable, "-m", "bokehlib.refocus", *files, "--no-browser"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    said = []
    for line in server.stdout:
        said.append(line)
        if "is running at" in line:
            break
    (found,) = re.findall(r"http://127\.0\.0\.1:\d+/", "".join(said))
    yield found
    os.killpg(server.pid, 15)
    server.wait(60)


@pytest.fixture(scope="module")
def tab(address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"], "timeout": PATIENCE}
        page = playwright.chromium.launch(**options).new_page()
        page.set_default_timeout(PATIENCE)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        yield page


def shown(tab):
    """The refocused photo as the page shows it, (H, W, 3) in [0, 1]."""
    data = tab.locator("img.refocused").evaluate(BLOB)
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    return np.asarray(picture, dtype=np.float32) / 255


def sharpness(picture):
    """Detail of the far half and of the near one."""
    height, width = picture.shape[:2]
    rough = _roughness(picture)[height // 8 : -height // 8]
    near, far = rough[:, width // 8 : width * 3 // 8], rough[:, width * 5 // 8 : -width // 8]
    return np.sqrt(np.mean(far**2)), np.sqrt(np.mean(near**2))


def click(tab, across, text):
    """Click on a share of the picture's width and wait until the page says so."""
    picture = tab.locator("img.refocused")
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * across, "y": box["height"] / 2})
    tab.wait_for_function(f"document.body.innerText.includes({text!r})")


def test_a_click_on_the_far_half_sharpens_it_and_blurs_the_near_one(tab):
    tab.click("button:has-text('scatter')")
    click(tab, 0.25, "Focus 0.900")
    far, near = sharpness(shown(tab))
    assert near > 3 * far
    click(tab, 0.75, "Focus 0.200")
    far, near = sharpness(shown(tab))
    assert far > 3 * near
    assert tab.errors == []
