"""vLLM gives the tokens of `TorchDecoder`. Runs where vLLM is installed: `make test-vllm`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch

from ola.decoding import Decoder, Reply, TorchDecoder
from ola.export import export_decoder, load_without_decoder
from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Request, Wave
from ola.vllm_decoder import VllmDecoder
from tests.ola import tiny

pytest.importorskip("vllm", reason="vLLM is not installed: `make test-vllm` gives it a venv of its own")

LENGTHS = (1, 7, 40, 41, 300, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads are 32 wide, the least that vLLM's attention on a CPU takes."""
    folder = tmp_path_factory.mktemp("model") / "ola"
    model = tiny.model(seed=1, num_attention_heads=2, num_key_value_heads=1)
    model.save_pretrained(folder)
    OlaProcessor(tiny.tokenizer(), model.config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> OlaForConditionalGeneration:
    return OlaForConditionalGeneration.from_pretrained(folder)


@pytest.fixture(scope="module")
def vllm(folder: Path) -> VllmDecoder:
    out = folder.with_name("qwen2")
    export_decoder(folder, out)
    return VllmDecoder(out, torch.float32)


@pytest.fixture
def replies(model: OlaForConditionalGeneration) -> list[Reply]:
    """Greedy; each prompt is words from another place on."""
    with torch.inference_mode():
        embeds = model.get_input_embeddings()(torch.arange(model.config.vocab_size))
    return [Reply(embeds[n : n + length], 12 + n) for n, length in enumerate(LENGTHS)]


def gathered(tokens: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for index, token in tokens:
        found.setdefault(index, []).append(token)
    return found


def fresh(replies: Sequence[Reply]) -> list[Reply]:
    return [replace(reply, finished=False) for reply in replies]


def decoded(decoder: Decoder, replies: Sequence[Reply]) -> dict[int, list[int]]:
    return gathered(decoder.decode(fresh(replies)))


def test_greedy_tokens_are_those_of_torch(
    vllm: VllmDecoder, model: OlaForConditionalGeneration, replies: list[Reply]
) -> None:
    whole = decoded(TorchDecoder(model), replies)
    assert [len(whole[index]) for index in range(len(replies))] == [reply.max_new_tokens for reply in replies]
    assert decoded(vllm, replies) == whole
    ending = [replace(reply, end_ids=frozenset({whole[index][5]})) for index, reply in enumerate(replies)]
    ended = decoded(TorchDecoder(model), ending)
    assert all(ended[index][-1] == whole[index][5] and len(ended[index]) <= 6 for index in ended)
    assert decoded(vllm, ending) == ended


def test_finished_is_set_before_the_last_token_is_given(vllm: VllmDecoder, replies: list[Reply]) -> None:
    left = [reply.max_new_tokens for reply in replies]
    order = []
    for index, _token in vllm.decode(replies):
        left[index] -= 1
        order.append(index)
        assert replies[index].finished == (left[index] == 0)
    assert left == [0] * len(replies)
    assert order[:6] != sorted(order)[:6]  # as they come, not one reply after the other


def test_a_reader_ends_replies(vllm: VllmDecoder, replies: list[Reply]) -> None:
    whole = decoded(vllm, replies)
    found: dict[int, list[int]] = {}
    for index, token in vllm.decode(replies):
        found.setdefault(index, []).append(token)
        replies[index].finished |= index in (0, 3) and len(found[index]) == 4
        replies[5].finished |= len(found.get(4, [])) == 2  # by what comes of another one
    assert {index: found[index] for index in (1, 2, 4)} == {index: whole[index] for index in (1, 2, 4)}
    assert [found[index] for index in (0, 3)] == [whole[index][:4] for index in (0, 3)]
    assert len(found[5]) <= 3
    assert_idle(vllm)


def assert_idle(vllm: VllmDecoder) -> None:
    assert vllm.engine.get_num_unfinished_requests() == 0
    assert not vllm.engine.engine_core.engine_core.scheduler.has_unfinished_requests()
    assert not vllm.arrived


def test_closing_ends_all_that_is_in_flight(vllm: VllmDecoder, replies: list[Reply]) -> None:
    whole = decoded(vllm, replies)
    with closing(vllm.decode(fresh(replies))) as tokens:
        next(tokens)
        assert vllm.engine.get_num_unfinished_requests() > 0
    assert_idle(vllm)
    assert decoded(vllm, replies) == whole


def test_positions_that_were_read_are_counted_without_those_in_the_cache(
    vllm: VllmDecoder, replies: list[Reply]
) -> None:
    [longest] = fresh([max(replies, key=lambda reply: len(reply.embeds))])
    longest.embeds = longest.embeds + 1e-3  # nobody has asked this before
    again = replace(longest)
    gathered(vllm.decode([longest]))
    gathered(vllm.decode([again]))
    block = vllm.engine.vllm_config.cache_config.block_size
    assert longest.read_tokens == len(longest.embeds) > block
    assert 0 < again.read_tokens <= block


def test_replies_are_taken_as_the_cache_gets_room(
    vllm: VllmDecoder, replies: list[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, taken = decoded(vllm, replies), list[int]()
    monkeypatch.setattr(vllm, "capacity", len(replies[0].embeds) + 1)

    def feed() -> Iterator[Reply]:
        for number, reply in enumerate(fresh(replies)):
            taken.append(number)
            yield reply

    found, begun = dict[int, list[int]](), list[int]()
    for index, token in vllm.decode(feed()):
        found.setdefault(index, []).append(token)
        begun.append(len(taken))
    assert found == whole
    assert begun[0] < len(replies) == begun[-1], "decoding begins before the last reply is taken"
    assert_idle(vllm)


def test_a_prompt_that_is_too_long_leaves_nothing_behind(vllm: VllmDecoder, replies: list[Reply]) -> None:
    from vllm.exceptions import VLLMValidationError

    longest = replace(replies[0], embeds=torch.zeros(4097, replies[0].embeds.shape[1]))
    with pytest.raises(VLLMValidationError, match="4096"):
        decoded(vllm, [*replies, longest])
    assert_idle(vllm)


def test_calls_overlap(vllm: VllmDecoder, replies: list[Reply]) -> None:
    whole = decoded(vllm, replies)
    left, right = vllm.decode(fresh(replies)), vllm.decode(fresh(replies[::-1]))
    pairs = list(zip_longest(left, right))  # turn and turn about in one thread
    assert gathered(one for one, _ in pairs if one) == whole
    assert gathered(other for _, other in pairs if other) == {5 - index: tokens for index, tokens in whole.items()}
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: decoded(vllm, replies), range(8))) == [whole] * 8
    assert_idle(vllm)


def test_sampling_repeats_with_its_seed(vllm: VllmDecoder, replies: list[Reply]) -> None:
    sampled = [replace(reply, temperature=1.0, top_p=0.9, seed=index - 1) for index, reply in enumerate(replies)]
    once = decoded(vllm, sampled)
    assert decoded(vllm, sampled[::-1]) == {5 - index: tokens for index, tokens in once.items()}
    assert decoded(vllm, [replace(reply, seed=reply.seed + 10) for reply in sampled]) != once
    unlikely = [replace(reply, top_p=1e-6) for reply in sampled]
    assert decoded(vllm, unlikely) == decoded(vllm, replies)


def test_scores_are_logits(vllm: VllmDecoder, model: OlaForConditionalGeneration, replies: list[Reply]) -> None:
    ids = [509, 3, 77, 4]
    mine, theirs = (decoder.scores(replies, ids) for decoder in (vllm, TorchDecoder(model)))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert not any(reply.finished for reply in replies)


def requests() -> list[Request]:
    dice = np.random.default_rng(0)
    pictures = [dice.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(3)]
    wave = Wave(dice.normal(0, 0.1, 24_000).astype(np.float32))
    asked = [
        Request("Why?"),
        Request("What is this?", images=pictures[:1]),
        Request("What happens, and who speaks of it?", video=pictures, sounds=[wave]),
        Request("What is heard?", sounds=[wave]),
    ]
    return [replace(request, max_new_tokens=10 + 5 * n) for n, request in enumerate(asked)]


def test_a_whole_ola_answers_the_same(vllm: VllmDecoder, model: OlaForConditionalGeneration, folder: Path) -> None:
    processor = OlaProcessor.from_pretrained(folder)
    torch_ola, vllm_ola = Ola(model, processor), Ola(load_without_decoder(folder), processor, vllm)
    theirs, mine = torch_ola.generate(requests()), vllm_ola.generate(requests())
    assert [(a.text, a.tokens, a.finish) for a in mine] == [(a.text, a.tokens, a.finish) for a in theirs]
    assert len({answer.tokens for answer in mine}) == len(mine)
    words = ("yes", "no")
    np.testing.assert_allclose(vllm_ola.choose(requests(), words), torch_ola.choose(requests(), words), atol=1e-3)
