"""Every method by its name; a rival is one line here and one file. No torch until one is loaded."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bokehlib.io import processes
from bokehlib.io.errors import InputError
from bokehlib.io.weightfiles import LAMA, find_weights, painter

DEVICES = ("auto", "cpu", "cuda")
DEFAULT_METHOD = "layered"  # no method that runs everywhere is better on real photographs
SDXL = "bokehdiff-sdxl"

ADAPTER = re.compile(r".+-s\d+")  # a training of a table: recipe and seed


@dataclass(frozen=True)
class Method:
    """One row of the quality tables."""

    label: str  # as printed; the paper's name where the paper has one
    phrase: str  # what it is, in one phrase
    loader: str = ""  # "module:function", resolved on first use; "" = not part of this version
    weights: tuple[str, ...] = ()  # files in bokehlib/weights or BOKEHLIB_WEIGHTS
    needs: tuple[str, ...] = ()  # packages beyond the library's own, as they are imported
    paints: bool = False  # paints what is hidden: with LaMa where the user has it, else OpenCV
    published: str = ""  # the method's name in results/published.csv, "" if the paper has none
    colour: str = "#777777"  # in figures
    files: str = ""  # "module:function" that lists the weight files, where they are no fixed names


METHODS = {
    "input": Method("Input", "the all-in-focus photo itself", "bokehlib.baselines.identity:load"),
    "scatter": Method(
        "Scatter",
        "classical scatter renderer, BokehMe's published kernel",
        "bokehlib.baselines.scatter:load",
        colour="#d95f02",
    ),
    "layered": Method(
        "Scatter in layers",
        "the same kernel in up to three layers, cut where outlines are; ours",
        "bokehlib.baselines.layered:load",
        colour="#a6761d",
    ),
    "bokehdiff-mini-paper": Method(
        "BokehDiff-mini (paper)",
        "the paper's one-step model with PISA, without the adversarial term, on the embedded prior",
        "bokehlib.bokehdiff.mini:load",
        weights=("mini-base.safetensors", "bokehdiff-mini-paper.safetensors"),
        published="BokehDiff",
        colour="#66a6d6",
    ),
    "bokehdiff-mini": Method(
        "BokehDiff-mini (given layers)",
        "one step with PISA corrects `layered` near outlines; draws a fine mesh on natural maps",
        "bokehlib.bokehdiff.mini:load",
        weights=("mini-base.safetensors", "bokehdiff-mini.safetensors", "refiner.safetensors"),
        published="BokehDiff",
        colour="#1b6ca8",
    ),
    "bokehdiff-sdxl": Method(
        "BokehDiff",
        "one-step diffusion with PISA on SDXL: the authors' adapter, or one of your own",
        "bokehlib.bokehdiff.sdxl.loading:load",
        needs=("transformers",),
        published="BokehDiff",
        files="bokehlib.bokehdiff.sdxl_files:decisive",
    ),
    "bokehme": Method(
        "BokehMe",
        "classical render, and a neural one where that is wrong: the published networks",
        "bokehlib.baselines.bokehme:load",
        weights=("bokehme_arnet.pth", "bokehme_iunet.pth"),
        published="BokehMe",
        colour="#7570b3",
    ),
    "mpib": Method(
        "MPIB",
        "32 planes, each blurred by its own disc: the published networks",
        "bokehlib.baselines.mpib:load",
        weights=("mpib_mpinet.pth", "mpib_aupnet.pth"),
        needs=("cv2",),
        paints=True,
        published="MPIB",
        colour="#e6ab02",
    ),
    "drbokeh": Method(
        "Dr.Bokeh",
        "two layers, occlusion-aware gather; matte from the disparity",
        "bokehlib.baselines.drbokeh:load",
        needs=("cv2",),
        paints=True,
        published="Dr.Bokeh",
        colour="#1b9e77",
    ),
    "deeplens": Method("DeepLens", "early end-to-end network", published="DeepLens"),
    "bokehme-finetuned": Method(
        "BokehMe*",
        "the published weights, tuned on our data",
        "bokehlib.baselines.bokehme:load",
        weights=("bokehme-finetuned.safetensors",),
        published="BokehMe*",
        colour="#7570b3",
    ),
    "bokehme-retrained": Method(
        "BokehMe (retrained)",
        "narrower ARNet and IUNet, from scratch on our data",
        "bokehlib.baselines.bokehme:load",
        weights=("bokehme-retrained.safetensors",),
        colour="#a6a3d9",
    ),
    "mpib-retrained": Method(
        "MPIB (retrained)",
        "narrower MPINet and AUPNet, from scratch on our data",
        "bokehlib.baselines.mpib:load",
        weights=("mpib-retrained.safetensors",),
        needs=("cv2",),
        paints=True,
        colour="#f0d27a",
    ),
    "deeplens-retrained": Method(
        "DeepLens (retrained)",
        "31 kernels for 31 features, guided up-sampling; from scratch on our data",
        "bokehlib.baselines.deeplens:load",
        weights=("deeplens-retrained.safetensors",),
        colour="#e7298a",
    ),
    "restormer": Method(
        "Restormer*", "the paper's training of it, which was not released", published="Restormer*"
    ),
    "restormer-retrained": Method(
        "Restormer (retrained)",
        "narrow Restormer that also gets disparity, focus and aperture; from scratch on our data",
        "bokehlib.baselines.restormer:load",
        weights=("restormer-retrained.safetensors",),
        colour="#66a61e",
    ),
}

TRAINABLE_BASELINES = tuple(
    name for name, m in METHODS.items() if m.loader and m.weights == (f"{name}.safetensors",)
)


def method(name: str) -> Method:
    """A method of `METHODS`, or a training of a table, whose adapter is `<name>.safetensors`.

    Raises:
        KeyError: neither.
    """
    if name in METHODS or not ADAPTER.fullmatch(name):
        return METHODS[name]
    files = ("mini-base.safetensors", f"{name}.safetensors")
    return Method(name, "a training of Table 2, 2b or 2c", "bokehlib.bokehdiff.mini:load", files)


def load(name: str, device: str = "auto", **options: Any) -> Callable[..., Any]:
    """Load a renderer.

    Args:
        name: One of `METHODS`.
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
        method: One of `METHODS`.
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
    """Missing requirements of a method, in one phrase; "" if it is ready.

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
    """Phrase that describes a method, with its inpainting backend if it has one.

    Raises:
        InputError: Unknown name.
    """
    wanted = _method(name)
    return f"{wanted.phrase}; inpainting by {painter()}" if wanted.paints else wanted.phrase


def ready() -> list[str]:
    """The names of the methods that lack nothing."""
    return [name for name in METHODS if not lacks(name)]


def weights_hash(name: str) -> str:
    """SHA-256 over a method's weight files, in the order of `METHODS`; "" if it has none.

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
        return processes.own_gpu() if torch.cuda.is_available() else "cpu"
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise InputError(f"device: found {device!r}; accepted: {', '.join(DEVICES)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device: found no CUDA GPU for 'cuda'; accepted: auto, cpu")
    return processes.own_gpu() if device == "cuda" else device
