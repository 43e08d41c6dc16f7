"""Where media stand among the tokens of a prompt, and sequences with their embeddings in the place of placeholders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt


def spliced_labels(prompt: Prompt, spans: Sequence[Tensor]) -> Tensor:
    """Labels (L,) of a prompt once its media are spliced in; those are not learned. ValueError without labels."""
    if prompt.labels is None:
        raise ValueError("a prompt without labels cannot be learned from: make it with `OlaProcessor.sample`")
    nothing = [torch.full((len(span),), IGNORE) for span in spans]
    return torch.cat(between(prompt.labels, places(prompt.input_ids), nothing))


def placeholders(prompt: Prompt) -> list[int]:
    """Where the placeholders are. ValueError where they are not as many as the media."""
    ids = prompt.input_ids
    for tag, kind, media in ((IMAGE, "image or video", prompt.visuals), (SPEECH, "sound", prompt.sounds)):
        if (count := int((ids == tag).sum())) != len(media):
            raise ValueError(f"the text has {count} {kind} placeholders but there are {len(media)} of these media")
    return places(ids)


def places(ids: Tensor) -> list[int]:
    """Where placeholders are among tokens (n,)."""
    return torch.nonzero((ids == IMAGE) | (ids == SPEECH))[:, 0].tolist()


def between(text: Tensor, places: Sequence[int], spans: Sequence[Tensor]) -> list[Tensor]:
    """`text` cut at its placeholders, with the spans in their stead."""
    parts, start = [], 0
    for place, span in zip(places, spans, strict=True):
        parts += [text[start:place], span.to(text)]
        start = place + 1
    return [*parts, text[start:]]
