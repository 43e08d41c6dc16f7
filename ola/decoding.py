"""Decoding: embeddings of prompts to token ids, many prompts at a time.

In: `Turn`s, each a prompt's embeddings and how to go on from there. Out: (which turn, token id) as they come. The
`Decoder` protocol is the seam behind which an engine that takes prompt embeddings can stand; `TorchDecoder` is the
one of this project, plain transformers on any device.

Its batches are padded in the middle: prompts lie left-aligned in the first W columns of the cache, generated tokens
in the columns after W, for all rows alike. So prompts are read without a mask (a causal row never looks at the padding
behind it), a step writes one column, and what lies between a short prompt and W stays masked; positions are counted
as if nothing lay there.

Legend: B rows of a batch, L positions of a prompt, W the longest of a batch, K columns of the cache, N new tokens at
most, h key heads, d width of a head, C width of the decoder, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache, Qwen2ForCausalLM
from transformers.cache_utils import DynamicLayer

# A pass over a few hundred tokens takes as long as one over a single token, on a GPU (the weights must be read) as on
# a CPU (the calls must be made), so padding a row by less is cheaper than a pass of its own.
PADDING = 256
# Prompts read in one pass: enough to keep any device busy, few enough for the activations (0.6 GB at 7B sizes).
PASS_TOKENS = 16_384


@dataclass(eq=False)
class Turn:
    """A prompt's embeddings (L, C), and how to go on.

    temperature 0 takes the likeliest token; above it `seed` fixes the choices, whatever else is decoded beside. top_p:
    the likeliest tokens that hold this share of the probability are chosen from. finished: set by the decoder after a
    token of `stop_ids` (which is given out) or `max_new_tokens`, or by the consumer at any time, to end it there.
    """

    embeds_LC: Tensor
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()
    finished: bool = False


class Decoder(Protocol):
    """Goes on from prompts. Turns may be taken in any order; closing the iterator ends them all."""

    def decode(self, turns: Sequence[Turn]) -> Iterator[tuple[int, int]]:
        """(index of a turn, its next token id), as they come."""
        ...


class TorchDecoder:
    """A batch at a time through a Qwen2 of transformers.

    token_budget: columns times rows of a batch, new tokens included, which bounds the cache: 3.8 GB at 7B sizes in
    bfloat16. A turn that exceeds it is decoded alone.
    """

    def __init__(self, model: Qwen2ForCausalLM, token_budget: int = 65_536) -> None:
        self.model = model
        self.token_budget = token_budget

    @torch.inference_mode()
    def decode(self, turns: Sequence[Turn]) -> Iterator[tuple[int, int]]:
        """Longest prompts first, so that what does not fit in memory fails at once."""
        order = sorted(range(len(turns)), key=lambda index: -len(turns[index].embeds_LC))
        sizes = [(len(turns[index].embeds_LC), turns[index].max_new_tokens) for index in order]
        for start, end in batches(sizes, self.token_budget):
            indices = order[start:end]
            for row, token in _Batch(self.model, [turns[index] for index in indices]).tokens():
                yield indices[row], token


def batches(sizes: Sequence[tuple[int, int]], token_budget: int) -> Iterator[tuple[int, int]]:
    """Borders of the batches of turns of (L, N), longest L first, that keep to a budget where their turns do."""
    start, new = 0, 0
    for index, (_length, tokens) in enumerate(sizes):
        new = max(new, tokens)
        if index > start and (sizes[start][0] + new) * (index + 1 - start) > token_budget:
            yield start, index
            start, new = index, tokens
    if sizes:
        yield start, len(sizes)


class _Room(DynamicLayer):
    """One layer of the cache in a buffer made once: grown by a token at a time, it would be copied at each."""

    def __init__(self, rows: int, columns: int, like_bhWd: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = like_bhWd.dtype, like_bhWd.device, True
        # Zeros, because what is masked is still multiplied, and a NaN of unused memory would spread.
        shape = (rows, like_bhWd.shape[1], columns, like_bhWd.shape[3])
        self.buffers = [like_bhWd.new_zeros(shape) for _ in range(2)]

    def fill(self, row: int, prefilled: DynamicLayer) -> None:
        """Put in the prompts of some rows."""
        for buffer, part_bhWd in zip(self.buffers, (prefilled.keys, prefilled.values), strict=True):
            buffer[row : row + part_bhWd.shape[0], :, : part_bhWd.shape[2]] = part_bhWd

    def show(self, columns: int) -> None:
        """Let the first columns be what attention sees."""
        self.keys, self.values = (buffer[:, :, :columns] for buffer in self.buffers)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        column = self.keys.shape[2]
        self.buffers[0][:, :, column : column + 1] = key_states
        self.buffers[1][:, :, column : column + 1] = value_states
        self.show(column + 1)
        return self.keys, self.values

    def keep(self, rows_B: Tensor, width: int, old_width: int) -> None:
        """Leave only some rows, and of the prompts' columns the first `width`."""
        columns = self.keys.shape[2] + width - old_width
        parts = ((buffer[rows_B, :, :width], buffer[rows_B, :, old_width:]) for buffer in self.buffers)
        self.buffers = [torch.cat(part, dim=2) for part in parts]
        self.show(columns)


class _Batch:
    """Rows that are decoded together, longest prompt first."""

    def __init__(self, model: Qwen2ForCausalLM, turns: Sequence[Turn]) -> None:
        self.model, self.device = model, turns[0].embeds_LC.device
        self.turns = list(enumerate(turns))
        self.lengths = [len(turn.embeds_LC) for turn in turns]
        self.steps = max(turn.max_new_tokens for turn in turns)
        self.width = max(self.lengths)
        self.lengths_B1 = torch.tensor(self.lengths, device=self.device)[:, None]
        self.choice = _Choice(turns, self.device)
        self.mask = self._mask()

    def tokens(self) -> Iterator[tuple[int, int]]:
        """(row, token) until all have finished."""
        logits_BV, cache = self._read()
        for step in range(self.steps):
            chosen_B = self.choice(logits_BV, step)
            for (row, turn), token in zip(self.turns, chosen_B.tolist(), strict=True):
                if not turn.finished:
                    turn.finished = step + 1 == turn.max_new_tokens or token in turn.stop_ids
                    yield row, token
            alive = [place for place, (_row, turn) in enumerate(self.turns) if not turn.finished]
            if not alive:
                return
            if 2 * len(alive) <= len(self.turns):
                chosen_B = self._keep(alive, cache, chosen_B)
            logits_BV = self._step(chosen_B, step, cache)

    def _read(self) -> tuple[Tensor, Cache]:
        """Run the prompts, those of like lengths together: the logits after each, and the cache they leave."""
        rooms: list[_Room] = []
        logits = []
        for start, end in _passes(self.lengths):
            embeds_bWC = pad_sequence([turn.embeds_LC for _, turn in self.turns[start:end]], batch_first=True)
            cache = DynamicCache()
            hidden_bWC = self.model.model(
                inputs_embeds=embeds_bWC, past_key_values=cache, use_cache=True
            ).last_hidden_state
            last_b = self.lengths_B1[start:end, 0] - 1
            logits.append(self.model.lm_head(hidden_bWC[torch.arange(end - start, device=self.device), last_b]))
            columns = self.width + self.steps - 1
            rooms = rooms or [_Room(len(self.turns), columns, layer.keys) for layer in cache.layers]
            for room, layer in zip(rooms, cache.layers, strict=True):
                room.fill(start, layer)
        for room in rooms:
            room.show(self.width)
        return torch.cat(logits), Cache(layers=rooms)

    def _step(self, chosen_B: Tensor, step: int, cache: Cache) -> Tensor:
        """Logits after one more token in each row."""
        hidden_B1C = self.model.model(
            input_ids=chosen_B[:, None],
            attention_mask=None if self.mask is None else self.mask[..., : self.width + step + 1],
            position_ids=self.lengths_B1 + step,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits_BV: Tensor = self.model.lm_head(hidden_B1C[:, 0])
        return logits_BV

    def _mask(self) -> Tensor | None:
        """What a new token may look at: 2-d for attention kernels that unpad, else ready to be added to scores."""
        if min(self.lengths) == self.width:
            return None
        columns_K = torch.arange(self.width + self.steps - 1, device=self.device)
        open_BK = (columns_K < self.lengths_B1) | (columns_K >= self.width)
        if self.model.config._attn_implementation not in ("sdpa", "eager"):
            return open_BK
        dtype = self.model.dtype
        return torch.zeros_like(open_BK, dtype=dtype).masked_fill(~open_BK, torch.finfo(dtype).min)[:, None, None]

    def _keep(self, alive: Sequence[int], cache: Cache, chosen_B: Tensor) -> Tensor:
        """Let finished rows leave, once they are half of the batch: a copy of the cache then pays."""
        rows_B = torch.tensor(alive, device=self.device)
        old_width = self.width
        self.turns = [self.turns[place] for place in alive]
        self.lengths = [self.lengths[place] for place in alive]
        self.width, self.lengths_B1 = max(self.lengths), self.lengths_B1[rows_B]
        self.choice.keep(rows_B)
        self.mask = self._mask()
        for room in cache.layers:
            assert isinstance(room, _Room)
            room.keep(rows_B, self.width, old_width)
        return chosen_B[rows_B]


def _passes(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Borders of the prompts, longest first, to run in one pass."""
    start = 0
    for index, length in enumerate(lengths):
        longest = lengths[start]
        if index > start and (longest - length > PADDING or longest * (index + 1 - start) > PASS_TOKENS):
            yield start, index
            start = index
    yield start, len(lengths)


class _Choice:
    """Picks a token in each row, as the row's turn asks."""

    def __init__(self, turns: Sequence[Turn], device: torch.device) -> None:
        self.greedy = all(turn.temperature == 0 for turn in turns)
        self.cut = any(turn.top_p < 1 for turn in turns)
        steps = range(max(turn.max_new_tokens for turn in turns))
        streams = [random.Random(turn.seed) for turn in turns]
        if not self.greedy:
            # One number a token from the row's own seed, made ahead so that they cross to the device once.
            numbers = [[stream.random() for _ in steps] for stream in streams]
            self.uniform_BN = torch.tensor(numbers, dtype=torch.float64, device=device)
            self.temperature_B = torch.tensor([turn.temperature for turn in turns], device=device)
            self.top_p_B = torch.tensor([turn.top_p for turn in turns], device=device)

    def __call__(self, logits_BV: Tensor, step: int) -> Tensor:
        likeliest_B = logits_BV.argmax(dim=-1)
        if self.greedy:
            return likeliest_B
        top_p_B = self.top_p_B if self.cut else None
        drawn_B = draw(logits_BV, self.uniform_BN[:, step], self.temperature_B, top_p_B)
        return torch.where(self.temperature_B > 0, drawn_B, likeliest_B)

    def keep(self, rows_B: Tensor) -> None:
        """Leave only some rows."""
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
        share_BV = share_BV * (share_BV >= _least_kept(share_BV, top_p_B)[:, None])
    sum_BV = share_BV.cumsum(dim=-1)
    token_B1 = torch.searchsorted(sum_BV, uniform_B[:, None] * sum_BV[:, -1:], right=True)
    return token_B1[:, 0].clamp(max=logits_BV.shape[1] - 1)


def _least_kept(share_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """The smallest probability among the likeliest tokens that together reach `top_p_B`."""
    falling_BV = share_BV.sort(dim=-1, descending=True).values
    before_BV = falling_BV.cumsum(dim=-1) - falling_BV
    last_B = (before_BV < top_p_B[:, None]).sum(dim=-1) - 1
    return torch.where(top_p_B < 1, falling_BV.gather(1, last_B[:, None])[:, 0], 0.0)
