import csv
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from bokehlib import loop, mini, prior
from bokehlib.optics import Lens
from bokehlib.study import FULL, LossWeights
from bokehlib.synthesis import Batch
from bokehlib.training import hardness_at, train

RECIPE = replace(FULL, weights=LossWeights(1, 0, 1, 0), rank=2, batch_size=2, steps=4)
HALO = 16


def pairs(step: int) -> Batch:
    draw = torch.Generator().manual_seed(step)
    image = torch.rand(2, 3, 32, 32, generator=draw)
    disparity = torch.rand(2, 1, 32, 32, generator=draw)
    lens = Lens(torch.tensor([0.2, 0.7]), torch.tensor([16.0, 8.0]))
    return Batch(image, disparity, torch.roll(image, 1, -1), lens)


def run(folder, *slices, recipe=RECIPE, **options):
    for steps in slices:
        out = train(recipe, folder, steps, pipeline=mini.tiny(), batch=pairs, halo=HALO, **options)
    return out


@pytest.mark.parametrize("encoder", ["lora", "full"])
def test_two_slices_of_two_steps_are_four_steps_bit_for_bit(tmp_path, encoder):
    recipe = replace(RECIPE, encoder=encoder)
    whole = run(tmp_path / "whole", 4, recipe=recipe)
    sliced = run(tmp_path / "sliced", 2, 2, recipe=recipe)
    assert whole.keys() == sliced.keys()
    assert all(torch.equal(whole[name], sliced[name]) for name in whole)
    assert (tmp_path / "whole/loss.csv").read_text() == (tmp_path / "sliced/loss.csv").read_text()


def test_a_step_moves_what_the_recipe_trains_and_the_base_stays(tmp_path):
    pipeline, before = mini.tiny(), mini.tiny()
    base = {name: value.clone() for name, value in before.unet.state_dict().items()}
    train(RECIPE, tmp_path, 3, pipeline=pipeline, batch=pairs, halo=HALO)
    now = {n.replace(".base_layer", ""): v for n, v in pipeline.unet.state_dict().items()}
    assert all(torch.equal(base[name], now[name]) for name in base)
    # lora_B starts at zero; cross-attention has nothing to attend to but the empty prompt.
    ups = [v for n, v in mini.trained(pipeline).items() if "lora_B" in n and "attn2" not in n]
    assert ups
    assert all(value.abs().sum() > 0 for value in ups)


def test_a_run_that_is_done_adds_no_step(tmp_path):
    first = run(tmp_path, 4)
    again = run(tmp_path, 4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert json.loads((tmp_path / "progress.json").read_text())["steps"] == 4


def test_a_save_cut_short_leaves_the_last_checkpoint_in_force(tmp_path, monkeypatch):
    run(tmp_path / "cut", 2)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", 1)
    assert json.loads((tmp_path / "cut/progress.json").read_text())["steps"] == 2
    resumed, whole = run(tmp_path / "cut", 2), run(tmp_path / "whole", 4)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_adapter_file_holds_the_average_and_the_recipe(tmp_path):
    averaged = run(tmp_path, 4)
    saved = load_file(tmp_path / "adapter.safetensors")
    assert saved.keys() == averaged.keys()
    assert all(torch.equal(saved[n], averaged[n].half()) for n in saved)
    assert mini.recipe_of(tmp_path / "adapter.safetensors") == RECIPE


def test_the_loss_curve_names_its_terms(tmp_path, monkeypatch):
    schedule = loop.Schedule(steps=4, learning_rate=1e-3, log_every=2)
    module = torch.nn.Linear(2, 2)

    def terms(layer, step):
        return {"one": layer(torch.ones(1, 2)).square().mean(), "two": 0 * layer.weight.sum()}

    loop.run(module, terms, schedule, tmp_path)
    rows = list(csv.reader((tmp_path / "loss.csv").open()))
    assert rows[0] == ["step", "one", "two"]
    assert [row[0] for row in rows[1:]] == ["2", "4"]
    assert float(rows[2][1]) < float(rows[1][1])


def test_hardness_is_geometric_over_the_first_four_fifths():
    assert hardness_at(0) == pytest.approx(3)
    assert hardness_at(0.4) == pytest.approx((3 * 1e6) ** 0.5)
    assert hardness_at(0.8) == pytest.approx(1e6)
    assert hardness_at(1) == pytest.approx(1e6)


def test_the_adversarial_term_is_refused_until_it_is_there(tmp_path):
    recipe = replace(RECIPE, weights=LossWeights(1, 0, 1, 0.5))
    with pytest.raises(ValueError, match="adversarial"):
        run(tmp_path, 1, recipe=recipe)


def test_the_prior_learns_to_copy_and_to_denoise(tmp_path):
    pipeline = mini.tiny()
    schedule = loop.Schedule(steps=30, learning_rate=3e-3, log_every=5, ema_decay=0.5)

    def images(step):
        draw = torch.Generator().manual_seed(step)
        return torch.rand(2, 3, 1, 1, generator=draw).expand(2, 3, 16, 16)

    prior.train_autoencoder(pipeline, images, schedule, tmp_path / "autoencoder")
    prior.train_unet(pipeline, images, schedule, tmp_path / "unet")
    for stage in ("autoencoder", "unet"):
        rows = list(csv.reader((tmp_path / stage / "loss.csv").open()))[1:]
        first, last = (sum(float(v) for v in row[1:]) for row in (rows[0], rows[-1]))
        assert last < first
    assert not any(p.requires_grad for p in pipeline.unet.parameters())
