import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from networks import random_pairs
from safetensors import safe_open
from safetensors.torch import load_file
from torch._dynamo.testing import CompileCounter

from bokehlib import cli
from bokehlib.bokehdiff import adapters, mini
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import FULL, RECIPES, LossWeights
from bokehlib.synthesis import Batch
from bokehlib.training import bokehdiff, discriminator, loop, prior, refiner
from bokehlib.training.bokehdiff import hardness_at, pair_stream, train

RECIPE = replace(FULL, weights=LossWeights(1, 0, 1, 0), rank=2, batch_size=2, steps=4)
DUEL = replace(RECIPE, weights=LossWeights(1, 0, 1, 0.5))
HALO = 16


def pairs(step: int) -> Batch:
    return random_pairs(step, 32, (16.0, 8.0))


def run(folder, *slices, recipe=RECIPE, **options):
    for steps in slices:
        networks = {"pipeline": mini.tiny(), "judge": discriminator.tiny()}
        out = train(recipe, folder, steps, batch=pairs, halo=HALO, **networks, **options)
    return out


class Distance(torch.nn.Module):
    """Stands in for LPIPS."""

    def forward(self, a, b):
        return (a - b).abs().mean((1, 2, 3))


@pytest.fixture
def every_step_logged(monkeypatch):
    monkeypatch.setattr(loop, "Schedule", partial(loop.Schedule, log_every=1))


def curve(folder):
    return list(csv.DictReader((folder / "loss.csv").open()))


@pytest.mark.parametrize("encoder", ["lora", "full"])
def test_two_slices_of_two_steps_are_four_steps_bit_for_bit(tmp_path, encoder):
    recipe = replace(RECIPE, encoder=encoder)
    whole = run(tmp_path / "whole", 4, recipe=recipe)
    sliced = run(tmp_path / "sliced", 2, 2, recipe=recipe)
    assert whole.keys() == sliced.keys()
    assert all(torch.equal(whole[name], sliced[name]) for name in whole)
    assert (tmp_path / "whole/loss.csv").read_text() == (tmp_path / "sliced/loss.csv").read_text()


def test_slices_with_a_discriminator_are_the_whole_bit_for_bit_both_players_included(
    tmp_path, every_step_logged
):
    ends = {}
    for name, slices in (("whole", (4,)), ("sliced", (1, 2, 1))):
        whole = run(tmp_path / name, *slices, recipe=DUEL)
        state = tmp_path / name / "state-4"
        files = {f.name: f for f in state.iterdir()}
        rival = load_file(files["model_1.safetensors"])
        memory = torch.load(files["optimizer_1.bin"], weights_only=True)["state"]
        moments = {f"{n}.{k}": v for n, kept in memory.items() for k, v in kept.items()}
        ends[name] = {**whole, **rival, **moments}
    assert ends["whole"].keys() == ends["sliced"].keys()
    assert any(name.endswith("._u") for name in ends["whole"])  # of the spectral norm
    assert any(str(name).endswith("exp_avg_sq") for name in ends["whole"])
    for name, value in ends["whole"].items():
        assert torch.equal(value, ends["sliced"][name]), name
    assert curve(tmp_path / "whole") == curve(tmp_path / "sliced")


def test_the_loss_curve_shows_both_players(tmp_path, every_step_logged):
    run(tmp_path, 4, recipe=DUEL)
    rows = curve(tmp_path)
    assert list(rows[0]) == [
        "step",
        "mse",
        "edge",
        "adversarial",
        "discriminator_real",
        "discriminator_made",
    ]
    # Before anything is learnt the generator's term is half of -log D of the first verdict.
    confidence = float(rows[0]["adversarial"]) / 0.5
    logit = -torch.log(torch.expm1(torch.tensor(confidence)))
    assert float(rows[0]["discriminator_made"]) == pytest.approx(
        torch.nn.functional.softplus(logit).item(), rel=0.02
    )


def test_the_adversarial_term_changes_what_the_pipeline_learns(tmp_path):
    alone, against = run(tmp_path / "alone", 3), run(tmp_path / "against", 3, recipe=DUEL)
    assert alone.keys() == against.keys()  # the discriminator is not part of the adapter
    assert any(not torch.equal(alone[name], against[name]) for name in alone)


def test_the_adapter_file_names_the_discriminators_backbone(tmp_path):
    run(tmp_path / "alone", 1)
    run(tmp_path / "against", 1, recipe=DUEL)
    notes = {}
    for name in ("alone", "against"):
        with safe_open(tmp_path / name / "adapter.safetensors", "pt") as file:
            notes[name] = json.loads(file.metadata()["note"])
    assert notes["alone"] == {"steps": 1}
    assert notes["against"] == {"steps": 1, "discriminator": "ConvNeXt, random"}


def test_a_run_does_not_go_on_with_another_number_of_learning_networks(tmp_path):
    run(tmp_path, 1)
    with pytest.raises(InputError, match=r"found a run of 1 learning.*accepted: one of 2"):
        run(tmp_path, 1, recipe=DUEL)
    assert json.loads((tmp_path / "progress.json").read_text())["steps"] == 1


def test_an_opponent_learns_after_the_first_and_keeps_no_gradient_of_its_terms(tmp_path):
    first, second = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(first.weight)
    torch.nn.init.ones_(second.weight)
    turns = []

    def chase(module, step):  # its gradient also reaches the opponent's weight
        turns.append("first")
        return {"chase": 100 * module(second.weight.reshape(1, 1)).sum()}

    def rest(module, step):
        turns.append("second")
        return {"rest": 0 * module.weight.sum()}

    schedule = loop.Schedule(steps=3, learning_rate=0.1, weight_decay=0)
    averaged = loop.run(first, chase, schedule, tmp_path, opponent=(second, rest))
    assert turns == ["first", "second"] * 3
    assert second.weight.item() == 1
    assert first.weight.item() < 1
    assert list(averaged) == ["weight"]


def test_a_step_moves_what_the_recipe_trains_and_the_base_stays(tmp_path):
    pipeline, before = mini.tiny(), mini.tiny()
    base = {name: value.clone() for name, value in before.unet.state_dict().items()}
    train(RECIPE, tmp_path, 3, pipeline=pipeline, batch=pairs, halo=HALO)
    now = {n.replace(".base_layer", ""): v for n, v in pipeline.unet.state_dict().items()}
    assert all(torch.equal(base[name], now[name]) for name in base)
    # lora_B starts at zero; cross-attention has nothing to attend to but the empty prompt.
    ups = [v for n, v in adapters.trained(pipeline).items() if "lora_B" in n and "attn2" not in n]
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
    assert adapters.recipe_of(tmp_path / "adapter.safetensors") == RECIPE


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


def test_the_papers_recipe_lacks_nothing_but_the_weights_of_vgg16(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    paper = replace(FULL, steps=1)
    with pytest.raises(InputError, match=r"vgg16: found no weights; accepted: .*vgg16-397923af"):
        run(tmp_path / "refused", 1, recipe=paper)
    assert not (tmp_path / "refused").exists()
    run(tmp_path / "given", 1, recipe=paper, perceptual=Distance())


def test_a_smoke_run_of_the_papers_recipe_runs_the_adversarial_term(
    tmp_path, monkeypatch, every_step_logged
):
    monkeypatch.setattr(bokehdiff, "pair_stream", lambda *_, **__: pairs)
    bokehdiff.smoke_run(FULL, tmp_path)
    assert float(curve(tmp_path)[-1]["adversarial"]) > 0


def test_compiled_networks_are_compiled_once_though_lens_and_hardness_change(tmp_path, monkeypatch):
    counters = []

    def compile_counted(module, **how):
        counters.append(CompileCounter())
        module._compiled_call_impl = torch.compile(module._call_impl, backend=counters[-1], **how)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_counted)
    seen = []

    def lenses(step):
        seen.append([counter.frame_count for counter in counters])
        pair = pairs(step)
        lens = Lens(pair.lens.focus, pair.lens.aperture * (0.2 + 0.25 * step))
        return Batch(pair.image, pair.disparity, pair.target, lens)

    networks = {"pipeline": mini.tiny(), "judge": discriminator.tiny(), "perceptual": Distance()}
    recipe = replace(DUEL, weights=LossWeights())
    train(recipe, tmp_path, 4, batch=lenses, halo=HALO, compiled=True, **networks)
    assert len(counters) == 5  # encoder, decoder, U-Net, LPIPS, discriminator
    assert all(seen[1])
    assert seen[1] == seen[2] == seen[3] == [c.frame_count for c in counters]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: NAME, --photos, --run; accepted: "),
        ("mini --photos p --run r --steps 0", "argument --steps: found '0'; accepted: a whole"),
        ("mini --photos p --run r --base none", "--base: found no file none; accepted: "),
        ("refiner --photos p --run r --base x", "--base: found with refiner; accepted with it: "),
        ("prior-unet --photos p --run r", "--autoencoder: found none; accepted: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, capsys):
    assert cli.main(["train", *words.split()]) == 2
    line = capsys.readouterr().err
    assert line.startswith(message)
    assert line.count("\n") == 1
    assert "usage" not in line


def test_steps_batch_size_and_seed_override_the_recipe(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bokehdiff, "train", lambda recipe, *_, **__: asked.append(recipe))
    words = "train full --steps 3 --batch-size 4 --seed 5 --photos p --run"
    assert cli.main([*words.split(), str(tmp_path)]) == 0
    assert asked == [replace(FULL, steps=3, batch_size=4, seed=5)]


def test_prior_and_refiner_are_names_of_the_command_too(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(prior, "from_photos", lambda *given, **more: asked.append((given, more)))
    monkeypatch.setattr(refiner, "from_photos", lambda *given: asked.append(given))
    common = ["--photos", "p", "--run", str(tmp_path), "--steps", "3", "--slice-steps", "2"]
    own = ["--autoencoder", "a", "--factor", "8", "--compile", "--batch-size", "4"]
    assert cli.main(["train", "prior-unet", *common, *own]) == 0
    assert cli.main(["train", "refiner", *common, "--learning-rate", "0.5"]) == 0
    options = {"autoencoder": Path("a"), "factor": 8, "compiled": True, "steps": 3, "batch_size": 4}
    recipe = replace(refiner.RECIPE, steps=3, learning_rate=0.5)
    assert asked == [
        (("unet", Path("p"), tmp_path, 2), options),
        (Path("p"), recipe, tmp_path, 2),
    ]


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


def test_every_second_pair_of_a_disturbed_recipe_has_a_wrong_disparity_and_nothing_else_changes():
    photos = [torch.randint(256, (3, 96, 96), dtype=torch.uint8) for _ in range(2)]
    plain = replace(RECIPES["mini_paper"], batch_size=4)
    streams = [
        pair_stream(recipe, photos, None, "cpu", crop=32, halo=16)
        for recipe in (plain, replace(plain, disturbed=4.0), replace(plain, disturbed=4.0))
    ]
    true, wrong, again = (stream(1) for stream in streams)
    assert torch.equal(wrong.disparity, again.disparity)
    assert torch.equal(wrong.disparity[::2], true.disparity[::2])
    assert not torch.equal(wrong.disparity[1::2], true.disparity[1::2])
    for name in ("image", "target"):
        assert torch.equal(getattr(wrong, name), getattr(true, name))
    assert torch.equal(wrong.lens.focus, true.lens.focus)
