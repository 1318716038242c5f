"""An SDXL base and the authors' adapter on disk, in their layouts, with a handful of channels."""

import json

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from bokehlib.bokehdiff import sdxl

RANK = 2
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FIRST = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
ENCODER = (  # every name of the authors' vae.ckpt, without weight and bias
    "conv_in",
    *(f"mid_block.attentions.0.{n}" for n in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")),
    *(f"mid_block.resnets.{i}.{n}" for i in (0, 1) for n in ("norm1", "conv1", "norm2", "conv2")),
    "conv_out",
)
# Every kind of layer of the U-Net's blocks that carries the authors' LoRA.
LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
    "time_emb_proj",
)


def write_base(folder, half=False):
    """All parts of a base; with `half` in files that are named and stored as half precision."""
    pipeline = sdxl.tiny()
    variant = "fp16" if half else None
    for part in ("vae", "unet"):
        network = getattr(pipeline, part)
        (network.half() if half else network).save_pretrained(folder / part, variant=variant)
    torch.manual_seed(1)
    words = ["<|startoftext|>", "<|endoftext|>", "!</w>", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: n for n, word in enumerate(words)}
    kinds = {"": CLIPTextModel, "_2": CLIPTextModelWithProjection}
    for number, kind in kinds.items():
        config = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=8,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
        network = kind(config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        network.save_pretrained(folder / f"text_encoder{number}", variant=variant)
        pad = "!</w>" if number else "<|endoftext|>"
        tokenizer = CLIPTokenizer(vocabulary, [], pad_token=pad, model_max_length=77)
        tokenizer.save_pretrained(folder / f"tokenizer{number}")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    return folder


def lora(unet, rank=RANK):
    """The authors' LoRA tensors for a U-Net, by the names that facts know of their file."""
    draw = torch.Generator().manual_seed(2)
    tensors = {}
    for name, module in unet.named_modules():
        if name.startswith(("down_blocks", "mid_block", "up_blocks")) and name.endswith(LAYERS):
            shape = module.weight.shape
            down = torch.randn(rank, *shape[1:], generator=draw)
            up = torch.randn(shape[0], rank, *(1,) * (len(shape) - 2), generator=draw)
            tensors[f"{name}.lora_A.weight"] = 0.2 * down
            tensors[f"{name}.lora_B.weight"] = 0.2 * up
    return tensors


def encoder(vae):
    """The authors' encoder tensors for an autoencoder."""
    draw = torch.Generator().manual_seed(3)
    state = vae.state_dict()
    names = [f"encoder.{part}.{kind}" for part in ENCODER for kind in ("weight", "bias")]
    return {n: state[n] + 0.2 * torch.randn(state[n].shape, generator=draw) for n in names}


def write_authors(folder, lora_tensors=None, encoder_tensors=None, small=False):
    """Both files; with `small` in the subfolder of the hub's repository."""
    pipeline = sdxl.tiny()
    place = folder / "small" if small else folder
    place.mkdir(parents=True, exist_ok=True)
    tensors = lora(pipeline.unet) if lora_tensors is None else lora_tensors
    save_file(tensors, place / "pytorch_lora_weights.safetensors", {"format": "pt"})
    torch.save(
        encoder(pipeline.vae) if encoder_tensors is None else encoder_tensors, place / "vae.ckpt"
    )
    return folder
