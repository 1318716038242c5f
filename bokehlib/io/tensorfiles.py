"""Weight files in safetensors: tensors by name, fp16 by default, with JSON values as metadata."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bokehlib.io.errors import InputError


def write(
    values: dict[str, Tensor],
    path: Path,
    metadata: dict[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write tensors in one type; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().to(dtype).contiguous().cpu() for name, value in values.items()}
    partial = path.with_suffix(f".{os.getpid()}.part")  # several processes may write the same
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
            return tensors, {k: _value(v) for k, v in (file.metadata() or {}).items()}
    except SafetensorError as error:
        raise InputError(f"{path}: {error}; accepted: a safetensors file") from error


def _value(text: str) -> Any:
    """JSON's, or the text itself: files of other programs hold plain words."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
