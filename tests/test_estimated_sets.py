"""Laws of estimated disparity for data sets: asked for, kept beside the data, near is 1."""

import json

import miniatures
import numpy as np
import pytest
from PIL import Image

from bokehlib import cli
from bokehlib.data import estimated
from bokehlib.data.datasets import load_dataset
from bokehlib.data.published_sets import ebb
from bokehlib.io import estimate, images
from bokehlib.io.disparity_maps import DepthMap
from bokehlib.io.errors import InputError


@pytest.fixture
def network(monkeypatch):
    """A network that takes the lower rows for near, and counts."""
    ran = []

    def estimator(model, device, download):
        ran.append((model, device, download))

        def found(image):
            ran.append(image.shape)
            rows = np.linspace(0, 1, image.shape[0], dtype=np.float32)
            return DepthMap(np.repeat(rows[:, None], image.shape[1], 1), f"estimated by {model}")

        return found

    monkeypatch.setattr(estimate, "estimator", estimator)
    monkeypatch.setattr(estimate, "check", lambda *_: None)
    return ran


@pytest.fixture
def scenes(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / "scenes" / name
        folder.mkdir(parents=True)
        for file in ("image.png", "bokeh_0.png"):
            images.write_image(folder / file, np.random.default_rng(0).random((20, 30, 3)))
        lens = {"target": "bokeh_0.png", "focus_disparity": 1.0, "aperture": 4.0}
        (folder / "lens.json").write_text(json.dumps({"lens": [lens]}))
    return tmp_path / "scenes"


def test_a_set_of_folders_gets_its_maps_once_and_is_then_read_as_any_other(scenes, network):
    kept = np.full((20, 30), 0.25, np.float32)
    images.write_disparity(scenes / "two" / "disparity.png", kept)
    with pytest.raises(InputError, match="disparity"):  # never made unless it is asked for
        load_dataset(f"folder:{scenes}")[0]
    found = estimated.fill(scenes, "some/network", "cpu")
    assert found == {"made": 1, "kept": 1, "model": "some/network"}
    assert network == [("some/network", "cpu", False), (20, 30, 3)]
    one, two = load_dataset(f"folder:{scenes}")
    assert one.disparity[0, 0, -1].min() == 1
    assert one.disparity[0, 0, 0].max() == 0
    assert two.disparity.mean() == pytest.approx(0.25, abs=1e-4)
    record = json.loads((scenes / "estimated.json").read_text())
    assert record == {"one/disparity.png": "estimated by some/network"}
    assert estimated.fill(scenes)["made"] == 0
    assert len(network) == 2  # nothing was loaded again


def test_a_copy_of_ebb_without_maps_gets_them_where_it_is_read_from(tmp_path, network):
    root = miniatures.write_ebb(tmp_path / "ebb_val294") or tmp_path / "ebb_val294"
    maps = sorted((root / "depth").glob("*.npy"))
    for path in maps:
        path.unlink()
    assert estimated.fill(root)["made"] == len(maps) > 0
    assert sorted((root / "depth").glob("*.npy")) == maps
    read = ebb.contents(root).shots[0].read()
    assert (read.disparity[-1] == 1).all()
    assert (read.disparity[0] == 0).all()


def test_a_run_that_was_stopped_goes_on(scenes, network, monkeypatch):
    read = images.read_image
    (scenes / "two" / "image.png").rename(scenes / "two" / "aside.png")
    Image.new("RGB", (4, 4)).save(scenes / "two" / "image.png")
    (scenes / "two" / "image.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"two/image.png"):
        estimated.fill(scenes)
    assert not (scenes / "two" / "disparity.png").exists()
    (scenes / "two" / "aside.png").rename(scenes / "two" / "image.png")
    assert estimated.fill(scenes) == {"made": 1, "kept": 1, "model": estimate.MODEL}
    assert read is images.read_image


def test_the_command_says_what_it_did_and_refuses_what_it_does_not_know(scenes, network, capsys):
    words = ["data", "disparity", str(scenes), "--depth-model", "m", "--device", "cpu"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"made": 2, "kept": 0, "model": "m"}
    assert network[0] == ("m", "cpu", False)
    for place, found in (
        (scenes / "one", "no pictures in it"),
        (scenes / "none", "no such folder"),
    ):
        assert cli.main(["data", "disparity", str(place)]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"PATH: found {place}, {found}; accepted: the layout of EBB!")
    assert cli.main([*words[:-1], "tpu"]) == 2
    assert capsys.readouterr().err.startswith("--device: found 'tpu'; accepted: auto, cpu, cuda")


def test_without_the_network_nothing_is_written_and_one_line_says_so(scenes, tmp_path, capsys):
    before = sorted(scenes.rglob("*"))
    words = ["--depth-model", str(tmp_path / "scenes"), "--device", "cpu"]
    assert cli.main(["data", "disparity", str(scenes), *words]) == 2
    line = capsys.readouterr().err
    assert "found no weights of" in line
    assert line.count("\n") == 1
    assert sorted(scenes.rglob("*")) == before
