"""The plan of clips covers the video within the limits, and cuts at scene changes and pauses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.media.clip_boundaries import plan_clips
from pipeline.media.scan import Scan, SceneCut, Series, Span

NOTHING = Series(np.empty(0), np.empty(0))
TONE = Series(np.arange(10) / 10, np.full(10, -20.0))


def scanned(
    duration: float,
    cuts: Sequence[float] = (),
    silences: Sequence[Span] = (),
    *,
    black: Sequence[Span] = (),
    sound: bool = True,
) -> Scan:
    return Scan(
        duration=duration,
        cuts=tuple(SceneCut(t, 20.0) for t in cuts),
        motion=NOTHING,
        frozen=(),
        black=tuple(black),
        silences=tuple(silences),
        loudness=TONE if sound else NOTHING,
    )


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    duration = draw(st.floats(0.05, 300))
    moments = st.lists(st.floats(0, duration), max_size=30, unique=True).map(sorted)
    edges = draw(moments)
    silences = list(zip(edges[::2], edges[1::2], strict=False))
    return scanned(duration, draw(moments), silences, sound=draw(st.booleans()))


@given(scans(), st.floats(0.1, 40), st.floats(0.1, 40))
@settings(max_examples=300, deadline=None)
def test_plan_is_whole_and_within_limits(scan: Scan, one: float, other: float) -> None:
    shortest, longest = sorted((one, other))
    spans = plan_clips(scan, shortest, longest)
    least, most, total = round(shortest * 1000), round(longest * 1000), round(scan.duration * 1000)
    if total < least:
        assert spans == []
        return
    assert spans[0][0] == 0
    assert spans[-1][1] == total
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    lengths = [end - start for start, end in spans]
    fewest = -(-total // most)
    assert max(lengths) <= most
    assert min(lengths) >= min(least, total // fewest)
    assert plan_clips(scan, shortest, longest) == spans


def test_cuts_become_boundaries() -> None:
    assert plan_clips(scanned(20, [5, 12]), 2, 30) == [(0, 5000), (5000, 12000), (12000, 20000)]


def test_a_fade_through_black_is_a_cut() -> None:
    assert plan_clips(scanned(20, black=[(9, 10)]), 2, 30) == [(0, 9500), (9500, 20000)]


def test_of_two_near_cuts_the_one_in_a_pause_is_taken() -> None:
    assert plan_clips(scanned(20, [9, 10], [(8.9, 9.1)]), 2, 30) == [(0, 9000), (9000, 20000)]
    assert plan_clips(scanned(20, [9, 10], [(9.9, 10.1)]), 2, 30) == [(0, 10000), (10000, 20000)]


def test_a_long_scene_is_divided_in_the_middle_of_a_pause() -> None:
    silences = [(3, 3.4), (22, 22.4), (39, 39.2)]
    assert plan_clips(scanned(50, silences=silences), 2, 30) == [(0, 22200), (22200, 50000)]


def test_a_long_scene_without_pauses_is_divided_evenly() -> None:
    assert plan_clips(scanned(100, [10]), 2, 30) == [(0, 10000)] + [(n, n + 30000) for n in (10000, 40000, 70000)]
    assert plan_clips(scanned(62), 2, 30) == [(0, 20666), (20666, 41333), (41333, 62000)]


def test_a_short_scene_is_kept_with_its_neighbour() -> None:
    assert plan_clips(scanned(20, [10, 10.5]), 2, 30) in (
        [(0, 10000), (10000, 20000)],
        [(0, 10500), (10500, 20000)],
    )


def test_a_video_without_sound_is_cut_at_its_cuts() -> None:
    assert plan_clips(scanned(20, [5, 12], sound=False), 2, 30) == [(0, 5000), (5000, 12000), (12000, 20000)]


def test_limits_that_no_number_of_clips_fits_keep_the_longest() -> None:
    assert plan_clips(scanned(35), 20, 30) == [(0, 17500), (17500, 35000)]


@pytest.mark.parametrize(("duration", "spans"), [(1.9, []), (2.0, [(0, 2000)]), (30.0, [(0, 30000)])])
def test_short_videos(duration: float, spans: list[tuple[int, int]]) -> None:
    assert plan_clips(scanned(duration), 2, 30) == spans


@pytest.mark.parametrize(("shortest", "longest"), [(0, 10), (-1, 10), (5, 4)])
def test_wrong_limits_are_refused(shortest: float, longest: float) -> None:
    with pytest.raises(ValueError, match="shortest must be above 0"):
        plan_clips(scanned(20), shortest, longest)


def test_eight_hours_are_planned_in_seconds() -> None:
    duration = 8 * 3600.0
    random = np.random.default_rng(0)
    cuts = np.sort(random.uniform(0, duration, 5000))
    starts = np.arange(10000) * duration / 10000
    silences = [(float(s), float(s) + 0.8) for s in starts]
    began = time.perf_counter()
    spans = plan_clips(scanned(duration, [float(t) for t in cuts], silences), 2, 30)
    assert time.perf_counter() - began < 10  # takes 0.3 s; a busy machine may be slow
    assert spans[-1][1] == round(duration * 1000)


def test_a_cut_in_mid_sentence_is_left_inside() -> None:
    """Sentences of 4 s with pauses of 0.5 s; a scene cut in the middle of the third sentence."""
    pauses = tuple((4.5 * n + 4.0, 4.5 * n + 4.5) for n in range(8))
    spans = plan_clips(scanned(36, [11], pauses), 2, 30)
    assert 11_000 not in {end for _, end in spans}
    assert all(any(a * 1000 <= end <= b * 1000 for a, b in pauses) for _, end in spans[:-1])


def test_a_cut_in_music_is_taken() -> None:
    spans = plan_clips(scanned(36, [11], [(34, 35)]), 2, 30)
    assert 11_000 in {end for _, end in spans}
