"""The widgets of `bokehlib.refocus`: click what is to be sharp, turn the lens, render.

The only module that knows ipywidgets. Works in JupyterLab and, through Voilà, as a page.
"""

import html
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from ipyevents import Event
from PIL import Image

from bokehlib import methods
from bokehlib.data.demo_photos import Photo
from bokehlib.io import images
from bokehlib.io.errors import InputError
from bokehlib.refocus import session
from bokehlib.refocus.latest import Check, Latest, OutOfDate
from bokehlib.refocus.session import PREVIEW, RESULT, Session, Setting

APERTURE, WIDEST = 0.03, 0.06  # of the photo's longer side: at first, and at most
RANGE = 0.25  # disparity to either side, at most
_STEP = 0.02  # of the progress bar
_WORDS = {"description_width": "8em"}
_WIDE = {"width": "100%", "max_width": f"{RESULT}px"}


def app(
    photo: Photo | str | Path,
    disparity: str | Path = "",
    out: Path | None = None,
    load: Callable[..., Any] = methods.load,
) -> ipywidgets.Widget:
    """The app on a photo, or one line that says what is wrong with its files.

    Args:
        photo: with its disparity, or a file.
        disparity: the file of its map, if it is not in the photo's own.
        out: a .png for the pictures that the button renders; None keeps them on the screen.
        load: a method's name to its renderer.
    """
    try:
        shot = photo if isinstance(photo, Photo) else session.read(photo, disparity)
    except InputError as error:
        return ipywidgets.HTML(_alert(error))
    return App(Session(shot, load), out).box


class App:
    """Widgets around a session; `box` is what to display."""

    def __init__(self, opened: Session, out: Path | None = None):
        """Show the photo and ask for its first preview, focused on its middle.

        Args:
            opened: a photo and its renderers.
            out: as of `app`.
        """
        self.session = opened
        self.latest = Latest()
        self._out = out
        self._at = opened.pixel_at(0.5, 0.5)
        self._size = PREVIEW  # of what is shown
        self._after = opened.view(PREVIEW).image
        self._make(opened.focus_at(*self._at), max(opened.photo.disparity.shape))
        self._connect()
        self._show()
        self._preview()

    # --- Widgets -------------------------------------------------------------------------------

    def _make(self, focus: float, longer: int) -> None:
        def slider(words: str, value: float, most: float, step: float) -> ipywidgets.FloatSlider:
            form = ".3f" if step < 0.1 else ".1f"
            kind = {"description": words, "readout_format": form, "style": _WORDS}
            bounds = {"min": 0.0, "max": most, "step": step}
            return ipywidgets.FloatSlider(value, **bounds, **kind, layout={"width": "26em"})

        ready = [name for name in session.METHODS if not methods.lacks(name)]
        picture = {"format": "jpeg", "layout": _WIDE}
        self.picture = ipywidgets.Image(**picture)
        self.map = ipywidgets.Image(**picture)
        self.picture.add_class("refocused")
        self.focus = slider("focus", focus, 1.0, 0.001)
        self.aperture = slider("aperture, px", APERTURE * longer, WIDEST * longer, 0.5)
        self.spread = slider("in focus ±", 0.0, RANGE, 0.005)
        self.method = ipywidgets.ToggleButtons(options=ready, description="method", style=_WORDS)
        self.shown = ipywidgets.ToggleButtons(
            options=["after", "before"], description="show", style=_WORDS
        )
        side = max(self.session.view(RESULT).disparity.shape)
        self.button = ipywidgets.Button(description=f"render {side} px", button_style="primary")
        self.bar = ipywidgets.FloatProgress(min=0.0, max=1.0, layout={"width": "16em"})
        self.said, self.command = ipywidgets.HTML(), ipywidgets.HTML()
        row = ipywidgets.HBox([self.button, self.bar])
        left = ipywidgets.VBox([self.picture, self.said], layout={"flex": "2 1 24em"})
        lens = [self.map, self.focus, self.aperture, self.spread]
        controls = [*lens, self.method, self.shown, row, self.command]
        right = ipywidgets.VBox(controls, layout={"flex": "1 1 24em", "padding": "0 0 0 1em"})
        self.box = ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap"})

    def _connect(self) -> None:
        self._clicks = [Event(source=w, watched_events=["click"]) for w in (self.picture, self.map)]
        for clicks in self._clicks:
            clicks.on_dom_event(self.clicked)
        for widget in (self.focus, self.aperture, self.spread, self.method):
            widget.observe(lambda change: self._preview(), "value")
        self.shown.observe(lambda change: self._show(), "value")
        self.button.on_click(lambda button: self._result())
        self.box.app = self  # lives as long as what is displayed

    # --- What the user does --------------------------------------------------------------------

    @property
    def setting(self) -> Setting:
        """What the widgets say."""
        values = (self.focus, self.aperture, self.spread, self.method)
        return Setting(*(widget.value for widget in values))

    def clicked(self, event: dict[str, Any]) -> None:
        """Focus on what was clicked.

        Args:
            event: of the browser: `relativeX`, `relativeY` in a picture of `boundingRectWidth` x
                `boundingRectHeight`, all in pixels of the screen.
        """
        shares = (
            event.get(f"relative{axis}", np.nan) / max(event.get(f"boundingRect{side}", 0), 1)
            for axis, side in (("X", "Width"), ("Y", "Height"))
        )
        try:
            self._at = self.session.pixel_at(*shares)
        except InputError as error:
            self.said.value = _alert(error)
            return
        self.focus.value = self.session.focus_at(*self._at)
        self._preview()  # also if the disparity is the same as before

    # --- Work ----------------------------------------------------------------------------------

    def _preview(self) -> None:
        setting = self.setting
        self.shown.value = "after"
        self.map.value = _encoded(self.session.focus_map(setting, PREVIEW), "JPEG")
        self.command.value = (
            "The same at full size: <code>render PHOTO --disparity MAP --out FILE "
            f"{setting.options}</code>"
        )
        self._ask(setting, PREVIEW)

    def _result(self) -> None:
        self._ask(self.setting, RESULT)

    def _ask(self, setting: Setting, size: int) -> None:
        def job(check: Check) -> None:
            try:
                self._work(setting, size, check)
            except OutOfDate:
                raise
            except InputError as error:
                self.said.value = _alert(error)
            except Exception as error:  # the thread must live on, and nobody reads its log
                self.said.value = _alert(f"{type(error).__name__}: {error}")

        self.bar.value = 0.0
        self.latest.ask(job)

    def _work(self, setting: Setting, size: int, check: Check) -> None:
        loaded = self.session.is_loaded(setting.method)
        self.said.value = f"{setting.method}: {'rendering' if loaded else 'loading'} …"
        first = session.FIRST.get(setting.method, "")
        if first and size == PREVIEW:
            picture, seconds = self.session.render(replace(setting, method=first), size)
            check()
            self._shown(picture, setting, seconds, size, f"{first}, {setting.method} follows")

        def heartbeat(share: float | None) -> None:
            check()
            if share is not None and share >= self.bar.value + _STEP:
                self.bar.value = share

        picture, seconds = self.session.render(setting, size, heartbeat)
        check()
        self._shown(picture, setting, seconds, size, setting.method)
        self.bar.value = 1.0

    def _shown(
        self, picture: np.ndarray, setting: Setting, seconds: float, size: int, who: str
    ) -> None:
        self._after, self._size = picture, size
        self._show()
        if self._out is not None and size == RESULT:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            images.write_image(self._out, picture)
            who += f", saved as {self._out.name}"
        y, x = self._at
        kept = self.session.detail(picture, y, x)
        sharp = "the photo is flat there" if kept is None else f"{kept:.0%} of its detail kept"
        height, width = picture.shape[:2]
        self.said.value = html.escape(
            f"Focus {setting.focus:.3f}; at x {x}, y {y}: {sharp}. {width} x {height} px by {who}, "
            f"{seconds:.2f} s."
        )

    def _show(self) -> None:
        before = self.shown.value == "before"
        picture = self.session.view(self._size).image if before else self._after
        kind = "JPEG" if self._size == PREVIEW else "PNG"
        with self.picture.hold_sync():
            self.picture.format = kind.lower()
            self.picture.value = _encoded(picture, kind)


def _encoded(picture: np.ndarray, kind: str) -> bytes:
    """A picture (H, W, 3) in [0, 1] as the bytes of a file, PNG for what is worth saving."""
    levels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    options = {"quality": 92, "subsampling": 0} if kind == "JPEG" else {"compress_level": 3}
    Image.fromarray(levels).save(file, kind, **options)
    return file.getvalue()


def _alert(error: object) -> str:
    """One line that a screen reader reads at once."""
    return f'<div role="alert">{html.escape(" ".join(str(error).split()))}</div>'
