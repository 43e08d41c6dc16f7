"""Subtitles as text files (.srt, .vtt), or as text streams inside a video, become cues with words and times.

Written here because the packaged parsers tried lose the text of cues with times between words (`<00:00:01.500>`), which
is how automatic captions come, and those times are what we want of them.
"""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from manifests.records import Segment, Word
from pipeline.errors import BadMedia
from pipeline.media.safety import FFMPEG_INPUT, ffmpeg_exe, safe_url

STAMP = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
TIMING = re.compile(rf"^\s*{STAMP}\s*-->\s*{STAMP}")
MARK = re.compile(rf"<{STAMP}>")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^}]*\}")
# Scripts written without spaces: each sign counts as a word, so that cues can be cut anywhere in them.
SIGNS = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{SIGNS}]|[^\s{SIGNS}]+")


@dataclass(frozen=True)
class Cue:
    """One subtitle: text and its words, times in seconds on the video's clock."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    timed: bool


def decoded(data: bytes) -> str:
    """The text of a subtitle file, whatever its encoding: by its mark, as UTF-8, else by its likelihood."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data).best()
        return str(best) if best is not None else data.decode("cp1252", errors="replace")


def parse(text: str) -> list[Cue]:
    """Cues of an .srt or .vtt text, in order of time; notes, styles and numbers are left out."""
    found: list[Cue] = []
    for start, end, lines in _blocks(text):
        cue = _cue(start, end, " ".join(lines)) if end > start else None
        if cue is not None:
            found.append(cue)
    return sorted(found, key=lambda cue: (cue.start, cue.end))


def _blocks(text: str) -> Iterator[tuple[float, float, list[str]]]:
    lines: list[str] | None = None
    span = (0.0, 0.0)
    for line in text.splitlines():
        timing = TIMING.match(line)
        if timing:
            if lines:
                # no empty line before it: the number of the new cue was taken for text of the old one
                yield *span, lines[:-1] if lines[-1].strip().isdigit() else lines
            lines, span = [], (_seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]))
        elif lines is not None and line.strip():
            lines.append(line)
        elif lines:
            yield *span, lines
            lines = None
    if lines:
        yield *span, lines


def _seconds(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = (group or "0" for group in groups)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _cue(start: float, end: float, raw: str) -> Cue | None:
    """Text between marks is spoken between their times; words in it share the time by their length."""
    pieces = MARK.split(raw)
    marks = [_seconds(pieces[n : n + 4]) for n in range(1, len(pieces), 5)]
    times = [start, *(min(max(mark, start), end) for mark in marks), end]
    texts = [" ".join(html.unescape(TAG.sub("", piece or "")).split()) for piece in pieces[::5]]
    words = [word for n, text in enumerate(texts) for word in _spread(text, times[n], times[n + 1])]
    text = " ".join(filter(None, texts))
    return Cue(start, end, text, tuple(words), timed=bool(marks)) if words else None


def _spread(text: str, start: float, end: float) -> Iterator[Word]:
    pace = (end - start) / max(1, len(text))
    for match in WORD.finditer(text):
        yield Word(text=match.group(), start=start + match.start() * pace, end=start + match.end() * pace)


def segment(cue: Cue, start: float, end: float) -> Segment | None:
    """The part of a cue that is said between `start` and `end`, on a clock that begins at `start`.

    A word belongs where its middle is, so that clips side by side share no word and lose none.
    """
    words = [word for word in cue.words if start <= (word.start + word.end) / 2 < end]
    if not words:
        return None
    whole = len(words) == len(cue.words)
    first, last = (cue.start, cue.end) if whole else (words[0].start, words[-1].end)
    return Segment(
        start=_on(first, start, end),
        end=_on(last, start, end),
        text=cue.text if whole else join_words([word.text for word in words]),
        words=tuple(Word(text=w.text, start=_on(w.start, start, end), end=_on(w.end, start, end)) for w in words),
    )


def join_words(words: Sequence[str]) -> str:
    """Words as a line: signs of scripts without spaces stand side by side."""
    line = ""
    for word in words:
        tight = not line or (_is_sign(line[-1]) and _is_sign(word[0]))
        line += word if tight else f" {word}"
    return line


def _is_sign(character: str) -> bool:
    return "\u3040" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff"


def _on(time: float, start: float, end: float) -> float:
    return round(min(max(time, start), end) - start, 3)


def embedded(path: str, position: int) -> str:
    """A text stream of a video as WebVTT; `position` counts the subtitle streams. Raises BadMedia."""
    import ffmpeg

    pipe = ffmpeg.input(safe_url(path), **FFMPEG_INPUT).output("pipe:", map=f"0:s:{position}", format="webvtt")
    command = pipe.global_args("-nostdin", "-v", "error").compile(cmd=ffmpeg_exe())
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise BadMedia(f"text stream {position} cannot be read: {lines[-1] if lines else done.returncode}")
    return done.stdout.decode(errors="replace")
