"""All passes of all pictures, by many processes of one thread, within a budget of seconds.

A picture is the mean of two halves, a half the mean of its passes; the halves' difference gives
the noise of the mean. First every picture gets a pass a half, then always the noisiest gets the
next, until each is as free of noise as was asked for. Every pass is a file, so a run that was
stopped, at any moment, goes on where it was. A pass whose process dies is tried again with the
next seed, up to `TRIES` times; then its picture gets no further ones.
"""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bokehlib.extras.pathtracing import SEED, SIZE
from bokehlib.extras.pathtracing.camera import FOCUSES, RADII, lens_radius, strengths
from bokehlib.extras.pathtracing.crew import Crew
from bokehlib.io.errors import InputError

SHARP = "sharp"
PICTURES = (SHARP, *(f"{focus}_{level}" for focus in FOCUSES for level in range(len(RADII))))
SAMPLES = 100  # a pixel and pass, a square number: half a minute, 1 s of which loads the scene
FLOOR = 45.0  # dB, below which a picture is too noisy
EMITTED = 4  # times as many for light that comes straight from lamps
HALVES = 2
MOST = 128  # passes a half
TRIES = 4  # of a pass whose process dies
GAMMA = 2.2


@dataclass(frozen=True)
class Plan:
    """What is rendered.

    Attributes:
        out: folder of the passes.
        scenes: their names.
        seed: of scenes and samplers.
        samples: a pixel and pass.
        cores: processes.
        seconds: after which no pass is begun that would end later.
        floor: dB, beyond which a picture gets no further passes.
    """

    out: Path
    scenes: Sequence[str]
    seed: int = SEED
    samples: int = SAMPLES
    cores: int = 1
    seconds: float = math.inf
    floor: float = FLOOR


@dataclass
class Picture:
    """One picture's progress."""

    scene: str
    name: str
    begun: int = 0  # passes a half, begun
    seconds: float = 0.0  # of its longest pass
    done: dict[int, int] = field(default_factory=dict)  # half -> passes done
    floor: float = math.nan  # dB, of the mean of `measured` passes a half
    measured: int = 0
    lost: bool = False  # a pass of it died `TRIES` times

    def expected(self) -> float:
        """Its noise floor in dB once all passes that were begun are done."""
        if not self.measured or not math.isfinite(self.floor):
            return -math.inf
        return self.floor + 10 * math.log10(self.begun / self.measured)


@dataclass(frozen=True)
class Pass:
    """One pass to be rendered."""

    picture: Picture
    which: int  # half
    number: int
    attempt: int = 0


def display(light: np.ndarray) -> np.ndarray:
    """Linear light to an encoded picture: clipped to [0, 1] and raised to 1/2.2."""
    return np.clip(light, 0, 1) ** np.float32(1 / GAMMA)


def noise_floor(first: np.ndarray, second: np.ndarray) -> float:
    """PSNR in dB of the mean of two halves (linear light) against the noiseless picture.

    The halves' errors are independent, so that of their mean has a quarter of the variance of
    their difference.
    """
    error = float(np.mean((display(first) - display(second)) ** 2, dtype=np.float64)) / 4
    return -10 * math.log10(error) if error else math.inf


def half(folder: Path, picture: str, which: int, passes: int) -> np.ndarray:
    """The mean of a half's first passes, (H, W, 3) float32, linear."""
    files = [folder / _name(picture, which, number) for number in range(passes)]
    total = np.zeros((*SIZE, 3))
    for file in files:
        total += np.load(file)
    return (total / passes).astype(np.float32)


def passes_done(folder: Path, picture: str, which: int) -> int:
    """How many passes of a half stand, without a gap."""
    number = 0
    while (folder / _name(picture, which, number)).exists():
        number += 1
    return number


def _name(picture: str, which: int, number: int) -> str:
    return f"{picture}-half{which}-pass{number:02d}.npy"


# --- Workers ---------------------------------------------------------------------------------


def measure_depth(plan: Plan, scene: str) -> float:
    """Write a scene's depth map; the seconds that it took."""
    from bokehlib.extras.pathtracing import scenes, tracing

    start = time.perf_counter()
    file = plan.out / scene / "depth.npy"
    if not file.exists():
        _save(file, tracing.depth(scenes.build(scene, plan.seed)).astype(np.float32))
    return time.perf_counter() - start


def render_pass(
    plan: Plan, scene: str, picture: str, which: int, number: int, attempt: int
) -> float:
    """Write one pass of a half; the seconds that it took."""
    from bokehlib.extras.pathtracing import scenes, tracing

    start = time.perf_counter()
    world = scenes.build(scene, plan.seed)
    radius, focus = 0.0, 1.0
    if picture != SHARP:
        which_focus, level = picture.split("_")
        depth = np.load(plan.out / scene / "depth.npy")
        strength = strengths(depth, world.camera)[int(level)]
        radius = lens_radius(strength, SIZE[1], world.camera.fov)
        focus = world.camera.focus(which_focus)
    place = list(scenes.SCENES).index(scene) * len(PICTURES) + PICTURES.index(picture)
    seed = sampler_seed(plan.seed, place, which, number, attempt)
    emitted = EMITTED * plan.samples if world.lamps else 0
    light = tracing.light(world, radius, focus, plan.samples, seed, emitted)
    _save(plan.out / scene / _name(picture, which, number), light)
    return time.perf_counter() - start


def sampler_seed(seed: int, place: int, which: int, number: int, attempt: int) -> int:
    """Another for every attempt at every pass of every picture (`place` below 256)."""
    return (((seed * 256 + place) * HALVES + which) * MOST + number) * TRIES + attempt


def _save(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{os.getpid()}-{file.name}")
    np.save(temporary, array)
    os.replace(temporary, file)


# --- The master ------------------------------------------------------------------------------


def run(plan: Plan, work: Callable[..., float] = render_pass) -> None:
    """Render until the time is spent.

    Args:
        plan: what.
        work: renders one pass, as `render_pass` does.

    Raises:
        InputError: not even one pass a half of every picture could be made.
    """
    start = time.perf_counter()
    pictures = [_found(plan, scene, name) for scene in plan.scenes for name in PICTURES]
    with Crew[str](plan.cores) as crew:
        _measure_depths(plan, crew)
    waiting: list[Pass] = []
    with Crew[Pass](plan.cores) as crew:
        while True:
            while crew.idle and (waiting := waiting or _next(plan, pictures, start)):
                one = waiting.pop(0)
                if _in_time(plan, one.picture, pictures, start):
                    picture = one.picture.scene, one.picture.name
                    crew.begin(one, work, plan, *picture, one.which, one.number, one.attempt)
            if not crew.busy:
                break
            for one, seconds in crew.finished():
                if seconds is None:
                    waiting += _again(one)
                else:
                    _note(plan, one.picture, one.which, seconds)
                    _report(plan, pictures, start)
    _complete(plan, pictures)


def _measure_depths(plan: Plan, crew: Crew[str]) -> None:
    waiting, died = [*plan.scenes], Counter[str]()
    while waiting or crew.busy:
        while waiting and crew.idle:
            crew.begin(waiting[0], measure_depth, plan, waiting.pop(0))
        for scene, seconds in crew.finished():
            if seconds is None:
                died[scene] += 1
                if died[scene] == TRIES:
                    found = f"found that measuring the depth of {scene} died {TRIES} times"
                    raise InputError(f"rendering: {found}; accepted: --scenes without it")
                waiting.append(scene)


def _again(one: Pass) -> list[Pass]:
    """The next attempt at a pass whose process died, if there is one; says so."""
    last = one.attempt + 1 == TRIES
    one.picture.lost = one.picture.lost or last
    name = f"{one.picture.scene}/{_name(one.picture.name, one.which, one.number)}"
    print(json.dumps({"died": name, "attempt": one.attempt + 1, "of": TRIES}), flush=True)
    return [] if last else [replace(one, attempt=one.attempt + 1)]


def _complete(plan: Plan, pictures: list[Picture]) -> None:
    """Raise `InputError` unless every picture has a pass a half."""
    lacking = [p for p in pictures if not p.measured]
    names = ", ".join(f"{p.scene}/{p.name}" for p in lacking[:3]) + " ..." * (len(lacking) > 3)
    if any(p.lost for p in lacking):
        raise InputError(
            f"--seed: found {plan.seed}, with which passes died {TRIES} times, so that "
            f"{len(lacking)} pictures are lacking ({names}); accepted: another seed and --out"
        )
    if lacking:
        raise InputError(
            f"--seconds: found {plan.seconds:g}, not enough for {len(lacking)} pictures "
            f"({names}); accepted: the same command again, which goes on"
        )


def _found(plan: Plan, scene: str, name: str) -> Picture:
    """A picture as far as an earlier run has brought it."""
    picture = Picture(scene, name)
    for which in range(HALVES):
        picture.done[which] = passes_done(plan.out / scene, name, which)
    picture.begun = min(picture.done.values())
    _measure(plan, picture)
    return picture


def _next(plan: Plan, pictures: list[Picture], start: float) -> list[Pass]:
    """The noisiest picture's next pass, of the halves that lack it; none without time for it."""
    able = [p for p in pictures if p.begun < MOST and not p.lost and (p.measured or not p.begun)]
    able = [p for p in able if p.expected() < plan.floor]
    able = [p for p in able if _in_time(plan, p, pictures, start)]
    if not able:
        return []
    picture = min(able, key=lambda p: (bool(p.begun), p.expected()))
    picture.begun += 1
    number = picture.begun - 1
    return [Pass(picture, half, number) for half in range(HALVES) if picture.done[half] <= number]


def _in_time(plan: Plan, picture: Picture, pictures: list[Picture], start: float) -> bool:
    """Whether a pass of it that begins now would end in time."""
    left = plan.seconds - (time.perf_counter() - start)
    return left > 0 and 1.1 * _length(picture, pictures) < left


def _length(picture: Picture, pictures: list[Picture]) -> float:
    """Seconds that a pass of a picture may take: as its longest, else as its scene's."""
    return picture.seconds or max(p.seconds for p in pictures if p.scene == picture.scene)


def _note(plan: Plan, picture: Picture, which: int, seconds: float) -> None:
    picture.done[which] += 1
    picture.seconds = max(picture.seconds, seconds)
    _measure(plan, picture)


def _measure(plan: Plan, picture: Picture) -> None:
    """Measure the noise floor whenever both halves have a pass more."""
    folder = plan.out / picture.scene
    stand = min(passes_done(folder, picture.name, which) for which in range(HALVES))
    if stand > picture.measured:
        halves = [half(folder, picture.name, which, stand) for which in range(HALVES)]
        picture.floor, picture.measured = noise_floor(*halves), stand


def _report(plan: Plan, pictures: list[Picture], start: float) -> None:
    """Say how far the run is, on one line."""
    floors = [p.floor for p in pictures if p.measured]
    passes = sum(sum(p.done.values()) for p in pictures)
    line = {
        "seconds": round(time.perf_counter() - start),
        "passes": passes,
        "pictures": f"{len(floors)}/{len(pictures)}",
        "at_floor": sum(floor >= plan.floor for floor in floors),
        "lowest_floor_db": round(min(floors), 2) if floors else None,
    }
    print(json.dumps(line), flush=True)
