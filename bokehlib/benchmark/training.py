"""A training step at the paper's scale: SDXL's size with random weights, in the paper's recipe.

LPIPS's VGG16 and the discriminator's ConvNeXt-T are random too: time and memory do not mind.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bokehlib.benchmark.timing import GIB, Row, synchronize
from bokehlib.bokehdiff import sdxl
from bokehlib.data import demo_photos
from bokehlib.study import FULL
from bokehlib.synthesis import Batch
from bokehlib.training import bokehdiff, discriminator, profiles

WARM_UP, COUNTED = 8, 24  # steps; pairs are made for `training.AHEAD` steps at a time
SMOKE_STEPS = 1, 4  # so that one of those counted waits for pairs, too
SMOKE_CROP, SMOKE_HALO = 64, 16


def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """The mean step, and what of it goes into waiting for its pairs.

    Args:
        device: "cuda" or "cpu".
        smoke: a tiny model and pairs, a few steps.
        note: gets "batch_size" and, in per cent of a step, "waiting".
    """
    profile = profiles.PROFILES["sdxl"]
    crop, halo = (SMOKE_CROP, SMOKE_HALO) if smoke else (profile.crop, profile.halo)
    warm_up, counted = SMOKE_STEPS if smoke else (WARM_UP, COUNTED)
    recipe = replace(FULL, steps=warm_up + counted)
    stream = bokehdiff.pair_stream(recipe, _photos(), None, device, crop, halo)
    clock = _Clock(stream, warm_up)
    with torch.device(device):
        pipeline = sdxl.tiny(recipe) if smoke else sdxl.build(recipe)
    for part in (pipeline.unet, pipeline.vae):
        part.enable_gradient_checkpointing()
    judge = discriminator.tiny(0) if smoke else None  # None: ConvNeXt-T
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"pipeline": pipeline, "batch": clock, "halo": halo}
        options |= {"perceptual": _random_lpips(), "judge": judge}
        bokehdiff.train(recipe, Path(folder), **options)
        clock.stop()
    note["batch_size"], note["waiting"] = recipe.batch_size, round(100 * clock.waiting, 2)
    yield Row(f"training-sdxl-{crop}", "", None, None, "both", clock.milliseconds, clock.peak)


class _Clock:
    """Gives pairs, and keeps the time from one step's pairs to the next's."""

    def __init__(self, stream, warm_up: int):
        self.stream, self.warm_up = stream, warm_up
        self.began: list[float] = []
        self.waited = 0.0

    def __call__(self, step: int) -> Batch:
        synchronize()
        if step == self.warm_up and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        pairs = self.stream(step)
        synchronize()
        if step >= self.warm_up:
            self.began.append(began)
            self.waited += time.perf_counter() - began
        return pairs

    def stop(self) -> None:
        """After the last step; writing its checkpoint belongs to no step."""
        gpu = torch.cuda.is_available()
        steps = len(self.began) - 1  # the last one's end is not known
        seconds = (self.began[-1] - self.began[0]) / steps
        self.milliseconds = 1e3 * seconds
        self.waiting = self.waited / len(self.began) / seconds
        self.peak = torch.cuda.max_memory_allocated() / GIB if gpu else None


def _photos() -> list[torch.Tensor]:
    """The study's own photographs, uint8 (3, H, W)."""
    return [
        (255 * photo().tensors()[0][0]).round().to(torch.uint8)
        for photo in (demo_photos.motorcycle, demo_photos.evening_glow_made)
    ]


def _random_lpips() -> torch.nn.Module:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks torchvision in an old way
        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    return network.requires_grad_(False).eval()
