"""Rivals that are trained here: their networks, weight files and training."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from networks import random_pairs
from torch.nn import functional as F

from bokehlib import cli, methods
from bokehlib.baselines import bokehme, deeplens, mpib, restormer, trained
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import METHODS, MINI, RETRAINED, LossWeights
from bokehlib.study.recipes import BASELINE
from bokehlib.training import baselines, loop

RIVALS = RETRAINED
RECIPE = replace(MINI, weights=LossWeights(20, 0, 1, 0), batch_size=2, steps=4)


def count(network):
    return sum(p.numel() for p in network.parameters())


def pairs(step):
    return random_pairs(step, 40, (16.0, 8.0))


@pytest.fixture(params=RIVALS)
def rival(request):
    if METHODS[request.param].needs:
        pytest.importorskip("cv2")
    return request.param


def run(folder, name, *slices):
    for steps in slices:
        values = baselines.train(name, folder, steps, recipe=RECIPE, batch=pairs)
    return values


# --- Networks --------------------------------------------------------------------------------


def test_all_embedded_files_together_stay_within_three_megabytes():
    networks = [baselines.maker(name)(name, False) for name in RIVALS]
    assert 1e6 < 2 * sum(map(count, networks)) < 2.95e6  # fp16
    assert min(map(count, networks)) > 200_000


def test_restormers_embedded_file_stays_within_its_share():
    assert 2 * count(restormer.network("restormer-retrained")) < 0.56e6


def test_no_training_of_ours_carries_the_papers_label():
    for name in RIVALS:
        method = METHODS[name]
        assert method.published == ""
        assert method.label.endswith("(retrained)")
        assert "from scratch on our data" in method.phrase


def test_the_paper_width_of_restormer_has_the_published_number_of_parameters():
    # 26,126,644 for three channels; here there are disparity and blur radius as well.
    first = 2 * 48 * 3 * 3
    assert count(restormer.network("restormer-retrained", True)) == 26_126_644 + first


def test_the_paper_widths_of_mpib_are_those_of_resnet_18():
    encoder = mpib.Mpib().mpinet.encoder
    assert count(encoder) == 11_176_512 + 64 * 7 * 7  # without its classifier, disparity added


def test_any_size_goes_in_and_comes_out(rival):
    network = baselines.maker(rival)(rival, False)
    for height, width in ((33, 47), (40, 24)):
        image, disparity = torch.rand(1, 3, height, width), torch.rand(1, 1, height, width)
        with torch.no_grad():
            assert network(image, disparity, Lens(0.4, 12.0)).shape == image.shape


def test_focus_aperture_and_disparity_all_change_the_picture(rival):
    torch.manual_seed(3)
    network = baselines.maker(rival)(rival, False)
    image, disparity = torch.rand(1, 3, 40, 40), torch.rand(1, 1, 40, 40)
    with torch.no_grad():
        found = network(image, disparity, Lens(0.4, 12.0))
        for other in ((disparity, Lens(0.9, 12.0)), (disparity, Lens(0.4, 30.0)),
                      (disparity.flip(-1), Lens(0.4, 12.0))):  # fmt: skip
            assert (network(image, *other) - found).abs().max() > 1e-5


def test_restormers_attention_is_among_channels_and_sees_the_whole_picture():
    attention = restormer.ChannelAttention(8, 2)
    x = torch.rand(1, 8, 9, 11)
    q, k, v = attention.qkv(x).flatten(2).chunk(3, dim=1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = F.normalize(q[:, head], dim=-1) @ F.normalize(k[:, head], dim=-1).mT
        heads.append(weights.softmax(-1) @ v[:, head])
    wanted = attention.out(torch.cat(heads, dim=1).unflatten(-1, (9, 11)))
    assert torch.allclose(attention(x), wanted, atol=1e-6)


def test_deeplens_adds_31_features_by_kernels_that_sum_to_one(monkeypatch):
    blur = deeplens.LensBlur(16)
    assert sum(stage.out_channels for stage in blur.stages) + 3 == 3 * deeplens.FEATURES
    maps = torch.rand(1, 5, 12, 12)
    for stage in blur.stages:  # all features alike: whatever the kernels, the sum is that feature
        torch.nn.init.zeros_(stage.weight)
        torch.nn.init.constant_(stage.bias, 0.3)
    maps[:, :3] = 0.3
    assert torch.allclose(blur(maps), torch.full((1, 3, 12, 12), 0.3), atol=1e-6)


# --- Weight files ----------------------------------------------------------------------------


def test_a_rival_lacks_its_weights_until_the_user_has_them_and_then_renders(
    rival, tmp_path, monkeypatch
):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    if methods.find_weights(f"{rival}.safetensors") is None:
        assert methods.lacks(rival).startswith(f"no weights {rival}.safetensors")
    network = baselines.maker(rival)(rival, False)
    values = dict(network.named_parameters())
    trained.save(values, tmp_path / f"{rival}.safetensors", rival, False, {"steps": 1})
    assert methods.lacks(rival) == ""
    render = methods.load(rival, "cpu")
    image, disparity = torch.rand(2, 3, 33, 41), torch.rand(2, 1, 33, 41)
    lens = Lens(torch.tensor([0.4, 0.4]), torch.tensor([0.0, 15.0]))
    found = render(image, disparity, lens)
    assert found.shape == image.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(found[0], image[0])
    assert not torch.equal(found[1], image[1])
    assert torch.equal(found, render(image, disparity, lens))


def test_weights_of_another_method_or_shape_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    values = dict(bokehme.network("bokehme-retrained").named_parameters())
    file = tmp_path / "restormer-retrained.safetensors"
    trained.save(values, file, "bokehme-retrained", False, {})
    with pytest.raises(InputError, match=r"found weights of bokehme-retrained; accepted: of rest"):
        methods.load("restormer-retrained", "cpu")
    trained.save(values, file, "restormer-retrained", False, {})
    with pytest.raises(InputError, match="tensors do not fit"):
        methods.load("restormer-retrained", "cpu")


def test_a_file_of_the_papers_width_is_read_at_that_width(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    wide = bokehme.network("bokehme-retrained", True)
    name = "bokehme-retrained"
    trained.save(dict(wide.named_parameters()), tmp_path / f"{name}.safetensors", name, True, {})
    assert count(trained.read(name, bokehme.network)) == 923_664 + 240_076


# --- Training --------------------------------------------------------------------------------


def test_two_slices_of_two_steps_are_four_steps_and_the_method_reads_what_came_out(
    rival, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "device", lambda: "cpu")
    whole = run(tmp_path / "whole", rival, 4)
    sliced = run(tmp_path / "sliced", rival, 2, 2)
    assert whole.keys() == sliced.keys()
    assert all(torch.equal(whole[name], sliced[name]) for name in whole)
    torch.manual_seed(RECIPE.seed)
    assert any(
        not torch.equal(whole[n], p)
        for n, p in baselines.maker(rival)(rival, False).named_parameters()
    )
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path / "sliced"))
    pair = pairs(0)
    assert methods.load(rival, "cpu")(pair.image, pair.disparity, pair.lens).isfinite().all()


def test_every_parameter_of_a_rival_learns(rival):
    network = baselines.maker(rival)(rival, False)
    pair = pairs(0)
    made = network(pair.image, pair.disparity, pair.lens)
    (made - pair.target).square().mean().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_a_rival_learns_to_do_better(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "device", lambda: "cpu")
    quick = replace(RECIPE, steps=40, warmup_steps=0)
    baselines.train("deeplens-retrained", tmp_path, recipe=quick, batch=pairs)
    rows = list(csv.DictReader((tmp_path / "loss.csv").open()))
    assert float(rows[-1]["mse"]) < 0.9 * float(rows[0]["mse"])


def test_steps_batch_size_and_seed_override_the_default_recipe(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(baselines, "train", lambda name, *_, **how: asked.append((name, how)))
    words = "restormer-retrained --steps 3 --batch-size 4 --seed 5 --paper-width --photos p --run"
    assert cli.main(["train", *words.split(), str(tmp_path)]) == 0
    ((name, how),) = asked
    assert name == "restormer-retrained"
    assert how["recipe"] == replace(BASELINE, steps=3, batch_size=4, seed=5)
    assert how["paper_width"]


def test_the_trained_file_says_what_it_was_trained_with(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "device", lambda: "cpu")
    run(tmp_path, "deeplens-retrained", 1)
    from safetensors import safe_open

    with safe_open(tmp_path / "deeplens-retrained.safetensors", "pt") as file:
        inside = {key: json.loads(value) for key, value in file.metadata().items()}
    note = {"steps": 1, "batch_size": 2, "seed": 0}
    assert inside == {"method": "deeplens-retrained", "paper_width": False, "note": note}
