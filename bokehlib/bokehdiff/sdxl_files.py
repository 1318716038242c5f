"""Where the files of the SDXL model lie: its base, the authors' adapter or one of our own.

Nothing is downloaded unless it is asked for, and torch is not needed.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from bokehlib.io.errors import InputError
from bokehlib.io.weightfiles import find_weights

BASE = "SG161222/RealVisXL_V5.0"  # the SDXL that the authors began with
AUTHORS = "zcx65535/bokehdiff"  # where they publish their adapter
BASE_FOLDER, AUTHORS_FOLDER = "sdxl", "bokehdiff"  # in BOKEHLIB_WEIGHTS
OURS = "bokehdiff-sdxl.safetensors"  # an adapter trained here, in BOKEHLIB_WEIGHTS
LORA, ENCODER = "pytorch_lora_weights.safetensors", "vae.ckpt"  # the authors' two files
NETWORKS = ("vae", "unet")
ENCODERS = ("text_encoder", "text_encoder_2")
TOKENIZERS = ("tokenizer", "tokenizer_2")
WEIGHTS = {  # part of a base -> its weight file without the suffix
    **dict.fromkeys(NETWORKS, "diffusion_pytorch_model"),
    **dict.fromkeys(ENCODERS, "model"),
}
LAYERDIFFUSE = "lllyasviel/LayerDiffuse_Diffusers"  # where its weights for SDXL are published
LAYERDIFFUSE_FOLDER = "layerdiffuse"  # in BOKEHLIB_WEIGHTS
LAYERS = (  # attention offsets and transparent decoder
    "ld_diffusers_sdxl_attn.safetensors",
    "ld_diffusers_sdxl_vae_transparent_decoder.safetensors",
)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def base_folder(given: str | Path = "", download: bool = False) -> Path:
    """The folder of an SDXL base in the layout of diffusers.

    Args:
        given: a folder or a hub id; "" = BOKEHLIB_SDXL, else `sdxl` in BOKEHLIB_WEIGHTS, else the
            hub's own cache of `BASE`.
        download: whether a hub id may be fetched, the half-precision files where there are any.

    Raises:
        InputError: it is not here, or lacks autoencoder or U-Net.
    """
    asked = str(given) or os.environ.get("BOKEHLIB_SDXL", "")
    if not asked and (found := find_weights(f"{BASE_FOLDER}/unet/config.json")):
        return _with_networks(found.parent.parent)
    if asked and Path(asked).is_dir():
        return _with_networks(Path(asked))
    folder = _from_hub(asked or BASE, _wanted_of_base, download)
    if folder is None:
        raise InputError(
            f"SDXL base: found no folder and no hub copy {asked or BASE}; accepted: a folder or a "
            f"hub id in BOKEHLIB_SDXL or base=, or {BASE_FOLDER}/ in BOKEHLIB_WEIGHTS; "
            "download=True fetches a hub id"
        )
    return _with_networks(folder)


def adapter_files(given: str | Path = "", download: bool = False) -> tuple[Path, ...]:
    """What was trained on the base: (our file,) or the authors' (LoRA, encoder).

    Args:
        given: a file of our own, or a folder or a hub id of the authors' layout; "" = what lies in
            BOKEHLIB_WEIGHTS, else the hub's own cache of `AUTHORS`.
        download: whether a hub id may be fetched.

    Raises:
        InputError: it is not here, or both kinds are.
    """
    asked = str(given)
    if not asked:
        ours = find_weights(OURS)
        theirs = find_weights(f"{AUTHORS_FOLDER}/{LORA}") or find_weights(
            f"{AUTHORS_FOLDER}/small/{LORA}"
        )
        if ours and theirs:
            raise InputError(f"adapter: found {ours} and {theirs}; accepted: one, or adapter=")
        if ours:
            return (ours,)
        asked = str(theirs.parent) if theirs else AUTHORS
    if Path(asked).is_file():
        return (Path(asked),)
    folder = Path(asked) if Path(asked).is_dir() else _from_hub(asked, _wanted_of_authors, download)
    if folder is None:
        raise InputError(
            f"adapter: found no file, folder or hub copy {asked}; accepted: {OURS} or "
            f"{AUTHORS_FOLDER}/{{{LORA},{ENCODER}}} in BOKEHLIB_WEIGHTS, or adapter=; "
            "download=True fetches a hub id"
        )
    return _in_authors_folder(folder, LORA), _in_authors_folder(folder, ENCODER)


def layerdiffuse_files(given: str | Path = "", download: bool = False) -> tuple[Path, Path]:
    """LayerDiffuse's attention offsets and transparent decoder.

    Args:
        given: a folder or a hub id; "" = `layerdiffuse` in BOKEHLIB_WEIGHTS, else the hub's own
            cache of `LAYERDIFFUSE`.
        download: whether a hub id may be fetched.

    Raises:
        InputError: they are not here.
    """
    asked = str(given)
    if not asked and (found := find_weights(f"{LAYERDIFFUSE_FOLDER}/{LAYERS[0]}")):
        asked = str(found.parent)
    folder = Path(asked) if asked and Path(asked).is_dir() else None
    folder = folder or _from_hub(asked or LAYERDIFFUSE, _wanted_of_layerdiffuse, download)
    missing = [name for name in LAYERS if folder is None or not (folder / name).is_file()]
    if folder is None or missing:
        raise InputError(
            f"LayerDiffuse: found no {missing[0]} in {folder or asked or LAYERDIFFUSE}; accepted: "
            f"a folder or hub id with {' and '.join(LAYERS)}, or {LAYERDIFFUSE_FOLDER}/ in "
            "BOKEHLIB_WEIGHTS"
        )
    return folder / LAYERS[0], folder / LAYERS[1]


def weight_file(base: Path, part: str) -> Path:
    """The one weight file of a part of a base, in full precision if there are both.

    Raises:
        InputError: there is none in safetensors.
    """
    stem = WEIGHTS[part]
    names = [f"{stem}{kind}" for kind in (".safetensors", ".fp16.safetensors")]
    for name in (*names, f"{stem}.safetensors.index.json"):
        if (base / part / name).is_file():
            return base / part / name
    raise InputError(f"{base / part}: found no weights; accepted: {' or '.join(names)}")


def decisive() -> list[Path]:
    """The weight files that decide the method's pictures.

    Raises:
        InputError: one is not here.
    """
    base = base_folder()
    return [*(weight_file(base, part) for part in NETWORKS), *adapter_files()]


def _with_networks(base: Path) -> Path:
    for part in NETWORKS:
        if not (base / part / "config.json").is_file():
            raise InputError(f"{base}: found no {part}/config.json; accepted: diffusers' layout")
        weight_file(base, part)
    return base


def _in_authors_folder(folder: Path, name: str) -> Path:
    for place in (folder, folder / "small"):
        if (place / name).is_file():
            return place / name
    raise InputError(f"{folder}: found no {name}; accepted: {LORA} and {ENCODER} in it or in small")


def _wanted_of_base(files: Iterable[str]) -> list[str]:
    """Of a repository's files those that are needed, every network once."""
    files = set(files)
    wanted = [f for f in files if f.endswith(".json") or f.split("/")[0] in TOKENIZERS]
    for part, stem in WEIGHTS.items():
        halves = [f for f in files if re.match(rf"{part}/{stem}.*fp16.*\.safetensors$", f)]
        whole = [f for f in files if re.match(rf"{part}/{stem}.*\.safetensors$", f)]
        wanted += halves or whole
    return sorted(wanted)


def _wanted_of_authors(files: Iterable[str]) -> list[str]:
    return sorted(f for f in files if f.split("/")[-1] in (LORA, ENCODER))


def _wanted_of_layerdiffuse(files: Iterable[str]) -> list[str]:
    return sorted(set(files) & set(LAYERS))


def _from_hub(repository: str, wanted, download: bool) -> Path | None:
    """The hub's snapshot of a repository; None if it is not here and may not be fetched."""
    if not HUB_ID.fullmatch(repository):
        return None
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        if not download:
            return Path(snapshot_download(repository, local_files_only=True))
        files = wanted(HfApi().list_repo_files(repository))
        return Path(snapshot_download(repository, allow_patterns=files))
    except LocalEntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"hub: {repository} could not be fetched: {error}") from error
