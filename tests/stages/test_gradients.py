"""Gradients of a step's packs, one after the other: those of the mean loss over all, whatever runs in one pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ola.processor import OlaProcessor
from stages.gradients import Gradients, PassSize
from stages.ranks import SINGLE
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
