"""Choose the next token in each row of a batch: the most likely one, or a random one from the reply's seed.

Legend: B rows, N maximum number of new tokens, V vocabulary, K tokens of it, C width of the decoder.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ola.decoding import Reply


CLOSE = 8  # largest logits that are computed in float32


def precise_logits(lm_head: nn.Linear, hidden_BC: Tensor) -> Tensor:
    """Return float32 logits (B, V). With a head in another dtype, the CLOSE largest are computed again in float32.

    In bfloat16, neighbouring values between 16 and 32 differ by 0.125, so the largest logits are often equal.
    """
    logits_BV: Tensor = lm_head(hidden_BC)
    if logits_BV.dtype == torch.float32:
        return logits_BV
    logits_BV = logits_BV.float()
    likeliest_BK = logits_BV.topk(min(CLOSE, logits_BV.shape[1])).indices
    weight_BKC = lm_head.weight[likeliest_BK].float()
    return logits_BV.scatter(1, likeliest_BK, torch.einsum("bkc,bc->bk", weight_BKC, hidden_BC.float()))


def margins(logits_BV: Tensor) -> Tensor:
    """Return the difference (B,) of the two largest logits."""
    best_B2 = logits_BV.topk(2).values
    return best_B2[:, 0] - best_B2[:, 1]


class TokenChoice:
    """Chooses a token in each row by the sampling settings of its reply."""

    def __init__(self, replies: Sequence[Reply], steps: int, device: torch.device) -> None:
        self.greedy = all(reply.temperature == 0 for reply in replies)
        self.cut = any(reply.top_p < 1 for reply in replies)
        if not self.greedy:
            # One number per token from the row's seed, all made in advance and copied to the device once.
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
    """Return the token at which each row's cumulative probability, in order of token ids, exceeds `uniform_B`.

    The order is by id and not by probability: rounding in another batch shape swaps tokens of almost equal probability,
    and would then change the result. A temperature of 0 counts as 1.
    """
    divisor_B = torch.where(temperature_B > 0, temperature_B, 1.0)
    share_BV = (logits_BV / divisor_B[:, None]).softmax(dim=-1, dtype=torch.float64)
    if top_p_B is not None:
        share_BV = share_BV * (share_BV >= _probability_cutoff(share_BV, top_p_B))
    sum_BV = share_BV.cumsum(dim=-1)
    token_B1 = torch.searchsorted(sum_BV, uniform_B[:, None] * sum_BV[:, -1:], right=True)
    return token_B1[:, 0].clamp(max=logits_BV.shape[1] - 1)


def _probability_cutoff(share_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """Return (B, 1): the smallest probability among the most likely tokens that together reach `top_p_B`."""
    falling_BV = share_BV.sort(dim=-1, descending=True).values
    before_BV = falling_BV.cumsum(dim=-1) - falling_BV
    last_B = (before_BV < top_p_B[:, None]).sum(dim=-1) - 1
    return falling_BV.gather(1, last_B[:, None])
