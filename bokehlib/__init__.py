"""BokehDiff, neural lens blur with one-step diffusion: a reproducible study.

Importing the package is cheap: `load`, `Lens`, `optics` and `pisa` are resolved on first use,
and torch is imported with them.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Lens", "load", "optics", "pisa"]

_HOMES = {"load": "bokehlib.methods", "Lens": "bokehlib.optics"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bokehlib' has no attribute {name!r}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    return import_module(f"bokehlib.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
