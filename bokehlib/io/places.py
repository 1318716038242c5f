"""Folders: the repository, results, and the cache of what is built on the fly. No torch."""

import os
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parents[2]  # of the repository, or what the wheel was unpacked into
IS_CHECKOUT = (ROOT / "pyproject.toml").is_file() and (ROOT / "notebooks").is_dir()
RESULTS = ROOT / "results" if IS_CHECKOUT else Path.cwd() / "results"


def cache_folder() -> Path:
    """BOKEHLIB_CACHE, or the user's own cache folder for bokehlib."""
    return Path(os.environ.get("BOKEHLIB_CACHE") or platformdirs.user_cache_dir("bokehlib"))
