"""Compute how probable given continuations are after a request: multiple choice by likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import IGNORE, Prompt, Request


class Likelihood(NamedTuple):
    """The log probability of a continuation in nats, its tokens, and whether it is what greedy decoding gives."""

    log_probability: float
    tokens: int
    is_greedy: bool


@torch.inference_mode()
def continuation_likelihoods(
    model: OlaForConditionalGeneration, processor: OlaProcessor, pairs: Sequence[tuple[Request, str]]
) -> list[Likelihood]:
    """Return the likelihood of each (request, continuation).

    The probability is that of the tokens of the continuation, without an end token. White space at its beginning is
    left out, since an answer begins after the line break of the chat layout. Equal media of the pairs are encoded once.
    Raises ValueError for an invalid request or an empty continuation.
    """
    prompts = [_labelled_prompt(processor, request, text.lstrip()) for request, text in pairs]
    if not prompts:
        return []
    output = model(prompts=prompts)
    learned = [_learned(prompt) for prompt in prompts]
    lengths, targets = list(map(len, learned)), torch.cat(learned).to(output.logits.device)
    hits = torch.eq(output.logits.argmax(dim=-1), targets).split(lengths)
    losses = output.losses.double().split(lengths)
    return [Likelihood(-float(loss.sum()), len(loss), bool(hit.all())) for loss, hit in zip(losses, hits, strict=True)]


def _labelled_prompt(processor: OlaProcessor, request: Request, text: str) -> Prompt:
    ids = torch.tensor(processor.tokenizer.encode(text, add_special_tokens=False), dtype=torch.int64)
    if not len(ids):
        raise ValueError("the continuation is empty; give at least one token")
    prompt = processor.prompt(replace(request, max_new_tokens=len(ids)))
    labels = torch.cat([torch.full_like(prompt.input_ids, IGNORE), ids])
    return replace(prompt, input_ids=torch.cat([prompt.input_ids, ids]), labels=labels)


def _learned(prompt: Prompt) -> Tensor:
    assert prompt.labels is not None
    return prompt.labels[prompt.labels != IGNORE]
