"""A series of pictures of one photo: focal stacks and aperture sweeps, whole or resumed. No torch.

Every picture is written whole into the folder `<name>-frames-<key>` and named after its place. The
key is a hash of photo, map and settings: a run that was killed skips the pictures that exist, and
one with other settings has another folder. From the pictures an animation (WebP or GIF, there and
back) and a contact sheet are made.
"""

import hashlib
import io
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw

from bokehlib.io import images, photographic, photos
from bokehlib.io.errors import InputError

ANIMATIONS = (".webp", ".gif")
MOST = 999  # pictures of a series
LONGEST = 1024  # px, longer side of the animation
THUMBNAIL = 384  # px, longer side on the contact sheet
PERIOD = 150  # ms that a picture is shown
_LABEL = 18  # px below a thumbnail
_GAP = 8
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


@dataclass(frozen=True)
class Frame:
    """One picture of a series: what is sharp, and blur radius in pixels per unit of disparity."""

    focus: float
    aperture: float

    @property
    def label(self) -> str:
        """Its caption on the contact sheet."""
        return f"focus {self.focus:.3f}  aperture {self.aperture:.4g}"


def focal_stack(
    disparity: np.ndarray, aperture: Callable[[float], float], count: int
) -> list[Frame]:
    """Focus in `count` even steps of disparity from the farthest of the map to its nearest."""
    low, high = float(disparity.min()), float(disparity.max())
    return [Frame(float(focus), aperture(focus)) for focus in np.linspace(low, high, count)]


def aperture_sweep(focus: float, aperture: float, count: int) -> list[Frame]:
    """The aperture in `count` even steps from 0, the photo itself, to the one given."""
    return [Frame(focus, float(opening)) for opening in np.linspace(0, aperture, count)]


def frames_folder(out: Path, name: str) -> Path:
    """Folder of the pictures beside the animation `out`; `name` is their `key`."""
    return out.with_name(f"{out.stem}-frames-{name}")


def contact_sheet(out: Path) -> Path:
    """File of the contact sheet beside the animation `out`."""
    return out.with_name(f"{out.stem}-sheet.png")


def check_output(out: str | Path, argument: str = "--out") -> Path:
    """Make sure, before any work, that a series can be written.

    Raises:
        InputError: Not a place for a WebP or GIF.
    """
    path = images.check_output(out, argument, ANIMATIONS)
    images.check_output(contact_sheet(path), argument)
    return path


def check_blur(
    option: str,
    frames: Sequence[Frame],
    disparity: np.ndarray,
    spread: tuple[float, float],
    most: float = math.inf,
) -> None:
    """Refuse an aperture whose largest blur radius in this photo is senseless.

    Time and memory grow with the radius. A disc with a radius of the photo's longer side covers
    nearly all of it from anywhere, so more blur changes next to nothing.

    Args:
        option: the argument that the error names.
        frames: what is to be rendered.
        disparity: (H, W) in [0, 1].
        spread: disparity below and above the focus that stays sharp, see `lenses.flatten`.
        most: px of radius, a further bound of the method.

    Raises:
        InputError: A radius is larger; the line names the largest aperture for that focus.
    """
    ends = np.array([disparity.min(), disparity.max()], dtype=np.float64)
    limit = min(max(disparity.shape), most)
    bound = "the most that the method takes" if limit == most else "its longer side"
    for frame in frames:
        low, high = frame.focus - spread[0], frame.focus + spread[1]
        reach = float(
            np.abs(photographic.flatten(ends, frame.focus, low, high) - frame.focus).max()
        )
        if frame.aperture * reach > limit:
            accepted = math.floor(100 * limit / reach) / 100
            raise InputError(
                f"{option}: found an aperture of {frame.aperture:.6g}, which blurs this photo by "
                f"up to {frame.aperture * reach:.4g} px; accepted: up to {accepted:.12g} at focus "
                f"{frame.focus:.4g}, where the blur radius reaches {limit} px, {bound}"
            )


def key(
    photo: photos.Photograph,
    disparity: np.ndarray,
    frames: Sequence[Frame],
    settings: dict[str, Any],
) -> str:
    """A short hash of all that decides the pictures of a series."""
    lenses = [(frame.focus, frame.aperture) for frame in frames]
    digest = hashlib.sha256(json.dumps([lenses, settings], sort_keys=True).encode())
    for part in (photo.image.astype(np.float32), disparity.astype(np.float32)):
        digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
    digest.update(photo.icc or b"")
    return digest.hexdigest()[:8]


def make(
    load: Callable[[], Callable[[Frame], np.ndarray]],
    frames: Sequence[Frame],
    out: Path,
    name: str,
    bits: int = 8,
    icc: bytes | None = None,
) -> int:
    """Render what is missing, then animation and contact sheet; progress goes to stderr.

    Args:
        load: Gives what turns a frame into its picture, (H, W, 3) sRGB in [0, 1]; it is called
            only if a picture is missing.
        frames: The series.
        out: The animation, as `check_output` gave it.
        name: `key` of the pictures.
        bits: A channel of the pictures: 8, or more for 16.
        icc: Profile to embed; a GIF holds none and is brought to sRGB.

    Returns:
        How many pictures were rendered; the others existed already.

    Raises:
        InputError: A place cannot take a file.
    """
    folder = frames_folder(out, name)
    try:
        folder.mkdir(exist_ok=True)
        for left_over in folder.glob(f"{images.TEMPORARY}*"):  # by a run that was killed
            left_over.unlink()
    except OSError as error:
        raise InputError(f"--out: {folder}: found {error}; accepted: a writable folder") from error
    files = [folder / f"{number:03d}.png" for number in range(len(frames))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        _fill(load(), frames, files, missing, lambda p, i: photos.write(p, i, bits, icc))
    _animate(files, out, icc)
    _contact_sheet(files, frames, contact_sheet(out), icc)
    return len(missing)


def _fill(
    render: Callable[[Frame], np.ndarray],
    frames: Sequence[Frame],
    files: Sequence[Path],
    missing: Sequence[int],
    write: Callable[[Path, np.ndarray], None],
) -> None:
    start = time.perf_counter()
    for done, number in enumerate(missing):
        spent = time.perf_counter() - start
        left = f"about {spent / done * (len(missing) - done):.0f} s left" if done else "the first"
        place = f"[{number + 1}/{len(files)}]"
        print(f"{place} {frames[number].label} ({left})", file=sys.stderr, flush=True)
        write(files[number], render(frames[number]))


# --- Animation and contact sheet -------------------------------------------------------------


def _small(file: Path, side: int) -> Image.Image:
    with Image.open(file) as stored:
        picture = stored.convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _animate(files: Sequence[Path], out: Path, icc: bytes | None) -> None:
    shown = [_small(file, LONGEST) for file in files]
    options: dict[str, Any] = {"save_all": True, "duration": PERIOD, "loop": 0}
    if out.suffix.lower() == ".webp":
        options |= {"format": "WEBP", "quality": 90, "method": 4}
        options |= {"icc_profile": icc} if icc else {}
    else:
        options |= {"format": "GIF", "disposal": 1}
        shown = [_to_srgb(picture, icc) for picture in shown]
    there_and_back = [*shown, *shown[-2:0:-1]]
    try:
        with images.replacing(out) as temporary:
            there_and_back[0].save(temporary, append_images=there_and_back[1:], **options)
    except (OSError, ValueError) as error:
        raise InputError(f"--out: {out}: found {error}; accepted: a place for it") from error


def _to_srgb(picture: Image.Image, icc: bytes | None) -> Image.Image:
    if not icc:
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, profile, srgb) or picture
    except (ImageCms.PyCMSError, OSError):  # a profile that says nothing
        return picture


def _contact_sheet(
    files: Sequence[Path], frames: Sequence[Frame], sheet: Path, icc: bytes | None
) -> None:
    """All pictures in rows, each with its focus and aperture below."""
    shown = [_small(file, THUMBNAIL) for file in files]
    width, height = shown[0].size
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    across, down = max(width, 200) + _GAP, height + _LABEL + _GAP
    paper = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), _PAPER)
    pen = ImageDraw.Draw(paper)
    for number, (picture, frame) in enumerate(zip(shown, frames, strict=True)):
        x, y = _GAP + number % columns * across, _GAP + number // columns * down
        paper.paste(picture, (x, y))
        pen.text((x, y + height + 3), frame.label, fill=_INK)
    photos.write(sheet, np.asarray(paper) / 255, icc=icc)
