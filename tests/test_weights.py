"""What the committed weights do: measured on two scenes, and read from the committed scores."""

import numpy as np
import pytest
import torch

import bokehlib
from bokehlib.bokehdiff import adapters, mini
from bokehlib.classical import layers, scattering
from bokehlib.data import manifest, photo_paths, synbokeh
from bokehlib.data.datasets import load_dataset
from bokehlib.io.images import read_image
from bokehlib.io.weightfiles import EMBEDDED, need_weights
from bokehlib.study import METHODS, RECIPES
from bokehlib.study.results import read_scores

SCENES = ("scene_01", "scene_04")  # one focused on the background, one on the foreground
LEAST_GAIN = 4.0  # dB above the input
LEAST_OF_PISA = 1.0  # dB
NAMES = ("bokehdiff-mini-paper", "bokehdiff-mini")
LEAST_OVER_LAYERS = 0.3  # dB
LEAST_COPY = 30.0  # dB of decode(encode(photo))


def psnr(a, b):
    return float(-10 * torch.log10(((a.clamp(0, 1) - b) ** 2).mean()))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    synbokeh.build(manifest(), root, SCENES)
    return list(load_dataset(f"folder:{root}"))


@pytest.fixture(scope="module")
def render():
    return bokehlib.load("bokehdiff-mini-paper", device="cpu")


@pytest.fixture(scope="module")
def rendered(render, samples):
    return [render(s.image, s.disparity, s.lens) for s in samples]


@pytest.fixture(scope="module")
def corrected(samples):
    render = bokehlib.load("bokehdiff-mini", device="cpu")
    return [render(s.image, s.disparity, s.lens) for s in samples]


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_scores_are_what_the_weights_give(name, samples, rendered, corrected):
    scores = read_scores("synbokeh-mini", name)
    rendered = dict(zip(NAMES, (rendered, corrected), strict=True))[name]
    exact = scores[scores.perturbation.astype(str) == "0"].set_index(["image", "blur"])
    for sample, out in zip(samples, rendered, strict=True):
        committed = exact.loc[(sample.name, sample.blur), "psnr"]
        assert psnr(out, sample.target) == pytest.approx(committed, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_far_above_its_input_over_the_whole_benchmark(name):
    scores = read_scores("synbokeh-mini")
    exact = scores[scores.perturbation.astype(str) == "0"]
    mean = exact.groupby("method").psnr.agg(["mean", "size"])
    assert mean.loc[name, "size"] == mean.loc["input", "size"] == 96
    assert mean.loc[name, "mean"] - mean.loc["input", "mean"] >= LEAST_GAIN


def test_the_default_is_above_the_layered_render_that_it_is_given(samples, corrected):
    gains = [
        psnr(out, s.target) - psnr(layers.render(s.image, s.disparity, s.lens), s.target)
        for s, out in zip(samples, corrected, strict=True)
    ]
    assert np.mean(gains) >= LEAST_OVER_LAYERS


def test_without_pisa_the_model_loses(samples, rendered):
    deaf = bokehlib.load("bokehdiff-mini-paper", device="cpu", pisa=False)
    losses = [
        psnr(out, s.target) - psnr(deaf(s.image, s.disparity, s.lens), s.target)
        for s, out in zip(samples, rendered, strict=True)
    ]
    assert np.mean(losses) >= LEAST_OF_PISA


def test_another_disparity_gives_another_picture(render, samples, rendered):
    sample, out = samples[-1], rendered[-1]
    focused = torch.full_like(sample.disparity, float(sample.lens.focus))
    sharp = render(sample.image, focused, sample.lens)
    assert psnr(sharp, out) < 30
    assert psnr(sharp, sample.image) > psnr(out, sample.image) + 3


def test_no_classical_renderer_is_in_the_papers_path(monkeypatch, samples, rendered):
    monkeypatch.setattr(scattering, "spread", None)
    sample = samples[0]
    again = bokehlib.load("bokehdiff-mini-paper", device="cpu")
    assert torch.equal(again(sample.image, sample.disparity, sample.lens), rendered[0])


def test_held_out_photographs_survive_the_autoencoder():
    pipeline = mini.load_base(need_weights(mini.BASE))
    copies = []
    for path in photo_paths().values():
        photo = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None, :, :256, :384]
        with torch.no_grad():
            copies.append(psnr(pipeline.decode(pipeline.encode(photo)), photo))
    assert len(copies) >= 8
    assert np.mean(copies) >= LEAST_COPY


@pytest.mark.parametrize("name", NAMES)
def test_the_adapter_says_what_it_was_trained_with_and_the_study_knows_that_recipe(name):
    recipe = RECIPES[name.removeprefix("bokehdiff-").replace("-", "_")]
    assert adapters.recipe_of(need_weights(f"{name}.safetensors")) == recipe


def test_the_weights_are_within_their_budget():
    sizes = {file.name: file.stat().st_size for file in EMBEDDED.glob("*.safetensors")}
    assert set(METHODS["bokehdiff-mini"].weights) <= set(sizes)
    assert sum(sizes[name] for name in METHODS["bokehdiff-mini"].weights) <= 14e6
    assert sum(sizes.values()) <= 20e6
    card = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert all(name in card for name in sizes)
