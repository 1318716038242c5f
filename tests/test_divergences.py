"""Decisions of docs/divergences.md that no other test pins."""

import csv
import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bokehlib import optics, study
from bokehlib.bokehdiff import adapters, mini
from bokehlib.bokehdiff.pipeline import SAMPLING, BokehPipeline
from bokehlib.optics import Lens
from bokehlib.pisa import coverage, pisa_attention
from bokehlib.study import LossWeights, Recipe, results
from bokehlib.synthesis import Batch, Synthesiser, training_cutouts
from bokehlib.training import bokehdiff, loop


def test_the_edge_is_as_hard_at_inference_as_training_leaves_it():
    last = bokehdiff.hardness_at(1.0)
    assert last == pytest.approx(1e6)
    for function in (pisa_attention, optics.visibility, BokehPipeline.transform):
        assert inspect.signature(function).parameters["hardness"].default == last


def test_val294_has_one_name():
    published = set(results.published()["dataset"])
    names = {n for n in {*study.DATASETS, *published} if "294" in n or "249" in n}
    assert {n.removesuffix("-original") for n in names} == {"ebb_val294"}
    assert "294" in study.DATASETS["ebb_val294"]


def test_a_blurred_foreground_loses_light_at_its_rim_and_none_comes_from_behind():
    """Eq. 8 read to the letter; a lens would let the background shine through there."""
    disparity = torch.full((1, 1, 3, 12), 0.2)
    disparity[..., 6:] = 0.8
    grid, near = (3, 12), torch.arange(36) % 12 >= 6
    lens = Lens(0.5, 6.0)  # both planes blurred by 1.8 tokens
    radius = optics.token_radius(disparity, lens, grid)
    seen = optics.visibility(disparity, lens, grid, supersamples=1, hardness=float("inf"))
    q = torch.zeros(1, 1, 36, 1)
    weights = pisa_attention(
        q, q, torch.eye(36)[None, None], radius, grid, visibility=seen, hardness=float("inf")
    )[0, 0]
    assert weights[near][:, ~near].sum() == 0
    assert weights[~near][:, near].sum() > 0.5  # the foreground does spread over the background
    wall = coverage(q, q, radius, grid, visibility=seen, hardness=float("inf")).view(grid)
    assert wall[1, 6] < 0.8 * wall[1, 8]


def test_rescaled_disparities_change_eq_7_though_every_radius_stays():
    slope = torch.linspace(0, 1, 24).expand(24, 24)[None, None]
    blocked = []
    for low, high in ((0.05, 0.9), (0.5, 0.9)):
        ramp, lens = low + (high - low) * slope, Lens(high, 12 / (high - low))
        radius = optics.token_radius(ramp, lens, (24, 24))
        place = optics.token_positions((24, 24))
        inside = optics.distance(place[:, None], place) < radius[0] - 0.01
        seen = optics.visibility(ramp, lens, (24, 24), supersamples=1).dense()[0]
        blocked.append(1 - seen[inside].mean().item())
    assert blocked[0] > 0.05 > blocked[1]


def test_size_conditions_are_pixels_of_an_uncropped_image():
    config = SimpleNamespace(
        cross_attention_dim=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32,
    )
    unet = SimpleNamespace(config=config)
    pipeline = SimpleNamespace(unet=unet, latent_stride=8, prompt=None)
    added = BokehPipeline.context(pipeline, torch.zeros(2, 4, 64, 96))["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[512, 768, 0, 0, 512, 768]] * 2
    assert added["text_embeds"].shape == (2, 32)


def test_training_and_inference_are_one_map_but_for_how_finely_occlusion_is_sampled(monkeypatch):
    monkeypatch.setattr(bokehdiff, "SAMPLING", SAMPLING)
    image = torch.rand(1, 3, 32, 48)
    disparity = torch.rand(1, 1, 32, 48)
    lens = Lens(0.0, 15.0)  # up to 15 px, so the halo is one token of 16 px
    pipeline = mini.tiny()
    with torch.no_grad():
        learnt = bokehdiff.Trainee(pipeline)(image, disparity, lens, hardness=1e6, halo=16)
    shown = pipeline(image, disparity, lens, output_type="pt").images
    torch.testing.assert_close(learnt.clamp(0, 1), shown, rtol=0, atol=1e-6)


def test_occlusion_is_worked_out_once_for_each_grid_that_needs_it(monkeypatch):
    grids = []
    compute = optics.visibility

    def counted(disparity, lens, grid, *options):
        grids.append(grid)
        return compute(disparity, lens, grid, *options)

    monkeypatch.setattr(optics, "visibility", counted)
    image, disparity = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    mini.tiny()(image, disparity, Lens(0.0, 4.0), output_type="pt")
    assert sorted(grids) == [(4, 4), (8, 8)]


def test_no_step_finds_gradients_of_the_one_before(tmp_path):
    recipe = replace(
        Recipe(), weights=LossWeights(1, 0, 0, 0), encoder="full", rank=2, batch_size=1, steps=3
    )
    pipeline, left = mini.tiny(), []

    def batch(step):
        left.extend(p.grad for p in adapters.trained(pipeline).values() if p.grad is not None)
        image = torch.rand(1, 3, 16, 16)
        return Batch(image, torch.rand(1, 1, 16, 16), 1 - image, Lens(0.5, 8.0))

    before = {n: p.clone() for n, p in pipeline.vae.encoder.conv_out.named_parameters()}
    bokehdiff.train(recipe, tmp_path, pipeline=pipeline, batch=batch, halo=16)
    assert left == []
    now = dict(pipeline.vae.encoder.conv_out.named_parameters())
    assert all(not torch.equal(before[name], now[name]) for name in before)  # it did learn


def test_a_row_of_the_loss_curve_is_the_mean_of_its_own_steps(tmp_path):
    def terms(layer, step):
        return {"loss": step + 0 * layer.weight.sum()}

    schedule = loop.Schedule(steps=4, learning_rate=1e-3, log_every=2)
    loop.run(torch.nn.Linear(1, 1), terms, schedule, tmp_path)
    rows = list(csv.reader((tmp_path / "loss.csv").open()))
    assert rows == [["step", "loss"], ["2", "0.5"], ["4", "2.5"]]


def test_foregrounds_are_tilted_like_everything_else():
    grey = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    maker = Synthesiser([grey], training_cutouts(each=1), size=(32, 32), margin=26)
    planes = [plane for n in range(40) for plane in maker.draw(0, n).planes[1:]]
    slopes = torch.tensor(planes)[:, :2].norm(dim=1) * 32  # disparity across the picture
    assert (slopes > 0).all()
    assert slopes.median() > 0.01


def test_the_lens_of_a_pair_is_not_jittered():
    grey = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    maker = Synthesiser([grey], training_cutouts(each=1), size=(32, 32), margin=26)
    scenes = [maker.draw(0, n) for n in range(4)]
    layers = maker.layers(scenes)
    lens = maker.batch(0, range(4)).lens
    largest = lens.aperture * layers.largest_blur(lens.focus)
    drawn = torch.tensor([scene.radius for scene in scenes])
    torch.testing.assert_close(largest, drawn, rtol=1e-4, atol=0)


def test_of_the_encoder_only_middle_and_output_layers_learn():
    for encoder in ("lora", "full"):
        pipeline = mini.tiny()
        adapters.add_adapters(pipeline, Recipe(encoder=encoder))
        learnt = [n for n in adapters.trained(pipeline) if n.startswith("vae.")]
        parts = {name.split(".")[2] for name in learnt}
        assert {"mid_block", "conv_out"} <= parts <= {"mid_block", "conv_norm_out", "conv_out"}
        assert all(name.startswith("vae.encoder.") for name in learnt)
