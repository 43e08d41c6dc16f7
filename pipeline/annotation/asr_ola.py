"""Speech recognition by Ola: cut a clip's sound into windows, and make transcript segments of its answers.

Ola tells no times: its words are placed no better than their window, of at most the 30 s that its encoders take at
once. Sound is cut where it is quietest, so that no word is cut through, and none of it lies beyond what Ola hears.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.records import ModelCall, Segment, Word
from pipeline.annotation.asr_whisperx import WINDOW
from pipeline.annotation.text_rules import answer_fault, without_sound_notes
from pipeline.media import hallucination
from pipeline.media.audio import RATE
from pipeline.media.subtitles import WORD

if TYPE_CHECKING:
    from pipeline.annotation.asr_whisperx import Sound

EARLIEST = 20  # seconds of a window; in the ten after them people pause for breath
BLOCK, PAUSE = RATE // 10, 3  # samples whose level is told as one, and blocks in a pause
FAINT = 1e-3  # of full scale, -60 dB: below it nobody is heard, and a model that is asked what is said makes it up


def windows(sound: Sound) -> Iterator[tuple[int, int]]:
    """First sample of each window and the one after its last, in order, without silence at their ends."""
    import numpy as np

    first, longest = 0, WINDOW * RATE
    while first < len(sound):
        rest = sound[first:]
        last = first + (len(rest) if len(rest) <= longest else _quietest(rest[:longest]))
        heard = np.flatnonzero(np.abs(sound[first:last]) >= FAINT)
        if len(heard):
            yield first + int(heard[0]), first + int(heard[-1]) + 1
        first = last


def _quietest(sound: Sound) -> int:
    """The middle of the quietest 0.3 s after the earliest; of several such, of the last."""
    import numpy as np

    first = EARLIEST * RATE
    levels = np.square(sound[first:]).reshape(-1, BLOCK).mean(axis=1)
    pauses = np.lib.stride_tricks.sliding_window_view(levels, PAUSE).sum(axis=1)
    at = len(pauses) - 1 - int(np.argmin(pauses[::-1]))
    return first + at * BLOCK + PAUSE * BLOCK // 2


def dictated(asked: ModelCall, start: float, end: float) -> Segment | None:
    """What an answer says between two times in seconds, scored and flagged; None of one without words.

    What stands in brackets, as `[music]`, are no words.

    Of the rules against invented speech, those that need the decoder's scores or times of words say nothing. Added
    are `refused` (it may be a quotation), `cut off` at the longest answer, and `thinned` where not all was heard.
    """
    text = " ".join(asked.answer.split())
    if not without_sound_notes(text):
        return None
    stretch = hallucination.Stretch(tuple(spread(text, start, end)), compression_ratio=hallucination.compression(text))
    (segment,) = hallucination.segments(stretch, voiced=None)
    wrong = answer_fault(text, asked.finish)
    doubts = [flag for flag in segment.flags if flag != "pace"]  # of the window, pauses and all, and not of the words
    doubts += [wrong] if wrong in ("refused", "cut off") else []
    doubts += ["thinned"] if asked.notes else []
    return replace(segment, flags=tuple(doubts), pace=None)


def spread(text: str, start: float, end: float) -> Iterator[Word]:
    """Its words with the spaces before them, each as long as its letters; none pauses, since no pause is known."""
    pace, at = (end - start) / len(text), 0
    for match in WORD.finditer(text):
        begin, at = at, match.end()
        yield Word(text=text[begin:at], start=round(start + begin * pace, 3), end=round(start + at * pace, 3))
