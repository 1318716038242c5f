"""Laws of refocusing by click, without a browser: what a click means, and what is out of date."""

import threading

import numpy as np
import pytest
import torch

from bokehlib.data.demo_photos import Photo
from bokehlib.io import estimate, images
from bokehlib.io.disparity_maps import DepthMap
from bokehlib.io.errors import InputError
from bokehlib.refocus import __main__ as page
from bokehlib.refocus import app, session
from bokehlib.refocus.latest import Latest, OutOfDate
from bokehlib.refocus.session import PREVIEW, RESULT, Session, Setting

PATIENCE = 60  # s, for machines with much else to do
FAR, NEAR = 0.2, 0.9


def photo(height=200, width=300):
    """Noise, its left half near and its right half far."""
    noise = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    depth = np.full((height, width), NEAR, dtype=np.float32)
    depth[:, width // 2 :] = FAR
    return Photo(noise, depth, "made")


class Recorder:
    """A renderer that keeps what it was asked and returns the photo, darker the farther it is."""

    def __init__(self):
        self.asked = []

    def __call__(self, image, disparity, lens):
        self.asked.append((disparity, lens))
        return image * disparity

    def load(self, method):
        return self


# --- Session ---------------------------------------------------------------------------------


def test_a_click_means_the_disparity_of_the_pixel_under_it():
    opened = Session(photo())
    assert opened.pixel_at(0.0, 0.0) == (0, 0)
    assert opened.pixel_at(0.9999, 0.9999) == (199, 299)
    assert opened.focus_at(*opened.pixel_at(0.49, 0.5)) == pytest.approx(NEAR)
    assert opened.focus_at(*opened.pixel_at(0.51, 0.5)) == pytest.approx(FAR)


@pytest.mark.parametrize("across", [-0.01, 1.0, 2.5, float("nan")])
def test_a_click_outside_is_refused_in_one_line_that_says_where(across):
    with pytest.raises(InputError, match=r"^click: found x .* outside .* x from 0 to 299 and y"):
        Session(photo()).pixel_at(across, 0.5)


def test_preview_and_result_show_the_same_lens_and_nothing_is_enlarged():
    opened = Session(photo(600, 900))
    setting = Setting(NEAR, 40.0)
    assert opened.view(PREVIEW).image.shape == (256, 384, 3)
    assert opened.lens(setting, PREVIEW).aperture == pytest.approx(40 * 384 / 900)
    assert opened.lens(setting, RESULT).aperture == pytest.approx(40 * 768 / 900)
    assert opened.view(10_000) is opened.photo
    tall = Session(photo(900, 300))
    assert tall.view(PREVIEW).image.shape == (384, 128, 3)


def test_the_range_in_focus_is_flattened_before_the_renderer_sees_it():
    made, recorder = photo(), Recorder()
    made.disparity[:, :10] = NEAR + 0.04
    opened = Session(made, recorder.load)
    opened.render(Setting(NEAR, 40.0, spread=0.05), PREVIEW)
    seen, lens = recorder.asked[0]
    assert (seen[..., :150] == np.float32(NEAR)).all()
    assert seen[..., 150:].unique().item() == pytest.approx(FAR + 0.05)
    assert (lens.focus, lens.aperture) == (NEAR, 40.0)


def test_a_network_that_renders_says_how_far_it_is_and_can_be_stopped():
    network = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 1) for _ in range(9)))
    opened = Session(photo(), lambda method: lambda image, disparity, lens: network(image))
    told = []
    opened.render(Setting(NEAR, 4.0), PREVIEW, told.append)
    assert told == [None] * 10  # the network itself and its layers; nothing is known yet
    told.clear()
    opened.render(Setting(NEAR, 4.0), PREVIEW, told.append)
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1

    def stop(share):
        told.append(share)
        raise OutOfDate

    told.clear()
    with pytest.raises(OutOfDate):
        opened.render(Setting(NEAR, 4.0), PREVIEW, stop)
    assert len(told) == 1
    network(torch.zeros(1, 3, 2, 2))  # nobody listens any more
    assert len(told) == 1


def test_detail_is_whole_where_nothing_is_blurred_and_unknown_where_the_photo_is_flat():
    made = photo()
    made.image[:, 200:] = 0.5
    opened = Session(made)
    assert opened.detail(made.image, 100, 60) == pytest.approx(1)
    mean = np.full_like(made.image, made.image.mean())
    assert opened.detail(mean, 100, 60) == pytest.approx(0, abs=1e-3)
    assert opened.detail(made.image, 100, 260) is None


def test_the_map_colours_what_is_sharp_alone():
    shown = Session(photo()).focus_map(Setting(FAR, 40.0), PREVIEW)
    grey = np.ptp(shown, axis=-1) == 0
    assert grey[:, :150].all()
    assert not grey[:, 150:].any()


def test_scatter_sharpens_the_half_that_is_clicked():
    opened = Session(photo())
    focus = opened.focus_at(*opened.pixel_at(0.75, 0.5))
    picture, seconds = opened.render(Setting(focus, 8.0, method="scatter"), PREVIEW)
    assert opened.detail(picture, 100, 225) > 0.95
    assert opened.detail(picture, 100, 75) < 0.2
    assert seconds > 0


# --- Files -----------------------------------------------------------------------------------


def test_a_photo_without_a_map_is_one_line_inside_the_app(tmp_path):
    images.write_image(tmp_path / "photo.jpg", photo().image)
    shown = app.app(tmp_path / "photo.jpg")
    assert shown.value.startswith('<div role="alert">disparity: found none given and none in ')
    assert "\n" not in shown.value
    assert 'role="alert">photo: ' in app.app(tmp_path / "missing.jpg").value


def test_the_page_is_the_notebook_with_the_files_as_its_parameters(tmp_path, monkeypatch):
    images.write_image(tmp_path / "photo.png", photo().image)
    images.write_disparity(tmp_path / "map.png", photo().disparity)
    monkeypatch.chdir(tmp_path)
    path = page.prepare("photo.png", "map.png", tmp_path)
    text = path.read_text("utf-8")
    assert f'photo = \\"{tmp_path / "photo.png"}\\"' in text
    assert f'disparity = \\"{tmp_path / "map.png"}\\"' in text
    with pytest.raises(InputError, match="found none given"):
        page.prepare("photo.png", "", tmp_path)
    with pytest.raises(InputError, match="without a photo"):
        page.prepare("", "map.png", tmp_path)


def test_the_map_of_the_page_can_be_estimated(tmp_path, monkeypatch):
    images.write_image(tmp_path / "photo.png", photo().image)
    found = DepthMap(photo().disparity, "a network")
    monkeypatch.setattr(estimate, "check", lambda download: None)
    monkeypatch.setattr(estimate, "estimate", lambda *_: found)
    path = page.estimated(str(tmp_path / "photo.png"), False, tmp_path)
    assert images.read_disparity(path) == pytest.approx(photo().disparity, abs=1e-4)
    with pytest.raises(InputError, match="without a photo"):
        page.estimated("", False, tmp_path)
    with pytest.raises(InputError, match=r"^--download: found alone"):
        page.main(["--download"])


@pytest.mark.parametrize("port", ["-1", "65536", "80.5", "http"])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(InputError, match=f"^--port: found '{port}'; accepted: a whole number"):
        page.main(["--port", port, "--no-browser"])


# --- What is out of date ---------------------------------------------------------------------


def test_of_many_jobs_the_first_hears_that_it_is_late_and_only_the_last_is_done():
    latest, began, go, done = Latest(), threading.Event(), threading.Event(), []

    def first(check):
        began.set()
        go.wait(PATIENCE)
        check()
        done.append("first")

    latest.ask(first)
    began.wait(PATIENCE)
    for name in "abc":
        latest.ask(lambda check, name=name: done.append(name))
    assert not latest.wait(0)
    go.set()
    assert latest.wait(PATIENCE)
    assert done == ["c"]


# --- Widgets ---------------------------------------------------------------------------------


@pytest.fixture
def opened():
    """The app on the photo, its renderer held until `go` is set."""
    recorder = Recorder()
    recorder.go = threading.Event()
    recorder.go.set()

    def load(method):
        def render(*asked):
            recorder.go.wait(PATIENCE)
            return recorder(*asked)

        return render

    made = app.App(Session(photo(), load))
    made.recorder = recorder
    assert made.latest.wait(PATIENCE)
    recorder.asked.clear()
    return made


def click(opened, x, y=50):
    size = {"boundingRectWidth": 600, "boundingRectHeight": 400}
    opened.clicked({"relativeX": x, "relativeY": y, **size})


def test_a_click_in_the_app_moves_the_focus_and_renders(opened):
    click(opened, 150)
    assert opened.latest.wait(PATIENCE)
    assert opened.focus.value == pytest.approx(NEAR)
    assert "Focus 0.900; at x 75, y 25: " in opened.said.value
    assert "--focus-disparity 0.9 --aperture 9 --method bokehdiff-mini" in opened.command.value


def test_a_click_outside_is_one_line_and_changes_nothing(opened):
    before = opened.picture.value
    click(opened, 601)
    assert opened.said.value.startswith('<div role="alert">click: found x 300, y 25, outside')
    click(opened, float("inf"))
    assert "found x inf" in opened.said.value
    assert (opened.picture.value, opened.recorder.asked) == (before, [])


def test_of_fast_moves_only_the_last_is_rendered(opened):
    opened.method.value = "scatter"
    assert opened.latest.wait(PATIENCE)
    opened.recorder.asked.clear()
    opened.recorder.go.clear()
    for aperture in range(1, 16):
        opened.aperture.value = aperture
    opened.recorder.go.set()
    assert opened.latest.wait(PATIENCE)
    asked = [lens.aperture for _, lens in opened.recorder.asked]
    assert asked[-1] == 15
    assert len(asked) <= 2  # the one that had begun, and the last


def test_before_shows_the_photo_and_a_change_shows_the_result_again(opened):
    after = opened.picture.value
    opened.shown.value = "before"
    assert opened.picture.value == app._encoded(photo().image, "JPEG") != after
    opened.spread.value = 0.1
    assert opened.shown.value == "after"


def test_the_button_renders_the_large_picture_and_saves_it(tmp_path):
    recorder = Recorder()
    made = app.App(Session(photo(600, 900), recorder.load), tmp_path / "runs" / "refocused.png")
    made.latest.wait(PATIENCE)
    assert made.button.description == "render 768 px"
    assert not (tmp_path / "runs").exists()  # previews are not worth it
    made.button.click()
    assert made.latest.wait(PATIENCE)
    assert (made.picture.format, made.bar.value) == ("png", 1)
    assert "768 x 512 px by bokehdiff-mini" in made.said.value
    saved = images.read_image(tmp_path / "runs" / "refocused.png")
    assert saved.shape == (512, 768, 3)
    assert (tmp_path / "runs" / "refocused.png").read_bytes()[:4] == made.picture.value[:4]


def test_a_renderer_that_fails_is_one_line_and_the_next_change_works(opened):
    def fail(*asked):
        raise MemoryError("no\nroom")

    works, opened.session._renderers["scatter"] = opened.session._renderers["layered"], fail
    opened.method.value = "scatter"
    assert opened.latest.wait(PATIENCE)
    assert opened.said.value == '<div role="alert">MemoryError: no room</div>'
    opened.session._renderers["scatter"] = works
    opened.aperture.value = 3.0
    assert opened.latest.wait(PATIENCE)
    assert "by scatter" in opened.said.value


def test_a_slow_method_is_preceded_by_what_it_corrects(opened):
    said = []
    opened.said.observe(lambda change: said.append(change.new), "value")
    opened.aperture.value = 3.0
    assert opened.latest.wait(PATIENCE)
    assert [text for text in said if "layered, bokehdiff-mini follows" in text]
    assert "by bokehdiff-mini" in said[-1]
    assert session.FIRST.keys() < set(session.METHODS)
