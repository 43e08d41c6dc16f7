"""Records: one frozen dataclass per noun, from which Arrow schemas are derived (see `manifests.schema`).

Media are referenced by uri, offset and size, never carried. Ids come from content: a video's is the digest of its
bytes, a clip's the video's and its span. A field named like another record in lower case (`video`, `clip`) holds the
id of that record; `manifests.ledger` joins along those names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from manifests.annotation_records import (
    Caption,
    ModelCall,
    Question,
    Screening,
    Segment,
    Transcript,
    Unspoken,
    Verification,
    ViewAnswer,
    Word,
)
from manifests.media_records import Clip, Footage, Gap, Media, Piece, SoundTrack, Source, Span, SubtitleTrack, Video

__all__ = [
    "Caption",
    "Clip",
    "Drop",
    "Footage",
    "Gap",
    "Media",
    "ModelCall",
    "Outcome",
    "PackedTask",
    "Piece",
    "Question",
    "Screening",
    "Segment",
    "SoundTrack",
    "Source",
    "Span",
    "SubtitleTrack",
    "Transcript",
    "Unspoken",
    "Verification",
    "Video",
    "ViewAnswer",
    "Word",
]


# Fields in which equal runs differ: what a clock said, what a model had read already for other requests, and a number
# whose last digits follow from the batch.
TIMINGS = ("seconds", "latency", "read_tokens", "margin")
REMOVED = "removed"  # reason of a source that `ola remove` took out
ID_DIGITS = 20  # 80 bits: with a billion videos the chance of one collision is under one in a million


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTask:
    """A row of `shards.parquet`: one task, and where its sample lies in which shard.

    offset, size: the sample's bytes in the tar, headers and padding included. The `*_offset` of a member is where its
    data begin. digest: BLAKE3 of the sample's bytes. tokens: what the task takes in Ola's context (its text is
    estimated).
    """

    id: str
    kind: str
    stage: str
    split: str
    shard: str
    key: str
    clip: str
    video: str
    offset: int
    size: int
    digest: str
    json_offset: int
    json_bytes: int
    picture_offset: int | None
    picture_bytes: tuple[int, ...]
    sound_offset: int | None
    sound_bytes: int | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Drop:
    """A step's answer for an input that a rule keeps out: not an error, but a row with its reason."""

    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input of a step: rows if `ok`, else the reason it was `dropped` or `failed`."""

    input: str
    status: str
    seconds: float
    records: tuple[object, ...] = ()
    reason: str | None = None
    detail: str | None = None


PLURALS: Mapping[type, str] = {
    Source: "sources",
    Video: "videos",
    Clip: "clips",
    Footage: "footage",
    Transcript: "transcripts",
    Screening: "screenings",
    Caption: "captions",
    Question: "questions",
    Verification: "verdicts",
}
