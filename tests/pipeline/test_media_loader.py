"""Clips are loaded once, in a thread, before a request needs them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from manifests.ledger import Manifest
from manifests.records import Media
from ola.processor import OlaProcessor
from ola.prompt import Picture, Request, Sound, Visual, Wave
from pipeline.annotation import annotator
from pipeline.annotation.media_loader import MediaLoader
from pipeline.config import Config
from pipeline.engine.actor_pool import ActorPool, PoolWorker
from pipeline.engine.lane import StepLane
from pipeline.engine.lane_plan import LanePlan
from pipeline.state.registration import register
from tests.bench.outside import CLIPS, VIDEOS, fill, sources
from tests.ola import tiny
from tests.pipeline.scripted import ENGINE, footage


class Counting(OlaProcessor):
    """Counts what it prepares, and notes the thread; a video waits for `go`."""

    def __init__(self) -> None:
        model = tiny.model()
        super().__init__(tiny.tokenizer(), model.config)
        self.prepared: list[str] = []
        self.threads: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def video(self, frames: Sequence[Picture], digest: str = "") -> Visual:
        self.go.wait(60)
        self.prepared.append("video")
        self.threads.add(threading.current_thread().name)
        return super().video(frames, digest)

    def sound(self, wave: Wave) -> Sound:
        self.prepared.append("sound")
        return super().sound(wave)


def test_clips_that_are_expected_are_loaded_once_and_forgotten_when_others_are(tmp_path: Path) -> None:
    clips = [footage(tmp_path, f"clip{n}", seed=n) for n in range(3)]
    processor = Counting()
    loader = MediaLoader(str(tmp_path), processor)
    loader.expect(clips[:2])
    loaded = [loader(clip) for clip in (*clips[:2], *clips[:2])]
    assert processor.prepared == ["sound", "video"] * 2
    assert loaded[0] is loaded[2]
    assert all("media" in name for name in processor.threads)
    loader.expect(clips[1:])
    assert loader(clips[1]) is loaded[1]
    loader(clips[2])
    assert processor.prepared == ["sound", "video"] * 3, "the clip of both slices stays"
    assert loader(clips[0]) is not loaded[0]


def test_loading_goes_on_while_nobody_waits_and_a_clip_that_is_not_wanted_any_more_is_left_out(tmp_path: Path) -> None:
    clips = [footage(tmp_path, f"clip{n}", seed=n) for n in range(3)]
    processor = Counting()
    processor.go.clear()
    loader = MediaLoader(str(tmp_path), processor)
    loader.expect(clips)
    loader.expect(clips[2:])
    processor.go.set()
    loader(clips[2])
    assert processor.prepared.count("video") <= 2, "the first was under way, the second not begun"


def test_requests_of_prepared_and_of_raw_media_make_the_same_prompt(tmp_path: Path) -> None:
    processor = Counting()
    clip = footage(tmp_path, frames=processor.config.max_frames + 2)
    raw, prepared = MediaLoader(str(tmp_path))(clip), MediaLoader(str(tmp_path), processor)(clip)
    assert isinstance(raw.sound, Wave)
    assert isinstance(prepared.sound, Sound)
    both: list[Any] = [
        processor.prompt(Request("What is it?", video=each.video, sounds=(each.sound,)))  # type: ignore[arg-type]
        for each in (raw, prepared)
    ]
    assert both[0].input_ids.tolist() == both[1].input_ids.tolist()
    assert [medium.digest for medium in both[0].media] == [medium.digest for medium in both[1].media]
    assert both[0].notes == both[1].notes != ()


def test_a_clip_without_sound_has_none_and_missing_bytes_are_an_error_each_time(tmp_path: Path) -> None:
    loader = MediaLoader(str(tmp_path), Counting())
    mute = footage(tmp_path, "mute", seconds=None)
    cut = replace(mute, id="cut", frames=Media(uri=mute.frames.uri, offset=mute.frames.offset, size=10**9))
    loader.expect([cut, mute])
    assert loader(mute).sound is None
    for _ in range(2):
        with pytest.raises(OSError, match="are not there"):
            loader(cut)
        loader.expect([cut])


def test_the_first_clips_of_the_next_part_are_expected_with_the_last_ones_of_this_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Config.model_validate({"annotator": {"engine": ENGINE}}).plan(str(tmp_path))
    parts = register(plan.sources, sources(tmp_path, 2 * VIDEOS), None, VIDEOS)
    for part in parts:
        fill(plan, part, tmp_path)
    expected: list[list[str]] = []
    monkeypatch.setattr(MediaLoader, "expect", lambda _, clips: expected.append([each.clip for each in clips]))
    monkeypatch.setattr(annotator, "CLIPS", 3)
    read = Counter[tuple[str, int]]()
    manifest = type(plan.find_step("extract").manifest)
    read_part = manifest.read

    def counted(self: Manifest, part: int) -> pa.Table:
        read[self.name, part] += 1
        return read_part(self, part)

    monkeypatch.setattr(manifest, "read", counted)
    lane = StepLane([plan.find_step(name) for name in ("screen", "caption")], "session", isolate=False)
    try:
        for part, following in ((parts[0], parts[1]), (parts[1], None)):
            lane.expect(following)
            lane(part)
    finally:
        lane.close()
    slices = [clips for clips, _ in groupby(expected)]
    assert [len(some) for some in slices] == [6, 5, 5, 6, 5, 2]
    assert slices[2][2:] == slices[3][:3], "the last two clips of a part, and the first three of the next"
    assert len({clip for some in slices for clip in some}) == 2 * VIDEOS * CLIPS
    assert set(read.values()) == {1}, "rows that were read ahead are not read again"


def test_an_actor_gets_the_number_that_it_was_told_to_expect() -> None:
    calls: list[Any] = []

    def remote(*given: Any) -> object:
        calls.append(given)
        return object()

    handle = SimpleNamespace(work=SimpleNamespace(remote=remote))
    pool = ActorPool(LanePlan(make=list), resting=[PoolWorker(handle) for _ in range(2)])  # type: ignore[arg-type]
    queue = deque([1, 2, 3, 4])
    pool.start(queue, Counter())
    pool.start(queue, Counter())
    pool.resting = list(pool.workers.values())[1:]
    pool.start(queue, Counter({4: 1}))
    assert calls == [(1, False, 2), (3, False, 4), (4, True, 2)]
