"""Embeddings of prompts to token ids, many prompts at a time.

In: `Reply`s, each the embeddings of a prompt and how to go on. Out: (which reply, token id) as they come. `Decoder` is
the seam behind which an engine that takes prompt embeddings can stand; `TorchDecoder` is plain transformers.

Its batches are padded in the middle: prompts begin in column 0 of the cache, and what is generated goes to column W
and on, in all rows alike. So prompts are read without a mask (a causal row never looks at padding behind it), a step
writes one column, and only what lies between a prompt and W is masked; positions are counted as if it were not there.

Legend: B rows of a batch, b of a pass, L positions of a prompt, W the longest of a batch or pass, K columns of the
cache, N new tokens at most, h key heads, d width of a head, C width of the decoder, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache, Qwen2ForCausalLM

from ola.packing import PACKED
from ola.static_step import GROUPED, CacheLayer, StaticStep, additive

# A pass over a hundred tokens takes as long as one over a single token, on a GPU (the weights must be read) as on a CPU
# (the calls must be made), so fewer tokens of padding are cheaper than another pass.
PADDING = 128
# Enough for a pass to keep any device busy, few enough for its activations: 0.6 GB at 7B sizes in bfloat16.
PASS_TOKENS = 16_384
TOKEN_BUDGET = 65_536


@dataclass(eq=False)
class Reply:
    """The embeddings (L, C) of a prompt, and how to go on.

    temperature 0 takes the likeliest token; above it `seed` fixes the choices, whatever is decoded beside. top_p: the
    likeliest tokens that hold this share of the probability are chosen from. finished: set by the decoder before it
    gives out the last token (one of `end_ids`, or number `max_new_tokens`), and by its reader to end it earlier.
    """

    embeds: Tensor
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    end_ids: frozenset[int] = frozenset()
    finished: bool = False


class Decoder(Protocol):
    """Goes on from prompts, in any order; closing the generator ends it all."""

    def decode(self, replies: Sequence[Reply]) -> Generator[tuple[int, int], None, None]:
        """(index of a reply, its next token id), as they come."""
        ...

    def scores(self, replies: Sequence[Reply], ids: Sequence[int]) -> Tensor:
        """Logits of these token ids as the next one of each reply: (replies, ids)."""
        ...


class TorchDecoder:
    """One batch after the other through a Qwen2 of transformers.

    token_budget: rows times columns of a batch, new tokens included, which is what the cache takes: 3.8 GB at 7B sizes
    in bfloat16. A reply that exceeds it is decoded alone. static: steps in shapes that never change, as CUDA graphs
    (see `ola.static_step`); None is yes on CUDA. Only for attention by `sdpa`.
    """

    def __init__(self, model: Qwen2ForCausalLM, token_budget: int = TOKEN_BUDGET, static: bool | None = None) -> None:
        self.model, self.token_budget = model, token_budget
        wanted = model.device.type == "cuda" if static is None else static
        self.static = wanted and model.config._attn_implementation in ("sdpa", GROUPED)
        if self.static:
            model.config._attn_implementation = GROUPED

    @torch.inference_mode()
    def decode(self, replies: Sequence[Reply]) -> Generator[tuple[int, int], None, None]:
        """Longest prompts first, so that what does not fit in memory fails at once."""
        for rows in self._batches(replies):
            for row, token in self._batch(replies, rows).tokens():
                yield rows[row], token

    @torch.inference_mode()
    def scores(self, replies: Sequence[Reply], ids: Sequence[int]) -> Tensor:
        """Logits (replies, ids), from reading the prompts alone."""
        found: dict[int, Tensor] = {}
        for rows in self._batches(replies):
            logits_BV = self._batch(replies, rows).read()
            found.update(zip(rows, logits_BV[:, list(ids)], strict=True))
        return torch.stack([found[index] for index in range(len(replies))])

    def _batch(self, replies: Sequence[Reply], rows: Sequence[int]) -> _Batch:
        return _Batch(self.model, [replies[index] for index in rows], self.static)

    def _batches(self, replies: Sequence[Reply]) -> Iterator[list[int]]:
        order = sorted(range(len(replies)), key=lambda index: -len(replies[index].embeds))

        def fits(start: int, end: int) -> bool:
            some = [replies[index] for index in order[start:end]]
            columns = len(some[0].embeds) + max(reply.max_new_tokens for reply in some)
            return columns * len(some) <= self.token_budget

        return (order[rows] for rows in runs(len(order), fits))


def runs(count: int, fits: Callable[[int, int], bool]) -> Iterator[slice]:
    """`count` things in a row cut into the longest runs that fit (start, end); one that never fits is a run alone."""
    start = 0
    for end in range(1, count + 1):
        if end == count or not fits(start, end + 1):
            yield slice(start, end)
            start = end


class _Batch:
    """Rows that are decoded together, longest prompt first."""

    def __init__(self, model: Qwen2ForCausalLM, replies: Sequence[Reply], static: bool) -> None:
        self.model, self.device, self.static = model, replies[0].embeds.device, static
        self.rows = list(enumerate(replies))
        self.steps = max(reply.max_new_tokens for reply in replies)
        self.choice = _Choice(replies, self.steps, self.device)
        self.rooms: list[CacheLayer] = []
        self._measure()

    def tokens(self) -> Iterator[tuple[int, int]]:
        """(row, token) until all have finished. Those leave once they are half: copying the cache then pays."""
        logits_BV = self.read()
        for step in range(self.steps):
            chosen_B = self.choice(logits_BV, step)
            for (row, reply), token in zip(self.rows, chosen_B.tolist(), strict=True):
                if not reply.finished:
                    reply.finished = step + 1 == reply.max_new_tokens or token in reply.end_ids
                    yield row, token
            alive = [place for place, (_row, reply) in enumerate(self.rows) if not reply.finished]
            if not alive:
                return
            if 2 * len(alive) <= len(self.rows):
                chosen_B = chosen_B[self._keep(alive)]
            logits_BV = self._step(chosen_B, step)

    def _measure(self) -> None:
        self.lengths = [len(reply.embeds) for _row, reply in self.rows]
        self.width, self.columns = self.lengths[0], self.lengths[0] + self.steps - 1
        self.lengths_B1 = torch.tensor(self.lengths, device=self.device)[:, None]
        self.mask = None if self.static else self._mask()
        self.static_step: StaticStep | None = None

    def _open(self, written: int) -> Tensor:
        """(B, K), the columns to look at: a row's prompt, and the first `written` tokens that were made."""
        columns_K = torch.arange(self.columns, device=self.device)
        made_K = (columns_K >= self.width) & (columns_K < self.width + written)
        return (columns_K < self.lengths_B1) | made_K

    def _mask(self) -> Tensor | None:
        """What new tokens may look at: 2-d for attention kernels that unpad, else as it is added to their scores."""
        if self.lengths[-1] == self.width:
            return None
        open_BK = self._open(self.steps)
        if self.model.config._attn_implementation not in ("sdpa", "eager", PACKED):
            return open_BK
        return additive(open_BK, self.rows[0][1].embeds.dtype)

    def read(self) -> Tensor:
        """Run the prompts, those of like lengths in one pass, and keep what they leave: the logits after each."""

        def fits(start: int, end: int) -> bool:
            area = self.lengths[start] * (end - start)
            return area <= PASS_TOKENS and area - sum(self.lengths[start:end]) <= PADDING

        logits = []
        for rows in runs(len(self.rows), fits):
            embeds_bWC = pad_sequence([reply.embeds for _row, reply in self.rows[rows]], batch_first=True)
            read: Any = DynamicCache()
            hidden_bWC = self.model.model(inputs_embeds=embeds_bWC, past_key_values=read).last_hidden_state
            hidden_bC = hidden_bWC[torch.arange(len(embeds_bWC)), self.lengths_B1[rows, 0] - 1]
            logits.append(self.model.lm_head(hidden_bC))
            self.rooms = self.rooms or [CacheLayer(len(self.rows), self.columns, layer.keys) for layer in read.layers]
            for room, layer in zip(self.rooms, read.layers, strict=True):
                room.fill(rows.start, layer.keys, layer.values)
        for room in self.rooms:
            room.show(self.width)
        return torch.cat(logits)

    def _step(self, chosen_B: Tensor, step: int) -> Tensor:
        """Logits after one more token in each row; valid until the next step."""
        if self.static:
            left = self.steps - 1 - step
            self.static_step = self.static_step or StaticStep(
                self.model, self.rooms, self._open(step), self.lengths_B1, left
            )
            return self.static_step(chosen_B, step, self.width + step)
        hidden_B1C = self.model.model(
            input_ids=chosen_B[:, None],
            attention_mask=None if self.mask is None else self.mask[..., : self.width + step + 1],
            position_ids=self.lengths_B1 + step,
            past_key_values=Cache(layers=[*self.rooms]),
        ).last_hidden_state
        logits_BV: Tensor = self.model.lm_head(hidden_B1C[:, 0])
        return logits_BV

    def _keep(self, alive: Sequence[int]) -> Tensor:
        rows_B, old_width = torch.tensor(alive, device=self.device), self.width
        self.rows = [self.rows[place] for place in alive]
        self.choice.keep(rows_B)
        self._measure()
        for room in self.rooms:
            room.keep(rows_B, self.width, old_width)
        return rows_B


class _Choice:
    """Picks a token in each row, as its reply asks."""

    def __init__(self, replies: Sequence[Reply], steps: int, device: torch.device) -> None:
        self.greedy = all(reply.temperature == 0 for reply in replies)
        self.cut = any(reply.top_p < 1 for reply in replies)
        if not self.greedy:
            # One number a token from the row's own seed, made ahead so that they cross to the device once.
            streams = [random.Random(reply.seed) for reply in replies]
            numbers = [[stream.random() for _ in range(steps)] for stream in streams]
            self.uniform_BN = torch.tensor(numbers, dtype=torch.float64, device=device)
            self.temperature_B = torch.tensor([reply.temperature for reply in replies], device=device)
            self.top_p_B = torch.tensor([reply.top_p for reply in replies], device=device)

    def __call__(self, logits_BV: Tensor, step: int) -> Tensor:
        likeliest_B = logits_BV.argmax(dim=-1)
        if self.greedy:
            return likeliest_B
        top_p_B = self.top_p_B if self.cut else None
        drawn_B = draw(logits_BV, self.uniform_BN[:, step], self.temperature_B, top_p_B)
        return torch.where(self.temperature_B > 0, drawn_B, likeliest_B)

    def keep(self, rows_B: Tensor) -> None:
        if not self.greedy:
            self.uniform_BN = self.uniform_BN[rows_B]
            self.temperature_B, self.top_p_B = self.temperature_B[rows_B], self.top_p_B[rows_B]


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature_B: Tensor, top_p_B: Tensor | None) -> Tensor:
    """The token at which each row's cumulated probability, tokens in order of their ids, passes `uniform_B`.

    In order of ids rather than of probability, so that rounding in another batch shape, which swaps tokens of almost
    equal probability, hardly ever changes the token. A temperature of 0 counts as 1.
    """
    divisor_B = torch.where(temperature_B > 0, temperature_B, 1.0)
    share_BV = (logits_BV / divisor_B[:, None]).softmax(dim=-1, dtype=torch.float64)
    if top_p_B is not None:
        share_BV = share_BV * (share_BV >= _least_kept(share_BV, top_p_B))
    sum_BV = share_BV.cumsum(dim=-1)
    token_B1 = torch.searchsorted(sum_BV, uniform_B[:, None] * sum_BV[:, -1:], right=True)
    return token_B1[:, 0].clamp(max=logits_BV.shape[1] - 1)


def _least_kept(share_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """(B, 1): the smallest probability among the likeliest tokens that together reach `top_p_B`."""
    falling_BV = share_BV.sort(dim=-1, descending=True).values
    before_BV = falling_BV.cumsum(dim=-1) - falling_BV
    last_B = (before_BV < top_p_B[:, None]).sum(dim=-1) - 1
    return falling_BV.gather(1, last_B[:, None])
