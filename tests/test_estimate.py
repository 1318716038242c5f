"""A depth network at hand makes the map: near is 1 by the network's own convention."""

import json
import math
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from bokehlib.io import estimate
from bokehlib.io.errors import InputError

WIDTH, HEIGHT = 60, 40


def _network(folder, said):
    """A tiny Depth Anything whose output grows to the right, saved as a checkpoint is."""
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTImageProcessor,
    )

    backbone = Dinov2Config(
        hidden_size=8, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=28,
        patch_size=14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=8, neck_hidden_sizes=[2, 2, 2, 2],
        fusion_hidden_size=4, head_hidden_size=2, depth_estimation_type=said, max_depth=20,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(
        size={"height": 28, "width": 28}, ensure_multiple_of=14, keep_aspect_ratio=True
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks")
    return {said: _network(folder / said, said) for said in ("relative", "metric")}


@pytest.fixture
def photo():
    return np.random.default_rng(0).random((HEIGHT, WIDTH, 3))


def _raw(folder, photo):
    """What the network itself says, (H, W)."""
    from PIL import Image
    from transformers import pipeline

    levels = np.round(photo * 255).astype(np.uint8)
    said = pipeline("depth-estimation", model=folder)(Image.fromarray(levels))
    return said["predicted_depth"].numpy()


def test_a_relative_network_gives_inverse_depth_so_its_largest_is_near(networks, photo):
    raw = _raw(networks["relative"], photo)
    found = estimate.estimate(photo, networks["relative"])
    assert found.disparity.shape == (HEIGHT, WIDTH)
    assert np.ptp(raw) > 0
    expected = (raw - raw.min()) / np.ptp(raw)
    assert found.disparity == pytest.approx(expected, abs=1e-5)
    assert found.disparity.flat[raw.argmax()] == 1
    assert found.disparity.flat[raw.argmin()] == 0
    assert found.depth_range is None  # it knows no metres


def test_a_metric_network_gives_metres_so_its_smallest_is_near(networks, photo):
    raw = _raw(networks["metric"], photo)
    found = estimate.estimate(photo, networks["metric"])
    assert np.ptp(raw) > 0
    assert found.disparity == pytest.approx(raw.min() / raw, rel=1e-4)
    assert found.disparity.flat[raw.argmin()] == 1
    assert found.depth_range == (pytest.approx(float(raw.min()), rel=1e-5), math.inf)


def _changed(tmp_path, networks, **changes):
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (folder / name).write_bytes((tmp_path / networks["relative"] / name).read_bytes())
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "changes", [{"model_type": "dpt"}, {"depth_estimation_type": "sideways"}], ids=str
)
def test_a_network_of_unknown_convention_is_refused_before_it_is_loaded(
    tmp_path, networks, changes
):
    folder = _changed(tmp_path, networks, **changes)
    with pytest.raises(
        InputError, match=r"not known here whether near.*; accepted: depth_anything"
    ):
        estimate.check(str(folder))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_has_no_weights(tmp_path, networks, file):
    folder = _changed(tmp_path, networks)
    estimate.check(str(folder))
    (folder / file).unlink()
    with pytest.raises(InputError, match=r"no weights of .*changed in that folder; accepted: "):
        estimate.check(str(folder), download=True)


def test_a_truncated_checkpoint_is_named(tmp_path, networks, photo):
    folder = _changed(tmp_path, networks)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"found no usable network in .*changed"):
        estimate.estimate(photo, str(folder))


def test_a_checkpoint_without_its_head_is_not_filled_up_with_chance(tmp_path, networks, photo):
    from safetensors.torch import load_file, save_file

    folder = _changed(tmp_path, networks)
    weights = load_file(folder / "model.safetensors")
    weights = {name: value for name, value in weights.items() if not name.startswith("head")}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"no usable network .*weights are missing, head"):
        estimate.estimate(photo, str(folder))


def test_one_value_everywhere_is_no_map(networks, photo, monkeypatch):
    class Flat:
        model = types.SimpleNamespace(
            config=types.SimpleNamespace(
                to_dict=lambda: {
                    "model_type": "depth_anything",
                    "depth_estimation_type": "relative",
                }
            )
        )

        def __call__(self, picture):
            return {"predicted_depth": torch.full((HEIGHT, WIDTH), 3.0)}

    monkeypatch.setattr(estimate, "_load", lambda *arguments: Flat())
    with pytest.raises(InputError, match="one value everywhere, 3"):
        estimate.estimate(photo, networks["relative"])


def test_what_is_neither_a_folder_nor_an_id_is_named():
    with pytest.raises(InputError, match="neither a folder nor a Hugging Face id; accepted: "):
        estimate.check("no such/place at all")


def test_weights_that_are_not_here_are_one_line_and_nothing_is_fetched(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    program = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('asked for the network')\n"
        "socket.socket.connect = refuse\n"
        "from bokehlib.cli import main\n"
        "code = main(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
    )
    words = ["render", "photo.png", "--out", "a.png", "--estimate-disparity"]
    words += ["--focus", "1,1", "--aperture", "3", "--method", "scatter"]
    environment = {
        "HF_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"--estimate-disparity: found no weights of {estimate.MODEL} ")
    assert "--disparity FILE" in done.stderr
