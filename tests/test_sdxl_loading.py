"""The SDXL base, its prompt and its adapters: what is found, read, reported and refused."""

import gc
import json
import pickle
from dataclasses import replace

import made_up_sdxl as made
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import bokehlib
from bokehlib import methods, study
from bokehlib.bokehdiff import adapters, sdxl, sdxl_files
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.bokehdiff.sdxl import authors, loading, prompt
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.pisa.processor import pisa_sites

LENS = Lens(0.3, 20.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A base and the authors' adapter."""
    root = tmp_path_factory.mktemp("sdxl")
    made.write_base(root / "sdxl")
    made.write_authors(root / "bokehdiff")
    return root


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """No weights, no cache, no hub."""
    import huggingface_hub

    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("BOKEHLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BOKEHLIB_SDXL", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def load(files, **options):
    given = {"base": files / "sdxl", "adapter": files / "bokehdiff", "dtype": "float32"}
    return bokehlib.load("bokehdiff-sdxl", device="cpu", **given | options)


def picture(height=40, width=56):
    return torch.rand(1, 3, height, width), torch.rand(1, 1, height, width)


# --- The authors' adapter ---------------------------------------------------------------------


def test_every_tensor_of_the_published_format_is_used(files):
    report = load(files).report
    held = load_file(files / "bokehdiff" / "pytorch_lora_weights.safetensors")
    expected = {*held, *torch.load(files / "bokehdiff" / "vae.ckpt", weights_only=True)}
    assert set(report.used) == expected
    assert len(report.used) == len(expected)
    assert report.complete
    assert str(report) == f"{len(expected)} tensors used; 0 missing; 0 left over"


def test_a_layer_becomes_its_weight_plus_the_product_of_its_pair(files):
    found, base = load(files).pipeline, sdxl.tiny()
    held = made.lora(base.unet)
    layers = {name.rsplit(".lora_", 1)[0] for name in held}
    kinds = {n for n in made.LAYERS if any(layer.endswith(n) for layer in layers)}
    assert kinds == set(made.LAYERS)  # convolutions of 1 and 3 px and linear layers
    for layer in layers:
        down, up = (held[f"{layer}.lora_{half}.weight"] for half in "AB")
        x = torch.randn(1, down.shape[1], *(5,) * (down.ndim - 2))
        if down.ndim == 4:
            conv = torch.nn.functional.conv2d
            more = conv(conv(x, down, padding=down.shape[-1] // 2), up)
            same = {"padding": down.shape[-1] // 2}
            old, new = (
                conv(x, p.unet.get_parameter(f"{layer}.weight"), **same) for p in (base, found)
            )
        else:
            more = x @ down.T @ up.T
            old, new = (x @ p.unet.get_parameter(f"{layer}.weight").T for p in (base, found))
        torch.testing.assert_close(new, old + more, rtol=1e-4, atol=1e-5)
    merged = {f"{layer}.weight" for layer in layers}
    for name, value in base.unet.state_dict().items():
        assert name in merged or torch.equal(found.unet.state_dict()[name], value), name


def test_the_encoders_tensors_take_their_places_and_nothing_else_of_the_autoencoder_moves(files):
    found, base = load(files).pipeline.vae.state_dict(), sdxl.tiny().vae
    held = made.encoder(base)
    for name, value in base.state_dict().items():
        assert torch.equal(found[name], held.get(name, value)), name


def test_a_prefix_is_accepted_and_half_a_prefix_is_not(files, tmp_path):
    tensors = made.lora(sdxl.tiny().unet)
    prefixed = {f"unet.{name}": value for name, value in tensors.items()}
    report = load(files, adapter=made.write_authors(tmp_path / "a", prefixed)).report
    assert report.complete
    assert {n for n in report.used if not n.startswith("encoder.")} == set(prefixed)
    name = f"{made.FIRST}.lora_A.weight"
    made.write_authors(tmp_path / "b", prefixed | {name: tensors[name].clone()})
    with pytest.raises(InputError, match=r"with and without 'unet\.'; accepted: either"):
        load(files, adapter=tmp_path / "b")


def test_what_is_missing_and_what_is_left_over_is_named_and_said_aloud(files, tmp_path, caplog):
    tensors = made.lora(sdxl.tiny().unet)
    gone = {f"{made.FIRST}.lora_{half}.weight" for half in "AB"}
    tensors = {name: value for name, value in tensors.items() if name not in gone}
    tensors |= {"text_encoder.layer.lora_A.weight": torch.zeros(2, 2)}
    encoder = made.encoder(sdxl.tiny().vae)
    del encoder["encoder.conv_out.bias"]
    encoder |= {"decoder.conv_in.weight": torch.zeros(1)}
    report = load(files, adapter=made.write_authors(tmp_path, tensors, encoder)).report
    assert set(report.missing) == {*gone, "encoder.conv_out.bias"}
    assert set(report.left_over) == {"text_encoder.layer.lora_A.weight", "decoder.conv_in.weight"}
    assert set(report.used) == {*tensors, *encoder} - set(report.left_over)
    assert not report.complete
    (said,) = [record.getMessage() for record in caplog.records if record.name == loading.__name__]
    assert f"{len(report.used)} tensors used; 3 missing: " in said
    assert "2 left over: text_encoder.layer" in said


def foreign(tensors):
    return {f"transformer.{name}": value for name, value in tensors.items()}


def half(tensors):
    return {n: v for n, v in tensors.items() if n != f"{made.FIRST}.lora_B.weight"}


def wrong_rank(tensors):
    name = f"{made.FIRST}.lora_B.weight"
    return tensors | {name: torch.zeros(tensors[name].shape[0], 3)}


def wrong_width(tensors):
    return tensors | {f"{made.FIRST}.lora_A.weight": torch.zeros(2, 5)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (foreign, r"none of its \d+ tensors fits, the first is transformer\.down_blocks"),
        (lambda tensors: {}, "none of its 0 tensors fits, the first is nothing"),
        (half, rf"found {made.FIRST}\.lora_A\.weight without its other half; accepted: both"),
        (wrong_rank, r"to_q\.lora_B\.weight is \(16, 3\); accepted: \(16, 2\) .* has rank 2"),
        (wrong_width, r"to_q\.lora_A\.weight is \(2, 5\); accepted: \(2, 16\)"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused_and_nothing_has_changed(tmp_path, change, named):
    pipeline = sdxl.tiny()
    made.write_authors(tmp_path, change(made.lora(pipeline.unet)))
    with pytest.raises(InputError, match=named):
        authors.load(pipeline, *sdxl_files.adapter_files(tmp_path))
    for part in ("unet", "vae"):
        values = getattr(sdxl.tiny(), part).state_dict()
        assert all(
            torch.equal(values[n], v) for n, v in getattr(pipeline, part).state_dict().items()
        )


class RunsCode:
    """Would write a file on being unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("way", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))])
def test_a_pickle_that_would_run_code_is_refused_unrun(files, tmp_path, way):
    folder = made.write_authors(tmp_path / "adapter")
    trace = tmp_path / "it ran"
    way({"encoder.conv_in.weight": RunsCode(trace)}, folder / "vae.ckpt")
    with pytest.raises(InputError, match=r"vae\.ckpt: found a pickle that would run code; accepte"):
        load(files, adapter=folder)
    assert not trace.exists()
    way({"down_blocks": RunsCode(trace)}, folder / "pytorch_lora_weights.safetensors")
    with pytest.raises(InputError, match=r"lora_weights\.safetensors: .*accepted: a safetensors"):
        load(files, adapter=folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            {"encoder.conv_in.weight": torch.zeros(1)},
            r"conv_in\.weight is \(1,\); accepted: \(8, 3",
        ),
        ({"state_dict": {}}, "found dict of other things; accepted: a dictionary of tensors"),
        ([torch.zeros(1)], "found list of other things"),
        (
            {"decoder.conv_in.weight": torch.zeros(1)},
            "none of its 1 tensors fits, the first is dec",
        ),
        (None, "found no readable file"),
    ],
)
def test_an_encoder_file_that_does_not_fit_is_refused(files, tmp_path, content, named):
    folder = made.write_authors(tmp_path, encoder_tensors=content)
    if content is None:
        (folder / "vae.ckpt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match=rf"vae\.ckpt: .*{named}"):
        load(files, adapter=folder)


# --- Our own adapters -------------------------------------------------------------------------


def test_an_adapter_of_our_own_carries_its_recipe_and_is_merged(files, tmp_path):
    recipe = replace(study.AS_PUBLISHED, rank=2, timestep=249, semantics="ours")
    trained = sdxl.tiny(recipe)
    adapters.add_adapters(trained, recipe)
    with torch.no_grad():
        for value in adapters.trained(trained).values():
            value.copy_((0.2 * torch.randn(value.shape)).half())
    path = tmp_path / "bokehdiff-sdxl.safetensors"
    adapters.save_adapter(adapters.trained(trained), recipe, path, {"steps": 1})
    render = load(files, adapter=path)
    assert render.pipeline.config.timestep == 249
    assert set(render.report.used) == set(adapters.trained(trained))
    assert render.report.complete
    trained.set_prompt(*prompt.embeddings(files / "sdxl"))
    image, disparity = picture()
    found = render(image, disparity, LENS)
    expected = trained(image, disparity, LENS, output_type="pt").images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# --- The base ---------------------------------------------------------------------------------


def test_weights_are_found_where_the_others_are(files, monkeypatch):
    assert "SDXL base: found no folder and no hub copy SG161222" in methods.lacks("bokehdiff-sdxl")
    with pytest.raises(InputError, match=r"SDXL base: .*accepted: a folder or a hub id"):
        bokehlib.load("bokehdiff-sdxl", device="cpu")
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(files))
    assert methods.lacks("bokehdiff-sdxl") == ""
    assert len(methods.weights_hash("bokehdiff-sdxl")) == 64
    render = bokehlib.load("bokehdiff-sdxl", device="cpu")
    assert render.report.complete
    assert render.pipeline.unet.dtype == render.pipeline.vae.dtype == torch.bfloat16


def test_the_environment_names_a_base_and_a_subfolder_holds_the_authors_files(
    files, tmp_path, monkeypatch
):
    monkeypatch.setenv("BOKEHLIB_SDXL", str(files / "sdxl"))
    made.write_authors(tmp_path / "weights" / "bokehdiff", small=True)
    assert bokehlib.load("bokehdiff-sdxl", device="cpu").report.complete
    (tmp_path / "weights" / "bokehdiff-sdxl.safetensors").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"adapter: found .*sdxl\.safetensors and .*; accepted: one"
    ):
        bokehlib.load("bokehdiff-sdxl", device="cpu")


def test_nothing_is_fetched_from_the_hub_unless_asked_and_then_each_network_once(monkeypatch):
    with pytest.raises(InputError, match=r"no hub copy some/one; .*download=True fetches"):
        sdxl_files.base_folder("some/one")
    held = [
        *("model_index.json", "README.md", "all_in_one.safetensors", "tokenizer/merges.txt"),
        *("unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
        *("unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json"),
        *("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.fp16.safetensors"),
        *("text_encoder_2/model.safetensors", "unet/diffusion_pytorch_model.bin"),
    ]
    assert set(sdxl_files._wanted_of_base(held)) == set(held) - {
        *("README.md", "all_in_one.safetensors", "unet/diffusion_pytorch_model.bin"),
        "unet/diffusion_pytorch_model.safetensors",
    }


def test_a_base_in_half_precision_files_is_read_too(files, tmp_path):
    base = made.write_base(tmp_path / "half", half=True)
    whole, half = (loading.load_base(b, study.AS_PUBLISHED) for b in (files / "sdxl", base))
    for name, value in whole.unet.state_dict().items():
        assert torch.equal(half.unet.state_dict()[name], value.half().float()), name


def lack_a_tensor(base):
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors.pop("conv_in.weight")
    save_file(tensors, path, {"format": "pt"})


def another_noise(base):
    config = made.SCHEDULER | {"prediction_type": "v_prediction"}
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))


def only_a_pickle(base):
    (base / "vae" / "diffusion_pytorch_model.safetensors").rename(base / "vae" / "model.bin")


def an_inpainting_model(base):
    path = base / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"addition_embed_type": None}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lack_a_tensor, r"unet: 1 tensors are missing or do not fit, first conv_in\.weight"),
        (another_noise, r"found prediction_type 'v_prediction'; accepted: 'epsilon'"),
        (only_a_pickle, r"vae: found no weights; accepted: diffusion_pytorch_model\.safetensors"),
        (an_inpainting_model, "unet: found None with 4 channels; accepted: text_time with 4"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(tmp_path, change, named):
    base = made.write_base(tmp_path / "sdxl")
    change(base)
    with pytest.raises(InputError, match=named):
        loading.load_base(sdxl_files.base_folder(base), study.AS_PUBLISHED)


def test_semantics_choose_the_pipeline_and_ours_is_the_default(files):
    ours, theirs = load(files).pipeline, load(files, semantics="published").pipeline
    assert type(ours) is BokehPipeline
    assert type(theirs) is PublishedPipeline
    place = "down_blocks.1.attentions.0.transformer_blocks"
    assert pisa_sites(ours.unet) == [f"{place}.{n}.attn1" for n in (0, 1)]
    assert pisa_sites(theirs.unet) == []


# --- Precision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "upcast", "expected"),
    [
        ("float16", True, torch.float32),
        ("float16", False, torch.float16),
        ("bfloat16", True, torch.bfloat16),
    ],
)
def test_an_autoencoder_that_overflows_in_half_precision_is_not_put_into_it(
    dtype, upcast, expected
):
    pipeline = sdxl.tiny()
    pipeline.vae.register_to_config(force_upcast=upcast)
    loading.to_dtype(pipeline, loading.DTYPES[dtype])
    assert pipeline.vae.dtype == expected
    assert pipeline.unet.dtype == loading.DTYPES[dtype]


def test_a_large_activation_of_the_autoencoder_survives_half_precision():
    image, disparity = picture()
    exact = sdxl.tiny()
    with torch.no_grad():
        for pipeline in (exact, narrow := sdxl.tiny()):
            pipeline.vae.decoder.conv_in.weight.mul_(1e7)  # the group norm after it undoes this
            pipeline.vae.decoder.conv_in.bias.mul_(1e7)
    loading.to_dtype(narrow, torch.float16)
    expected, found = (p(image, disparity, LENS, output_type="pt").images for p in (exact, narrow))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


# --- The prompt -------------------------------------------------------------------------------


def test_the_prompt_is_the_next_to_last_state_of_both_encoders_and_the_seconds_output(files):
    hidden, pooled = prompt.embeddings(files / "sdxl")
    assert hidden.shape == (1, 77, 16)
    assert pooled.shape == (1, 8)
    kinds = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection)
    for number, kind in enumerate(kinds):
        suffix = "_2" * number
        words = transformers.CLIPTokenizer.from_pretrained(files / "sdxl" / f"tokenizer{suffix}")
        tokens = words.convert_tokens_to_ids(
            [f"{c}</w>" if last else c for w in prompt.PROMPT.split() for c, last in spelt(w)]
        )
        ids = [0, *tokens, 1]
        ids += [2 if number else 1] * (77 - len(ids))
        network = kind.from_pretrained(files / "sdxl" / f"text_encoder{suffix}")
        states = network(torch.tensor([ids]), output_hidden_states=True).hidden_states
        assert len(states) == 3  # the words and two layers
        torch.testing.assert_close(hidden[..., 8 * number : 8 * number + 8], states[1])
    end = network.text_model.final_layer_norm(states[2])[0, len(tokens) + 1]
    torch.testing.assert_close(pooled[0], network.text_projection(end))


def spelt(word):
    return [(letter, n == len(word) - 1) for n, letter in enumerate(word)]


def encoders_in_memory():
    kinds = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection)
    gc.collect()
    # Not isinstance: others' weak references answer for what is gone.
    return sum(issubclass(type(thing), kinds) for thing in gc.get_objects())


def test_the_text_encoders_leave_memory_and_are_not_needed_again(files, monkeypatch):
    before = encoders_in_memory()
    first = prompt.embeddings(files / "sdxl")
    assert encoders_in_memory() == before
    monkeypatch.setattr(prompt, "_embed", None)
    second = prompt.embeddings(files / "sdxl")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(TypeError):  # another prompt is another one
        prompt.embeddings(files / "sdxl", "a photo")


def test_other_encoders_are_another_prompt(tmp_path):
    base = made.write_base(tmp_path / "sdxl")
    before = prompt._key(base, prompt.PROMPT)
    assert prompt._key(base, prompt.PROMPT) == before
    (base / "text_encoder" / "model.safetensors").write_bytes(b"other")
    assert prompt._key(base, prompt.PROMPT) != before


def test_the_prompt_reaches_the_picture(files):
    image, disparity = picture()
    render = load(files)
    with_prompt = render(image, disparity, LENS)
    render.pipeline.prompt = None
    assert not torch.equal(with_prompt, render(image, disparity, LENS))
