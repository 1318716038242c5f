"""The browser that tests of pages open."""

import os
from shutil import which

import pytest

pytest.importorskip("playwright", reason="needs playwright: pip install -e '.[dev]'")
CHROMIUM = os.environ.get("BOKEHLIB_CHROMIUM") or next(
    filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="needs a Chromium (BOKEHLIB_CHROMIUM, chromium or google-chrome in PATH)"
)
