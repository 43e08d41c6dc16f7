"""What the tests of the model share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from tests.ola import tiny


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Two that wait for each other on a busy machine take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> OlaForConditionalGeneration:
    model = tiny.model(seed=1)
    printable = {index for piece, index in tiny.tokenizer().get_vocab().items() if piece.isascii() and "<" not in piece}
    with torch.no_grad():
        # Whatever it says is text: ids that are no bytes, and bytes that are no ASCII, are as good as never chosen.
        model.lm_head.weight[[index for index in range(model.config.vocab_size) if index not in printable]] = 0
        # Sharp attention, so that a wrong position or a token too many to look at changes the answer.
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight *= 4
    return model


@pytest.fixture(scope="module")
def processor(model: OlaForConditionalGeneration) -> OlaProcessor:
    return OlaProcessor(tiny.tokenizer(), model.config)


@pytest.fixture
def ola(model: OlaForConditionalGeneration, processor: OlaProcessor) -> Ola:
    return Ola(model, processor)
