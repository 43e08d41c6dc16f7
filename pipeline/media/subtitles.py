"""Parse subtitle files (.srt, .vtt, .ass, .ssa) and text streams of a video to cues with words and times.

The packaged parsers that were tried lose the text of cues with times between words (`<00:00:01.500>`). Automatic
captions come in this form, and these times are needed.
"""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from manifests import storage
from manifests.records import Segment, Unspoken, Word
from pipeline.errors import BadMedia
from pipeline.media import ass
from pipeline.media.byte_range import Local
from pipeline.media.clean_text import clean_text, remove_controls
from pipeline.media.recordings import Recording
from pipeline.media.safety import check_not_killed, ffmpeg_exe, safe_url, whitelists
from pipeline.media.subtitle_speech import SPEAKER, Labels, blank_unspoken, close_gaps, find_labels, find_unspoken
from pipeline.sources.companions import LARGEST_COMPANION
from pipeline.sources.containers.access import read_companion
from pipeline.sources.containers.members import split_uri

STAMP = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
TIMING = re.compile(rf"^\s*{STAMP}\s*-->\s*{STAMP}")
MARK = re.compile(rf"<{STAMP}>")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^}]*\}|\{[a-zA-Z]:[^}]*\}")
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^<>]+)>")
DRAWING = re.compile(r"(?s)\{[^}]*\\p[1-9][^}]*\}.*?(?:\{[^}]*\\p0[^}]*\}|\Z)")
BREAK = re.compile(r"\\N")
# Scripts without spaces: each character counts as a word, with the marks after it, so that cues can be cut anywhere.
SIGNS, MARKS = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff", r"\u3001-\u303f\uff01-\uff20"
WORD = re.compile(rf"[{SIGNS}][{MARKS}]*|[^\s{SIGNS}]+")
FLASH = 0.05  # seconds: too short to read; automatic captions have such cues before a line rolls up
Block = tuple[float, float, list[str]]


@dataclass(frozen=True)
class Cue:
    """A subtitle: the spoken text and its words, with times in seconds on the video's clock.

    unspoken: what the cue shows beside speech, with its kind (see `Unspoken`); original: the text with all that the cue
    shows, where that is more than speech.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    timed: bool
    unspoken: tuple[tuple[str, str], ...] = ()
    original: str = ""

    @property
    def speaker(self) -> str:
        """The speaker, where the cue names exactly one; else empty."""
        names = {text for kind, text in self.unspoken if kind == SPEAKER}
        return names.pop() if len(names) == 1 else ""


def read_subtitles(uri: str) -> bytes:
    """Return the bytes of a subtitle file. Raises BadMedia where it is too large, OSError where it is missing."""
    if split_uri(uri) is not None:
        return read_companion(uri)
    data = storage.read_up_to(uri, LARGEST_COMPANION)
    if data is None:
        raise BadMedia(f"too large for subtitles: more than {LARGEST_COMPANION >> 20} MB in {uri}")
    return data


def parse_cues(text: str) -> list[Cue]:
    """Parse a text to cues in order of time, without notes, styles, numbers and repeated lines.

    A cue without speech has no words, only its unspoken parts.
    """
    text = remove_controls(text)
    blocks = [
        block for block in (ass.read_blocks(text) if ass.is_ass(text) else _read_blocks(text)) if block[1] > block[0]
    ]
    if _are_rolling(blocks):
        blocks = list(_unroll(blocks))
    labels = find_labels("\n".join(map(_plain_text, lines)) for _, _, lines in blocks)
    found = (_parse_cue(start, end, "\n".join(lines), labels) for start, end, lines in blocks)
    return sorted(filter(None, found), key=lambda cue: (cue.start, cue.end))


def _read_blocks(text: str) -> Iterator[Block]:
    lines: list[str] | None = None
    span = (0.0, 0.0)
    for line in text.splitlines():
        timing = TIMING.match(line)
        if timing:
            if lines:
                # without an empty line before the cue, its number was read as text of the cue before
                yield *span, lines[:-1] if lines[-1].strip().isdigit() else lines
            lines, span = [], (_seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]))
        elif lines is not None and line.strip():
            lines += BREAK.split(line.replace(r"\h", " "))
        elif lines:
            yield *span, lines
            lines = None
    if lines:
        yield *span, lines


def _are_rolling(blocks: Sequence[Block]) -> bool:
    """Return whether the blocks are automatic captions, in which each line comes again above the next one."""
    return any(
        after[1] - after[0] < FLASH and _plain_text(after[2][0]) == _plain_text(before[2][-1])
        for before, after in pairwise(blocks)
    )


def _unroll(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield the blocks without the lines that the block before already showed."""
    shown: list[str] = []
    for start, end, lines in blocks:
        plain = [_plain_text(line) for line in lines]
        repeated = next((n for n in range(len(plain), 0, -1) if plain[:n] == shown[-n:]), 0)
        if repeated < len(lines):
            yield start, end, lines[repeated:]
        shown = plain


def _plain_text(raw: str) -> str:
    return " ".join(clean_text(html.unescape(TAG.sub("", MARK.sub("", raw)))).split())


def _seconds(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = (group or "0" for group in groups)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _parse_cue(start: float, end: float, raw: str, labels: Labels) -> Cue | None:
    """Make a cue. Text between time marks is spoken between these times; its words share the time by their length."""
    pieces = MARK.split(DRAWING.sub("", raw))
    marks = [_seconds(pieces[n : n + 4]) for n in range(1, len(pieces), 5)]
    times = [start, *(min(max(mark, start), end) for mark in marks), end]
    texts = [clean_text(html.unescape(TAG.sub("", piece or ""))) for piece in pieces[::5]]
    whole = "".join(texts)
    found = find_unspoken(whole, labels)
    spoken_text = blank_unspoken(whole, found)
    if found and not any(map(str.isalnum, spoken_text)):
        spoken_text = " " * len(whole)
    ends = list(accumulate(map(len, texts), initial=0))
    spoken = [close_gaps(spoken_text[first:last]) for first, last in pairwise(ends)]
    words = [word for n, text in enumerate(spoken) for word in _spread_words(text, times[n], times[n + 1])]
    named = [(SPEAKER, clean_text(name).strip()) for name in VOICE.findall(raw)]
    unspoken = (*named, *((cut.kind, cut.text) for cut in found if cut.kind))
    if not words and not unspoken:
        return None
    original = " ".join(whole.split()) if found else ""
    return Cue(
        start, end, close_gaps(spoken_text), tuple(words), timed=bool(marks), unspoken=unspoken, original=original
    )


def _spread_words(text: str, start: float, end: float) -> Iterator[Word]:
    pace = (end - start) / max(1, len(text))
    for match in WORD.finditer(text):
        yield Word(text=match.group(), start=start + match.start() * pace, end=start + match.end() * pace)


def cut_segment(cue: Cue, start: float, end: float) -> Segment | None:
    """Return the part of a cue that is said between `start` and `end`, on a clock that begins at `start`.

    A word belongs to the span that contains its middle, so neighbouring clips share no word and lose none.
    """
    inside = [n for n, word in enumerate(cue.words) if start <= (word.start + word.end) / 2 < end]
    if not inside:
        return None
    words = [cue.words[n] for n in inside]
    whole = len(words) == len(cue.words)
    first, last = (cue.start, cue.end) if whole else (words[0].start, words[-1].end)
    return Segment(
        start=_clip_time(first, start, end),
        end=_clip_time(last, start, end),
        text=_text_between(cue, inside[0], inside[-1]),
        words=tuple(
            Word(text=w.text, start=_clip_time(w.start, start, end), end=_clip_time(w.end, start, end)) for w in words
        ),
        speaker=cue.speaker,
        original=cue.original,
    )


def list_unspoken(cues: Iterable[Cue], start: float, end: float) -> list[Unspoken]:
    """Return what cues show without speaking it between `start` and `end`, on a clock that begins at `start`."""
    return [
        Unspoken(start=_clip_time(cue.start, start, end), end=_clip_time(cue.end, start, end), kind=kind, text=text)
        for cue in cues
        if start <= (cue.start + cue.end) / 2 < end
        for kind, text in cue.unspoken
    ]


def _text_between(cue: Cue, first: int, last: int) -> str:
    """Return the text from one word to another, with the original spaces between them."""
    places, at = [], 0
    for word in cue.words:
        at = cue.text.index(word.text, at)
        places.append((at, at := at + len(word.text)))
    return cue.text[places[first][0] : places[last][1]]


def _clip_time(time: float, start: float, end: float) -> float:
    return round(min(max(time, start), end) - start, 3)


def extract_text_stream(path: Local, position: int, codec: str = "") -> str:
    """Return a text stream of a video as WebVTT, or as ASS where its codec is ASS; `position` counts subtitle streams.

    Raises BadMedia; or Unavailable, where ffmpeg was killed.
    """
    import ffmpeg

    form = "ass" if codec in ("ass", "ssa") else "webvtt"  # in WebVTT ffmpeg turns drawings of ASS into text
    pipe = ffmpeg.input(safe_url(path), **whitelists(path)).output("pipe:", map=f"0:s:{position}", format=form)
    command = pipe.global_args("-nostdin", "-v", "error").compile(cmd=ffmpeg_exe())
    done = subprocess.run(command, capture_output=True, check=False)
    check_not_killed(done.returncode)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise BadMedia(f"text stream {position} cannot be read: {lines[-1] if lines else done.returncode}")
    return done.stdout.decode(errors="replace")


def embedded_cues(found: Sequence[Recording], position: int, codec: str = "") -> list[Cue]:
    """Return the cues of a text stream in all recordings, on the video's clock. Raises BadMedia where none has it."""
    cues: list[Cue] = []
    for n, part in enumerate(found):
        try:
            cues += [
                _shift_cue(cue, part.start_ms / 1000)
                for cue in parse_cues(extract_text_stream(part.local, position, codec))
            ]
        except BadMedia:
            if not cues and n == len(found) - 1:
                raise
    return cues


def _shift_cue(cue: Cue, seconds: float) -> Cue:
    """Return the cue moved by some seconds."""
    words = tuple(replace(word, start=word.start + seconds, end=word.end + seconds) for word in cue.words)
    return replace(cue, start=cue.start + seconds, end=cue.end + seconds, words=words)
