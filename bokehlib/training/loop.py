"""One training loop for every stage: accelerate's, in resumable slices.

A stage brings a module, a function that makes the loss terms of step n, and a schedule; perhaps an
opponent, which learns too. All that a step draws depends on n alone, so a slice that is resumed
continues as if never interrupted.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from tqdm import tqdm

from bokehlib.io import processes
from bokehlib.io.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """Steps, batch size and learning rate of a stage."""

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    checkpoint_every: int = 1_000
    log_every: int = 20
    mixed_precision: str = "no"  # "no" or "bf16"
    slow: str = ""  # parameters whose names begin so learn at `slow_rate` times the learning rate
    slow_rate: float = 1.0


def device() -> str:
    """The device to train on, set up for convolutions of one size and TF32 products."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    if not torch.cuda.is_available():
        return "cpu"
    state = processes.state()
    return f"cuda:{state.local_process_index}" if state.num_processes > 1 else "cuda"


def generator(device: torch.device | str, seed: int, step: int) -> torch.Generator:
    """Random numbers that depend on (seed, step) alone."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)


def own_part(size: int) -> slice:
    """Which of a step's `size` pairs this process learns from: several share them evenly.

    Raises:
        InputError: they cannot be shared.
    """
    state = processes.state()
    if size % state.num_processes:
        raise InputError(
            f"--batch-size: found {size} for {state.num_processes} processes; "
            f"accepted: a multiple of {state.num_processes}"
        )
    share = size // state.num_processes
    return slice(state.process_index * share, (state.process_index + 1) * share)


def steps_done(run_dir: Path) -> int:
    """Number of steps that the last checkpoint of a run holds."""
    return json.loads((run_dir / "progress.json").read_text())["steps"]


Terms = Callable[[torch.nn.Module, int], dict[str, torch.Tensor]]


def run(
    module: torch.nn.Module,
    terms: Terms,
    schedule: Schedule,
    run_dir: Path,
    slice_steps: int | None = None,
    opponent: tuple[torch.nn.Module, Terms] | None = None,
) -> dict[str, torch.Tensor]:
    """Train a module, from where `run_dir` stands, for at most `slice_steps` steps.

    Args:
        module: its parameters with requires_grad are trained.
        terms: (prepared module, step) -> loss terms; their sum is minimised.
        schedule: AdamW, warm-up, cosine to zero, EMA.
        run_dir: holds checkpoints, `loss.csv` and `progress.json`.
        slice_steps: None = to the end.
        opponent: a second module and its terms, under the same schedule with an optimiser of its
            own: each step it learns after the first. It is not averaged.

    Returns:
        The averaged (EMA) trained parameters of the first module by name, as they stand after the
        slice.

    Raises:
        InputError: the run was begun with an opponent and goes on without, or the reverse.
    """
    trainer = _Trainer([(module, terms), *([opponent] if opponent else [])], schedule)
    trainer.resume(run_dir)
    log = _LossLog(run_dir / "loss.csv", trainer.steps, schedule)
    end = min(schedule.steps, trainer.steps + (slice_steps or schedule.steps))
    shown = None if processes.is_main() else True
    for step in tqdm(range(trainer.steps, end), desc=run_dir.name, mininterval=5, disable=shown):
        log.add(step + 1, trainer.mean(trainer.step()))
        if trainer.steps % schedule.checkpoint_every == 0 or trainer.steps == end:
            trainer.save(run_dir)
    log.close()
    return trainer.averaged()


def _groups(trained: dict[str, torch.nn.Parameter], schedule: Schedule) -> list:
    """Parameters for the optimiser, in groups only where rates differ."""
    slow = [p for name, p in trained.items() if schedule.slow and name.startswith(schedule.slow)]
    if not slow or schedule.slow_rate == 1:
        return list(trained.values())
    rest = [p for name, p in trained.items() if not name.startswith(schedule.slow)]
    return [{"params": rest}, {"params": slow, "lr": schedule.learning_rate * schedule.slow_rate}]


class _Learner:
    """A module, its loss terms, and an optimiser with its learning rate."""

    def __init__(
        self, accelerator: Accelerator, module: torch.nn.Module, terms: Terms, schedule: Schedule
    ):
        self.accelerator, self.terms, self.clip_norm = accelerator, terms, schedule.clip_norm
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())
        optimiser = torch.optim.AdamW(
            _groups(trained, schedule),
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        rate = get_cosine_schedule_with_warmup(optimiser, schedule.warmup_steps, schedule.steps)
        self.module, self.optimiser, self.rate = accelerator.prepare(module, optimiser, rate)

    def step(self, number: int) -> dict[str, torch.Tensor]:
        """One optimiser step; returns the loss terms."""
        with self.accelerator.autocast():
            parts = self.terms(self.module, number)
        self.optimiser.zero_grad(set_to_none=True)  # of what another learner's terms left here
        self.accelerator.backward(torch.stack([part.float() for part in parts.values()]).sum())
        self.accelerator.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimiser.step()
        self.rate.step()
        self.optimiser.zero_grad(set_to_none=True)
        return parts


class _Trainer:
    """Learners, the first one's average, and step number: all that a checkpoint holds."""

    def __init__(self, learners: list[tuple[torch.nn.Module, Terms]], schedule: Schedule):
        self.schedule = schedule
        self.accelerator = Accelerator(mixed_precision=schedule.mixed_precision)
        self.learners = [_Learner(self.accelerator, *learner, schedule) for learner in learners]
        self.average = EMAModel(
            self.learners[0].parameters,
            decay=schedule.ema_decay,
            use_ema_warmup=True,
            power=0.75,
            foreach=True,
        )
        self.average.to(self.accelerator.device)
        self.steps = 0
        self.accelerator.register_for_checkpointing(self, self.average)

    def state_dict(self) -> dict[str, int]:
        """What accelerate stores of this object beside the modules."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]

    def step(self) -> dict[str, torch.Tensor]:
        """One optimiser step of each learner; returns the loss terms of all."""
        parts: dict[str, torch.Tensor] = {}
        for learner in self.learners:
            parts |= learner.step(self.steps)
        self.average.step(self.learners[0].parameters)
        self.steps += 1
        return parts

    def mean(self, parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Loss terms over the pairs of all processes."""
        if self.accelerator.num_processes == 1:
            return parts
        return self.accelerator.reduce({k: v.detach() for k, v in parts.items()}, "mean")

    def averaged(self) -> dict[str, torch.Tensor]:
        """The averaged parameters by name."""
        shadows = (p.detach().clone() for p in self.average.shadow_params)
        return dict(zip(self.learners[0].names, shadows, strict=True))

    def resume(self, run_dir: Path) -> None:
        """Go on from the checkpoint that the run folder's pointer names, if there is one."""
        progress = run_dir / "progress.json"
        if progress.is_file():
            state = run_dir / json.loads(progress.read_text())["state"]
            found = len(list(state.glob("optimizer*")))
            if found != len(self.learners):
                raise InputError(
                    f"{run_dir}: found a run of {found} learning network(s); accepted: one of "
                    f"{len(self.learners)}, as the recipe asks, or a new folder"
                )
            self.accelerator.load_state(str(state))
            self.average.to(self.accelerator.device)  # its file is read to the CPU

    def save(self, run_dir: Path) -> None:
        """Write a checkpoint beside the last one; only then let the pointer name it."""
        name = f"state-{self.steps}"
        partial = run_dir / "state.part"
        with self.accelerator.main_process_first():
            if processes.is_main():
                shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if processes.is_main():
            self._adopt(partial, run_dir, name)
        self.accelerator.wait_for_everyone()

    def _adopt(self, partial: Path, run_dir: Path, name: str) -> None:
        shutil.rmtree(run_dir / name, ignore_errors=True)
        os.replace(partial, run_dir / name)
        pointer = run_dir / "progress.part"
        progress = {"state": name, "steps": self.steps, "of": self.schedule.steps}
        pointer.write_text(json.dumps(progress))
        os.replace(pointer, run_dir / "progress.json")
        for old in run_dir.glob("state-*"):
            if old.name != name:
                shutil.rmtree(old)


class _LossLog:
    """`loss.csv`: mean loss terms of every `log_every` steps, in one row."""

    def __init__(self, path: Path, done: int, schedule: Schedule):
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(csv.reader(path.open())) if path.is_file() else []
        self.rows = [r for r in rows if not r[0].isdigit() or int(r[0]) <= done]
        self.path, self.every, self.count = path, schedule.log_every, 0
        self.sums: dict[str, torch.Tensor] = {}

    def add(self, step: int, parts: dict[str, torch.Tensor]) -> None:
        for name, value in parts.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1
        if step % self.every == 0:
            if not self.rows:
                self.rows.append(["step", *self.sums])
            means = [f"{float(v) / self.count:.6g}" for v in self.sums.values()]
            self.rows.append([str(step), *means])
            self.sums, self.count = {}, 0
            if step % (10 * self.every) == 0:
                self.close()

    def close(self) -> None:
        if not processes.is_main():
            return
        partial = self.path.with_suffix(".part")
        with partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(self.rows)
        partial.replace(self.path)
