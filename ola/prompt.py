"""Requests to the model, the prompts made of them, and answers.

A `Request` holds raw media and a question. `OlaProcessor` converts it to a `Prompt`: token ids with one placeholder per
medium, and media prepared for the encoders. Training samples become prompts with labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL.Image import Image
from torch import Tensor

IMAGE = -300
"""Placeholder of an image or a video in `Prompt.input_ids`, as in the original."""
SPEECH = -200
"""Placeholder of a sound in `Prompt.input_ids`, as in the original."""
IGNORE = -100
"""Label of a position without a loss."""

Picture = Image | np.ndarray
"""A PIL image of any mode, or uint8 (height, width, 3) RGB."""


@dataclass(frozen=True, eq=False)
class Wave:
    """A sound: float in [-1, 1] or int16, (samples,) or (channels, samples), at `rate` Hz."""

    samples: np.ndarray
    rate: int = 16_000


@dataclass(frozen=True, eq=False)
class Visual:
    """An image or a video, prepared for the vision tower.

    views: uint8 RGB (0..255), or float already scaled to [-1, 1]. An image: its low view (1, 3, h, w), then its high
    view (1, 3, H, W). A video: its frames (T, 3, h, w), alone.
    digest: of the content; media with equal digests are encoded once. given: frames that a video was chosen from.
    """

    kind: Literal["image", "video"]
    views: tuple[Tensor, ...]
    digest: str
    given: int = 0


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound, prepared for the two audio encoders in chunks of `OlaConfig.audio_chunk_seconds`, the last one padded.

    mel: log-mel of Whisper (chunks, bins, 100 per s), float32. fbank: normalised filter bank of BEATs (chunks, 100 per
    s - 2, bins), float32. digest: of the content.
    """

    mel: Tensor
    fbank: Tensor
    digest: str


@dataclass(frozen=True, eq=False)
class Request:
    """A question about any number of images, at most one video, and sounds.

    text: the question; control tokens in it are read as plain text. spoken_question: a sound in place of the text.
    history: earlier (question, answer) turns. video: frames in order, of one size. media_turns: the turn, from 0, of
    each medium: of the images in order, then of the video, then of the sounds; the numbers must not decrease. Empty:
    all in the first turn. Media may be prepared before (`OlaProcessor.image`, `.video`, `.sound`), so that several
    requests share them.

    temperature: 0 decodes greedily; above 0, `seed` determines the answer. In float32 on a CPU the answer does not
    depend on the batch; elsewhere it may, if two tokens have almost equal probability. stop: strings that end the
    answer and are not part of it.
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
    """A sequence of tokens with media that are not encoded yet.

    input_ids: (n,) int64 with `IMAGE` and `SPEECH` as placeholders of media. The first len(visuals) placeholders,
    whatever their kind, take the visuals in order, the others the sounds, as in the model's training. labels: (n,)
    int64 with `IGNORE`, or None. length: positions after the media are spliced in. notes: descriptions of media that
    were thinned to fit.
    """

    input_ids: Tensor
    visuals: tuple[Visual, ...] = ()
    sounds: tuple[Sound, ...] = ()
    labels: Tensor | None = None
    length: int = 0
    notes: tuple[str, ...] = ()

    @property
    def media(self) -> tuple[Visual | Sound, ...]:
        """Return the media in the order of their placeholders."""
        return (*self.visuals, *self.sounds)


@dataclass(frozen=True)
class Answer:
    """The model's answer to one request.

    finish: `stop` (an end token or a stop string), `length` (max_new_tokens reached) or `cancel`. tokens: generated
    ids, with the end token. seconds: wall clock by phase: `encode` (this request's share), `first_token` and `total`
    since the start of the call. prompt_tokens: positions of the prompt. read_tokens: positions that were prefilled for
    this request, without prefixes from the cache (0 if the decoder does not report this). margin: smallest difference,
    over the answer's tokens, between the logits of the two most likely tokens; None if the decoder does not report it.
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length", "cancel"]
    prompt_tokens: int
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read_tokens: int = 0
    margin: float | None = None
