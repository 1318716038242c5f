"""Training at SDXL's shape: the profile, the published recipe, several processes, a killed one."""

import json
import multiprocessing
import os
import signal
import socket
from dataclasses import replace

import made_up_sdxl as made
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

import bokehlib
from bokehlib import cli
from bokehlib.bokehdiff import sdxl
from bokehlib.bokehdiff.adapters import add_adapters, recipe_of, trained
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.io import processes as sharing
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.pisa import authors as layer
from bokehlib.study import AS_PUBLISHED, FULL, LossWeights
from bokehlib.synthesis import Batch
from bokehlib.training import baselines, bokehdiff, discriminator, loop
from bokehlib.training.losses import BokehLoss, authors_edge
from bokehlib.training.profiles import PROFILES

RECIPE = replace(FULL, weights=LossWeights(1, 0, 1, 0), rank=2, batch_size=2, steps=2)
AUTHORS = replace(AS_PUBLISHED, weights=LossWeights(1, 0, 1, 0), rank=2, batch_size=2, steps=2)


def pairs(step):
    draw = torch.Generator().manual_seed(step)
    image = torch.rand(2, 3, 32, 32, generator=draw)
    disparity = torch.rand(2, 1, 32, 32, generator=draw)
    return Batch(image, disparity, 1 - image, Lens(torch.tensor([0.2, 0.7]), 32.0))


def run(run_dir, slice_steps=None, recipe=RECIPE):
    pipeline = sdxl.tiny(recipe)
    bokehdiff.train(recipe, run_dir, slice_steps, pipeline=pipeline, batch=pairs, halo=32)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_CACHE", str(tmp_path / "cache"))
    return made.write_base(tmp_path / "sdxl")


# --- The profile ------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [RECIPE, AUTHORS], ids=["full", "as_published"])
def test_an_sdxl_base_is_trained_and_its_adapter_renders_under_the_same_semantics(
    base, tmp_path, recipe
):
    pipeline = PROFILES["sdxl"].base(str(base), recipe)
    assert pipeline.unet.is_gradient_checkpointing
    assert pipeline.vae.is_gradient_checkpointing
    assert pipeline.prompt is not None
    bokehdiff.train(recipe, tmp_path / "run", pipeline=pipeline, batch=pairs, halo=32)
    adapter = tmp_path / "run" / "adapter.safetensors"
    assert recipe_of(adapter) == recipe
    render = bokehlib.load("bokehdiff-sdxl", device="cpu", base=base, adapter=adapter)
    assert render.report.complete
    wanted = PublishedPipeline if recipe is AUTHORS else sdxl.BokehPipeline
    assert type(render.pipeline) is wanted


def test_the_command_line_names_the_profile(base, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bokehdiff, "train", lambda *a, **options: asked.append((a[0], options)))
    words = f"train full --profile sdxl --base {base} --photos p --run {tmp_path}"
    assert cli.main(words.split()) == 0
    ((recipe, options),) = asked
    assert recipe == FULL
    assert (options["crop"], options["halo"]) == (512, 64)
    assert options["pipeline"].unet.config.addition_embed_type == "text_time"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mini --profile tiny", "argument --profile: "),
        (
            "mini --profile sdxl --base none",
            "SDXL base: found no folder and no hub copy none; acce",
        ),
        ("as_published", "--profile: found mini with the semantics 'published'; accepted"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, capsys):
    assert cli.main(f"train {words} --photos p --run r".split()) == 2
    line = capsys.readouterr().err
    assert line.startswith(message)
    assert line.count("\n") == 1


def gradients(pipeline, recipe):
    torch.manual_seed(0)
    add_adapters(pipeline, recipe)
    for name, value in trained(pipeline).items():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    pair = pairs(0)
    out = pipeline.transform(pair.image, pair.disparity, pair.lens, 30.0, 32)
    (out - pair.target).square().mean().backward()
    return {name: value.grad for name, value in trained(pipeline).items()}


@pytest.mark.parametrize(
    ("recipe", "kind"), [(RECIPE, sdxl.BokehPipeline), (AUTHORS, PublishedPipeline)]
)
def test_activations_that_are_computed_twice_give_the_same_gradients(recipe, kind):
    kept, again = (sdxl.tiny(recipe, kind=kind) for _ in range(2))
    for part in (again.unet, again.vae):
        part.enable_gradient_checkpointing()
    expected, found = gradients(kept, recipe), gradients(again, recipe)
    assert expected.keys() == found.keys()
    assert sum(float(g.abs().sum()) for g in expected.values()) > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)


# --- As published -----------------------------------------------------------------------------


def test_what_the_published_command_line_trains():
    pipeline = sdxl.tiny(AS_PUBLISHED)
    add_adapters(pipeline, AS_PUBLISHED)
    names = {n.replace("base_layer.", "") for n in trained(pipeline)}
    lora = {
        f"unet.{n}".replace("A.weight", "A.default.weight").replace("B.weight", "B.default.weight")
        for n in made.lora(sdxl.tiny().unet)
    }
    encoder = {f"vae.{n}" for n in made.encoder(sdxl.tiny().vae)}
    assert names == lora | encoder


def test_the_published_recipe_is_the_published_command_line():
    r = AS_PUBLISHED
    assert (r.learning_rate, r.warmup_steps, r.batch_size, r.steps) == (5e-5, 20, 1, 120_000)
    assert (r.rank, r.encoder_rate, r.timestep) == (8, 0.1, 499)
    assert r.weights == LossWeights(mse=1, perceptual=5, edge=1, adversarial=0.1)
    assert r.perceptual_net == "vgg"
    # Two layers count one call each, so after 120,000 steps it is about 2.4e5.
    assert bokehdiff.hardness_of(r, 0) == 3
    assert bokehdiff.hardness_of(r, 119_999) == pytest.approx(2.4e5, rel=1e-4)
    assert bokehdiff.hardness_of(FULL, 0) == bokehdiff.hardness_at(0)


def test_the_hardness_of_a_step_reaches_the_published_layer(tmp_path, monkeypatch):
    seen, attention = [], layer.published_attention

    def noted(*given, **options):
        seen.append((options["hardness"], options["segments"]))
        return attention(*given, **options)

    monkeypatch.setattr(layer, "published_attention", noted)
    pipeline = sdxl.tiny(AUTHORS, kind=PublishedPipeline)
    bokehdiff.train(AUTHORS, tmp_path, pipeline=pipeline, batch=pairs, halo=32)
    assert sorted(set(seen)) == [(3.0, 5), (5.0, 5)]


def test_the_adversarial_term_counts_from_its_step_on(tmp_path, monkeypatch):
    monkeypatch.setattr(loop._LossLog, "add", lambda self, step, parts: logged.append(parts))
    recipe = replace(RECIPE, weights=LossWeights(1, 0, 1, 0.1), adversarial_from=1)
    logged = []
    options = {"pipeline": sdxl.tiny(recipe), "judge": discriminator.tiny()}
    bokehdiff.train(recipe, tmp_path, batch=pairs, halo=32, **options)
    first, second = (float(parts["adversarial"].detach()) for parts in logged)
    assert first == 0
    assert second > 0
    assert logged[0]["discriminator_real"].item() > 0  # it learns from the first step


def test_the_encoder_learns_at_its_own_rate(tmp_path):
    module = torch.nn.ModuleDict({"vae": torch.nn.Linear(1, 1), "unet": torch.nn.Linear(1, 1)})
    schedule = loop.Schedule(steps=9, learning_rate=1e-3, slow="vae.", slow_rate=0.1)
    learner = loop._Learner(loop.Accelerator(), module, None, schedule)
    rates = {
        id(p): group["lr"] for group in learner.optimiser.param_groups for p in group["params"]
    }
    for name, parameter in module.named_parameters():
        expected = 1e-4 if name.startswith("vae.") else 1e-3
        assert rates[id(parameter)] == pytest.approx(expected)
    assert bokehdiff.schedule_of(AS_PUBLISHED, "cpu").slow_rate == 0.1
    assert len(loop._groups(dict(module.named_parameters()), loop.Schedule(9, 1e-3))) == 4


def test_the_authors_edge_loss_is_their_formula_written_as_a_loop():
    draw = torch.Generator().manual_seed(0)
    images = [2 * torch.rand(1, 1, 12, 18, generator=draw).double() - 1 for _ in range(3)]
    total = 0.0
    for scale in (1, 2, 3):
        p, t, s = (
            [
                [
                    float(x[0, 0, scale * i : scale * (i + 1), scale * j : scale * (j + 1)].mean())
                    for j in range(18 // scale)
                ]
                for i in range(12 // scale)
            ]
            for x in images
        )
        for down, right in ((1, 0), (0, 1)):
            terms = []
            for i in range(12 // scale - down):
                for j in range(18 // scale - right):
                    dp, dt, ds = (x[i + down][j + right] - x[i][j] for x in (p, t, s))
                    terms.append(abs(dp - dt) * (1 + max(abs(dt), abs(ds))))
            total += sum(terms) / len(terms) / 2 / scale
    assert float(authors_edge(*images)) == pytest.approx(total)
    assert authors_edge(images[0], images[0], images[1]) == 0
    own = BokehLoss(LossWeights(0, 0, 2, 0), edge="authors")(*images)["edge"]
    assert float(own) == pytest.approx(2 * total)
    with pytest.raises(InputError, match="edge: found 'x'; accepted: paper, authors"):
        BokehLoss(LossWeights(1, 0, 1, 0), edge="x")


# --- Several processes, and a killed one ------------------------------------------------------


def begin(work, run_dir, rank, world, port):
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items() if world > 1})
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "1"}
    AcceleratorState._reset_state(reset_partial_state=True)
    work(run_dir)


def in_processes(work, run_dir, world=1):
    """Run work(run_dir) in fresh processes that train together; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fresh = multiprocessing.get_context("spawn")  # a fork cannot go backward after its parent did
    processes = [
        fresh.Process(target=begin, args=(work, run_dir, rank, world, port))
        for rank in range(world)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=300)
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()


def leave_gradients(run_dir):
    clip, gradients = loop.Accelerator.clip_grad_norm_, {}

    def noted(self, parameters, norm):
        if not gradients:  # of the first step: later ones start from other weights
            gradients.update({str(n): p.grad.clone() for n, p in enumerate(parameters)})
        return clip(self, parameters, norm)

    transform, seen = sdxl.BokehPipeline.transform, []

    def counted(self, image, *given):
        seen.append(len(image))
        return transform(self, image, *given)

    sdxl.BokehPipeline.transform = counted
    loop.Accelerator.clip_grad_norm_ = noted
    run(run_dir)
    rank = os.environ.get("RANK", "0")
    (run_dir / f"pairs-{rank}.json").write_text(json.dumps(seen))
    if sharing.is_main():
        save_file(gradients, run_dir / "gradients.safetensors")


def test_two_processes_have_the_gradients_of_one(tmp_path):
    assert in_processes(leave_gradients, tmp_path / "one") == [0]
    assert in_processes(leave_gradients, tmp_path / "two", world=2) == [0, 0]
    one, two = (load_file(tmp_path / n / "gradients.safetensors") for n in ("one", "two"))
    shares = {f.parent.name + f.stem: json.loads(f.read_text()) for f in tmp_path.glob("*/pairs*")}
    assert shares == {"onepairs-0": [2, 2], "twopairs-0": [1, 1], "twopairs-1": [1, 1]}
    assert one.keys() == two.keys()
    assert max(float(g.abs().max()) for g in one.values()) > 1e-4
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-6)
    ends = [json.loads((tmp_path / n / "progress.json").read_text()) for n in ("one", "two")]
    assert ends[0] == ends[1]
    assert (tmp_path / "two" / "adapter.safetensors").is_file()


def leave_shares_of_a_rival(run_dir):
    part, seen = Batch.part, []

    def counted(self, rows):
        own = part(self, rows)
        seen.append(len(own.image))
        return own

    Batch.part = counted
    baselines.train("deeplens-retrained", run_dir, recipe=RECIPE, batch=pairs)
    (run_dir / f"pairs-{os.environ['RANK']}.json").write_text(json.dumps(seen))


def test_two_processes_share_a_rivals_pairs_and_one_writes_its_weights(tmp_path):
    assert in_processes(leave_shares_of_a_rival, tmp_path, world=2) == [0, 0]
    shares = [json.loads((tmp_path / f"pairs-{rank}.json").read_text()) for rank in (0, 1)]
    assert shares == [[1, 1], [1, 1]]
    assert (tmp_path / "deeplens-retrained.safetensors").is_file()


def test_pairs_that_processes_cannot_share_are_refused(monkeypatch):
    class Three:
        num_processes, process_index = 3, 1

    monkeypatch.setattr(sharing, "state", Three)
    assert loop.own_part(6) == slice(2, 4)
    with pytest.raises(InputError, match="--batch-size: found 4 for 3 processes; accepted: a mult"):
        loop.own_part(4)


def test_a_part_of_a_batch_keeps_pairs_and_lenses_together():
    whole = pairs(0)
    second = whole.part(slice(1, 2))
    for name in ("image", "disparity", "target"):
        assert torch.equal(getattr(second, name), getattr(whole, name)[1:])
    assert second.lens.focus.tolist() == pytest.approx([0.7])
    assert second.lens.aperture.tolist() == [32.0]
    assert isinstance(second.lens, Lens)


def be_killed_in_the_second_save(run_dir):
    run(run_dir, 1)
    save = loop.Accelerator.save_state

    def killed(self, folder):
        save(self, folder)
        with open(os.path.join(folder, "optimizer.bin"), "wb") as file:
            file.write(b"half a fi")
        os.kill(os.getpid(), signal.SIGKILL)

    loop.Accelerator.save_state = killed
    run(run_dir, 1)


def test_a_run_killed_in_the_middle_of_a_save_goes_on_from_the_checkpoint_before(tmp_path):
    codes = in_processes(be_killed_in_the_second_save, tmp_path / "cut")
    assert codes == [-signal.SIGKILL]
    assert json.loads((tmp_path / "cut" / "progress.json").read_text())["steps"] == 1
    assert (tmp_path / "cut" / "state.part" / "optimizer.bin").read_bytes() == b"half a fi"
    for name in ("cut", "whole"):
        run(tmp_path / name)
    cut, whole = (load_file(tmp_path / n / "adapter.safetensors") for n in ("cut", "whole"))
    assert cut.keys() == whole.keys()
    assert all(torch.equal(cut[name], whole[name]) for name in whole)
