"""Train the phases of a recipe in order, each from the weights of the previous phase.

    for each phase:  catalogue ─► order ─► loader ─► model ─► loss ─► AdamW, a line per step ─► checkpoint

The data of a step depend only on the recipe, the data and the seed. Training can therefore be killed at any time: the
same command, also with another number of ranks, resumes from the last complete checkpoint.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from manifests.json_values import json_value
from stages import checkpoints, parameters
from stages.catalogue import Catalogue, read_catalogue
from stages.checkpoints import Checkpoints
from stages.errors import StagesError, Stopped
from stages.gradients import Gradients, PassSize
from stages.loader import Loader, Step
from stages.mfu import utilisation
from stages.phase_model import Numerics, open_model
from stages.ranks import SINGLE, World
from stages.recipe import Phase, Recipe
from stages.sampling import Order
from stages.training_log import StepFigures, TrainingLog
from stages.training_memory import describe_room, fullest_pass

MAX_TASKS = 8  # tasks of a bad step in its error; a file lists all


@dataclass(frozen=True)
class Training:
    """The inputs and settings of a training.

    sources: roots of runs or folders of shards. model: folder of the initial weights; weights: their digest. out:
    folder of checkpoints and logs. decoders: worker processes per rank that decode samples; 0: none. save_every: steps
    between checkpoints, of which the last `keep` stay. live: sources may still be packing. trackers: names of
    `stages.trackers`. recompute, compute: as in `Numerics`.
    """

    recipe: Recipe
    sources: tuple[str, ...]
    model: str
    out: str
    seed: int = 0
    decoders: int = 1
    save_every: int = 500
    keep: int = 2
    weights: str = ""
    live: bool = False
    trackers: tuple[str, ...] = ()
    recompute: bool | None = None
    compute: torch.dtype | None = None


def train(training: Training, world: World = SINGLE, say: Callable[[str], object] = print) -> Path:
    """Train all phases; return the last phase's checkpoint, to which `<out>/model` links.

    Raises StagesError if recipe, shards and model do not match (before training), or if training cannot continue.
    Raises Stopped after a requested stop (`World.stop_requested`), when the last step is saved.
    """
    tasks = read_catalogue(training.sources, live=training.live)
    orders = [Order(tasks, phase, training.seed, training.live) for phase in training.recipe.phases]
    folder, out = Path(training.model), Path(training.out)
    with checkpoints.lock_folder(out) if world.rank == 0 else nullcontext():
        for phase, order in zip(training.recipe.phases, orders, strict=True):
            folder = PhaseTraining(training, phase, tasks, order, folder, world, say).run()
            gc.collect()  # FSDP's hooks and the model are a reference cycle
        if world.rank == 0:
            _link(out / "model", folder)
    return folder


class PhaseTraining:
    """One phase on one rank."""

    def __init__(
        self,
        training: Training,
        phase: Phase,
        tasks: Catalogue,
        order: Order,
        start: Path,
        world: World,
        say: Callable[[str], object],
    ) -> None:
        """start: folder of the initial weights of the phase."""
        self.training, self.phase, self.tasks, self.order, self.start = training, phase, tasks, order, start
        self.world, self.say = world, say if world.rank == 0 else _print_nothing
        self.folder = Path(training.out) / phase.name
        facts = {
            "phase": phase.model_dump(mode="json", exclude={"spike", "micro_batch"}),  # do not affect the weights
            "data": tasks.digest,
            "model": training.weights,
            "seed": training.seed,
            "live": training.live,
        }
        self.checkpoints = Checkpoints(self.folder, facts, training.keep, world.rank == 0, start)
        self.log = TrainingLog(self.folder, training.trackers if world.rank == 0 else (), phase.spike)
        self.steps = order.steps()
        self.kind_of, self.stage_of = (tasks.table[name].to_pylist() for name in ("kind", "stage"))

    def run(self) -> Path:
        """Train the remaining steps; return the phase's last checkpoint."""
        last = self.checkpoints.last()
        done = last.step if last else 0
        if last and done >= self.steps:
            return last.folder
        with self.log:
            self._open(last.folder if last else None)
            self.say(self._first_line(done))
            if self.world.device.startswith("cuda"):
                self.say(self._memory_line())
            if self.world.rank == 0:
                self.log.delete_after(done)
            self._train_steps(done)
        self.world.wait()
        self.say(f"phase {self.phase.name}: realised mix {_format_shares(self.order.realised_mix(self.steps))}")
        return self.folder / f"step-{self.steps:06d}"

    def _open(self, resumed: Path | None) -> None:
        numerics = Numerics(self.training.recompute, self.training.compute)
        self.opened = open_model(self.phase, self.start, resumed, numerics, self.world, self.training.seed)
        self.model, self.optimizer = self.opened.model, self.opened.optimizer
        size = None if self.phase.micro_batch == "auto" else self.phase.micro_batch
        self.gradients = Gradients(self.model, self.world, self.kind_of, PassSize(size, self.world))

    def _train_steps(self, done: int) -> None:
        """Train all steps after `done`, with a checkpoint from time to time."""
        loader = Loader(
            self.tasks, self.order, self.opened.processor, done, self.steps,
            self.world.rank, self.world.ranks, self.training.decoders,
        )  # fmt: skip
        with self.checkpoints:
            self.world.should_stop()  # from now on a signal takes effect at the end of a step
            for step in loader:
                self._train_step(step)
                done, stops = step.number + 1, self.world.should_stop()
                if stops or done % self.training.save_every == 0 or done == self.steps:
                    self._save(done)
                if stops:
                    self._raise_stopped(done)

    def _first_line(self, done: int) -> str:
        count = sum(parameter.numel() for _, parameter in parameters.trained_parameters(self.model))
        progress = f"resumes after step {done} of {self.steps}" if done else f"{self.steps} steps"
        trains = f"phase {self.phase.name}: {progress} · trains {', '.join(self.phase.lr)} ({count / 1e6:.1f}M) · "
        return f"{trains}mix {_format_shares(self.order.mix())}"

    def _memory_line(self) -> str:
        """Return what a step is reckoned to take on this rank's GPU, whose free memory is read."""
        numerics = Numerics(self.training.recompute, self.training.compute)
        given = fullest_pass(self.model, self.phase, numerics, self.world.ranks)
        free, _ = torch.cuda.mem_get_info(self.world.device)
        return describe_room(self.model, given, free + torch.cuda.memory_reserved(self.world.device))

    def _train_step(self, step: Step) -> None:
        """Train one step. Raises StagesError if the loss or the gradient is not finite, or the loss is a spike."""
        started = time.perf_counter()
        parameters.set_rates(self.optimizer, self.phase, step.number, self.steps)
        losses = self.gradients.compute(step.packs())
        norm = self.opened.clip_gradients(self.phase.clip)
        if not (math.isfinite(losses.loss) and math.isfinite(norm)):
            self._abort(step, losses.loss, norm, "leave out bad tasks, or lower lr")
        if self.log.is_spike(losses.by_kind):
            advice = (
                f"leave out bad tasks, lower lr, or raise spike (now {self.phase.spike:g} times the usual; 0: never)"
            )
            self._abort(step, losses.loss, norm, advice)
        self.optimizer.step()
        self.optimizer.zero_grad()
        seconds = time.perf_counter() - started
        figures = StepFigures(
            step.number + 1, self.steps, step.epoch, losses.loss, norm,
            {group["part"]: group["lr"] for group in self.optimizer.param_groups},
            losses.tokens, seconds, step.waited / seconds,
            utilisation(self.model, losses.lengths, losses.tokens, seconds, self.world.device, self.world.ranks),
            {kind: nats / count for kind, (nats, count) in losses.by_kind.items() if count},
            Counter(sorted(self.stage_of[row] for row in step.rows)), len(step.skipped),
        )  # fmt: skip
        self.log.add(figures, self.tasks.ids(step.rows))
        for line in step.skipped:
            self.say(f"skipped: {line}")
        self.say(figures.line())

    def _abort(self, step: Step, loss: float, norm: float, advice: str) -> None:
        """Write the step's tasks to a file and raise StagesError; the weights are those before the step."""
        tasks = self.tasks.ids(step.rows)
        file = self.folder / "stopped.json"
        if self.world.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            facts = {"step": step.number + 1, "loss": loss, "norm": norm, "tasks": tasks}
            file.write_text(json.dumps(json_value(facts)))
        more = f" and {len(tasks) - MAX_TASKS} more" if len(tasks) > MAX_TASKS else ""
        raise StagesError(
            f"phase {self.phase.name}, step {step.number + 1}: loss {loss:.3g}, gradient norm {norm:.3g}; the step "
            f"read {', '.join(tasks[:MAX_TASKS])}{more} (all in {file}); {advice}"
        )

    def _save(self, step: int) -> None:
        """Copy this rank's tensors, and write them in the background."""
        first, log = self.world.rank == 0, self.log.take_tables()
        write = partial(self.opened.write, self.opened.copy_state(), first, step == self.steps)

        def write_with_log(folder: Path) -> None:
            write(folder)
            if first:
                self.log.write(step, log)

        self.checkpoints.save(step, write_with_log)

    def _raise_stopped(self, step: int) -> None:
        """Raise Stopped on all ranks when the checkpoint is written: a rank that ends earlier would end the others."""
        self.checkpoints.wait()
        self.world.wait()
        raise Stopped(f"phase {self.phase.name}: step {step} of {self.steps} is saved")


def _link(link: Path, target: Path) -> None:
    """Point a link to a target by an atomic rename, so that readers find the old target or the new one."""
    draft = link.with_name(f".{link.name}.draft")
    draft.unlink(missing_ok=True)
    draft.symlink_to(Path(*target.parts[len(link.parent.parts) :]))
    draft.replace(link)


def _format_shares(mix: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in mix.items())


def _print_nothing(_: str) -> None:
    """Print nothing: only the first rank prints."""
