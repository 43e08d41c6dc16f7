"""What a suite is made of: questions that are asked of a model, how their media are read, and who answers."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from PIL import Image, UnidentifiedImageError

from ola.prompt import Answer, Picture, Request, Wave
from stages.evaluation.scores import Metric


class Unreadable(Exception):
    """A question's medium cannot be used: the reason, for the question's row."""


class Senses(NamedTuple):
    """How media files are read, and for what model.

    watch(path, frames): at most so many pictures spread evenly over a video, and its sound if it has one. hear(path):
    the sound of a file. Both raise Unreadable, or OSError. frames: of a video, at most. hears: whether the model takes
    sounds.
    """

    watch: Callable[[str, int], tuple[Sequence[Picture], Wave | None]]
    hear: Callable[[str], Wave]
    frames: int = 64
    hears: bool = True


@dataclass(frozen=True, eq=False)
class Question:
    """A question and its reference answer.

    text: as it is put to the model. reference: as the metric compares it. request: reads the media; raises Unreadable,
    OSError or ValueError. options: of a multiple choice, by their letters. group: questions of one group count as one,
    which is right if all of them are; empty: a group of its own. medium: names what is shown, so that an answer to
    another medium is not taken for this one's.
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
    """Questions that are scored by one metric. batch: how many are in memory with their media, and asked at once."""

    name: str
    metric: Metric
    questions: Sequence[Question]
    batch: int


class Answerer(Protocol):
    """What evaluation needs of `ola.generation.Ola`."""

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        """An answer to each; ValueError for a request that cannot be answered, before any is."""
        ...


def picture(data: bytes | memoryview) -> Image.Image:
    """A picture of an encoded image. Raises Unreadable."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, OSError, ValueError) as error:
        raise Unreadable(f"not a picture: {error}") from error
