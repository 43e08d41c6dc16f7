"""Recognise speech with Ola: cut a clip's sound into windows, and make transcript segments from its answers.

Ola gives no times, so its words are only placed within their window, of at most the 30 s that its encoders take at
once. Sound is cut where it is quietest, so that no word is cut through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.records import ModelCall, Segment, Word
from pipeline.annotation.asr_whisperx import WINDOW
from pipeline.annotation.text_rules import answer_fault, remove_sound_notes
from pipeline.media import hallucination
from pipeline.media.audio import RATE
from pipeline.media.subtitles import WORD

if TYPE_CHECKING:
    from pipeline.annotation.asr_whisperx import Sound

EARLIEST = 20  # seconds of a window before its end may come; people pause for breath in the next ten
BLOCK, PAUSE = RATE // 10, 3  # samples a level is measured over, and blocks in a pause
FAINT = 1e-3  # of full scale, -60 dB: quieter sound has no speech, and a model would invent some


def find_windows(sound: Sound) -> Iterator[tuple[int, int]]:
    """Yield the first sample of each window and the one after its last, in order, without silence at their ends."""
    import numpy as np

    first, longest = 0, WINDOW * RATE
    while first < len(sound):
        rest = sound[first:]
        last = first + (len(rest) if len(rest) <= longest else _quietest_sample(rest[:longest]))
        audible = np.flatnonzero(np.abs(sound[first:last]) >= FAINT)
        if len(audible):
            yield first + int(audible[0]), first + int(audible[-1]) + 1
        first = last


def _quietest_sample(sound: Sound) -> int:
    """Return the middle of the quietest 0.3 s after EARLIEST; the last of several."""
    import numpy as np

    first = EARLIEST * RATE
    levels = np.square(sound[first:]).reshape(-1, BLOCK).mean(axis=1)
    pauses = np.lib.stride_tricks.sliding_window_view(levels, PAUSE).sum(axis=1)
    at = len(pauses) - 1 - int(np.argmin(pauses[::-1]))
    return first + at * BLOCK + PAUSE * BLOCK // 2


def make_segment(call: ModelCall, start: float, end: float) -> Segment | None:
    """Make the scored and flagged segment of an answer, from `start` to `end` seconds; None if it has no words.

    Text in brackets, such as `[music]`, does not count as words. Rules that need the decoder's scores or times of words
    do not apply. Additional flags: `refused` (may be a quotation), `cut off` at the longest answer, and `thinned` where
    the encoders dropped some of the sound.
    """
    text = " ".join(call.answer.split())
    if not remove_sound_notes(text):
        return None
    stretch = hallucination.Stretch(
        tuple(spread_words(text, start, end)), compression_ratio=hallucination.deflate_ratio(text)
    )
    (segment,) = hallucination.build_segments(stretch, voiced=None)
    fault = answer_fault(text, call.finish)
    doubts = [flag for flag in segment.flags if flag != "pace"]  # pace: of the whole window with its pauses
    doubts += [fault] if fault in ("refused", "cut off") else []
    doubts += ["thinned"] if call.notes else []
    return replace(segment, flags=tuple(doubts), pace=None)


def spread_words(text: str, start: float, end: float) -> Iterator[Word]:
    """Yield the words with the spaces before them. Each gets time by its length, without pauses."""
    pace, at = (end - start) / len(text), 0
    for match in WORD.finditer(text):
        begin, at = at, match.end()
        yield Word(text=text[begin:at], start=round(start + begin * pace, 3), end=round(start + at * pace, 3))
