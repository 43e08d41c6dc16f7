"""Weights sharded over ranks, in bfloat16 as on GPUs: two ranks learn the same as one."""

from __future__ import annotations

import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ola.beats import CHUNKS_PER_PASS, Beats
from ola.model import OlaForConditionalGeneration, SpeechEncoder
from stages import phase_model, trainer
from stages.phase_model import PhaseModel
from stages.trainer import Training, train
from tests.ola import tiny
from tests.stages.lessons import ALL, lesson, logged, short, training, write_model
from tests.stages.shardset import write_set
from tests.test_project import ROOT

HEARS = ALL | {"speech_encoder": 1e-3}
LONG = (CHUNKS_PER_PASS + 1) * tiny.config().audio_chunk_seconds - 0.5  # seconds: two passes
RANKS = """
import os, sys
from datetime import timedelta
import torch.distributed as dist
from stages.ranks import World
from stages.trainer import train
from tests.stages.test_sharding import hearing, torch

torch.set_num_threads(1)
rank, store = int(os.fork() == 0), dist.FileStore(sys.argv[3], 2)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
train(hearing(*sys.argv[1:3]), World(rank, 2), len)
os._exit(0) if rank else os.wait()
"""


def hearing(folder: str, out: str) -> Training:
    """Two packs a step: a sound of nine chunks, which takes two passes, and one of a single chunk."""
    lessons = (str(Path(folder) / "shards"),)
    phase = short(lr=HEARS, batch=2, sequence_tokens=200, steps=4)
    return training(lessons, str(Path(folder) / "model"), Path(out), phase, compute=torch.bfloat16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hearing")
    write_model(folder / "model")
    write_set(folder / "shards", [lesson(n, "speech_recognition", s) for n, s in enumerate((LONG, 0.5))], 1)
    return folder


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in logged(out)]


def test_ranks_that_hear_sounds_of_other_lengths_learn_what_one_learns(folder: Path, tmp_path: Path) -> None:
    ranks = [sys.executable, "-c", RANKS, str(folder), str(tmp_path / "two"), str(tmp_path / "store")]
    subprocess.run(ranks, cwd=ROOT, check=True, timeout=300)
    train(hearing(str(folder), str(tmp_path / "one")), say=len)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 4
    assert one[-1] < 0.8 * one[0]
    assert two == pytest.approx(one, rel=5e-3)  # bfloat16 has 8 bits


def test_bfloat16_reaches_all_but_beats(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sounds stay float32, and so does what it makes of them."""
    heard = list[torch.dtype]()
    forward = Beats.forward

    def listens(self: Beats, fbank: Tensor) -> Tensor:
        frames = forward(self, fbank)
        heard.extend((fbank.dtype, self.patch_proj.weight.dtype, frames.dtype))
        return frames

    monkeypatch.setattr(Beats, "forward", listens)
    plan = hearing(str(folder), str(tmp_path / "out"))
    train(plan, say=len)
    assert set(heard) == {torch.float32}
    train(replace(plan, compute=torch.float32, out=str(tmp_path / "plain")), say=len)
    assert losses(tmp_path / "out") == pytest.approx(losses(tmp_path / "plain"), rel=0.05)
    assert losses(tmp_path / "out") != losses(tmp_path / "plain")


def test_a_phase_frees_the_model_of_the_one_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, models = list[int](), list[weakref.ref[OlaForConditionalGeneration]]()
    open_model = phase_model.open_model

    def opens(*given: Any) -> PhaseModel:
        alive.append(sum(model() is not None for model in models))
        opened = open_model(*given)
        models.append(weakref.ref(opened.model))
        return opened

    monkeypatch.setattr(trainer, "open_model", opens)
    plan = hearing(str(folder), str(tmp_path / "out"))
    phases = tuple(short(name=name, steps=1, sequence_tokens=200) for name in ("a", "b", "c"))
    train(replace(plan, recipe=plan.recipe.model_copy(update={"phases": phases})), say=len)
    assert alive == [0, 0, 0]


def test_encoders_that_are_trained_are_computed_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recomputing saves over half of the activations of their layers and does not change the result."""
    kept, forward = dict[bool, int](), SpeechEncoder.forward
    plan = hearing(str(folder), str(tmp_path))
    for again in (False, True):
        sizes = dict[int, int]()

        def pack(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        def encode(self: Any, *given: Any, pack: Any = pack) -> Any:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                return forward(self, *given)

        monkeypatch.setattr(SpeechEncoder, "forward", encode)
        train(replace(plan, recompute=again, compute=None, out=str(tmp_path / str(again))), say=len)
        kept[again] = sum(sizes.values())
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-5)
    assert 0 < kept[True] < 0.5 * kept[False]
