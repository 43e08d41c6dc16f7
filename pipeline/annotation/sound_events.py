"""Sounds that a tagger hears in a clip, as clues with their times: see `pipeline.hearing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.records import EvidenceSpan, SoundSpan
from pipeline.annotation.clues import HEARD, LEAST_S
from pipeline.hearing.classes import MUSIC, SPEECH

if TYPE_CHECKING:
    from ola.prompt import Wave
    from pipeline.hearing.tagger import Tagger


def sound_clues(tagger: Tagger, wave: Wave, has_words: bool) -> list[EvidenceSpan]:
    """Return the sounds in a clip as clues. has_words: of spoken clips, whose words tell more than a span of speech."""
    spans = (each for each in tagger.spans(wave.samples) if not (has_words and each.kind == SPEECH))
    return [
        EvidenceSpan(sense=HEARD, start=round(each.start, 3), end=round(each.end, 3), text=_describe(each))
        for each in spans
        if each.end - each.start >= LEAST_S
    ]


def _describe(span: SoundSpan) -> str:
    """Return the text of a clue, such as `music: piano` or `sound: dog`."""
    return f"{MUSIC if span.kind == MUSIC else 'sound'}: {span.label.lower()}"
