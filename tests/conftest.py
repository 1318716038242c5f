"""Fixtures for all tests: fixed seeds, no network, and the folder of shared material if there."""

import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("BOKEHLIB_SHARED", ROOT.parent / "shared"))


def pytest_configure(config):
    if (SHARED / "weights").is_dir():
        os.environ.setdefault("BOKEHLIB_WEIGHTS", str(SHARED / "weights"))
    os.environ["HF_HUB_OFFLINE"] = "1"  # notebooks run in their own processes and inherit this


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared weights, photos and reference outputs."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared folder (BOKEHLIB_SHARED, looked for in {SHARED})")
    return SHARED


@pytest.fixture
def loud(monkeypatch):
    """Silencing libraries in this process would silence them for all later tests."""
    from bokehlib.cli import commands

    monkeypatch.setattr(commands, "_quieten", lambda: None)


@pytest.fixture(autouse=True)
def everything_is_heard():
    """The command line silences warnings for its process, which is that of all tests here."""
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def fixed_seeds():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (libraries under test may draw from it)
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    torch = pytest.importorskip("torch")

    def refuse(url, *_, **__):
        raise RuntimeError(f"tests run offline; something asked for {url}")

    for name in ("load_state_dict_from_url", "download_url_to_file"):
        monkeypatch.setattr(torch.hub, name, refuse)
