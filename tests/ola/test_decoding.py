"""Decoding in batches: tokens do not depend on batch or cache, rows leave, and samples follow the probabilities."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ola import decoding
from ola.batching import padding_to_step
from ola.config import OlaConfig
from ola.decoding import TOKEN_BUDGET, Reply, TorchDecoder
from ola.memory import position_bytes
from ola.model import OlaForConditionalGeneration
from ola.prefixes import Prefix
from ola.sampling import draw, margins, precise_logits
from tests.ola import tiny

CHOICES = [(0.0, 1.0), (0.7, 1.0), (1.0, 0.9), (1.5, 0.5)]
"""(temperature, top_p)"""


def embedded(model: OlaForConditionalGeneration, length: int) -> Tensor:
    with torch.inference_mode():
        embeds: Tensor = model.get_input_embeddings()(torch.arange(length))
    return embeds


def test_a_budget_splits_batches_and_what_exceeds_it_is_decoded_alone() -> None:
    model = tiny.model()
    embeds = embedded(model, 100)
    replies = [Reply(embeds[:length], new) for length, new in [(10, 5), (100, 5), (12, 8), (15, 5), (11, 5)]]
    given = list(TorchDecoder(model, token_budget=60).decode(replies))
    batches = [set(batch) for _, batch in groupby([index for index, _ in given], key={1: 0, 3: 1, 2: 1}.get)]
    assert batches == [{1}, {3, 2}, {4, 0}]  # 1 x 105; 2 x (15 + 8); 2 x (11 + 5)
    assert [sum(index == n for index, _ in given) for n in range(5)] == [5, 5, 8, 5, 5]


def test_rows_leave_and_prompts_of_like_length_are_read_together() -> None:
    model = tiny.model()
    shapes: list[tuple[int, ...]] = []

    def note(_module: nn.Module, _given: object, kwargs: dict[str, Tensor]) -> None:
        given = kwargs["inputs_embeds"] if "inputs_embeds" in kwargs else kwargs["input_ids"]
        shapes.append(tuple(given.shape[:2]))

    embeds = embedded(model, 300)
    replies = [Reply(embeds[:length], new) for length, new in [(20, 2), (300, 2), (19, 5), (250, 3)]]
    with model.model.register_forward_pre_hook(note, with_kwargs=True):
        list(TorchDecoder(model).decode(replies))
    assert shapes == [(2, 300), (2, 20), (4, 1), (2, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_tokens_are_those_of_reading_all_again_without_a_cache(attention: str) -> None:
    model = tiny.model(attn_implementation=attention)
    replies = [
        Reply(embedded(model, length), 8, *choice, seed=length)
        for length, choice in zip((1, 1, 7, 300), CHOICES, strict=True)
    ]
    for some in (replies[:1], replies[1:2], replies):
        got: dict[int, list[int]] = {}
        for index, token in TorchDecoder(model).decode([replace(reply) for reply in some]):
            got.setdefault(index, []).append(token)
        assert got == {index: by_reading_all_again(model, reply) for index, reply in enumerate(some)}


def by_reading_all_again(model: OlaForConditionalGeneration, reply: Reply) -> list[int]:
    embeds, numbers, chosen = reply.embeds, random.Random(reply.seed), []
    with torch.inference_mode():
        for _ in range(reply.max_new_tokens):
            logits = model(inputs_embeds=embeds[None]).logits[:, -1]
            uniform, temperature, top_p = torch.tensor([[numbers.random()], [reply.temperature], [reply.top_p]])
            drawn = draw(logits, uniform, temperature, top_p) if reply.temperature else logits.argmax(dim=-1)
            chosen.append(int(drawn))
            embeds = torch.cat([embeds, model.get_input_embeddings()(drawn)])
    return chosen


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([1.0, 3.0, -torch.inf, 2.0, 3.0])
    draws = 20_000
    uniform = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws

    def assert_shares(expected: Tensor, temperature: float, top_p: float | None) -> None:
        top = None if top_p is None else torch.full((draws,), top_p)
        drawn = draw(logits.expand(draws, -1), uniform, torch.full((draws,), temperature), top)
        torch.testing.assert_close(torch.bincount(drawn, minlength=5) / draws, expected, rtol=0, atol=2 / draws)

    assert_shares(logits.softmax(0), 1.0, None)
    assert_shares((2 * logits).softmax(0), 0.5, 1.0)
    assert_shares(logits.index_fill(0, torch.tensor([0]), -torch.inf).softmax(0), 1.0, 0.9)
    assert_shares(torch.tensor([0, 0.5, 0, 0, 0.5]), 1.0, 1e-6)  # a tie keeps both


@pytest.mark.parametrize("unequal", [False, True])
def test_steps_in_shapes_that_stay_give_the_tokens_of_those_that_grow(unequal: bool) -> None:
    shapes: list[tuple[int, ...]] = []

    def note(_module: nn.Module, _given: object, kwargs: dict[str, Any]) -> None:
        if "input_ids" in kwargs:
            shapes.append(tuple(kwargs["attention_mask"].shape))

    model, embeds = tiny.model(), embedded(tiny.model(), 90)

    def replies() -> list[Reply]:
        lengths = [80 - 7 * row * unequal for row in range(len(CHOICES))]
        return [
            Reply(embeds[:length], 3 + 5 * row, temperature, top_p, row)
            for row, (length, (temperature, top_p)) in enumerate(zip(lengths, CHOICES, strict=True))
        ]

    growing = list(TorchDecoder(model).decode(replies()))
    with model.model.register_forward_pre_hook(note, with_kwargs=True):
        static = list(TorchDecoder(model, static=True).decode(replies()))
    assert static == growing
    assert [rows for rows, *_ in shapes] == [4] * 7 + [2] * 5 + [1] * 5  # halves leave
    assert len({columns for rows, _, _, columns in shapes if rows == 4}) == 1


def test_lengths_are_multiples_on_a_gpu_and_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, embeds = tiny.model(), embedded(tiny.model(), 90)
    read, columns = list[int](), list[int]()

    def note(_module: nn.Module, _given: object, kwargs: dict[str, Any]) -> None:
        if "inputs_embeds" in kwargs:
            read.append(kwargs["inputs_embeds"].shape[1])
        else:
            columns.append(kwargs["attention_mask"].shape[3])

    def replies() -> list[Reply]:
        begins = (Prefix("all", 30),)
        return [Reply(embeds[: 80 - 7 * row], 3 + 5 * row, prefixes=begins if row else ()) for row in range(4)]

    plain, scores = list(TorchDecoder(model).decode(replies())), TorchDecoder(model).scores(replies(), [3, 9])
    monkeypatch.setattr(decoding, "padding_to_step", lambda length, _device: padding_to_step(length, "cuda"))
    with model.model.register_forward_pre_hook(note, with_kwargs=True):
        assert list(TorchDecoder(model, static=True).decode(replies())) == plain
    assert read == [128, 64]  # 80 and 73; 36 and 29 behind the prefix
    assert columns[:7] == [128] * 7  # until half of the rows leave
    torch.testing.assert_close(TorchDecoder(model).scores(replies(), [3, 9]), scores, rtol=1e-5, atol=1e-5)


def test_on_a_gpu_batches_and_prefixes_take_a_share_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny.model()
    assert position_bytes(OlaConfig(**tiny.RELEASED_DECODER), torch.bfloat16) == 57_344
    assert TorchDecoder(model).token_budget == TOKEN_BUDGET
    monkeypatch.setattr(decoding, "free_positions", lambda _: 1_000_000)
    decoder = TorchDecoder(model)
    assert (decoder.token_budget, decoder.prefixes.limit) == (400_000, 600_000)
    assert TorchDecoder(model, token_budget=100).token_budget == 100


def test_scores_in_bfloat16_are_told_apart() -> None:
    """Logits near 20, that bfloat16 would round to steps of 0.125, are float32."""
    model = tiny.model()
    half = deepcopy(model).bfloat16()
    with torch.no_grad():
        half.lm_head.weight *= 40
    replies = [Reply(embedded(model, length).bfloat16(), 1) for length in (12, 30, 45)]
    scores = TorchDecoder(half).scores(replies, range(40))
    assert scores.dtype == torch.float32
    assert scores.abs().max() > 16
    assert (scores != scores.bfloat16().float()).float().mean() > 0.9


def test_in_bfloat16_the_likeliest_token_is_that_of_float32_and_its_margin_is_told() -> None:
    generator = torch.Generator().manual_seed(3)
    head = nn.Linear(64, 500, bias=False).to(torch.bfloat16)
    with torch.inference_mode():
        head.weight.copy_(torch.randn(500, 64, generator=generator))
        hidden_BC = torch.randn(400, 64, generator=generator).to(torch.bfloat16) * 8
        wanted_BV = hidden_BC.float() @ head.weight.float().T
        rounded_BV, precise_BV = head(hidden_BC), precise_logits(head, hidden_BC)
        assert (rounded_BV.argmax(dim=1) != wanted_BV.argmax(dim=1)).sum() >= 3, "rounding ties them"
        assert torch.equal(precise_BV.argmax(dim=1), wanted_BV.argmax(dim=1))
        torch.testing.assert_close(margins(precise_BV), margins(wanted_BV), rtol=0, atol=1e-3)


def test_a_reply_tells_by_how_much_its_least_sure_token_won() -> None:
    model = tiny.model()
    reply = Reply(embedded(model, 7), 5)
    tokens = [token for _, token in TorchDecoder(model).decode([reply])]
    with torch.inference_mode():
        made_LC = model.get_input_embeddings()(torch.tensor(tokens[:-1]))
        hidden_LC = model.model(inputs_embeds=torch.cat([reply.embeds, made_LC])[None]).last_hidden_state[0, 6:]
        assert reply.margin == pytest.approx(float(margins(model.lm_head(hidden_LC)).min()), abs=1e-4)
