"""Gradients of a step's packs, one after the other: those of the mean loss over all, whatever runs in one pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from ola.processor import OlaProcessor
from ola.prompt import Visual
from stages.decoding import LoadedPack, Pack
from stages.gradients import Gradients, PassSize
from stages.ranks import SINGLE, World
from tests.ola import tiny
from tests.stages.lessons import SMALL, lessons
from tests.stages.shardset import loader


def test_they_are_those_of_the_mean_loss(tmp_path: Path, one_thread: None) -> None:
    """Those of two ranks, of which the second has a filler, in passes of one pack, of two and of all."""
    lessons(tmp_path, ("image_caption", "speech_recognition"), 3)
    model = tiny.model(limits=SMALL)
    model.config._attn_implementation = "packed"
    processor = OlaProcessor(tiny.tokenizer(), model.config)
    loaders = [loader(tmp_path, processor, batch=3, sequence_tokens=60, rank=rank, ranks=2) for rank in range(2)]
    packs = [pack for each in loaders for pack in next(iter(each)).packs]
    assert [pack.counts for pack in packs] == [True, True, True, False]
    parameters = dict(model.train().named_parameters())
    whole = model([prompt for pack in packs if pack.counts for prompt in pack.prompts])
    whole.loss.backward()
    wanted = {name: each.grad for name, each in parameters.items() if each.grad is not None}
    kinds = loaders[0].catalogue.table["kind"].to_pylist()
    for micro_batch in (None, 1, 2, 100):
        model.zero_grad()
        losses = Gradients(model, SINGLE, kinds, PassSize(micro_batch, SINGLE)).compute(iter(packs))
        assert losses.loss == pytest.approx(whole.loss.item(), rel=1e-5)
        assert sum(count for _, count in losses.by_kind.values()) == len(whole.losses)
        assert losses.tokens == sum(losses.lengths)
        assert losses.tokens == sum(prompt.length for pack in packs if pack.counts for prompt in pack.prompts)
        for name, gradient in wanted.items():
            assert torch.allclose(parameters[name].grad, gradient, rtol=1e-3, atol=1e-5), name


def test_passes_follow_from_the_memory_that_the_first_step_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a GPU of 100 bytes, 40 of which are weights and optimizer from the second step on."""
    used, peak = iter((20, 40)), 30
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: next(used))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peak)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=100))
    packs = [Pack((n,), ()) for n in range(6)]
    passes = PassSize(None, World(device="cuda"))
    sizes = [[len(some) for some in passes.split(packs)] for _ in range(3)]
    assert sizes == [[1] * 6, [4, 2], [4, 2]]  # a pack takes 10, and 0.8 of 60 is free


def test_media_are_pinned_by_the_loader_of_torch(
    mixed: Path, processor: OlaProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = next(iter(loader(mixed, processor, batch=1, sequence_tokens=700)))
    loaded, pinned = LoadedPack(step.packs[0], ("fault",)), list[torch.Size]()

    def pin(tensor: torch.Tensor, *_: object) -> torch.Tensor:
        pinned.append(tensor.shape)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    found = pin_memory(loaded)  # type: ignore[no-untyped-call]
    assert isinstance(found, LoadedPack)
    assert found.pack.rows == loaded.pack.rows
    media = {id(medium): medium for prompt in loaded.pack.prompts for medium in prompt.media}
    assert len(pinned) == sum(len(each.views) if isinstance(each, Visual) else 2 for each in media.values())
    for one, other in zip(found.pack.prompts, loaded.pack.prompts, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        for mine, theirs in zip(one.visuals, other.visuals, strict=True):
            assert all(map(torch.equal, mine.views, theirs.views))
            assert mine is not theirs
            assert mine.digest == theirs.digest
