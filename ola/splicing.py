"""Find the placeholders in a prompt, and replace them by the embeddings of media."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt


def spliced_labels(prompt: Prompt, spans: Sequence[Tensor]) -> Tensor:
    """Return the labels (L,) of a prompt with spliced media, which have no loss. Raises ValueError without labels."""
    if prompt.labels is None:
        raise ValueError("labels: expected a prompt with labels, got none; make it with `OlaProcessor.sample`")
    nothing = [torch.full((len(span),), IGNORE) for span in spans]
    return torch.cat(interleave(prompt.labels, placeholder_positions(prompt.input_ids), nothing))


def placeholders(prompt: Prompt) -> list[int]:
    """Return the positions of the placeholders. Raises ValueError unless there are as many as media."""
    ids = prompt.input_ids
    for tag, kind, media in ((IMAGE, "image or video", prompt.visuals), (SPEECH, "sound", prompt.sounds)):
        if (count := int((ids == tag).sum())) != len(media):
            raise ValueError(f"the text has {count} {kind} placeholders but there are {len(media)} of these media")
    return placeholder_positions(ids)


def placeholder_positions(ids: Tensor) -> list[int]:
    """Return the positions of placeholders in token ids (n,)."""
    return torch.nonzero((ids == IMAGE) | (ids == SPEECH))[:, 0].tolist()


def interleave(text: Tensor, placeholder_positions: Sequence[int], spans: Sequence[Tensor]) -> list[Tensor]:
    """Split `text` at its placeholders, and put the spans in their places."""
    parts, start = [], 0
    for place, span in zip(placeholder_positions, spans, strict=True):
        parts += [text[start:place], span.to(text)]
        start = place + 1
    return [*parts, text[start:]]
