"""A folder of RGBA foregrounds, as the paper has them: painted, sifted, written for synthesis."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from bokehlib.bokehdiff import sdxl, sdxl_files
from bokehlib.bokehdiff.sdxl import loading, prompt
from bokehlib.extras import layerdiffuse
from bokehlib.io import images, tensorfiles
from bokehlib.io.errors import InputError
from bokehlib.study import FOREGROUND_NEGATIVE, Pisa, Recipe

SIZE = 1024  # px a side
PLAIN = Recipe(pisa=Pisa(sites=()))  # SDXL as it is
CLEAR, SOLID = 0.05, 0.95  # alpha below and above which a pixel is wholly one of both


@dataclass(frozen=True)
class Limits:
    """What a foreground may be like to be kept, shares from 0 to 1."""

    area: tuple[float, float] = (0.05, 0.7)  # of the picture that it covers
    border: float = 0.05  # at most, of the picture's border that it covers: it is cut off there
    softness: tuple[float, float] = (0.002, 0.6)  # half-transparent, of what is not wholly clear


ALL = Limits((0.0, 1.0), 1.0, (0.0, 1.0))


@dataclass(frozen=True)
class Measured:
    """The shares that `Limits` limits."""

    area: float
    border: float
    softness: float


def measure(alpha: np.ndarray) -> Measured:
    """What an alpha (H, W) in [0, 1] is like."""
    edge = np.ones(alpha.shape, bool)
    edge[1:-1, 1:-1] = False
    there = alpha > CLEAR
    half = there & (alpha < SOLID)
    softness = half.sum() / max(there.sum(), 1)
    return Measured(*(round(float(x), 6) for x in (alpha.mean(), there[edge].mean(), softness)))


def verdict(found: Measured, limits: Limits = Limits()) -> str:
    """Why a foreground is not kept, "" if it is."""
    if not limits.area[0] <= found.area <= limits.area[1]:
        return f"covers {found.area:.1%} of the picture"
    if found.border > limits.border:
        return f"is cut off along {found.border:.1%} of the border"
    if not limits.softness[0] <= found.softness <= limits.softness[1]:
        return f"is half-transparent in {found.softness:.1%} of its area"
    return ""


class Painter:
    """Prompt and seed to RGBA (H, W, 4) in [0, 1]; the same twice for the same of both.

    Attributes:
        report: what became of the attention offsets.
    """

    def __init__(self, unet, vae, decoder, embed, report: Any = "", size: int = SIZE):
        """Take the networks; `embed` maps a prompt to hidden states and pooled output."""
        self.unet, self.vae, self.decoder, self.embed = unet, vae, decoder, embed
        self.report, self.size = report, size

    def __call__(self, asked: str, seed: int, steps: int = layerdiffuse.STEPS) -> np.ndarray:
        """Paint."""
        both = self.embed(asked), self.embed(FOREGROUND_NEGATIVE)
        latent = layerdiffuse.paint(self.unet, *both, (self.size, self.size), seed, steps)
        rgba = layerdiffuse.decode(self.decoder, self.vae, latent)
        return rgba[0].permute(1, 2, 0).cpu().numpy()


def lacks(base: str = "", weights: str = "") -> str:
    """What LayerDiffuse needs and does not find, in one line; "" if it is ready."""
    try:
        sdxl_files.base_folder(base)
        sdxl_files.layerdiffuse_files(weights)
    except InputError as error:
        return str(error)
    return ""


def load(base: str = "", weights: str = "", device: str = "cpu") -> Painter:
    """The painter with SDXL and LayerDiffuse's weights, in bfloat16 on a GPU.

    Args:
        base: folder or hub id of an SDXL base; see `sdxl_files.base_folder`.
        weights: folder or hub id of LayerDiffuse's two files; "" = `layerdiffuse` in
            BOKEHLIB_WEIGHTS, else the hub's own cache.
        device: "cpu" or "cuda".

    Raises:
        InputError: something is not here or does not fit.
    """
    folder, (offsets, decoder_file) = (
        sdxl_files.base_folder(base),
        sdxl_files.layerdiffuse_files(weights),
    )
    pipeline = loading.load_base(folder, PLAIN)
    report = layerdiffuse.add_offsets(pipeline.unet, tensorfiles.read(offsets)[0])
    decoder = layerdiffuse.TransparentDecoder().eval()
    found, _ = tensorfiles.read(decoder_file)
    shapes = {name: value.shape for name, value in decoder.state_dict().items()}
    if odd := [
        n for n in sorted({*found, *shapes}) if n not in found or found[n].shape != shapes.get(n)
    ]:
        raise InputError(
            f"{decoder_file}: {len(odd)} tensors do not fit, first {odd[0]}; accepted: the "
            "published transparent decoder"
        )
    decoder.load_state_dict(found)
    loading.to_dtype(pipeline, torch.bfloat16 if device != "cpu" else torch.float32)
    for part in (pipeline.unet, pipeline.vae, decoder):
        part.to(device)
    embed = lambda text: prompt.embeddings(folder, text)  # noqa: E731
    return Painter(pipeline.unet, pipeline.vae, decoder, embed, report)


def tiny(size: int = 64) -> Painter:
    """The same parts with a handful of channels and random weights: smoke runs and tests."""
    pipeline = sdxl.tiny(PLAIN)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = layerdiffuse.TransparentDecoder((4, 4, 8, 8, 8, 8, 8), head=4).eval()
        embedded = torch.randn(1, 77, 16), torch.randn(1, 8)
    return Painter(pipeline.unet, pipeline.vae, decoder, lambda text: embedded, size=size)


def write(
    painter: Painter,
    prompts: Sequence[str],
    folder: Path,
    each: int = 1,
    limits: Limits = Limits(),
    steps: int = layerdiffuse.STEPS,
) -> list[dict[str, Any]]:
    """Paint every prompt with several seeds; what passes the limits goes to the folder.

    A file that is there is not painted again, so a run that was stopped goes on.

    Args:
        painter: from `load` or `tiny`.
        prompts: what to paint.
        folder: of RGBA files, as `synthesis.load_cutouts` reads them.
        each: seeds of a prompt, from 0 on.
        limits: of what is kept.
        steps: of sampling.

    Returns:
        A row a picture: file, prompt, seed, the shares that were measured, and why it was left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, asked in enumerate(tqdm(prompts, desc="foregrounds", unit="prompt")):
        words = re.sub(r"\W+", "-", asked.lower()).strip("-")[:40]
        for seed in range(each):
            file = folder / f"{number:03d}-{words}-s{seed}.png"
            if file.is_file():
                alpha = np.asarray(Image.open(file).getchannel("A")) / 255
                found, reason = measure(alpha), ""
            else:
                levels = np.round(painter(asked, seed, steps) * 255).astype(np.uint8)
                found = measure(levels[..., 3] / 255)
                reason = verdict(found, limits)
                if not reason:
                    with images.replacing(file) as temporary:
                        Image.fromarray(levels).save(temporary)
            rows.append({"file": file.name, "prompt": asked, "seed": seed, **asdict(found)})
            rows[-1]["left_out"] = reason
    return rows


def contact_sheet(folder: Path, columns: int = 5) -> Figure:
    """All foregrounds of a folder on grey squares, where transparency shows."""
    files = sorted(folder.glob("*.png"))
    figure = Figure(figsize=(2 * columns, 2.1 * max(1, -(-len(files) // columns))))
    for place, file in enumerate(files, start=1):
        with Image.open(file) as picture:
            picture.thumbnail((256, 256))
            rgba = np.asarray(picture.convert("RGBA")) / 255
        squares = 0.7 + 0.1 * (np.indices(rgba.shape[:2]) // 16).sum(0)[..., None] % 0.2
        axes = figure.add_subplot(-(-len(files) // columns), columns, place)
        axes.imshow((rgba[..., :3] * rgba[..., 3:] + squares * (1 - rgba[..., 3:])).clip(0, 1))
        axes.set_title(file.stem[:24], fontsize=6)
        axes.set_axis_off()
    return figure
