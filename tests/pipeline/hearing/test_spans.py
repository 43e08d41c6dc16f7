"""Spans from the scores of windows: hysteresis, gaps, times, names, general classes, shares of time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from manifests.hearing_records import SoundSpan
from pipeline.hearing.classes import SoundClass, read_classes
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.spans import HOP_S, count_windows, find_spans, runs, share_of_time

BY_NAME = {each.name: each for each in read_classes().values()}


def spans_of(scores: Mapping[str, list[float]], seconds: float | None = None) -> list[tuple[str, str, float, float]]:
    """Kind, label, start and end of the spans of some classes' scores; all other scores are 0."""
    windows = len(next(iter(scores.values())))
    classes = tuple(read_classes().values())
    given = np.zeros((windows, len(classes)), np.float32)
    for name, values in scores.items():
        given[:, classes.index(BY_NAME[name])] = values
    seconds = (windows - 1) * HOP_S if seconds is None else seconds
    found = find_spans(given, classes, seconds, HearSettings().starts)
    return [(span.kind, span.label, span.start, span.end) for span in found]


def test_a_span_begins_at_the_threshold_and_goes_on_below_it() -> None:
    assert spans_of({"Speech": [0, 0.3, 0.7, 0.3, 0.15, 0, 0, 0]}) == [("speech", "Speech", 0.48, 1.44)]
    assert spans_of({"Speech": [0, 0.3, 0.55, 0.3, 0.15, 0, 0, 0]}) == []


def test_a_span_at_the_edge_reaches_the_edge() -> None:
    assert spans_of({"Music": [0.9, 0.9, 0.9, 0, 0, 0]}) == [("music", "Music", 0.0, 0.96)]
    assert spans_of({"Music": [0, 0, 0, 0.9, 0.9, 0.9]}, 2.2) == [("music", "Music", 1.44, 2.2)]


def test_a_short_sound_has_the_length_of_a_hop() -> None:
    assert spans_of({"Speech": [0, 0, 0.9, 0, 0, 0]}) == [("speech", "Speech", 0.72, 1.2)]
    assert spans_of({"Speech": [0, 0, 0.9]}, 0.9) == [("speech", "Speech", 0.42, 0.9)]
    assert spans_of({"Speech": [0.9, 0]}, 0.3) == [("speech", "Speech", 0.0, 0.3)]


def test_a_sound_in_one_window_must_be_clearer() -> None:
    assert spans_of({"Knock": [0, 0.5, 0, 0]}) == []
    assert [span[1] for span in spans_of({"Knock": [0, 0.8, 0, 0]})] == ["Knock"]
    assert [span[1] for span in spans_of({"Knock": [0, 0.5, 0.2, 0]})] == ["Knock"]
    assert spans_of({"Speech": [0, 0.7, 0.1, 0], "Music": [0, 0, 0.7, 0]}) == []


def test_short_gaps_are_closed_and_long_ones_are_not() -> None:
    assert len(spans_of({"Speech": [0, 0.9, 0, 0.9, 0, 0, 0]})) == 1
    assert len(spans_of({"Speech": [0, 0.9, 0, 0, 0.9, 0, 0]})) == 2
    assert len(spans_of({"Music": [0, 0.9, 0, 0, 0.9, 0, 0]})) == 1
    assert len(spans_of({"Music": [0, 0.9, 0, 0, 0, 0.9, 0]})) == 2


def test_speech_over_music_gives_a_span_of_each() -> None:
    assert spans_of({"Music": [0.9] * 6, "Speech": [0, 0, 0.9, 0.9, 0, 0]}) == [
        ("music", "Music", 0.0, 2.4),
        ("speech", "Speech", 0.96, 1.44),
    ]


def test_one_sound_under_several_names_is_one_span_with_the_narrow_name() -> None:
    bark = {"Dog": [0, 0.9, 0.9, 0], "Bark": [0, 0.6, 0.6, 0], "Yip": [0, 0.2, 0.1, 0], "Animal": [0, 0.95, 0.9, 0]}
    assert [span[:2] for span in spans_of(bark)] == [("event", "Bark")]
    assert [span[1] for span in spans_of({"Dog": [0, 0.9, 0.9, 0], "Bark": [0, 0.3, 0.3, 0]})] == ["Dog"]
    assert [span[1] for span in spans_of({"Music": [0.9, 0.9], "Piano": [0.5, 0.5]})] == ["Piano"]


def test_an_instrument_without_music_is_no_span() -> None:
    assert spans_of({"Synthesizer": [0.9] * 4, "Music": [0.1] * 4}) == []


def test_a_general_class_counts_where_no_other_event_is_heard() -> None:
    found = spans_of({"Animal": [0.9] * 8, "Bark": [0, 0, 0, 0, 0.9, 0.9, 0.9, 0.9], "Speech": [0.9] * 8})
    assert sorted(span[1] for span in found) == ["Animal", "Bark", "Speech"]
    (animal,) = [span for span in found if span[1] == "Animal"]
    assert animal[2:] == (0.0, 0.96)
    assert [span[1] for span in spans_of({"Animal": [0.9, 0.9, 0.9, 0.9], "Bark": [0, 0.9, 0.9, 0]})] == ["Bark"]


def test_places_and_silence_are_no_sounds() -> None:
    assert spans_of({"Silence": [1.0] * 5, "Inside, small room": [0.9] * 5, "Television": [0.9] * 5}) == []


@pytest.mark.parametrize(("seconds", "windows"), [(0.1, 2), (0.48, 2), (0.49, 3), (0.96, 3), (9.6, 21)])
def test_the_middle_of_the_last_window_is_at_the_end(seconds: float, windows: int) -> None:
    assert count_windows(round(seconds * 16000), 16000) == windows
    assert (windows - 1) * HOP_S >= seconds


def test_the_share_of_time_counts_overlaps_once() -> None:
    spans = [SoundSpan(kind="event", label="Bark", start=start, end=end, score=1.0) for start, end in ((0, 4), (2, 5))]
    assert share_of_time(spans, 10.0) == 0.5
    assert share_of_time([], 10.0) == share_of_time([], 0.0) == 0.0


def test_every_class_has_a_kind_and_names_are_unique() -> None:
    classes = list(read_classes().values())
    assert len(classes) == len(BY_NAME) == 527
    assert {each.kind for each in classes} == {"speech", "music", "event", "scene"}
    kinds_of_group: dict[str, set[str]] = {}
    for each in classes:
        kinds_of_group.setdefault(each.group, set()).add(each.kind)
    assert all(len(kinds) == 1 for kinds in kinds_of_group.values())
    assert BY_NAME["Speech"] == SoundClass("/m/09x0r", "Speech", "speech", "speech")


def test_runs() -> None:
    assert runs(np.array([True, True, False, True, False])) == [(0, 1), (3, 3)]
    assert runs(np.zeros(3, np.bool_)) == []
