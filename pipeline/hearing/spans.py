"""Make spans of sounds from the scores of windows: thresholds with hysteresis, gaps closed, one span for one sound.

A window k covers WINDOW_S seconds around k * HOP_S: the first begins before the sound, and the last ends behind it. A
score is above the threshold as soon as a part of the window has the sound, so a span begins in the middle of its first
window, and ends in the middle of its last. Each moment lies in two windows: a sound that is heard in one alone has
to score higher.

Shapes: W windows, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from manifests.hearing_records import SoundSpan
from pipeline.hearing.classes import EVENT, GENERAL, MUSIC, NAMING, SCENE, SPEECH, WIDE, SoundClass

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]

WINDOW_S, HOP_S = 0.96, 0.48
STAY = 0.4  # of the score that begins a span: the score down to which it goes on
GAPS = {SPEECH: 1, MUSIC: 2, EVENT: 1}  # windows below that score which do not end a span, by kind
BRIEF = 0.75  # score of a sound in one window alone
NARROW = 0.5  # of the highest score: a narrower class with as much names the span, `Piano` instead of `Music`


@dataclass(frozen=True)
class Track:
    """The windows in which a group is heard. names: columns of the scores whose classes may name its spans."""

    kind: str
    group: str
    names: tuple[int, ...]
    heard: Mask


def count_windows(samples: int, rate: int) -> int:
    """Return the number of windows of a sound: the middle of the last one is at its end, or behind it."""
    return 1 - -samples // round(HOP_S * rate)


def find_spans(
    scores_WC: Scores, classes: Sequence[SoundClass], seconds: float, starts: Mapping[str, float]
) -> tuple[SoundSpan, ...]:
    """Return the spans of a sound, in order. starts: by kind, the score from which a span begins."""
    groups = _group_columns(classes)
    naming = groups.pop((MUSIC, NAMING), ())
    general = groups.pop((EVENT, GENERAL), ())
    tracks = [_make_track(scores_WC, *group, columns, starts[group[0]]) for group, columns in groups.items()]
    tracks = [replace(each, names=(*each.names, *naming)) if each.kind == MUSIC else each for each in tracks]
    if general:
        free_WC = np.where(_near_events(tracks)[:, None], np.float32(0), scores_WC)
        tracks.append(_make_track(free_WC, EVENT, GENERAL, general, starts[EVENT]))
    spans = [span for track in tracks for span in _track_spans(track, scores_WC, classes, seconds)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.kind, span.label)))


def _group_columns(classes: Sequence[SoundClass]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the columns of each group, by kind and group."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for column, each in enumerate(classes):
        if each.kind != SCENE:
            found[each.kind, each.group] = (*found.get((each.kind, each.group), ()), column)
    return found


def _make_track(scores_WC: Scores, kind: str, group: str, columns: tuple[int, ...], start: float) -> Track:
    highest = scores_WC[:, columns].max(axis=1)
    heard = _drop_brief(apply_hysteresis(highest, start, STAY * start), highest)
    return Track(kind, group, columns, close_gaps(heard, GAPS[kind]))


def _drop_brief(heard: Mask, scores: Scores) -> Mask:
    """Return the mask without runs of one window with a score below BRIEF."""
    kept = heard.copy()
    for first, last in runs(heard):
        if first == last and scores[first] < BRIEF:
            kept[first] = False
    return kept


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


def _near_events(tracks: Sequence[Track]) -> Mask:
    """Return the windows in which a sound event is heard, and their neighbours."""
    taken: Mask = np.logical_or.reduce([track.heard for track in tracks if track.kind == EVENT])
    around = taken.copy()
    around[1:] |= taken[:-1]
    around[:-1] |= taken[1:]
    return around


def _track_spans(track: Track, scores_WC: Scores, classes: Sequence[SoundClass], seconds: float) -> Iterator[SoundSpan]:
    for first, last in runs(track.heard):
        column = _choose_class(scores_WC[first : last + 1], track.names, classes)
        start, end = span_times(first, last, seconds)
        score = float(scores_WC[first : last + 1, track.names].max())
        yield SoundSpan(kind=track.kind, label=classes[column].name, start=start, end=end, score=round(score, 3))


def _choose_class(scores_WC: Scores, columns: Sequence[int], classes: Sequence[SoundClass]) -> int:
    """Return the class that names a span: the narrow one with the highest mean score, if that is high enough."""
    means = {column: float(scores_WC[:, column].mean()) for column in columns}
    narrow = [column for column in columns if classes[column].name not in WIDE]
    best = max(columns, key=lambda column: means[column])
    candidate = max(narrow, key=lambda column: means[column], default=best)
    return candidate if means[candidate] >= NARROW * means[best] else best


def span_times(first: int, last: int, seconds: float) -> tuple[float, float]:
    """Return start and end of a run of windows; at least HOP_S long, if the sound is."""
    start, end = first * HOP_S, min(last * HOP_S, seconds)
    if end - start < HOP_S:
        start = max(0.0, min((start + end - HOP_S) / 2, seconds - HOP_S))
        end = min(start + HOP_S, seconds)
    return round(start, 3), round(end, 3)


def share_of_time(spans: Iterable[SoundSpan], seconds: float) -> float:
    """Return the share of the time that is in at least one of the spans."""
    total, covered = 0.0, 0.0
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, covered))
        covered = max(covered, span.end)
    return round(min(1.0, total / seconds), 4) if seconds > 0 else 0.0
