"""Losses and gradients of a step on some numbers of ranks: `python -m tests.stages.sharded_gradients FOLDER RANKS…`.

Sharded by FSDP2 with the policy of bfloat16 and with recomputation, as on GPUs. A phase of a packaged recipe reads
packs of its own tasks; a module that no recipe trains alone reads packs of all stages. A process of its own, since it
must have no threads when it forks.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from stages.catalogue import read_catalogue
from stages.gradients import Gradients, PassSize
from stages.loader import Loader
from stages.parameters import PARTS, trained_parameters
from stages.phase_model import Numerics, open_model
from stages.ranks import World
from stages.recipe import Phase, packaged_recipes, read_recipe
from stages.sampling import Order
from tests.stages.forked_ranks import run_ranks
from tests.stages.shardset import phase

KINDS = ("image_caption", "video_caption", "cross_modal_qa", "speech_recognition", "audio_chat")
# Five packs: one of two ranks has a filler, and so has one of three.
SMALL: dict[str, Any] = {"batch": 5, "sequence_tokens": 60, "steps": 1, "epochs": 1}


def phases() -> dict[str, Phase]:
    """Return a phase of the packaged recipes for each set of trained modules, and one for each other module alone."""
    found = dict[frozenset[str], tuple[str, Phase]]()
    for recipe in reversed(packaged_recipes()):
        for each in read_recipe(recipe).phases:
            found[frozenset(each.lr)] = f"{recipe} {each.name}", each.model_copy(update=SMALL)
    for part in PARTS:
        found.setdefault(frozenset([part]), (part, phase(**SMALL, lr={part: 1e-3})))
    return dict(found.values())


def step_of(folder: Path, what: Phase, world: World) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the losses of a step by kind, and the whole gradients."""
    catalogue = read_catalogue([str(path) for path in sorted((folder / "shards").iterdir())])
    numerics = Numerics(recompute=True, compute=torch.bfloat16)
    opened = open_model(what, folder / "model", None, numerics, world)
    loader = Loader(catalogue, Order(catalogue, what), opened.processor, 0, 1, world.rank, world.ranks)
    kinds = catalogue.table["kind"].to_pylist()
    steps = iter(loader)  # ends the loading when it is freed
    losses = Gradients(opened.model, world, kinds, PassSize(1, world)).compute(next(steps).packs())
    gradients = {name: each.grad for name, each in trained_parameters(opened.model) if each.grad is not None}
    whole = {name: each.full_tensor() if isinstance(each, DTensor) else each for name, each in gradients.items()}
    return {"by_kind": losses.by_kind, "tokens": losses.tokens}, whole


def write_steps(folder: Path, world: World) -> None:
    """Run a step of each phase; the first rank writes what came of it."""
    found = {name: step_of(folder, what, world) for name, what in phases().items()}
    if world.rank == 0:
        torch.save(found, folder / f"{world.ranks}.pt")


def main() -> None:
    """Fail unless all ranks come to their end."""
    folder = Path(sys.argv[1])
    for ranks in map(int, sys.argv[2:]):
        codes = run_ranks(ranks, partial(write_steps, folder), folder / f"store-{ranks}")
        assert codes == [0] * ranks, (ranks, codes)


if __name__ == "__main__":
    main()
