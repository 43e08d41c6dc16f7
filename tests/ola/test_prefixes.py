"""Shared beginnings of prompts are read once, and answers and scores stay the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from ola.decoding import TorchDecoder
from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.prefixes import Prefix, PrefixCache, order_by_prefix
from ola.processor import OlaProcessor
from ola.prompt import Request, Wave
from tests.ola import tiny

NEW = 6


@pytest.fixture(scope="module")
def model() -> OlaForConditionalGeneration:
    made = tiny.model(seed=1)
    with torch.no_grad():
        for layer in made.model.layers:  # sharp, so that a wrong position or a token too many changes the answer
            layer.self_attn.q_proj.weight *= 4
    return made


@pytest.fixture(scope="module")
def processor(model: OlaForConditionalGeneration) -> OlaProcessor:
    return OlaProcessor(tiny.tokenizer(), model.config)


def ola(model: OlaForConditionalGeneration, processor: OlaProcessor, prefix_tokens: int) -> Ola:
    return Ola(model, processor, TorchDecoder(model, prefix_tokens=prefix_tokens))


def views(processor: OlaProcessor, clip: int, questions: Sequence[str]) -> list[Request]:
    """Each question under four views of a clip, as `verify` asks it."""
    draw = np.random.default_rng(clip)
    video = processor.video([draw.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(3 + clip)])
    sound = processor.sound(Wave(draw.normal(size=16_000 * 3).astype(np.float32) / 10, 16_000))
    seen = [{"video": video, "sounds": [sound]}, {"video": video}, {"sounds": [sound]}, {}]
    return [Request(text, max_new_tokens=NEW, **view) for text in questions for view in seen]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def requests(processor: OlaProcessor) -> list[Request]:
    questions = ("What is it?", "And what is heard while the other one is seen?", "How many?")
    return [request for clip in range(3) for request in views(processor, clip, questions)]


@pytest.mark.parametrize("kept", [65_536, 150, 40])  # all prefixes; fewer than the clips have; hardly any
def test_answers_and_scores_are_those_of_whole_prompts(
    model: OlaForConditionalGeneration, processor: OlaProcessor, requests: list[Request], kept: int
) -> None:
    whole, shared = ola(model, processor, 0), ola(model, processor, kept)
    expected = [answer.tokens for answer in whole.generate(requests)]
    assert [answer.tokens for answer in shared.generate(requests)] == expected
    assert [answer.tokens for answer in shared.generate(requests[::-1])] == expected[::-1]  # from what is kept
    scores = [np.array(model.choose(requests, ("yes", "no"))) for model in (whole, shared)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    assert len(set(expected)) > len(requests) // 2
    decoder = shared.decoder
    assert isinstance(decoder, TorchDecoder)
    assert decoder.prefixes.positions <= kept


def test_a_beginning_is_read_once_and_later_not_at_all(
    model: OlaForConditionalGeneration, processor: OlaProcessor, requests: list[Request]
) -> None:
    model_of_all, whole = ola(model, processor, 65_536), ola(model, processor, 0)
    first, again = model_of_all.generate(requests), model_of_all.generate(requests)
    for read, asked in ((answer.read_tokens, answer.prompt_tokens) for answer in whole.generate(requests)):
        assert read == asked
    of_clip = first[:12]  # three questions under four views; the frames with sound are the longest
    longest = max(answer.prompt_tokens for answer in of_clip)
    texts = sum(answer.read_tokens for answer in again[:12])
    assert sum(answer.read_tokens for answer in of_clip) < longest + texts + 40  # and the sound alone
    assert all(second.read_tokens <= one.read_tokens for one, second in zip(first, again, strict=True))
    assert sum(answer.read_tokens for answer in again) < 0.5 * sum(answer.prompt_tokens for answer in again)
    decoder = model_of_all.decoder
    assert isinstance(decoder, TorchDecoder)
    assert decoder.prefixes.positions < sum(max(a.prompt_tokens for a in first[n : n + 12]) + 60 for n in (0, 12, 24))


def test_small_batches_share_as_well(
    model: OlaForConditionalGeneration, processor: OlaProcessor, requests: list[Request]
) -> None:
    small = Ola(model, processor, TorchDecoder(model, token_budget=400))
    expected = [answer.tokens for answer in ola(model, processor, 0).generate(requests)]
    assert [answer.tokens for answer in small.generate(requests)] == expected


def test_another_text_before_the_same_medium_is_another_beginning(
    model: OlaForConditionalGeneration, processor: OlaProcessor
) -> None:
    [request, *_] = views(processor, 0, ["What is it?"])
    turned = Request("And now?", history=[("What is it?", "A cat.")], video=request.video, max_new_tokens=NEW)
    shared = ola(model, processor, 65_536)
    answers = [shared.generate([one])[0] for one in (request, turned)]
    assert [answer.tokens for answer in answers] == [
        ola(model, processor, 0).generate([one])[0].tokens for one in (request, turned)
    ]


def test_prompts_that_begin_alike_are_neighbours() -> None:
    assert order_by_prefix(["a", "b", "a", "c", "b"], [5, 9, 7, 8, 1]) == [1, 4, 3, 2, 0]


def test_prefixes_are_let_go(model: OlaForConditionalGeneration, processor: OlaProcessor) -> None:
    decoder = TorchDecoder(model, prefix_tokens=200)
    few = Ola(model, processor, decoder)
    for clip in range(4):
        few.generate(views(processor, clip, ["What?"]))
        assert decoder.prefixes.positions <= 200
    assert len(decoder.prefixes.known([Prefix("never read", 3)])) == 0


def test_a_longer_prefix_is_let_go_before_the_one_that_it_goes_on_from() -> None:
    cache = PrefixCache(limit=8)
    read = DynamicCache()
    read.update(torch.ones(1, 2, 8, 4), torch.ones(1, 2, 8, 4), 0)
    frames, both, other = Prefix("frames", 4), Prefix("frames and sound", 6), Prefix("other", 4)
    cache.keep([frames, both], read, 0)
    cache.keep([other], read, 0)
    assert cache.known([frames, both]) == [frames]
    assert cache.known([other]) == [other]
    assert cache.positions == 8
