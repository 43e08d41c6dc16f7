"""Define suites and questions of an evaluation, the readers of their media, and the interface of the model."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from PIL import Image, UnidentifiedImageError

from ola.prompt import Answer, Picture, Request, Wave
from stages.evaluation.scores import Metric


class Unreadable(Exception):
    """A medium of a question cannot be read; the message becomes the `error` of the question's row."""


class MediaReaders(NamedTuple):
    """Functions that read media files, and the limits of the model.

    read_video(path, frames): returns at most `frames` evenly spaced pictures, and the sound or None. read_sound(path):
    returns the sound of a file. Both raise Unreadable or OSError. max_frames: limit per video. has_speech: whether the
    model has a speech encoder.
    """

    read_video: Callable[[str, int], tuple[Sequence[Picture], Wave | None]]
    read_sound: Callable[[str], Wave]
    max_frames: int = 64
    has_speech: bool = True


@dataclass(frozen=True, eq=False)
class Question:
    """A question and its reference answer.

    text: the prompt. reference: the answer that the metric compares with. request: reads the media and returns the
    model's request; raises Unreadable, OSError or ValueError. options: of a multiple choice, by letter. group: all
    questions of a group must be right to count as one right answer; empty: no group. medium: identifies the media, so
    that a stored answer about other media is not reused.
    """

    id: str
    text: str
    reference: str
    request: Callable[[], Request]
    options: Mapping[str, str] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    group: str = ""
    medium: str = ""


@dataclass(frozen=True, eq=False)
class Suite:
    """Questions with one metric. batch: number of questions that are asked at once, with their media in memory."""

    name: str
    metric: Metric
    questions: Sequence[Question]
    batch: int


class Answerer(Protocol):
    """The part of `ola.generation.Ola` that evaluation uses."""

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        """Return an answer per request. Raises ValueError before the first answer if a request is invalid."""
        ...


def decode_picture(data: bytes | memoryview) -> Image.Image:
    """Decode an image. Raises Unreadable if that fails."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, OSError, ValueError) as error:
        raise Unreadable(f"not a picture: {error}") from error
