"""Training: a recipe's phases, one after the other, each from the weights that the one before it left.

    for each phase:  catalogue ─► order ─► loader ─► model ─► loss ─► AdamW, a line a step ─► checkpoint ─► next phase

What a step learns from is fixed by the recipe, the data and the seed alone. So training can be killed at any moment and
started again with the same command, also on another number of ranks: it goes on after the last whole checkpoint.
"""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from manifests.json_values import json_value
from ola.checkpoint import BadCheckpoint, tensors_of
from ola.model import OlaForConditionalGeneration
from ola.packing import pieces
from ola.processor import OlaProcessor
from ola.prompt import IGNORE, Prompt
from stages import checkpoints
from stages import parameters as modules
from stages.catalogue import Catalogue, catalogue
from stages.checkpoints import Checkpoints
from stages.decoding import Pack
from stages.errors import StagesError, Stopped
from stages.loader import Loader, Step
from stages.mfu import utilisation
from stages.ranks import ALONE, World
from stages.recipe import Phase, Recipe
from stages.sampling import Order
from stages.training_log import Figures, TrainingLog

EMBEDDING = "model.embed_tokens.weight"  # its dtype is the checkpoint's
NAMED = 8  # tasks of a bad step that its error names; all of them are in a file


@dataclass(frozen=True)
class Training:
    """What is to be trained on what.

    sources: roots of runs or folders of shards. model: folder of the weights to begin with; `weights` names them. out:
    folder of checkpoints and logs. decoders: processes a rank that decode samples, 0 for none. save_every: steps
    between checkpoints, of which `keep` stay. live: the sources may still be packing. board: write for TensorBoard too.
    recompute: activations anew in the backward pass, which saves memory; None: on a GPU. compute: dtype of the
    arithmetic, whatever the weights are held in; None: bfloat16 on a GPU, float32 on a CPU.
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
    board: bool = False
    recompute: bool | None = None
    compute: torch.dtype | None = None


def train(training: Training, world: World = ALONE, say: Callable[[str], object] = print) -> Path:
    """Train all phases; returns the last one's checkpoint, which `<out>/model` links to.

    Raises StagesError: before anything is trained where recipe, shards and model do not fit, or when it cannot go on;
    Stopped where it was asked to stop (`World.asked`) and has saved its last step.
    """
    tasks = catalogue(training.sources, live=training.live)
    orders = [Order(tasks, phase, training.seed, training.live) for phase in training.recipe.phases]
    folder, out = Path(training.model), Path(training.out)
    with checkpoints.alone(out) if world.rank == 0 else nullcontext():
        for phase, order in zip(training.recipe.phases, orders, strict=True):
            folder = PhaseTraining(training, phase, tasks, order, folder, world, say).run()
            gc.collect()  # FSDP's hooks and the model hold one another
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
        """start: folder of the weights that the phase begins with."""
        self.training, self.phase, self.tasks, self.order, self.start = training, phase, tasks, order, start
        self.world, self.say = world, say if world.rank == 0 else _nothing
        self.folder = Path(training.out) / phase.name
        facts = {
            "phase": phase.model_dump(mode="json", exclude={"spike"}),  # what is learned does not follow from it
            "data": tasks.digest,
            "model": training.weights,
            "seed": training.seed,
            "live": training.live,
        }
        self.checkpoints = Checkpoints(self.folder, facts, training.keep)
        self.log = TrainingLog(self.folder, training.board and world.rank == 0, phase.spike)
        self.steps = order.steps()
        self.kinds = sorted(tasks.kinds())
        self.kind_of, self.stage_of = (tasks.table[name].to_pylist() for name in ("kind", "stage"))

    def run(self) -> Path:
        """Train what is not trained yet; returns the phase's last checkpoint."""
        last = self.checkpoints.last()
        done = last.step if last else 0
        if last and done >= self.steps:
            return last.folder
        self._open(last.folder if last else None)
        self.say(self._opening(done))
        if self.world.rank == 0:
            self.log.forget_after(done)
        loader = Loader(
            self.tasks, self.order, self.processor, done, self.steps,
            self.world.rank, self.world.ranks, self.training.decoders,
        )  # fmt: skip
        with self.checkpoints:
            self.world.stops()  # from here on a signal waits for the end of a step
            for step in loader:
                self._step(step)
                done, stops = step.number + 1, self.world.stops()
                if stops or done % self.training.save_every == 0 or done == self.steps:
                    self._save(done)
                if stops:
                    self._leave(done)
        self.world.wait()
        self.say(f"phase {self.phase.name}: realised mix {_shares(self.order.realised(self.steps))}")
        return self.folder / f"step-{self.steps:06d}"

    def _open(self, resumed: Path | None) -> None:
        """Model, processor and optimizer, as the phase begins or as its last checkpoint left them."""
        device, folder = torch.device(self.world.device), resumed or self.start
        try:
            self.dtype = tensors_of(folder)[EMBEDDING].dtype
            compute = self.training.compute or (torch.bfloat16 if device.type == "cuda" else torch.float32)
            is_sharded = self.world.ranks > 1 or compute != torch.float32
            self.model = OlaForConditionalGeneration.from_pretrained(
                folder,
                dtype=self.dtype if is_sharded else torch.float32,
                device="cpu" if is_sharded else device,
                attn_implementation="packed",
            )
            self.processor = OlaProcessor.from_pretrained(folder)
        except (BadCheckpoint, OSError, KeyError, ValueError) as error:
            raise StagesError(f"model {folder}: {error}") from error
        modules.unfreeze(self.model, self.phase)
        if device.type == "cuda" if self.training.recompute is None else self.training.recompute:
            modules.recompute(self.model)
        if is_sharded:
            modules.shard(self.model, self.world.ranks, device, compute)
        self.optimizer = modules.optimizer_of(self.model, self.phase)
        if resumed:
            checkpoints.restore(resumed, self.model, self.optimizer)

    def _opening(self, done: int) -> str:
        many = sum(parameter.numel() for _, parameter in modules.trained_parameters(self.model))
        begun = f"goes on after step {done} of {self.steps}" if done else f"{self.steps} steps"
        trains = f"phase {self.phase.name}: {begun} · trains {', '.join(self.phase.lr)} ({many / 1e6:.1f}M) · "
        return f"{trains}mix {_shares(self.order.mix())}"

    def _step(self, step: Step) -> None:
        """Learn from one step, or stop where it does harm."""
        began = time.perf_counter()
        modules.set_rates(self.optimizer, self.phase, step.number, self.steps)
        learned, tokens = self._backward(step.packs)
        by_kind = {kind: (float(nats), float(many)) for kind, (nats, many) in zip(self.kinds, learned, strict=True)}
        loss = float(learned[:, 0].sum() / learned[:, 1].sum().clamp(min=1))
        norm = self._norm()
        if not torch.isfinite(torch.tensor([loss, norm])).all():
            self._stop(step, loss, norm, "leave bad ones out, or lower lr")
        if self.log.is_spike(by_kind):
            advice = (
                f"leave bad ones out, lower lr, or raise spike (now {self.phase.spike:g} times the usual; 0: never)"
            )
            self._stop(step, loss, norm, advice)
        self.optimizer.step()
        self.optimizer.zero_grad()
        seconds = time.perf_counter() - began + step.waited
        lengths = [length for pack in step.packs for length in pieces(pack.prompts)]
        figures = Figures(
            step.number + 1, self.steps, step.epoch, loss, norm,
            {group["part"]: group["lr"] for group in self.optimizer.param_groups},
            tokens, seconds, step.waited / seconds,
            utilisation(self.model, lengths, tokens, seconds, self.world.device, self.world.ranks),
            {kind: nats / many for kind, (nats, many) in by_kind.items() if many},
            Counter(sorted(self.stage_of[row] for row in step.rows)), len(step.skipped),
        )  # fmt: skip
        self.log.add(figures, self.tasks.ids(step.rows))
        for line in step.skipped:
            self.say(f"skipped: {line}")
        self.say(figures.line())

    def _backward(self, packs: Sequence[Pack]) -> tuple[Tensor, int]:
        """Gradients of the mean loss over the step's supervised tokens, of all ranks.

        Returns losses summed and counted by kind (kinds, 2), and the tokens read, both of all ranks.
        """
        counted = [pack for pack in packs if pack.counts]
        prompts = [prompt for pack in counted for prompt in pack.prompts]
        read = sum(length for pack in counted for length in pieces(pack.prompts))
        sizes = torch.tensor([sum(map(supervised, prompts)), read])
        many, tokens = (int(size) for size in self.world.sum(sizes.to(self.world.device)))
        found = []  # losses stay on the device until the step ends: to look at them is to wait for it
        for pack in packs:
            losses = self.model(pack.prompts).losses
            # ranks: sharded gradients are averaged over them
            weight = self.world.ranks / max(1, many) if pack.counts else 0.0
            (losses.sum() * weight).backward()
            found.append(losses.detach())
        tables = [self._by_kind(pack, each) for pack, each in zip(packs, found, strict=True) if pack.counts]
        learned = torch.stack([torch.zeros(len(self.kinds), 2, dtype=torch.float64), *tables]).sum(0)
        return self.world.sum(learned.to(self.world.device)).cpu(), tokens

    def _by_kind(self, pack: Pack, losses: Tensor) -> Tensor:
        table = torch.zeros(len(self.kinds), 2, dtype=torch.float64)
        spans = torch.split(losses.double().cpu(), [supervised(prompt) for prompt in pack.prompts])
        for row, span in zip(pack.rows, spans, strict=True):
            table[self.kinds.index(self.kind_of[row])] += torch.tensor([float(span.sum()), len(span)])
        return table

    def _norm(self) -> float:
        parameters = [parameter for _, parameter in modules.trained_parameters(self.model)]
        norm = nn.utils.clip_grad_norm_(parameters, self.phase.clip)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _stop(self, step: Step, loss: float, norm: float, advice: str) -> None:
        """Say which tasks did it; the weights are those before the step."""
        tasks = self.tasks.ids(step.rows)
        file = self.folder / "stopped.json"
        if self.world.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            facts = {"step": step.number + 1, "loss": loss, "norm": norm, "tasks": tasks}
            file.write_text(json.dumps(json_value(facts)))
        more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
        raise StagesError(
            f"phase {self.phase.name}, step {step.number + 1}: loss {loss:.3g}, gradient norm {norm:.3g}; the step "
            f"read {', '.join(tasks[:NAMED])}{more} (all in {file}); {advice}"
        )

    def _save(self, step: int) -> None:
        """Copy what the checkpoint holds, and write it while training goes on."""
        weights, rest = checkpoints.gathered(self.model, self.optimizer, self.dtype, mine=self.world.rank == 0)
        log = self.log.take()
        if self.world.rank == 0:
            self.checkpoints.save(step, partial(self._write, step, weights, rest, log))

    def _leave(self, step: int) -> None:
        """Raise Stopped once the checkpoint is whole, on all ranks at once: a rank that ends takes the others along."""
        self.checkpoints.wait()
        self.world.wait()
        raise Stopped(f"phase {self.phase.name}: step {step} of {self.steps} is saved")

    def _write(self, step: int, weights: dict[str, Tensor], rest: dict[str, Tensor], log: Any, folder: Path) -> None:
        self.processor.save_pretrained(folder)
        self.model.generation_config.save_pretrained(folder)
        checkpoints.write_model(folder, weights, rest)
        self.log.write(step, log)


def supervised(prompt: Prompt) -> int:
    """How many tokens of a prompt are learned: nothing comes before its first one that could tell it."""
    assert prompt.labels is not None
    return int((prompt.labels[1:] != IGNORE).sum())


def _link(link: Path, target: Path) -> None:
    """In one move, so that who loads `link` finds the old target or the new one."""
    draft = link.with_name(f".{link.name}.draft")
    draft.unlink(missing_ok=True)
    draft.symlink_to(Path(*target.parts[len(link.parent.parts) :]))
    draft.replace(link)


def _shares(mix: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in mix.items())


def _nothing(_: str) -> None:
    """What ranks but the first say."""
