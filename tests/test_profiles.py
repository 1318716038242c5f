"""Laws of scales: every worker can ask for SDXL, and a smoke run takes the same path with it."""

import papermill
import pytest
import torch

import bokehlib
from bokehlib import methods, study
from bokehlib.bokehdiff.adapters import recipe_of
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import results, runner
from bokehlib.training import bokehdiff

WORKERS = sorted(runner.NOTEBOOKS.glob("[123]*.ipynb"))
NO_BASE = {"10_synthesise", "11_synbokeh300", "32_render_figures"}  # ask for no network, or for all


@pytest.mark.parametrize("path", WORKERS, ids=lambda path: path.stem)
def test_every_worker_that_asks_for_a_network_has_a_profile(path):
    assert ("profile" in papermill.inspect_notebook(str(path))) == (path.stem not in NO_BASE)


def test_a_profile_says_method_options_and_weights(monkeypatch):
    monkeypatch.setattr(methods, "weights_hash", lambda name: f"hash of {name}")
    assert methods.at_scale("scatter", "mini", True) == ("scatter", {}, "hash of scatter")
    sdxl = ("bokehdiff-sdxl", {}, "hash of bokehdiff-sdxl")
    assert methods.at_scale("scatter", "sdxl", False) == sdxl
    assert methods.at_scale("scatter", "sdxl", True) == (sdxl[0], {"tiny": True}, "random")
    for ask in (methods.at_scale, bokehdiff.at_scale):
        with pytest.raises(InputError, match="profile: found 'large'; accepted: mini, sdxl"):
            ask("scatter", "large", True)


@pytest.mark.parametrize("semantics", ["ours", "published"])
def test_tiny_components_render_under_either_semantics(semantics):
    render = bokehlib.load("bokehdiff-sdxl", device="cpu", tiny=True, semantics=semantics)
    assert isinstance(render.pipeline, PublishedPipeline) == (semantics == "published")
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = render(image, torch.linspace(0, 1, 96).expand(1, 1, 64, 96), Lens(0.5, 8.0))
    assert found.shape == image.shape
    assert found.isfinite().all()


@pytest.mark.parametrize("recipe", [study.FULL, study.AS_PUBLISHED], ids=["full", "as_published"])
def test_a_smoke_training_takes_sdxls_shape(recipe, tmp_path, monkeypatch):
    seen, train = [], bokehdiff.train

    def noted(*given, **options):
        seen.append(options["pipeline"].unet.config.addition_embed_type)
        return train(*given, **options)

    monkeypatch.setattr(bokehdiff, "train", noted)
    bokehdiff.smoke_run(recipe, tmp_path, "sdxl")
    assert seen == ["text_time"]
    assert recipe_of(tmp_path / "adapter.safetensors").semantics == recipe.semantics


def test_a_smoke_run_of_a_worker_leaves_scores_of_the_papers_method(tmp_path):
    runner.run("30_score", tmp_path, smoke=True, profile="sdxl", results=str(tmp_path))
    scores = results.read_scores(root=tmp_path)
    assert set(scores["method"]) == {"bokehdiff-sdxl"}
    assert (
        results.read_provenance("synbokeh-mini", "bokehdiff-sdxl", root=tmp_path)["weights_sha256"]
        == "random"
    )
