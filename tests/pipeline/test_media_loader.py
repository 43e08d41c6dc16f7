"""Clips are loaded once, in a thread, before a request needs them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Media
from ola.processor import OlaProcessor
from ola.prompt import Picture, Request, Sound, Visual, Wave
from pipeline.annotation.media_loader import MediaLoader
from tests.ola import tiny
from tests.pipeline.scripted import footage


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
