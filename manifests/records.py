"""All record types: frozen dataclasses, from which Arrow schemas are derived (see `manifests.schema`).

Records refer to media by uri, offset and size. Ids are content-based: a video's id is the digest of its bytes, a clip's
id is its video's id and its span. A field named like another record in lower case (`video`, `clip`) holds that record's
id; `pipeline.plan` joins records along these fields.
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
    WitnessAnswer,
    Word,
)
from manifests.audit_records import AuditAnswer
from manifests.duplicate_records import DuplicateClip, DuplicatePair, Fingerprint
from manifests.evidence_records import EvidenceSpan
from manifests.hearing_records import Hearing, SoundSpan
from manifests.inspection_records import Inspection, ScreenText
from manifests.judged_records import Claim, Distractor
from manifests.media_records import Clip, ClipMedia, Gap, Media, Piece, SoundTrack, Source, Span, SubtitleTrack, Video
from manifests.sync_records import ClipSync

__all__ = [
    "AuditAnswer",
    "Caption",
    "Claim",
    "Clip",
    "ClipMedia",
    "ClipSync",
    "Distractor",
    "Drop",
    "DuplicateClip",
    "DuplicatePair",
    "EvidenceSpan",
    "Fingerprint",
    "Gap",
    "Hearing",
    "Inspection",
    "Media",
    "ModelCall",
    "Outcome",
    "PackedTask",
    "Piece",
    "Question",
    "ScreenText",
    "Screening",
    "Segment",
    "SoundSpan",
    "SoundTrack",
    "Source",
    "Span",
    "SubtitleTrack",
    "Transcript",
    "Unspoken",
    "Verification",
    "Video",
    "ViewAnswer",
    "WitnessAnswer",
    "Word",
]


# Fields that differ between equal runs: times, prefix-cache hits, and a number whose last digits depend on the batch.
TIMINGS = ("seconds", "latency", "read_tokens", "margin")
REMOVED = "removed"  # reason in the row of a source that `ola remove` took out
ID_DIGITS = 20  # 80 bits: with a billion videos the chance of one collision is under one in a million


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTask:
    """A row of `shards.parquet`: one task, with the place of its sample."""

    id: str
    """`<clip>-<kind>-<number>`."""
    kind: str
    """Kind of the task."""
    stage: str
    """Stage of the training that uses the kind."""
    split: str
    """`train` or `val`."""
    shard: str
    """File name of the shard, without its ending."""
    key: str
    """Key of the sample in the shard."""
    clip: str
    """Id of the clip."""
    video: str
    """Id of the video."""
    offset: int
    """Offset of the sample in the tar, at its first member's header."""
    size: int
    """Size of the sample in the tar, with headers and padding, in bytes."""
    digest: str
    """BLAKE3 of the sample's bytes."""
    json_offset: int
    """Offset of the JSON in the tar."""
    json_bytes: int
    """Size of the JSON, in bytes."""
    picture_offset: int | None
    """Offset of the pictures in the tar; null without pictures."""
    picture_bytes: tuple[int, ...]
    """Size of each picture, in bytes."""
    sound_offset: int | None
    """Offset of the sound in the tar; null without sound."""
    sound_bytes: int | None
    """Size of the sound, in bytes; null without sound."""
    tokens: int
    """Length of the task in Ola's context, in tokens; estimated for text."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A step's answer for an input that a rule excludes; it becomes a `dropped` row with this reason."""

    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one input of a step: its records if `ok`, else the reason why it was `dropped` or `failed`."""

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
    ClipMedia: "footage",
    Transcript: "transcripts",
    Screening: "screenings",
    Caption: "captions",
    Question: "questions",
    Verification: "verdicts",
    AuditAnswer: "audits",
    Fingerprint: "fingerprints",
    Inspection: "inspections",
    Hearing: "hearings",
    ClipSync: "sync",
}
