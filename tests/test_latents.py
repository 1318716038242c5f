"""Latents of any size and channels: their networks, units, training, scores and table."""

from dataclasses import replace

import pytest
import torch
from networks import random_pairs

from bokehlib import cli, data, study
from bokehlib.bokehdiff import adapters, mini
from bokehlib.extras import latents
from bokehlib.optics import Lens, token_radius
from bokehlib.pisa.processor import pisa_sites
from bokehlib.study import LATENTS, Latent, Lessons, LossWeights, Recipe, results, tables
from bokehlib.training import bokehdiff, loop, prior

LENS = Lens(0.3, 20.0)
COARSE = LATENTS["f8-c4"]
QUIET = replace(study.LATENT_RECIPE, weights=LossWeights(1, 0, 1, 0.5))


def scene(height=64, width=96):
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=draw)
    return image, torch.rand(1, 1, height, width, generator=draw)


def pairs(step):
    return random_pairs(step, 64, (24.0, 16.0))


# --- Networks and units ----------------------------------------------------------------------


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS)
def test_a_latent_has_its_size_and_channels_in_every_network(latent):
    pipeline = mini.tiny(latent=latent)
    image = scene()[0]
    with torch.no_grad():
        found = pipeline.encode(image)
        again = pipeline.decode(found)
    assert found.shape == (1, latent.channels, 64 // latent.factor, 96 // latent.factor)
    assert again.shape == image.shape
    assert pipeline.latent_stride == latent.factor
    assert pipeline.size_multiple == 4 * latent.factor
    assert latent.share == pytest.approx(found.numel() / image.numel())


def test_the_embedded_latent_is_that_of_the_weight_file():
    assert study.EMBEDDED_LATENT in LATENTS.values()
    _, metadata = mini.tensorfiles.read(mini.need_weights(mini.BASE))
    config = metadata["configs"]["vae"]
    levels, channels = len(config["block_out_channels"]), config["latent_channels"]
    assert Latent(2 ** (levels - 1), channels) == study.EMBEDDED_LATENT


@pytest.mark.parametrize(("name", "strides"), [("f4-c8", (8, 16)), ("f8-c8", (8, 16, 32))])
def test_pisas_tokens_are_as_many_pixels_as_their_grids_say_from_8_px_up(name, strides):
    latent = LATENTS[name]
    pipeline = mini.tiny(latent=latent, fine=latent.fine)
    disparity = scene()[1]
    found = pipeline.token_optics(disparity, LENS, 1e6)
    assert len(pisa_sites(pipeline.unet)) == len(strides)
    assert {here.grid for here in found.values()} == {(64 // s, 96 // s) for s in strides}
    for here in found.values():  # radii are in tokens of this very grid
        expected = token_radius(disparity, LENS, here.grid)
        torch.testing.assert_close(here.radius, expected)
    with torch.no_grad():
        out = pipeline.transform(*scene(50, 70), LENS)
    assert out.shape == (1, 3, 50, 70)


def test_the_optics_channels_and_the_detail_follow_the_latents_of_8_px():
    recipe = Recipe(optics_channels=True, classical=True, detail=True)
    pipeline = mini.tiny(recipe, latent=COARSE, fine=True)
    assert pipeline.extra_channels == 4 + 2
    with torch.no_grad():
        assert pipeline.transform(*scene(40, 56), Lens(0.3, 8.0)).shape == (1, 3, 40, 56)


def test_the_halo_of_latents_of_8_px_is_whole_tokens_of_32_px_and_tiles_meet_without_seams():
    pipeline = mini.tiny(latent=COARSE, fine=True)
    image, disparity = scene(40, 640)
    assert pipeline.halo(disparity, Lens(0.0, 20.0)) == 32
    assert pipeline.halo(disparity, Lens(0.0, 40.0)) == 64
    lens = Lens(0.0, 20.0)
    whole = pipeline(image, disparity, lens, output_type="pt").images
    tiled = pipeline(image, disparity, lens, output_type="pt", tile=320).images
    assert tiled.shape == whole.shape
    steps = [(x[..., 1:] - x[..., :-1]).abs().mean((0, 1, 2)) for x in (tiled, whole)]
    assert steps[0].max() < 1.3 * steps[1].max()
    with pytest.raises(ValueError, match="accepted: multiples of 32 px"):
        pipeline(image, disparity, lens, output_type="pt", tile=304)


# --- Training --------------------------------------------------------------------------------


def test_latents_of_8_px_train_two_steps_and_render_from_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(bokehdiff, "pair_stream", lambda *_, **__: pairs)
    monkeypatch.setattr(bokehdiff, "training_photos", lambda _: [])
    draw = torch.rand(2, 3, 64, 64)
    monkeypatch.setattr(prior, "draw_crops", lambda *_: lambda step: draw)
    lessons = Lessons(2, 2, 2, 2, 2)
    files = latents.train(COARSE, tmp_path, tmp_path / "run", lessons, QUIET, small=True)
    assert [loop.steps_done(tmp_path / "run" / stage) for stage in latents.STAGES] == [2, 2, 2]
    untouched = mini.load_base(files[0])
    assert untouched.vae.config.scaling_factor != 1
    render, scenes = mini.renderer(*files), scene(72, 100)
    found = render(*scenes, LENS)
    assert found.shape == scenes[0].shape
    before = untouched(*scenes, LENS, output_type="pt").images
    assert not torch.equal(found, before)
    stages = [file.stat().st_mtime_ns for file in files]
    latents.train(COARSE, tmp_path, tmp_path / "run", lessons, QUIET, small=True)
    assert stages == [file.stat().st_mtime_ns for file in files]  # what stands stands


def test_the_whole_network_is_tuned_and_nothing_else_differs_from_the_tables_complete_model():
    twin = study.TRAININGS["full-whole-s0"]
    assert twin == study.LATENT_RECIPE
    assert Lessons().one_step == twin.steps
    assert Lessons().pairs == twin.batch_size


# --- Scores and table ------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A latent measured on one photograph and one scene, by the command of a smoke run."""
    base, adapter = tmp_path / "base.safetensors", tmp_path / "adapter.safetensors"
    mini.save_base(mini.tiny(latent=COARSE, fine=True), base, {})
    pipeline = mini.load_base(base, QUIET)
    adapters.add_adapters(pipeline, QUIET)
    adapters.save_adapter(adapters.trained(pipeline), QUIET, adapter, {})
    photo = dict([next(iter(data.photo_paths().items()))])
    monkeypatch.setattr(latents, "photo_paths", lambda: photo)
    monkeypatch.setattr(latents, "CENTRE", (64, 96))
    monkeypatch.setattr(latents, "train", lambda *_, **__: (base, adapter))
    monkeypatch.setattr(latents.loop, "steps_done", lambda _: 7)
    lessons = Lessons(2, 2, 2, 2, 2)
    latents.measure_latent("f8-c4", tmp_path, tmp_path / "run", tmp_path, lessons, smoke=True)
    return tmp_path, base


def test_a_latents_rows_are_those_of_its_photographs_and_of_the_benchmark(measured):
    root, base = measured
    rows = results.read_probe("latents", root)
    assert [*rows["what"]] == ["reconstruction", "bokeh", "bokeh"]
    assert set(rows["method"]) == {"f8-c4"}
    ((_, path),) = latents.photo_paths().items()
    photo = torch.from_numpy(latents.read_image(path)).permute(2, 0, 1)[None]
    top, left = (photo.shape[-2] - 64) // 2, (photo.shape[-1] - 96) // 2
    photo = photo[..., top : top + 64, left : left + 96]
    pipeline = mini.load_base(base)
    with torch.no_grad():
        copy = pipeline.decode(pipeline.encode(photo)).clamp(0, 1)
    expected = float(-10 * torch.log10((copy - photo).square().mean()))
    assert rows["psnr"][0] == pytest.approx(expected, abs=1e-3)


def test_the_stamp_says_what_was_trained_how_long_and_the_caption_repeats_it(measured):
    root, _ = measured
    stamps = [results.read_provenance("latents", name, root=root) for name in LATENTS]
    told = tables.trained_how(stamps)
    assert told.count("autoencoder 7 steps of 2 crops of 192 px") == 1
    assert "on cpu" in told
    assert tables.trained_how([{}]) == ""


def made_up(name, gain, images=("a", "b", "c")):
    rows = [("reconstruction", "photo", 0, 30.0 + gain)]
    rows += [("bokeh", image, blur, 25.0 + gain) for image in images for blur in (0, 1)]
    return [
        {"what": what, "image": image, "blur": blur, "psnr": psnr, "lpips_alex": 0.1}
        for what, image, blur, psnr in rows
    ]


def test_the_table_compares_each_latent_with_the_embedded_one_and_says_what_was_not_run(tmp_path):
    for name, gain in {"f4-c8": 0.0, "f8-c4": -2.0}.items():
        results.write_probe(made_up(name, gain), {}, "latents", name, tmp_path)
    frame = tables.latents(results.read_probe("latents", tmp_path))
    table = frame.set_index("latent")
    assert list(table.index) == [latent.label for latent in LATENTS.values()]
    row = table.loc["8 px, 4 channels"]
    assert (row["psnr_copy"], row["psnr"], row["images"]) == (28.0, 23.0, 6)
    assert row["psnr_difference"] == pytest.approx(-2)
    assert row["psnr_verdict"] == "worse"
    shown = tables.display(frame, bold="{}").set_index("Latent")["PSNR difference ↑"]
    assert shown["4 px, 8 channels"] == "–"
    assert shown["4 px, 16 channels"] == "not run"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("latents --photos p --run r --steps 3", "--steps: found with latents; accepted: without"),
        ("latents --photos p --run {file}", "--run: found {file}, not a folder; accepted: a"),
        ("f4-c4 --photos {none} --run {none}/run", "photos: {none}: found none; accepted: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, tmp_path, capsys, loud):
    (tmp_path / "file").touch()
    places = {"file": tmp_path / "file", "none": tmp_path / "none"}
    assert cli.main(["train", *words.format(**places).split()]) == 2
    line = capsys.readouterr().err
    assert line.startswith(message.format(**places))
    assert line.count("\n") == 1
    assert not places["none"].exists()


# --- Attention at the latents' own size ------------------------------------------------------


@pytest.fixture
def fine():
    return mini.tiny(study.BEYOND["mini_fine"])


def test_finer_tokens_change_nothing_before_they_are_trained_and_have_their_own_optics(fine):
    plain = mini.tiny(study.MINI_PAPER)
    with torch.no_grad():
        found, before = (p.transform(*scene(), LENS) for p in (fine, plain))
    torch.testing.assert_close(found, before, rtol=0, atol=1e-5)
    assert {here.grid for here in fine.token_optics(scene()[1], LENS, 1e6).values()} == {
        (16, 24),
        (8, 12),
        (4, 6),
    }


def test_a_grafted_network_is_of_the_shape_of_one_built_with_finer_tokens(fine):
    built = mini.tiny(fine=True).unet
    assert fine.unet.config.down_block_types == built.config.down_block_types
    assert {n: v.shape for n, v in fine.unet.state_dict().items()} == {
        n: v.shape for n, v in built.state_dict().items()
    }
    weights = mini.tiny(fine=True, recipe=study.BEYOND["mini_fine"]).unet.state_dict()
    assert all(torch.equal(v, weights[n]) for n, v in built.state_dict().items())


def test_new_layers_are_trained_whole_and_every_other_by_lora(fine):
    recipe = replace(study.BEYOND["mini_fine"], rank=2)
    adapters.add_adapters(fine, recipe)
    names = [n for n in adapters.trained(fine) if n.startswith("unet.")]
    new = [n for n in names if n.startswith(f"unet.{adapters.FINE}.")]
    assert len(new) == len([*fine.unet.down_blocks[0].attentions.parameters()])
    assert not [n for n in new if "lora" in n]
    assert all("lora" in n for n in set(names) - set(new))
    out = fine.transform(*scene(), LENS)
    (out - scene()[0]).square().mean().backward()
    last = fine.unet.down_blocks[0].attentions[0].proj_out.weight.grad
    assert last.abs().sum() > 0


def test_the_plain_control_has_the_same_layers_and_no_pisa_at_4_px():
    control = mini.tiny(study.BEYOND["mini_fine_plain"])
    fine = mini.tiny(study.BEYOND["mini_fine"])
    assert control.unet.state_dict().keys() == fine.unet.state_dict().keys()
    assert set(pisa_sites(fine.unet)) - set(pisa_sites(control.unet)) == {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    }
