"""Decode token ids from embeddings of prompts, in batches.

In: `Reply`s, each with the embeddings of a prompt and its settings. Out: (index of the reply, token id). `Decoder` is
the interface of engines that take prompt embeddings; `TorchDecoder` uses transformers.

A batch of `TorchDecoder` is padded in the middle: prompts begin in column 0 of the cache, and generated tokens in
column W, in all rows. So prompts are read without a mask, since a causal row never attends to later padding. A step
writes one column, and only the columns between a prompt and W are masked; positions do not count these columns.

Legend: B rows of a batch, b of a forward pass, L positions of a prompt, W the longest of a batch or pass, K columns of
the cache, N new tokens at most, h key heads, d width of a head, C width of the decoder, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, Qwen2ForCausalLM

from ola.batching import padding_to_step, read_passes, runs
from ola.memory import free_positions
from ola.packing import PACKED
from ola.prefixes import Prefix, PrefixCache, length_of, order_by_prefix
from ola.sampling import TokenChoice, margins, precise_logits
from ola.static_step import GROUPED, CacheLayer, StaticStep, additive

TOKEN_BUDGET = 65_536  # positions: 3.8 GB at 7B sizes in bfloat16
PREFIX_TOKENS = 65_536  # positions of prefixes that are kept from call to call: as much memory as a batch's cache
# Of the cache positions that fit on a GPU beside the weights and all else that `ola.memory` reckons.
BATCH_SHARE, PREFIX_SHARE = 0.4, 0.6


@dataclass(eq=False)
class Reply:
    """The embeddings (L, C) of a prompt, the settings of its decoding, and its state.

    temperature: 0 takes the likeliest token; above 0 tokens are drawn by `seed`, independent of the rest of the batch.
    top_p: tokens are drawn from the likeliest ones with this share of the probability. prefixes: beginnings that other
    prompts may share, the shortest first. finished: set by the decoder before it yields the last token (one of
    `end_ids`, or number `max_new_tokens`); the caller may set it earlier. Set by the decoder: read_tokens, the
    positions that were read, without cached ones; margin, the smallest difference of the two largest logits.
    """

    embeds: Tensor
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    end_ids: frozenset[int] = frozenset()
    finished: bool = False
    prefixes: tuple[Prefix, ...] = ()
    read_tokens: int = 0
    margin: float = math.inf


class Decoder(Protocol):
    """Interface of engines that decode replies in any order; closing the generator ends all of them.

    continuous: whether `decode` takes further replies while it decodes. If not, it takes all of them before the first.
    """

    continuous: bool

    def decode(self, replies: Iterable[Reply]) -> Generator[tuple[int, int], None, None]:
        """Yield (index of a reply, its next token id)."""
        ...

    def scores(self, replies: Sequence[Reply], ids: Sequence[int]) -> Tensor:
        """Return the logits (replies, ids) of these token ids as the first token of each reply."""
        ...


class TorchDecoder:
    """Decodes batches by a Qwen2 of transformers, one batch after the other.

    token_budget: limit on rows times columns of a batch, new tokens included; this is the size of its cache. None:
    TOKEN_BUDGET, or on a GPU BATCH_SHARE of what `ola.memory` says fits. A reply above the limit is decoded alone.
    static: steps in constant shapes, as CUDA graphs (see `ola.static_step`), for attention by `sdpa`; None: on CUDA.
    prefix_tokens: positions of shared beginnings that are cached for later replies (see `ola.prefixes`), 0 for none;
    None: PREFIX_TOKENS, or PREFIX_SHARE of what fits.
    """

    continuous = False

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        token_budget: int | None = None,
        static: bool | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        self.model, free = model, free_positions(model)
        batch, kept = (TOKEN_BUDGET, PREFIX_TOKENS) if free is None else (BATCH_SHARE * free, PREFIX_SHARE * free)
        self.token_budget = int(batch) if token_budget is None else token_budget
        self.prefixes = PrefixCache(int(kept) if prefix_tokens is None else prefix_tokens)
        is_static = model.device.type == "cuda" if static is None else static
        self.static = is_static and model.config._attn_implementation in ("sdpa", GROUPED)
        if self.static:
            model.config._attn_implementation = GROUPED

    @torch.inference_mode()
    def decode(self, replies: Iterable[Reply]) -> Generator[tuple[int, int], None, None]:
        """Yield (index of a reply, its next token id), longest prompts first: a lack of memory shows at once."""
        replies = list(replies)
        for rows in self._batches(replies):
            for row, token in self._batch(replies, rows).tokens():
                yield rows[row], token

    @torch.inference_mode()
    def scores(self, replies: Sequence[Reply], ids: Sequence[int]) -> Tensor:
        """Return the float32 logits (replies, ids) of the first token, without decoding.

        In bfloat16, neighbouring values between 16 and 32 differ by 0.125.
        """
        found: dict[int, Tensor] = {}
        weight_iC = self.model.lm_head.weight[list(ids)].float()
        for rows in self._batches(replies):
            hidden_BC = self._batch(replies, rows).read()
            found.update(zip(rows, F.linear(hidden_BC.float(), weight_iC), strict=True))
        return torch.stack([found[index] for index in range(len(replies))])

    def _batch(self, replies: Sequence[Reply], rows: Sequence[int]) -> _Batch:
        return _Batch(self.model, [replies[index] for index in rows], self.static, self.prefixes)

    def _batches(self, replies: Sequence[Reply]) -> Iterator[list[int]]:
        """Return the indices of each batch, longest prompt first. Replies with a shared beginning are neighbours."""
        lengths = [len(reply.embeds) for reply in replies]
        begins = [reply.prefixes[0].digest if reply.prefixes else f"{n}" for n, reply in enumerate(replies)]
        order = order_by_prefix(begins, lengths)

        def fits(start: int, end: int) -> bool:
            some = order[start:end]
            columns = max(lengths[n] for n in some) + max(replies[n].max_new_tokens for n in some)
            return columns * len(some) <= self.token_budget

        return (sorted(order[rows], key=lambda n: -lengths[n]) for rows in runs(len(order), fits))


class _Batch:
    """Rows that are decoded together, longest prompt first."""

    def __init__(self, model: Qwen2ForCausalLM, replies: Sequence[Reply], static: bool, prefixes: PrefixCache) -> None:
        self.model, self.device, self.static, self.prefixes = model, replies[0].embeds.device, static, prefixes
        self.rows = list(enumerate(replies))
        self.steps = max(reply.max_new_tokens for reply in replies)
        self.made = self.steps - 1  # columns behind the prompts
        if static:
            self.made += padding_to_step(len(replies[0].embeds) + self.made, self.device.type)
        self.choice = TokenChoice(replies, self.steps, self.device)
        self.rooms: list[CacheLayer] = []
        self._measure()

    def tokens(self) -> Iterator[tuple[int, int]]:
        """Yield (row, token) until all rows have finished. Finished rows leave once they are half."""
        logits_BV = precise_logits(self.model.lm_head, self.read())
        for step in range(self.steps):
            chosen_B = self.choice(logits_BV, step)
            read = torch.stack([chosen_B.double(), margins(logits_BV).double()], dim=1).tolist()  # one wait for both
            for (row, reply), (number, margin) in zip(self.rows, read, strict=True):
                token = int(number)
                if not reply.finished:
                    reply.margin = min(reply.margin, margin)
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
        self.width, self.columns = self.lengths[0], self.lengths[0] + self.made
        self.lengths_B1 = torch.tensor(self.lengths, device=self.device)[:, None]
        self.mask = None if self.static else self._mask()
        self.static_step: StaticStep | None = None

    def _open(self, written: int) -> Tensor:
        """Return the visible columns (B, K): the prompt of a row, and the first `written` generated tokens."""
        columns_K = torch.arange(self.columns, device=self.device)
        made_K = (columns_K >= self.width) & (columns_K < self.width + written)
        return (columns_K < self.lengths_B1) | made_K

    def _mask(self) -> Tensor | None:
        """Return the attention mask of new tokens: 2-d for kernels that unpad, else additive; None without padding."""
        if self.lengths[-1] == self.width:
            return None
        open_BK = self._open(self.steps)
        if self.model.config._attn_implementation not in ("sdpa", "eager", PACKED):
            return open_BK
        return additive(open_BK, self.rows[0][1].embeds.dtype)

    def read(self) -> Tensor:
        """Read the prompts into the cache. Returns the last hidden state (B, C) of each.

        One of the prompts with a shared beginning is read whole; the others continue from its prefix.
        """
        found: dict[int, Tensor] = {}
        while len(found) < len(self.rows):
            for rows in self._group_rows([row for row in range(len(self.rows)) if row not in found]):
                found.update(zip(rows, self._read_rows(rows), strict=True))
        for room in self.rooms:
            room.show(self.width)
        return torch.stack([found[row] for row in range(len(self.rows))])

    def _group_rows(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """Yield rows for one forward pass: they continue from the same prefix and have similar lengths.

        A row is left out while another row of this round reads one of its prefixes.
        """
        claimed: set[str] = set()
        groups: dict[str, list[int]] = {}
        for row in sorted(rows, key=lambda row: -len(self._reply(row).prefixes)):
            new = self.prefixes.new_digests(self._reply(row).prefixes)
            if not new & claimed:
                claimed |= new
                known = self._kept_prefixes(row)
                groups.setdefault(known[-1].digest if known else "", []).append(row)
        for group in groups.values():
            yield from self._split_by_length(sorted(group))

    def _split_by_length(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """Split rows with the same prefix, longest first, into forward passes with little padding."""
        begun = length_of(self._kept_prefixes(rows[0]))
        return (list(rows[some]) for some in read_passes([self.lengths[row] for row in rows], begun))

    def _read_rows(self, rows: Sequence[int]) -> Tensor:
        """Read rows that continue from the same prefix. Returns the last hidden state (b, C) of each."""
        replies = [self._reply(row) for row in rows]
        known = self._kept_prefixes(rows[0])
        begun, cache = length_of(known), self.prefixes.open(known, len(rows))
        embeds_bWC = pad_sequence([reply.embeds[begun:] for reply in replies], batch_first=True)
        end = begun + embeds_bWC.shape[1]
        if padding := padding_to_step(embeds_bWC.shape[1], self.device.type):
            embeds_bWC = F.pad(embeds_bWC, (0, 0, 0, padding))
        hidden_bWC = self.model.model(inputs_embeds=embeds_bWC, past_key_values=cache).last_hidden_state
        rows_b = torch.tensor(rows, device=self.device)
        hidden_bC: Tensor = hidden_bWC[torch.arange(len(rows)), self.lengths_B1[rows_b, 0] - 1 - begun]
        self.rooms = self.rooms or [CacheLayer(len(self.rows), self.columns, layer.keys) for layer in cache.layers]
        for room, layer in zip(self.rooms, cache.layers, strict=True):
            room.fill(rows_b, layer.keys[:, :, :end], layer.values[:, :, :end])
        for row, reply in enumerate(replies):
            reply.read_tokens = len(reply.embeds) - begun
            self.prefixes.asked += len(reply.embeds)
            self.prefixes.read += reply.read_tokens
            self.prefixes.keep(reply.prefixes, cache, row)
        return hidden_bC

    def _reply(self, row: int) -> Reply:
        return self.rows[row][1]

    def _kept_prefixes(self, row: int) -> Sequence[Prefix]:
        return self.prefixes.known(self._reply(row).prefixes)

    def _step(self, chosen_B: Tensor, step: int) -> Tensor:
        """Append a token to each row, and return the next logits (B, V), valid until the next step."""
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
        return precise_logits(self.model.lm_head, hidden_B1C[:, 0])

    def _keep(self, alive: Sequence[int]) -> Tensor:
        rows_B, old_width = torch.tensor(alive, device=self.device), self.width
        self.rows = [self.rows[place] for place in alive]
        self.choice.keep(rows_B)
        self._measure()
        for room in self.rooms:
            room.keep(rows_B, self.width, old_width)
        return rows_B
