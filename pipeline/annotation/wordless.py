"""Transcripts of clips with sound in which nothing is said, so that later steps ask about voices, music and noises.

Such a transcript has no words, no segments and an empty text. Text that a recogniser invented for the sound, and text
that subtitles show without being speech, is kept in `unspoken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from manifests.records import Clip, ClipMedia, Segment, Transcript, Unspoken
from pipeline.annotation.text_rules import remove_sound_notes

INVENTED = "invented"  # kind of the text in `unspoken`
# Flags of text that recognisers write where nobody speaks. The others (improbable, long word, pace) doubt the words.
INVENTED_FLAGS = frozenset(
    ("no words", "no speech", "unvoiced", "stock phrase", "repeated", "few words", "compression", "refused")
)
AUDIBLE_S = 0.1  # seconds: half of the shortest bark or knock; below it the measure of silence is not exact


def is_audible(clip: Clip, footage: ClipMedia) -> bool:
    """Return whether a clip has a sound track that is louder than silence (-40 dB) for at least `AUDIBLE_S`."""
    if footage.sound is None:
        return False
    return clip.silence is None or (1 - clip.silence) * (clip.end_ms - clip.start_ms) / 1000 >= AUDIBLE_S


def is_invented(segments: Sequence[Segment]) -> bool:
    """Return whether no segment of a recogniser is speech: each is flagged as invented, or only names sounds."""
    return all(INVENTED_FLAGS & set(each.flags) or not remove_sound_notes(each.text) for each in segments)


def wordless_transcript(clip: Clip, origin: str, track: str, unspoken: Sequence[Unspoken | Segment] = ()) -> Transcript:
    """Make the transcript of a clip in which nothing is said. unspoken: text that is not speech."""
    return Transcript(
        id=clip.id,
        clip=clip.id,
        origin=origin,
        track=track,
        language=None,
        word_times="",
        text="",
        segments=(),
        words=0,
        coverage=0.0,
        unspoken=tuple(_as_unspoken(each) if isinstance(each, Segment) else each for each in unspoken),
    )


def _as_unspoken(segment: Segment) -> Unspoken:
    return Unspoken(start=segment.start, end=segment.end, kind=INVENTED, text=segment.text)


def merge_wordless(before: Transcript, after: Transcript) -> Transcript:
    """Return the later of two transcripts without words, with the text of both that is not speech."""
    return replace(after, unspoken=(*before.unspoken, *after.unspoken))
