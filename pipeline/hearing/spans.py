"""Make spans of sounds from the scores of windows: thresholds with hysteresis, gaps closed, one span for one sound.

A window k covers WINDOW_S seconds from k * HOP_S. Its score is above the threshold as soon as a part of it has the
sound, so a span begins in the middle of its first window, and ends in the middle of its last.

Shapes: W windows, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.hearing_records import SoundSpan
from pipeline.hearing.classes import EVENT, GENERAL, SCENE, WIDE, SoundClass

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]

WINDOW_S, HOP_S = 0.96, 0.48
STAY = 0.4  # of the score that begins a span: the score down to which it goes on
GAPS = {"speech": 1, "music": 2, EVENT: 1}  # windows below that score which do not end a span, by kind
NARROW = 0.5  # of the highest score: a narrower class with as much names the span, `Piano` instead of `Music`


@dataclass(frozen=True)
class Track:
    """The windows in which a group of classes is heard. columns: of the scores."""

    kind: str
    group: str
    columns: tuple[int, ...]
    heard: Mask


def count_windows(samples: int, rate: int) -> int:
    """Return the number of windows of a sound: the last one reaches its end."""
    window, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    return max(1, 1 - (window - samples) // hop)


def find_spans(
    scores_WC: Scores, classes: Sequence[SoundClass], seconds: float, starts: Mapping[str, float]
) -> tuple[SoundSpan, ...]:
    """Return the spans of a sound, in order. starts: by kind, the score from which a span begins."""
    tracks = _drop_general([_make_track(scores_WC, *each, starts) for each in _group_columns(classes)])
    spans = [span for track in tracks for span in _track_spans(track, scores_WC, classes, seconds)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.kind, span.label)))


def _group_columns(classes: Sequence[SoundClass]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield kind, group and columns of each group; each general class is a group of its own."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for column, each in enumerate(classes):
        if each.kind != SCENE:
            found.setdefault((each.kind, each.group, each.name if each.group == GENERAL else ""), []).append(column)
    yield from ((kind, group, tuple(columns)) for (kind, group, _), columns in found.items())


def _make_track(
    scores_WC: Scores, kind: str, group: str, columns: tuple[int, ...], starts: Mapping[str, float]
) -> Track:
    highest = scores_WC[:, columns].max(axis=1)
    heard = apply_hysteresis(highest, starts[kind], STAY * starts[kind])
    return Track(kind, group, columns, close_gaps(heard, GAPS[kind]))


def apply_hysteresis(scores: Scores, start: float, stay: float) -> Mask:
    """Return the windows of runs with all scores from `stay` and one score from `start`."""
    heard = np.zeros(len(scores), np.bool_)
    for first, last in runs(scores >= stay):
        heard[first : last + 1] = scores[first : last + 1].max() >= start
    return heard


def close_gaps(heard: Mask, longest: int) -> Mask:
    """Return the mask with gaps of up to `longest` windows between two runs closed."""
    closed = heard.copy()
    for first, last in runs(~heard):
        if first > 0 and last < len(heard) - 1 and last - first < longest:
            closed[first : last + 1] = True
    return closed


def runs(mask: Mask) -> list[tuple[int, int]]:
    """Return the first and the last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]


def _drop_general(tracks: Iterable[Track]) -> list[Track]:
    """Return the tracks of narrow groups, and those of general classes without the windows of narrow events."""
    tracks = list(tracks)
    narrow = [track for track in tracks if track.group != GENERAL]
    events = [track.heard for track in narrow if track.kind == EVENT]
    free = ~np.logical_or.reduce(events) if events else np.True_
    general = [track for track in tracks if track.group == GENERAL]
    return narrow + [Track(track.kind, track.group, track.columns, track.heard & free) for track in general]


def _track_spans(track: Track, scores_WC: Scores, classes: Sequence[SoundClass], seconds: float) -> Iterator[SoundSpan]:
    for first, last in runs(track.heard):
        column = _choose_class(scores_WC[first : last + 1], track.columns, classes)
        start, end = span_times(first, last, len(track.heard), seconds)
        score = float(scores_WC[first : last + 1, track.columns].max())
        yield SoundSpan(kind=track.kind, label=classes[column].name, start=start, end=end, score=round(score, 3))


def _choose_class(scores_WC: Scores, columns: Sequence[int], classes: Sequence[SoundClass]) -> int:
    """Return the class that names a span: the narrow one with the highest mean score, if that is high enough."""
    means = {column: float(scores_WC[:, column].mean()) for column in columns}
    narrow = [column for column in columns if classes[column].name not in WIDE]
    best = max(columns, key=lambda column: means[column])
    candidate = max(narrow, key=lambda column: means[column], default=best)
    return candidate if means[candidate] >= NARROW * means[best] else best


def span_times(first: int, last: int, windows: int, seconds: float) -> tuple[float, float]:
    """Return start and end of a run of windows; at least HOP_S long, if the sound is."""
    start = first * HOP_S + WINDOW_S / 2 if first else 0.0
    end = last * HOP_S + WINDOW_S / 2 if last < windows - 1 else seconds
    if end - start < HOP_S:
        middle = min(max((start + end) / 2, HOP_S / 2), max(seconds - HOP_S / 2, HOP_S / 2))
        start, end = middle - HOP_S / 2, middle + HOP_S / 2
    return round(max(0.0, start), 3), round(min(seconds, end), 3)


def share_of_time(spans: Iterable[SoundSpan], seconds: float) -> float:
    """Return the share of the time that is in at least one of the spans."""
    total, covered = 0.0, 0.0
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, covered))
        covered = max(covered, span.end)
    return round(min(1.0, total / seconds), 4) if seconds > 0 else 0.0
