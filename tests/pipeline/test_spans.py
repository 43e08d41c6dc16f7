"""Spans of videos in input lists become the clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.media.audio_extraction import ClipRequest
from pipeline.media.extraction import extract_clips
from pipeline.media.render import FrameRenderer
from pipeline.sources.clip_spans import Unusable, times_of
from pipeline.sources.input_lists import read_list
from tests.containers import done, tar
from tests.media import pattern, video_of
from tests.runs import rows


def listed(path: Path, *facts: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    return path


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (1, 2.5, (1000, 2500)),
        ("0.25", "3", (250, 3000)),
        ("0:00:08.141", "00:01:16.549", (8141, 76549)),
        ("1:02", "1:00:00,5", (62000, 3600500)),
        (None, 2, None),
        ("", "", None),
        (2, 2, "empty span"),
        (-1, 2, "no time in start"),
        ("soon", 2, "no time in start"),
        (1, True, "no time in end"),
        (0, "nan", "no time in end"),
    ],
)
def test_times(start: object, end: object, found: object) -> None:
    if isinstance(found, str):
        with pytest.raises(Unusable, match=found):
            times_of({"start": start, "end": end})
    else:
        assert times_of({"start": start, "end": end}) == found


def test_rows_of_one_video_become_its_spans(tmp_path: Path) -> None:
    path = listed(
        tmp_path / "list.jsonl",
        {"uri": "a.mp4", "start": 3, "end": 5, "caption": "two", "licence": "x"},
        {"uri": "a.mp4", "start": "0:00:01", "end": 2, "caption": "one", "licence": "x"},
        {"uri": "a.mp4", "start": 3, "end": 5},
        {"uri": "a.mp4"},
        {"uri": "b.mp4", "start": 1},
        {"uri": "b.mp4", "start": 1, "end": 2},
        {"uri": "c.mp4", "start": 4, "end": 1},
    )
    one, other, *faults = read_list(str(path))
    assert [(span.start_ms, span.end_ms, span.meta) for span in one.spans] == [
        (1000, 2000, '{"caption": "one"}'), (3000, 5000, '{"caption": "two"}')]  # fmt: skip
    assert (one.meta, other.meta, other.spans) == ('{"licence": "x"}', '{"start": 1}', ())
    reasons = [str(row.fault).split(":")[0] for row in faults]
    assert reasons == ["row 3 names the same span as row 1", "row 4 names the same video as row 1",
                       "row 6 names the same video as row 5", "row 7 names an empty span"]  # fmt: skip


def test_spans_are_the_clips_of_a_run(tmp_path: Path) -> None:
    film = pattern("spans.mp4", 6)
    held = tar(tmp_path / "a.tar", [("film.mp4", film.read_bytes())])
    spans = [(0.5, 1.5, "short"), (1, 5, "long"), (4, 99, "to the end"), (50, 60, "after it")]
    facts = [{"uri": f"{held}#film.mp4", "start": a, "end": b, "caption": text, "of": "film"} for a, b, text in spans]
    root = done(tmp_path / "root", listed(tmp_path / "list.jsonl", *facts))
    found = rows(root, "SELECT start_ms, end_ms, meta->>'caption' FROM split ORDER BY start_ms")
    assert found == [(500, 1500, "short"), (1000, 5000, "long"), (4000, 6000, "to the end"), (50000, 60000, "after it")]
    assert rows(root, "SELECT count(*) FROM ingest WHERE meta->>'of' = 'film'") == [(1,)]
    assert [status for (status,) in rows(root, "SELECT status FROM extract ORDER BY status")] == ["dropped"] + 3 * [
        "ok"
    ]
    before = rows(root, "SELECT id FROM ingest")
    done(root, listed(tmp_path / "list.jsonl", facts[1]))
    assert rows(root, "SELECT start_ms, end_ms FROM split") == [(1000, 5000)], "other spans make other clips"
    assert rows(root, "SELECT id FROM ingest") == before


def test_clips_that_overlap_come_from_one_pass() -> None:
    film = pattern("spans.mp4", 6)
    video = video_of(film)
    requests = [ClipRequest(a, b, ((a + b) / 2000,)) for a, b in ((0, 5000), (1000, 2000), (1500, 4000), (3000, 6000))]
    renderer = FrameRenderer(video.width, video.height, video.rotation, 90)
    together = list(extract_clips(str(film), video, requests, renderer))
    alone = [clip for request in requests for clip in extract_clips(str(film), video, [request], renderer)]
    assert [clip.frames for clip in together] == [clip.frames for clip in alone]
    for whole, single in zip(together, alone, strict=True):
        assert whole.pcm == single.pcm != None  # noqa: E711
