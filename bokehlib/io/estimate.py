"""Disparity from the photo alone, by a depth network of the user's through transformers.

The network's own convention decides what its output means, so that near is 1 whatever it is:
Depth Anything's relative checkpoints give an inverse depth (larger = nearer), which is min-max
normalised; its metric ones give metres (larger = farther), which are inverted. A network whose
convention is not known here is refused. Nothing is downloaded unless that is asked for.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib.io.disparity_maps import DepthMap, normalised
from bokehlib.io.errors import InputError

MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
ARGUMENT = "--estimate-disparity"
_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_KINDS = {"relative": "relative", "metric": "depth"}  # depth_estimation_type -> kind of values


def check(model: str = MODEL, download: bool = False) -> None:
    """Make sure, without torch, that a network is at hand and its convention is known.

    Args:
        model: A Hugging Face id or a folder as `save_pretrained` writes it.
        download: Whether a network that is not here may be fetched.

    Raises:
        InputError: It is not here, transformers is missing, or its convention is unknown.
    """
    try:
        import huggingface_hub
        import transformers  # noqa: F401 (lazy: it imports no torch)
    except ImportError as error:
        raise InputError(
            f"{ARGUMENT}: found no package {error.name}; accepted: an environment with "
            "bokehlib[study], or --disparity FILE"
        ) from error
    if Path(model).is_dir():
        config, weights = _in_folder(Path(model))
        place = "in that folder"
    else:
        place = "in Hugging Face's cache"
        try:
            found = [huggingface_hub.try_to_load_from_cache(model, n) for n in (_CONFIG, *_WEIGHTS)]
        except ValueError:  # no id at all
            found, place = [None] * 3, "under that name: neither a folder nor a Hugging Face id"
        paths = [Path(name) if isinstance(name, str) else None for name in found]
        config, weights = paths[0], paths[1] or paths[2]
    if config and weights:
        _kind(model, json.loads(config.read_text(encoding="utf-8")))
    elif not download or Path(model).is_dir():
        raise InputError(
            f"{ARGUMENT}: found no weights of {model} {place}; accepted: --download, "
            "--depth-model FOLDER that holds them, or --disparity FILE"
        )


def estimate(
    image: np.ndarray, model: str = MODEL, device: str = "cpu", download: bool = False
) -> DepthMap:
    """Estimate the disparity of a photo.

    Args:
        image: (H, W, 3) sRGB in [0, 1].
        model: As for `check`.
        device: "cpu" or "cuda".
        download: As for `check`.

    Returns:
        The map (H, W), 1 = nearest. A relative network's is min-max normalised and stands for no
        distances; a metric network's is 1/depth over its maximum.

    Raises:
        InputError: As `check`, or the files are broken, or the network gives one value everywhere.
    """
    return estimator(model, device, download)(image)


def estimator(
    model: str = MODEL, device: str = "cpu", download: bool = False
) -> Callable[[np.ndarray], DepthMap]:
    """`estimate` for many photos: the network is loaded once.

    Raises:
        InputError: As `estimate`.
    """
    from PIL import Image

    check(model, download)
    network = _load(model, device, download)
    kind = _kind(model, network.model.config.to_dict())

    def found(image: np.ndarray) -> DepthMap:
        levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
        values = network(Image.fromarray(levels))["predicted_depth"].squeeze().float().numpy()
        if kind == "depth":
            values = np.maximum(values, 1e-3)  # a millimetre: a network may well say 0
        made = normalised(values, kind, ARGUMENT, model)
        return DepthMap(made.disparity, f"estimated by {model}, {kind}", made.depth_range)

    return found


def _load(model: str, device: str, download: bool) -> Any:
    """The pipeline of transformers, silent, with every weight from the files."""
    from safetensors import SafetensorError
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation, pipeline
    from transformers.utils import logging

    def refuse(reason: str) -> InputError:
        return InputError(
            f"{ARGUMENT}: found no usable network in {model} ({reason}); accepted: a whole Depth "
            "Anything checkpoint, or --disparity FILE"
        )

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    here = {"local_files_only": not download}
    try:
        network, loaded = AutoModelForDepthEstimation.from_pretrained(
            model, output_loading_info=True, **here
        )
        processor = AutoImageProcessor.from_pretrained(model, **here)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise refuse(str(error).strip().partition("\n")[0]) from error
    if missing := sorted(loaded["missing_keys"]):
        raise refuse(f"{len(missing)} weights are missing, {missing[0]} first")
    return pipeline("depth-estimation", model=network, image_processor=processor, device=device)


def _in_folder(folder: Path) -> tuple[Path | None, Path | None]:
    names = [folder / name for name in (_CONFIG, *_WEIGHTS)]
    config, *weights = [path if path.is_file() else None for path in names]
    return config, next((path for path in weights if path), None)


def _kind(model: str, config: dict[str, Any]) -> str:
    """What the values of a network are: "relative" (larger = nearer) or "depth" in metres."""
    name = config.get("model_type")
    said = config.get("depth_estimation_type", "relative")  # as transformers has it by default
    if name != "depth_anything" or said not in _KINDS:
        raise InputError(
            f"{ARGUMENT}: found {model} of type {name}, {said}, of which it is not known here "
            "whether near is large or small; accepted: depth_anything, relative or metric"
        )
    return _KINDS[said]
