"""Every method by its name: load it, or say what it lacks. No torch until one is loaded."""

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bokehlib import sharing
from bokehlib.errors import InputError
from bokehlib.study import METHODS, Method, method
from bokehlib.weightfiles import LAMA, find_weights, painter

DEVICES = ("auto", "cpu", "cuda")
SDXL = "bokehdiff-sdxl"

__all__ = ["DEVICES", "find_weights", "lacks", "load", "phrase", "ready", "weights_hash"]


def load(name: str, device: str = "auto", **options: Any) -> Callable[..., Any]:
    """Load a renderer.

    Args:
        name: One of `study.METHODS`.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        **options: The method's own, e.g. `gamma` of "scatter".

    Returns:
        A callable (image (B, 3, H, W), disparity (B, 1, H, W), lens) -> (B, 3, H, W) in [0, 1],
        on the image's device.

    Raises:
        InputError: Unknown name or device, weights missing, or no GPU where one was asked for.
    """
    wanted = _method(name)
    missing = _lacks_packages(wanted) if wanted.files else lacks(name)  # the loader finds its own
    if missing:
        raise InputError(f"method: found {name}, {missing}; accepted: {', '.join(ready())}")
    return resolve_name(method(name).loader)(name, device=resolve_device(device), **options)


def at_scale(method: str, profile: str, smoke: bool) -> tuple[str, dict[str, Any], str]:
    """What a worker notebook measures.

    Args:
        method: One of `study.METHODS`.
        profile: "mini" for that method, "sdxl" for `SDXL` in its place.
        smoke: Then the latter has tiny random components, for which no weights are needed.

    Returns:
        The method's name, options of `load`, and `weights_hash`, "random" for such components.

    Raises:
        InputError: Unknown profile or name, or weights are missing.
    """
    if profile not in ("mini", "sdxl"):
        raise InputError(f"profile: found {profile!r}; accepted: mini, sdxl")
    if profile == "mini":
        return method, {}, weights_hash(method)
    return (SDXL, {"tiny": True}, "random") if smoke else (SDXL, {}, weights_hash(SDXL))


def lacks(name: str) -> str:
    """What a method needs and does not find, in one phrase; "" if it is ready.

    Raises:
        InputError: Unknown name.
    """
    wanted = _method(name)
    if not wanted.loader:
        return "not part of this version"
    missing = [file for file in wanted.weights if find_weights(file) is None]
    if packages := _lacks_packages(wanted):
        return packages
    if wanted.files:
        try:
            resolve_name(wanted.files)()
        except InputError as error:
            return str(error).partition("; accepted")[0]
    if missing:
        return f"no weights {', '.join(missing)} (looked for in {_places()})"
    return ""


def phrase(name: str) -> str:
    """What a method is, and who paints what is hidden if it needs that.

    Raises:
        InputError: Unknown name.
    """
    wanted = _method(name)
    return f"{wanted.phrase}; inpainting by {painter()}" if wanted.paints else wanted.phrase


def ready() -> list[str]:
    """The names of the methods that lack nothing."""
    return [name for name in METHODS if not lacks(name)]


def weights_hash(name: str) -> str:
    """SHA-256 over a method's weight files, in the order of `study.METHODS`; "" if it has none.

    LaMa's are among them where it paints for the method.

    Raises:
        InputError: Unknown name, or a file is missing.
    """
    wanted = _method(name)
    if wanted.files:
        return files_hash(resolve_name(wanted.files)())
    files = (*wanted.weights, *(LAMA,) * (wanted.paints and painter() == "LaMa"))
    if not files:
        return ""
    paths = []
    for file in files:
        path = find_weights(file)
        if path is None:
            raise InputError(
                f"method: found {name} without weights {file}; accepted: in {_places()}"
            )
        paths.append(path)
    return files_hash(paths)


def files_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over files one after the other."""
    return _hash_of(*((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@lru_cache(maxsize=256)  # many methods share a base; a file that changes has another time or size
def _hash_of(*files: tuple[Path, int, int]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        with path.open("rb") as file:  # in pieces: some are larger than the memory
            while piece := file.read(2**24):
                digest.update(piece)
    return digest.hexdigest()


def _lacks_packages(wanted: Method) -> str:
    packages = [package for package in wanted.needs if find_spec(package) is None]
    return f"no package {', '.join(packages)}" if packages else ""


def _method(name: str) -> Method:
    try:
        return method(name)
    except KeyError:
        accepted = ", ".join(METHODS)
        raise InputError(f"method: found {name!r}; accepted: {accepted}") from None


def _places() -> str:
    own = os.environ.get("BOKEHLIB_WEIGHTS", "")
    return f"BOKEHLIB_WEIGHTS={own or 'unset'} and bokehlib/weights"


def resolve_device(device: str) -> str:
    """The device that "auto", "cpu" or "cuda" stands for here.

    Raises:
        InputError: unknown name, or no GPU where one was asked for.
    """
    import torch

    if device == "auto":
        return sharing.own_gpu() if torch.cuda.is_available() else "cpu"
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise InputError(f"device: found {device!r}; accepted: {', '.join(DEVICES)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device: found no CUDA GPU for 'cuda'; accepted: auto, cpu")
    return sharing.own_gpu() if device == "cuda" else device
