"""What one asks of the model, and what the model reads.

A `Request` holds raw media and a question. `OlaProcessor` turns it into a `Prompt`: token ids with one placeholder a
medium, beside media ready for the encoders. Training samples become prompts too, with labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL.Image import Image
from torch import Tensor

IMAGE = -300
"""Placeholder of an image or a video in `Prompt.input_ids` (the original's number)."""
SPEECH = -200
"""Placeholder of a sound in `Prompt.input_ids` (the original's number)."""
IGNORE = -100
"""Label of a position that is not learned."""

Picture = Image | np.ndarray
"""A PIL image of any mode, or uint8 (height, width, 3) RGB."""


@dataclass(frozen=True, eq=False)
class Wave:
    """A sound: float in [-1, 1] or int16, (samples,) or (channels, samples), at `rate` Hz."""

    samples: np.ndarray
    rate: int = 16_000


@dataclass(frozen=True, eq=False)
class Visual:
    """An image or a video as the vision tower takes it.

    views: uint8 RGB (0..255), or float already scaled to [-1, 1]. An image: its low view (1, 3, h, w), then its high
    view (1, 3, H, W). A video: its frames (T, 3, h, w), alone.
    digest: names the content; equal digests are encoded once.
    """

    kind: Literal["image", "video"]
    views: tuple[Tensor, ...]
    digest: str


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound as the two audio encoders take it, in chunks of `OlaConfig.audio_chunk_seconds`, the last one padded.

    mel: log-mel of Whisper (chunks, bins, 100 a second), float32. fbank: normalised filter bank of BEATs (chunks,
    100 a second - 2, bins), float32. digest: names the content.
    """

    mel: Tensor
    fbank: Tensor
    digest: str


@dataclass(frozen=True, eq=False)
class Request:
    """A question about any number of images, at most one video, and sounds.

    text: the question; what looks like a control token in it is plain text. spoken_question: a sound that asks in
    its stead. history: earlier (question, answer) turns. video: its frames in order, of one size. media_turns: the turn
    (0 is the first) in which each medium is shown, of the images in order, then of the video, then of the sounds; these
    numbers must not fall. Empty: all in the first turn. Media may be given ready (`OlaProcessor.image`, `.video`,
    `.sound`), which saves doing that again when several requests share them.
    temperature 0 decodes greedily; above it `seed` fixes the answer. In float32 on a CPU the answer does not depend on
    the batch that the request falls in; elsewhere it may, where two tokens are about as probable.
    stop: strings that end the answer and are not part of it.
    """

    text: str = ""
    images: Sequence[Picture | Visual] = ()
    video: Sequence[Picture] | Visual | None = None
    sounds: Sequence[Wave | Sound] = ()
    spoken_question: Wave | Sound | None = None
    history: Sequence[tuple[str, str]] = ()
    media_turns: Sequence[int] = ()
    system: str = "You are a helpful assistant."
    max_new_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Prompt:
    """One sequence before its media are encoded.

    input_ids: (n,) int64 with `IMAGE` and `SPEECH` in place of media; the first len(visuals) placeholders, of
    whichever kind, take the visuals in order, the others the sounds: that is how the model was trained.
    labels: (n,) int64 with `IGNORE`, or None. length: positions once the media are spliced in.
    notes: what was thinned to fit, in words.
    """

    input_ids: Tensor
    visuals: tuple[Visual, ...] = ()
    sounds: tuple[Sound, ...] = ()
    labels: Tensor | None = None
    length: int = 0
    notes: tuple[str, ...] = ()

    @property
    def media(self) -> tuple[Visual | Sound, ...]:
        """In the order in which placeholders take them."""
        return (*self.visuals, *self.sounds)


@dataclass(frozen=True)
class Answer:
    """What the model said to one request.

    finish: `stop` (an end token or a stop string), `length` (max_new_tokens reached) or `cancel`. tokens: the ids
    generated, with the end token. seconds: wall clock by phase, `encode` (this request's share), `first_token` and
    `total` since the call began. prompt_tokens: positions of the prompt; read_tokens: those of them that the decoder
    read for this request, without the beginnings that it had read for others (0: the decoder does not tell). margin: by
    how much the logit of the likeliest token exceeded that of the next, at the token where that was least; None where
    the decoder does not tell.
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length", "cancel"]
    prompt_tokens: int
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read_tokens: int = 0
    margin: float | None = None
