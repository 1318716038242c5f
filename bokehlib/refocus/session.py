"""One photo under any lens: what a click means, previews, results, and how sharp they are.

Everything that is shown has a longer side of `PREVIEW` or `RESULT` pixels, or the photo's own where
that is smaller. The aperture is given in pixels of the whole photo and scaled with the picture, so
preview, result and the command line with the same numbers show the same lens.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from bokehlib import methods
from bokehlib.data.demo_photos import Photo
from bokehlib.io import disparity_maps, images, photographic, photos
from bokehlib.io.errors import InputError
from bokehlib.optics import IN_FOCUS_RADIUS as SHARP
from bokehlib.optics import Lens

PREVIEW, RESULT = 384, 768  # px, longer side
METHODS = ("bokehdiff-mini", "layered", "scatter")
FIRST = {"bokehdiff-mini": "layered"}  # what a slow method corrects, shown while it does
WINDOW = 24  # px, side of the square in which `detail` looks, at PREVIEW
FLAT = 0.002  # of white: detail of a photo below which nothing can be said
_IN_FOCUS = np.array([1.0, 0.55, 0.0], dtype=np.float32)  # colour of what is sharp on the map
_TINT = 0.45

Heartbeat = Callable[[float | None], None]


@dataclass(frozen=True)
class Setting:
    """What is asked for.

    Attributes:
        focus: the disparity that is sharp.
        aperture: blur radius in pixels of the whole photo per unit of disparity.
        spread: disparity to either side of the focus that stays sharp.
        method: one of `METHODS`.
    """

    focus: float
    aperture: float
    spread: float = 0.0
    method: str = METHODS[0]

    @property
    def options(self) -> str:
        """The same as options of the command `render`."""
        ranged = f" --focus-range {self.spread:.4g}" if self.spread else ""
        lens = f"--focus-disparity {self.focus:.4g}{ranged} --aperture {self.aperture:.4g}"
        return f"{lens} --method {self.method}"


def read(photo: str | Path, disparity: str | Path = "") -> Photo:
    """A photo of one's own with its disparity.

    Args:
        photo: Any file that the command `render` takes.
        disparity: Its map; "" for the one that is in the photo's own file.

    Raises:
        InputError: A file is missing or broken, the map is of another shape, or there is none.
    """
    picture = photos.read(photo, "photo")
    image = picture.image
    if disparity and Path(disparity) != Path(photo):
        depth = disparity_maps.read(disparity, "disparity")
    else:
        try:
            image, depth = disparity_maps.of_photo(photo, image, "disparity")
        except InputError as error:
            found = f"none given and none in {photo}"
            raise InputError(
                f"disparity: found {found}; accepted: {disparity_maps.ACCEPTED}"
            ) from error
    height, width = image.shape[:2]
    values = images.match_size(depth.disparity, height, width, "disparity")
    return Photo(image.clip(max=1), values, depth.source)


class Session:
    """A photo, its sizes and its renderers; each renderer is loaded when it is first asked for."""

    def __init__(self, photo: Photo, load: Callable[[str], Callable[..., Any]] = methods.load):
        """Nothing is loaded or rendered yet.

        Args:
            photo: with its disparity, in any size.
            load: a method's name to its renderer.
        """
        self.photo = photo
        self._load = load
        self._renderers: dict[str, Callable[..., Any]] = {}
        self._views: dict[int, Photo] = {}
        self._paces: dict[str, list[float]] = {}  # method -> share of the time until each layer

    def view(self, longest: int) -> Photo:
        """The photo with that longer side in pixels; never enlarged."""
        if longest not in self._views:
            height, width = self.photo.disparity.shape
            scale = min(1.0, longest / max(height, width))
            wide = max(1, round(width * scale))
            self._views[longest] = self.photo if scale == 1 else self.photo.resized(wide)
        return self._views[longest]

    def is_loaded(self, method: str) -> bool:
        """Whether a method's first picture does not have to wait for its weights."""
        return method in self._renderers

    def pixel_at(self, across: float, down: float) -> tuple[int, int]:
        """The pixel (y, x) of the whole photo under a click.

        Args:
            across: share of the picture's width, 0 at the left edge and 1 at the right.
            down: the same of its height, from above.

        Raises:
            InputError: The click is outside.
        """
        height, width = self.photo.disparity.shape
        if not (0 <= across < 1 and 0 <= down < 1):
            x, y = (
                f"{math.floor(share * side)}" if math.isfinite(share) else str(share)
                for share, side in ((across, width), (down, height))
            )
            raise InputError(
                f"click: found x {x}, y {y}, outside the photo; accepted: x from 0 to "
                f"{width - 1} and y from 0 to {height - 1}"
            )
        return int(down * height), int(across * width)

    def focus_at(self, y: int, x: int) -> float:
        """The disparity of a pixel of the whole photo: what is sharp after a click on it."""
        return float(self.photo.disparity[y, x])

    def lens(self, setting: Setting, longest: int) -> Lens:
        """The lens in pixels of a view."""
        scale = self.view(longest).width / self.photo.width
        return Lens(setting.focus, setting.aperture * scale)

    def flattened(self, setting: Setting, longest: int) -> np.ndarray:
        """Disparity (H, W) of a view, in which what is to stay sharp lies at the focus."""
        low, high = setting.focus - setting.spread, setting.focus + setting.spread
        return photographic.flatten(self.view(longest).disparity, setting.focus, low, high)

    def render(
        self, setting: Setting, longest: int, heartbeat: Heartbeat = lambda share: None
    ) -> tuple[np.ndarray, float]:
        """Render a view.

        Args:
            setting: what is asked for.
            longest: longer side in pixels, `PREVIEW` or `RESULT`.
            heartbeat: is told the share of the work that is done, by the time that the method's
                last picture took, before every layer of a network (None before its first picture
                is known); an error that it raises ends the work.

        Returns:
            The picture (H, W, 3) in [0, 1], and the seconds that it took without loading.

        Raises:
            InputError: The method lacks something.
        """
        method = setting.method
        if method not in self._renderers:
            self._renderers[method] = self._load(method)
        image, _ = self.view(longest).tensors()
        disparity = torch.from_numpy(self.flattened(setting, longest))[None, None]
        pace = self._paces.get(method)
        moments: list[float] = []
        start = time.perf_counter()

        def layer() -> None:
            known = pace[min(len(moments), len(pace) - 1)] if pace else None
            moments.append(time.perf_counter() - start)
            heartbeat(known)

        torch.manual_seed(0)
        with torch.inference_mode(), _before_layers(layer):
            out = self._renderers[method](image, disparity, self.lens(setting, longest))
        seconds = time.perf_counter() - start
        self._paces[method] = [moment / seconds for moment in moments]
        return out[0].permute(1, 2, 0).float().cpu().numpy(), seconds

    def focus_map(self, setting: Setting, longest: int) -> np.ndarray:
        """The view's disparity in grey with what is sharp in colour, (H, W, 3) in [0, 1]."""
        grey = self.view(longest).disparity
        radius = self.lens(setting, longest).aperture * np.abs(
            self.flattened(setting, longest) - setting.focus
        )
        shown = np.repeat(grey[..., None].astype(np.float32), 3, axis=-1)
        sharp = radius < SHARP
        shown[sharp] += _TINT * (_IN_FOCUS - shown[sharp])
        return shown

    def detail(self, picture: np.ndarray, y: int, x: int) -> float | None:
        """Share of the photo's detail that a picture keeps around a point.

        Detail is the root mean square of the discrete Laplacian of luma in a square of
        `WINDOW` px (of a preview) around the point.

        Args:
            picture: (H, W, 3), of any view's size.
            y: row of the whole photo.
            x: column of the whole photo.

        Returns:
            About 1 where the picture is as sharp as the photo and less where it is blurred; None
            where the photo itself is flat.
        """
        longest = max(picture.shape[:2])
        own = self.view(longest).image
        scale = picture.shape[1] / self.photo.width
        half = max(2, round(WINDOW / 2 * longest / PREVIEW))
        rows, columns = (
            slice(max(0, int(at * scale) - half), int(at * scale) + half + 1) for at in (y, x)
        )
        there, kept = (_roughness(p)[rows, columns] for p in (own, picture))
        base = math.sqrt(np.mean(there**2))
        return None if base < FLAT else math.sqrt(np.mean(kept**2)) / base


def _roughness(picture: np.ndarray) -> np.ndarray:
    """Discrete Laplacian (H, W) of a picture's luma, edges repeated."""
    luma = picture @ np.array([0.299, 0.587, 0.114], dtype=picture.dtype)
    padded = np.pad(luma, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return around - 4 * luma


@contextmanager
def _before_layers(call: Callable[[], None]) -> Iterator[None]:
    """Call before every layer of a network that this very thread runs."""
    here = threading.get_ident()

    def hook(module: torch.nn.Module, inputs: Any) -> None:
        if threading.get_ident() == here:
            call()

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
