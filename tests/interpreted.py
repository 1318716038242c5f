"""Laws of Triton kernels: tests that run on a GPU, or without one in Triton's interpreter.

Triton decides at its first import whether it interprets, so without a CUDA device one test of a
file runs that file once more in a process of its own, where its laws are awake.
"""

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
only_once = pytest.mark.skipif(
    INTERPRETED or torch.cuda.is_available(), reason="held in this process"
)
LAWS = [  # of a file of them
    needs_triton,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy's, of pixels beyond the border
]


def few_programs(monkeypatch, kernels: str) -> None:
    """The interpreter takes one program after the other: a few large ones are quicker."""
    if INTERPRETED:
        monkeypatch.setitem(import_module(kernels).SETTINGS, "ROWS", 16)


def law(test):
    """A test of kernels, on whatever device this process has for them."""
    return test if INTERPRETED else pytest.mark.gpu(test)


def imports_no_triton(module: str) -> bool:
    """Whether a module leaves Triton, which is heavy, alone when it is imported."""
    script = f"import {module}, sys; sys.exit('triton' in sys.modules)"
    return subprocess.run([sys.executable, "-c", script]).returncode == 0


def all_laws_hold(file: str) -> None:
    """Run a test file with the interpreter on."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", file],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=Path(file).parent.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
