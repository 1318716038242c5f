"""Weight files: fp16 tensors by name, with JSON values as metadata, in safetensors."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bokehlib.errors import InputError


def write(values: dict[str, Tensor], path: Path, metadata: dict[str, Any]) -> None:
    """Write tensors as fp16; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().half().contiguous().cpu() for name, value in values.items()}
    partial = path.with_suffix(".part")
    save_file(tensors, partial, {k: json.dumps(v, sort_keys=True) for k, v in metadata.items()})
    partial.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors in fp32 on the CPU, and the metadata.

    Raises:
        InputError: it is no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            return tensors, {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
    except SafetensorError as error:
        raise InputError(f"{path}: {error}; accepted: a safetensors file") from error
