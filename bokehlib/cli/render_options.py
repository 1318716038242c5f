"""The options of the command `render` and everything that can be wrong with them.

Arguments and files are checked before torch is imported, cheapest first.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib import methods, study
from bokehlib.io import animation, disparity_maps, estimate, images, photographic, photos
from bokehlib.io.disparity_maps import DepthMap
from bokehlib.io.errors import InputError, number
from bokehlib.io.map_repair import oriented

LARGEST_SEED = 2**63 - 1
LINEAR = ("scatter",)  # twice the light in gives twice the light out, so highlights may pass 1

USAGE = (
    "IMAGE --out FILE (--disparity FILE [--disparity-kind KIND] [--fill-holes] | "
    "--estimate-disparity "
    "[--depth-model ID|FOLDER] [--download]) "
    "(--focus X,Y | --focus-disparity F | --focus-stack N) [--focus-range R|LOW,HIGH] "
    "(--aperture K | --f-number N|exif [--focal-length MM] [--sensor-width MM] "
    "[--depth-range NEAR,FAR]) [--aperture-sweep N] [--save-disparity FILE] "
    "[--method NAME] [--seed N] [--device auto|cpu|cuda]"
)


def add_options(render: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""

    def option(name: str, value: str, what: str, group: Any = render, **more: Any) -> None:
        group.add_argument(name, metavar=value, help=what, **more)

    option("image", "IMAGE", "the all-in-focus photo, or a folder of some")
    option("--out", "FILE", f"one of {', '.join(photos.SUFFIXES)}", required=True)
    depth = render.add_mutually_exclusive_group(required=True)
    option("--disparity", "FILE", f"{disparity_maps.ACCEPTED}: IMAGE itself", depth)
    depth.add_argument("--estimate-disparity", action="store_true", help="by a depth network")
    option(
        "--disparity-kind", "KIND", f"of its values: {', '.join(disparity_maps.KINDS)}", default=""
    )
    render.add_argument(
        "--fill-holes", action="store_true", help="unknown pixels get the farthest value around"
    )
    option("--depth-model", "ID", f"or a folder; {estimate.MODEL} by default", default="")
    render.add_argument("--download", action="store_true", help="fetch it if it is not here")
    option("--save-disparity", "FILE", "write the map that was used, a 16-bit PNG", default="")
    focus = render.add_mutually_exclusive_group(required=True)
    option("--focus", "X,Y", "pixel in focus, x right and y down", focus)
    option("--focus-disparity", "F", "disparity in focus, 0 to 1", focus)
    option("--focus-stack", "N", "N pictures focused from far to near, as .webp or .gif", focus)
    option("--focus-range", "R", "disparity to either side that stays sharp, or LOW,HIGH")
    aperture = render.add_mutually_exclusive_group(required=True)
    option("--aperture", "K", "blur radius in px per unit of disparity", aperture)
    option("--f-number", "N", "aperture of a real lens, or exif: the photo's own", aperture)
    option("--focal-length", "MM", "of that lens; the photo's own by default")
    option("--sensor-width", "MM", "longer side of its sensor; by EXIF's 35 mm equivalent")
    option("--depth-range", "NEAR,FAR", "metres of disparity 1 and 0; FAR may be inf")
    option("--aperture-sweep", "N", "N pictures from aperture 0 on, as .webp or .gif")
    option("--method", "NAME", "see `methods`", default=methods.DEFAULT_METHOD)
    option("--seed", "N", "for methods that draw numbers", default="0")
    option("--device", "NAME", "auto, cpu or cuda", default="auto")


@dataclass(frozen=True)
class Job:
    """All that `render` needs, checked."""

    photo: photos.Photograph
    depth: DepthMap
    frames: list[animation.Frame]
    spread: tuple[float, float]  # disparity below and above the focus that stays sharp
    method: str
    seed: int
    device: str
    out: Path
    is_series: bool
    orientation: str  # of the map, of `map_repair.oriented`; "" where the photo was not turned
    clipped: int = 0  # pixels whose light above white the method cannot take


# --- Checks ----------------------------------------------------------------------------------


def check(arguments: argparse.Namespace) -> Job:
    """Everything that can be wrong with the arguments and the files, cheapest first."""
    aperture = _aperture(arguments)
    seed = _seed(arguments.seed)
    check_device(arguments.device)
    _check_method(arguments.method)
    _check_depth_options(arguments)
    count, is_series = _count(arguments)
    out = _check_outputs(arguments, is_series)
    photo, depth, orientation = _read(arguments)
    height, width = photo.image.shape[:2]
    if depth is None:
        _focus(arguments, None, height, width)
        depth = estimate.estimate(
            photo.image,
            arguments.depth_model or estimate.MODEL,
            methods.resolve_device(arguments.device),
            arguments.download,
        )
    focus = _focus(arguments, depth.disparity, height, width)
    spread = _spread(arguments, focus)

    def opening(focus: float) -> float:
        return _of_lens(arguments, photo, depth, focus) if aperture is None else aperture

    if arguments.focus_stack is not None:
        frames = animation.focal_stack(depth.disparity, opening, count)
    elif arguments.aperture_sweep is not None:
        frames = animation.aperture_sweep(focus, opening(focus), count)
    else:
        frames = [animation.Frame(focus, opening(focus))]
    option = "--f-number" if aperture is None else "--aperture"
    most = study.METHODS[arguments.method].largest_radius
    animation.check_blur(option, frames, depth.disparity, spread, most)
    shown, clipped = _exposed(photo, arguments.method)
    names = arguments.method, seed, arguments.device
    return Job(shown, depth, frames, spread, *names, out, is_series, orientation, clipped)


def _check_depth_options(arguments: argparse.Namespace) -> None:
    kind = arguments.disparity_kind
    if kind and kind not in disparity_maps.KINDS:
        accepted = ", ".join(disparity_maps.KINDS)
        raise InputError(f"--disparity-kind: found {kind!r}; accepted: {accepted}")
    given = {"--depth-model": arguments.depth_model, "--download": arguments.download}
    if arguments.estimate_disparity:
        if kind or arguments.fill_holes:
            option = "--disparity-kind" if kind else "--fill-holes"
            raise InputError(
                f"{option}: found with --estimate-disparity; accepted: with --disparity, as a "
                "network says itself what it gives and knows every pixel"
            )
        estimate.check(arguments.depth_model or estimate.MODEL, arguments.download)
    elif any(given.values()):
        option = next(name for name, value in given.items() if value)
        raise InputError(f"{option}: found with --disparity; accepted: with --estimate-disparity")


def _count(arguments: argparse.Namespace) -> tuple[int, bool]:
    """Pictures to make, and whether they are a series."""
    named = {"--focus-stack": arguments.focus_stack, "--aperture-sweep": arguments.aperture_sweep}
    asked = {option: text for option, text in named.items() if text is not None}
    if len(asked) == 2:
        raise InputError("--aperture-sweep: found with --focus-stack; accepted: one of the two")
    for option, text in asked.items():
        accepted = f"a whole number of pictures, 2 to {animation.MOST}"
        count = number(text, option, accepted, low=2, high=animation.MOST)
        if count != int(count):
            raise InputError(f"{option}: found {text!r}; accepted: {accepted}")
        return int(count), True
    return 1, False


def _check_outputs(arguments: argparse.Namespace, is_series: bool) -> Path:
    """The file to write; nothing that is read is ever among those that are written."""
    if is_series:
        out = animation.check_output(arguments.out)
        written = {"--out": [out, animation.contact_sheet(out)]}
    else:
        out = photos.check_output(arguments.out)
        written = {"--out": [out]}
    if arguments.save_disparity:
        place = images.check_output(arguments.save_disparity, "--save-disparity", [".png"])
        if place.absolute() in [file.absolute() for file in written["--out"]]:
            raise InputError(f"--save-disparity: found {place}, as in --out; accepted: another")
        written["--save-disparity"] = [place]
    for option, files in written.items():
        for argument, file in (("IMAGE", arguments.image), ("--disparity", arguments.disparity)):
            if file is None:
                continue
            for place in files:
                if _same_file(place, Path(file)):
                    raise InputError(
                        f"{option}: found {place}, the same file as {argument} {file}; "
                        "accepted: another file"
                    )
    return out


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _seed(text: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_SEED))
    if not digits or int(text) > LARGEST_SEED:
        raise InputError(f"--seed: found {text!r}; accepted: a whole number, 0 to {LARGEST_SEED}")
    return int(text)


def check_device(name: str) -> None:
    """Raise an InputError for a device that is none of `methods.DEVICES`."""
    if name not in methods.DEVICES:
        accepted = ", ".join(methods.DEVICES)
        raise InputError(f"--device: found {name!r}; accepted: {accepted}")


def _check_method(name: str) -> None:
    if name not in study.METHODS:
        raise InputError(f"--method: found {name!r}; accepted: {', '.join(study.METHODS)}")
    missing = methods.lacks(name)
    if missing:
        accepted = ", ".join(methods.ready())
        raise InputError(f"--method: found {name}, {missing}; accepted: {accepted}")


# --- Photo and map ---------------------------------------------------------------------------


def _read(arguments: argparse.Namespace) -> tuple[photos.Photograph, DepthMap | None, str]:
    """The photo, its map unless that has to be estimated, and how the map was oriented."""
    photo = photos.read(arguments.image)
    if arguments.estimate_disparity:
        return photo, None, ""
    path, kind, fill = arguments.disparity, arguments.disparity_kind, arguments.fill_holes
    turn = photo.turn
    if _same_file(Path(arguments.image), Path(path)):
        image, depth = disparity_maps.of_photo(path, photo.image, kind=kind, fill=fill)
        photo, turn = replace(photo, image=image), 1  # the file itself says how its map lies
    else:
        depth = disparity_maps.read(path, kind=kind, fill=fill)
    disparity, orientation = oriented(depth.disparity, photo.image, turn)
    return photo, replace(depth, disparity=disparity), orientation


def _exposed(photo: photos.Photograph, method: str) -> tuple[photos.Photograph, int]:
    """The photo as the method takes it, and how many pixels lost light above white by that."""
    brightest = photo.image.max(axis=-1)
    if brightest.max() <= 1 or method in LINEAR:
        return photo, 0
    return replace(photo, image=photo.image.clip(max=1)), int((brightest > 1).sum())


# --- Focus and aperture ----------------------------------------------------------------------


def _focus(
    arguments: argparse.Namespace, disparity: np.ndarray | None, height: int, width: int
) -> float:
    """The disparity in focus: given, or that of the pixel (x, y) of the image as displayed.

    Without a map only the arguments are checked.
    """
    if arguments.focus_stack is not None:
        return 0.0
    if arguments.focus_disparity is not None:
        text = arguments.focus_disparity
        return number(text, "--focus-disparity", "a disparity from 0 to 1", low=0, high=1)
    accepted = f"X,Y with X from 0 to {width - 1} and Y from 0 to {height - 1}"
    parts = arguments.focus.split(",")
    if len(parts) != 2:
        raise InputError(f"--focus: found {arguments.focus!r}; accepted: {accepted}")
    found = f"--focus {arguments.focus}"
    x = int(number(parts[0], found, accepted, low=0))
    y = int(number(parts[1], found, accepted, low=0))
    if x >= width or y >= height:
        raise InputError(
            f"--focus: found {arguments.focus}, outside the image of {width}x{height}; "
            f"accepted: {accepted}"
        )
    return 0.0 if disparity is None else float(disparity[y, x])


def _spread(arguments: argparse.Namespace, focus: float) -> tuple[float, float]:
    """Disparity below and above the focus that stays sharp."""
    text = arguments.focus_range
    if text is None:
        return 0.0, 0.0
    accepted = "a disparity from 0 to 1 to either side, or LOW,HIGH around the focus"
    parts = [number(part, "--focus-range", accepted, low=0, high=1) for part in text.split(",")]
    if len(parts) == 1:
        return parts[0], parts[0]
    if len(parts) != 2 or arguments.focus_stack is not None:
        raise InputError(f"--focus-range: found {text!r}; accepted: {accepted}, not in a stack")
    if not parts[0] <= focus <= parts[1]:
        raise InputError(
            f"--focus-range: found {text} without the focus, {focus:.4g}; accepted: {accepted}"
        )
    return focus - parts[0], parts[1] - focus


def _aperture(arguments: argparse.Namespace) -> float | None:
    """The aperture in pixels, or None if it follows from a lens."""
    if arguments.aperture is not None:
        for name in ("focal_length", "sensor_width", "depth_range"):
            if getattr(arguments, name) is not None:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option}: found with --aperture; accepted: with --f-number")
        accepted = "a finite number of pixels, 0 or more"
        return number(arguments.aperture, "--aperture", accepted, low=0)
    if arguments.f_number != "exif":
        accepted = "an f-number of 0.1 or more, or exif"
        number(arguments.f_number, "--f-number", accepted, low=0.1)
    for name in ("focal_length", "sensor_width"):
        if getattr(arguments, name) is not None:
            accepted = "millimetres, 0.1 or more"
            number(getattr(arguments, name), "--" + name.replace("_", "-"), accepted, low=0.1)
    if arguments.depth_range is not None:
        _depth_range(arguments.depth_range)
    return None


def _depth_range(text: str) -> tuple[float, float]:
    accepted = "NEAR,FAR in metres, 0 < NEAR < FAR, FAR may be inf"
    near, comma, far = text.partition(",")
    ends = [
        math.inf if end.strip() == "inf" else number(end, f"--depth-range {text}", accepted, low=0)
        for end in (near, far)
    ]
    if not comma or not 0 < ends[0] < ends[1]:
        raise InputError(f"--depth-range: found {text!r}; accepted: {accepted}")
    return ends[0], ends[1]


def _of_lens(
    arguments: argparse.Namespace, photo: photos.Photograph, depth: DepthMap, focus: float
) -> float:
    """The aperture of a real lens in pixels, by `lenses.aperture`."""
    height, width = photo.image.shape[:2]
    camera = photo.camera

    def known(option: str, given: str | None, own: float | None, unit: str) -> float:
        value = own if given is None or given == "exif" else float(given)
        if value is None:
            raise InputError(f"{option}: found none in the EXIF of IMAGE; accepted: {unit}")
        return value

    f_number = known("--f-number", arguments.f_number, camera.f_number, "a number")
    focal = known("--focal-length", arguments.focal_length, camera.focal_length, "millimetres")
    own = camera.sensor_width(height, width)
    sensor = known("--sensor-width", arguments.sensor_width, own, "millimetres, of the longer side")
    span = _depth_range(arguments.depth_range) if arguments.depth_range else depth.depth_range
    if span is None:
        raise InputError(
            "--depth-range: found a map that says nothing of metres; accepted: NEAR,FAR, the "
            "metres of disparity 1 and 0, or --aperture K instead of --f-number"
        )
    try:
        return photographic.aperture(focus, focal, f_number, sensor / max(height, width), *span)
    except ValueError as error:
        raise InputError(
            f"--focal-length: found {focal:g} mm, but {error}; accepted: a focus farther away"
        ) from error
