"""What can be shown of the SDXL model without its weights: at its real size, with random ones.

    .venv/bin/python -m bokehlib.benchmark.agreement            # one GPU of 40 GB, some minutes
    .venv/bin/python -m bokehlib.benchmark.agreement --smoke    # a handful of channels, on a CPU

Every line says what was found and what is accepted; exit code 1 if one of them is FAILED.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor

from bokehlib.bokehdiff import sdxl
from bokehlib.bokehdiff.adapters import ENCODER_PARTS, lora_layers
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.bokehdiff.sdxl import authors, loading
from bokehlib.bokehdiff.sdxl.published import PublishedPipeline
from bokehlib.bokehdiff.sdxl_files import ENCODER, LORA
from bokehlib.io.errors import Parser, run_command
from bokehlib.optics import Lens
from bokehlib.pisa import pisa_attention, processor
from bokehlib.study import AS_PUBLISHED, FULL

RANK = 8
SIZES = {"square": (512, 512), "wide": (1024, 1536)}  # in one piece, and in tiles
SMOKE_SIZES = {"square": (128, 128), "wide": (520, 1040)}
LENS = Lens(0.4, 100.0)
SAME = 1e-3  # largest difference of two ways to work out one picture in float32
LEAST = {"float16": 35.0, "bfloat16": 25.0}  # dB to float32; in this order: weights stay rounded


@dataclass(frozen=True)
class Finding:
    """One line of the printout."""

    what: str
    found: str
    accepted: str
    ok: bool

    def __str__(self) -> str:
        """The line."""
        return f"{'ok' if self.ok else 'FAILED'}  {self.what}: {self.found}; {self.accepted}"


def command_line() -> Parser:
    """The options."""
    parser = Parser(prog="python -m bokehlib.benchmark.agreement")
    parser.add_argument("--smoke", action="store_true", help="a handful of channels")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print all findings as they come; see --help."""

    def command() -> int:
        smoke = command_line().parse_args(argv).smoke
        device = "cuda" if torch.cuda.is_available() and not smoke else "cpu"
        name = torch.cuda.get_device_name() if device == "cuda" else device
        torch.backends.cudnn.allow_tf32 = False  # TF32 rounds inputs of convolutions to 10 bits
        print(f"SDXL's shape with random weights{', reduced' * smoke}, on {name}", flush=True)
        failed = 0
        for finding in findings(device, smoke):
            print(finding, flush=True)
            failed += not finding.ok
        return int(failed > 0)

    return run_command(command)


@torch.no_grad()
def findings(device: str, smoke: bool) -> Iterator[Finding]:
    """All that is found, in order.

    Args:
        device: "cuda" or "cpu".
        smoke: tiny networks and pictures.
    """
    sizes = SMOKE_SIZES if smoke else SIZES
    square = _picture(sizes["square"], device)
    wide = _picture(sizes["wide"], device)
    pipeline = _build(PublishedPipeline, device, smoke)
    yield _adapter(pipeline)
    yield from _renders("published", pipeline, square, wide)
    del pipeline
    pipeline = _build(BokehPipeline, device, smoke)
    yield _dense(pipeline, square)
    yield from _renders("ours", pipeline, square, wide)


def _build(kind: type[BokehPipeline], device: str, smoke: bool) -> BokehPipeline:
    recipe = AS_PUBLISHED if kind is PublishedPipeline else FULL
    if smoke:
        pipeline = sdxl.tiny(recipe, kind=kind)
    else:
        with torch.device(device):
            pipeline = sdxl.build(recipe, kind=kind)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _picture(size: tuple[int, int], device: str) -> tuple[Tensor, Tensor]:
    """A random image, and a ramp with a near box."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *size, generator=draw)
    disparity = torch.linspace(0.1, 0.6, size[0]).view(-1, 1).repeat(1, size[1])
    disparity[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 0.9
    return image.to(device), disparity[None, None].to(device)


def _adapter(pipeline: BokehPipeline) -> Finding:
    """The authors' two files, made up for every layer and read back."""
    layers = lora_layers(pipeline.unet, authors.BLOCKS)
    tensors = {}
    for layer in layers:
        shape = pipeline.unet.get_parameter(f"{layer}.weight").shape
        ones = (1,) * (len(shape) - 2)
        tensors[f"{layer}.lora_A.weight"] = torch.randn(RANK, *shape[1:]) * 0.02
        tensors[f"{layer}.lora_B.weight"] = torch.randn(shape[0], RANK, *ones) * 0.02
    parts = tuple(f"encoder.{part}." for part in ENCODER_PARTS["authors"])
    state = pipeline.vae.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        lora, encoder = Path(folder) / LORA, Path(folder) / ENCODER
        save_file(tensors, lora, {"format": "pt"})
        torch.save({n: v.cpu() for n, v in state.items() if n.startswith(parts)}, encoder)
        megabytes = (lora.stat().st_size + encoder.stat().st_size) / 1e6
        report = authors.load(pipeline, lora, encoder)
    return Finding(
        f"an adapter in the authors' format, rank {RANK}, {megabytes:.0f} MB",
        str(report),
        "accepted: none missing, none left over",
        report.complete,
    )


def _renders(name: str, pipeline: BokehPipeline, square, wide) -> Iterator[Finding]:
    """That pictures are finite and repeat themselves, and what narrower types cost."""
    exact = {}
    for shape, picture in (("square", square), ("wide", wide)):
        first, seconds, peak = _measured(partial(_render, pipeline, picture))
        exact[shape] = first
        same = torch.equal(first, _render(pipeline, picture))
        size = "x".join(map(str, picture[0].shape[-2:]))
        yield Finding(
            f"{name} float32 {size}",
            f"{seconds:.2f} s, {peak:.1f} GiB, finite {_finite(first)}, twice the same {same}",
            "accepted: finite and the same byte for byte",
            _finite(first) and same,
        )
    for dtype, least in LEAST.items():
        loading.to_dtype(pipeline, loading.DTYPES[dtype])
        for shape, picture in (("square", square), ("wide", wide)):
            found, seconds, peak = _measured(partial(_render, pipeline, picture))
            decibels = _psnr(found, exact[shape])
            yield Finding(
                f"{name} {dtype} {shape}, autoencoder in {pipeline.vae.dtype}",
                f"{decibels:.1f} dB to float32, {seconds:.2f} s, {peak:.1f} GiB",
                f"accepted: from {least:.0f} dB",
                decibels >= least,
            )
        loading.to_dtype(pipeline, torch.float32)


def _dense(pipeline: BokehPipeline, picture) -> Finding:
    """That the fast attention is the one written out for all pairs, in every layer."""
    fast = _render(pipeline, picture)
    dense = partial(pisa_attention, backend="reference")
    with mock.patch.object(processor, "pisa_attention", dense):
        difference = float((_render(pipeline, picture) - fast).abs().amax())
    return Finding(
        f"ours float32 with all pairs written out in {len(processor.pisa_sites(pipeline.unet))} "
        "layers",
        f"largest difference {difference:.1e}",
        f"accepted: up to {SAME:.0e}",
        difference <= SAME,
    )


def _render(pipeline: BokehPipeline, picture) -> Tensor:
    image, disparity = picture
    return pipeline(image, disparity, LENS, output_type="pt").images


def _measured(work: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """The result of the second call, its seconds and, on a GPU, the largest memory in GiB."""
    gpu = torch.cuda.is_available()
    work()
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found = work()
    if gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return found, seconds, torch.cuda.max_memory_allocated() / 2**30 if gpu else 0.0


def _finite(picture: Tensor) -> bool:
    return bool(torch.isfinite(picture).all())


def _psnr(found: Tensor, exact: Tensor) -> float:
    return float(-10 * (found - exact).square().mean().clamp(min=1e-12).log10())


if __name__ == "__main__":
    sys.exit(main())
