"""A training step of the paper's recipe at SDXL's size.

All weights are random, LPIPS's VGG16 and the discriminator's ConvNeXt-T included: that changes
neither time nor memory.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bokehlib.bokehdiff import sdxl
from bokehlib.data import demo_photos
from bokehlib.extras.benchmark.timing import GIB, Row, synchronize
from bokehlib.study import FULL
from bokehlib.synthesis import Batch
from bokehlib.training import bokehdiff, discriminator, profiles

WARM_UP, COUNTED = 8, 24  # steps; pairs are made for `training.AHEAD` steps at a time
SMOKE_STEPS = 1, 4  # so that one of those counted waits for pairs, too
SMOKE_CROP, SMOKE_HALO = 64, 16


def rows(device: str, smoke: bool, note: dict[str, Any]) -> Iterator[Row]:
    """The mean step, and the share of it that waits for pairs.

    Args:
        device: "cuda" or "cpu".
        smoke: a tiny model and pairs, a few steps.
        note: gets "batch_size" and, in per cent of a step, "waiting".
    """
    profile = profiles.PROFILES["sdxl"]
    crop, halo = (SMOKE_CROP, SMOKE_HALO) if smoke else (profile.crop, profile.halo)
    warm_up, counted = SMOKE_STEPS if smoke else (WARM_UP, COUNTED)
    recipe = replace(FULL, steps=warm_up + counted)
    shown = (demo_photos.motorcycle(), demo_photos.evening_glow_made())
    photos = [(255 * photo.tensors()[0][0]).round().to(torch.uint8) for photo in shown]
    clock = Clock(bokehdiff.pair_stream(recipe, photos, None, device, crop, halo), warm_up)
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


class Clock:
    """Gives pairs, and keeps the time from one step's pairs to the next's."""

    def __init__(self, stream, warm_up: int):
        """Take the pairs by step; the first `warm_up` steps do not count."""
        self.stream, self.warm_up = stream, warm_up
        self.began: list[float] = []
        self.waited = 0.0

    def __call__(self, step: int) -> Batch:
        """The pairs of a step."""
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
        """Set `milliseconds` of a step, `waiting` (its share) and `peak` (GiB, None on a CPU)."""
        steps = len(self.began) - 1  # the end of the last one is unknown
        seconds = (self.began[-1] - self.began[0]) / steps
        self.milliseconds = 1e3 * seconds
        self.waiting = self.waited / len(self.began) / seconds
        gpu = torch.cuda.is_available()
        self.peak = torch.cuda.max_memory_allocated() / GIB if gpu else None


def _random_lpips() -> torch.nn.Module:
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in a deprecated way
        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    return network.requires_grad_(False).eval()
