"""The one prompt of all pictures, embedded once by SDXL's two text encoders and kept on disk."""

import hashlib
from pathlib import Path

import torch

from bokehlib.bokehdiff.sdxl_files import ENCODERS, TOKENIZERS, weight_file
from bokehlib.io import tensorfiles
from bokehlib.io.errors import InputError
from bokehlib.io.places import cache_folder

PROMPT = "an excellent photo with a large aperture"  # of the published code


def embeddings(base: Path, prompt: str = PROMPT) -> tuple[torch.Tensor, torch.Tensor]:
    """What `BokehPipeline.set_prompt` takes, in float32 on the CPU.

    The text encoders are loaded only if this prompt was never embedded with these very files; they
    are gone from memory afterwards. The cache is `places.cache_folder`.

    Args:
        base: an SDXL base in the layout of diffusers.
        prompt: up to 77 tokens; the rest is cut off.

    Returns:
        The next to last hidden states of both encoders side by side, (1, 77, channels of both),
        and the second one's projected output, (1, channels).

    Raises:
        InputError: no text encoders in the base, or they do not fit their files.
    """
    kept = cache_folder() / f"prompt-{_key(base, prompt)}.safetensors"
    if not kept.is_file():
        hidden, pooled = _embed(base, prompt)
        found = {"hidden": hidden, "pooled": pooled}
        tensorfiles.write(found, kept, {"prompt": prompt}, dtype=torch.float32)
    tensors, _ = tensorfiles.read(kept)
    return tensors["hidden"], tensors["pooled"]


def _key(base: Path, prompt: str) -> str:
    """Stands for the prompt and for the encoders' files: their places, sizes and times."""
    digest = hashlib.sha256(prompt.encode())
    for part in (*ENCODERS, *TOKENIZERS):
        if not (base / part).is_dir():
            raise InputError(f"{base}: found no {part}; accepted: a base with its text encoders")
        for file in sorted((base / part).iterdir()):
            state = file.stat()
            digest.update(f"{file.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _embed(base: Path, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    hidden = []
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    for encoder, tokenizer, kind in zip(ENCODERS, TOKENIZERS, kinds, strict=True):
        half = weight_file(base, encoder).name.endswith(".fp16.safetensors")
        try:
            words = CLIPTokenizer.from_pretrained(base / tokenizer, local_files_only=True)
            network = kind.from_pretrained(
                base / encoder,
                dtype=torch.float32,
                variant="fp16" if half else None,
                use_safetensors=True,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{base / encoder}: {error}") from error
        asked = words(
            prompt,
            padding="max_length",
            max_length=words.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        found = network(asked.input_ids, output_hidden_states=True)
        hidden.append(found.hidden_states[-2])
        pooled = found[0]  # of the second one: the projected output
    return torch.cat(hidden, dim=-1), pooled
