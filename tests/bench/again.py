"""Benchmark a run with nothing to do: 10,000 clips of 400 videos that are all in the shards.

The root is made without encoding anything: records that fit each other are committed through the project's own plan and
manifests, and one real `ola run` packs them. What is timed is the whole process of the command a user would type.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manifests import storage
from manifests.ledger import DROPPED, OK
from manifests.records import ID_DIGITS, Clip, ClipMedia, Outcome, Segment, Source, Transcript, Video, Word
from pipeline.config import Config
from pipeline.media.audio import wav_bytes
from pipeline.media.media_store import MediaTar
from pipeline.plan import Plan
from pipeline.sources.discovery import discover
from pipeline.state.registration import register
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos

VIDEOS, CLIPS = 400, 25
CLIP_MS = 30_000
FRAMES = 48
SEGMENTS, WORDS = 5, 15  # of a clip: 75 words in 30 s is slow speech
ROUNDS = 5
OLA = (sys.executable, "-c", "from pipeline.cli import main; main()")
# What every run writes anew, also when there is nothing to do: its settings, and the views.
RENEWED = frozenset({"run.yaml", "views.sql", "manifest.duckdb", ".lock"})


def measure(videos: Videos) -> Iterator[Figure]:
    """One row for time, one for memory."""
    folder, root = videos.folder / "sources", videos.folder / "root"
    make(folder, root)
    command = (*OLA, "run", str(folder), "--root", str(root))
    run(command)
    before = snapshot(root)
    rounds = [run(command) for _ in range(ROUNDS)]
    changed = {name for name, facts in snapshot(root).items() ^ before.items()}
    assert not changed, f"a run with nothing to do changed {sorted(changed)[:5]}"
    shutil.rmtree(root)
    what = f"ola run with nothing to do over {VIDEOS * CLIPS:,} clips, half of them packed, whole process"
    none = "absolute; committed files and shards were not touched"
    seconds, megabytes = ([float(facts[name]) for facts in rounds] for name in ("seconds", "megabytes"))
    yield Figure("again", what, none, "s", seconds, target=Target("<", 3.0, "s"))
    yield Figure("again", "its peak resident memory", none, "MB", megabytes, target=Target("<", 500.0, "MB"))


def run(command: Sequence[str]) -> dict[str, Any]:
    """Seconds and megabytes of a command. Raises RuntimeError with its output where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.peak", *command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of change of every file that a run with nothing to do must leave alone."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in RENEWED]
    stats = {str(path.relative_to(root)): os.stat(path) for path in files}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def make(folder: Path, root: Path) -> None:
    """The sources, and a root where every step is committed for all of them."""
    folder.mkdir()
    for n in range(VIDEOS):
        # sizes differ, or each would have to be compared with all others
        (folder / f"video-{n:04d}.mp4").write_bytes(hashlib.sha256(b"%d" % n).digest() + bytes(n))
    config = Config(inputs=(str(folder),))
    plan = config.plan(str(root))
    for part in register(plan.sources, discover(config.inputs, plan.root), None, config.videos_per_part):
        fill(plan, part)


def fill(plan: Plan, part: int) -> None:
    """Commit one part of every step."""
    sources: list[Source] = plan.find_step("ingest").inputs(part)
    videos = [video_of(source) for source in sources]
    clips = {video.id: clips_of(video.id) for video in videos}
    flat = [clip for found in clips.values() for clip in found]
    extract = plan.find_step("extract").manifest
    media = MediaTar(extract.path(part, "tar"), storage.draft_path(extract.uri(part, "tar")))
    commit(plan, "ingest", part, {video.source: [video] for video in videos})
    commit(plan, "split", part, clips)
    footage = {clip.id: [footage_of(clip, media)] for clip in flat}
    media.close()
    storage.place(media.path, extract.uri(part, "tar"))
    commit(plan, "extract", part, footage)
    commit(plan, "transcribe", part, {c.id: [transcript_of(c)] if n % 2 else [] for n, c in enumerate(flat)})


def commit(plan: Plan, name: str, part: int, records: Mapping[str, Sequence[object]]) -> None:
    """Commit the records made of each input; an input without any was dropped."""
    outcomes = [
        Outcome(key, OK, 0.1, tuple(made)) if made else Outcome(key, DROPPED, 0.1, (), "no subtitles")
        for key, made in records.items()
    ]
    plan.find_step(name).manifest.commit(part, list(records), outcomes)


def video_of(source: Source) -> Video:
    """A video as `ingest` would describe it, if there were one in the file."""
    return described(hashlib.sha256(Path(source.uri).read_bytes()).hexdigest(), source)


def described(sha256: str, source: Source) -> Video:
    """A video of which only the digest is known."""
    return Video(
        id=sha256[:ID_DIGITS], source=source.id, uri=source.uri, bytes=source.bytes, sha256=sha256, container="mov",
        duration=CLIPS * CLIP_MS / 1000, picture=0, codec="h264", pixel_format="yuv420p", coded_width=1280,
        coded_height=720, width=1280, height=720, rotation=0, frame_rate=30.0, frames=CLIPS * CLIP_MS * 30 // 1000,
        variable_rate=False, sounds=(), sound=1, subtitles=(), sidecars=(), meta="{}",
    )  # fmt: skip


def clips_of(video: str) -> list[Clip]:
    """Clips end to end over the whole video."""
    spans = [(n * CLIP_MS, (n + 1) * CLIP_MS) for n in range(CLIPS)]
    return [
        Clip(id=f"{video}-{start:09d}-{end:09d}", video=video, start_ms=start, end_ms=end,
             motion=2.5, frozen=0.0, black=0.0, silence=0.1, loudness=-21.0)
        for start, end in spans
    ]  # fmt: skip


def footage_of(clip: Clip, media: MediaTar) -> ClipMedia:
    """As many frames as a real clip has, of a few bytes each."""
    return ClipMedia(
        id=clip.id, clip=clip.id, width=576, height=320,
        frames=media.add(f"{clip.id}.mjpg", bytes(8 * FRAMES)),
        frame_bytes=(8,) * FRAMES,
        frame_ms=tuple(round((n + 0.5) * CLIP_MS / FRAMES) for n in range(FRAMES)),
        sound=media.add(f"{clip.id}.wav", wav_bytes(bytes(64))),
    )  # fmt: skip


def of_clip(footage: ClipMedia, clip: Clip) -> ClipMedia:
    """The same media as another clip's."""
    return replace(footage, id=clip.id, clip=clip.id)


def transcript_of(clip: Clip) -> Transcript:
    """As many words as slow speech has."""
    length = CLIP_MS / 1000 / SEGMENTS
    segments = tuple(segment_of(n * length, length) for n in range(SEGMENTS))
    return Transcript(
        id=clip.id, clip=clip.id, origin="sidecar", track="talk.en.srt", language="en", word_times="interpolated",
        text=" ".join(segment.text for segment in segments), segments=segments, words=SEGMENTS * WORDS, coverage=1.0,
    )  # fmt: skip


def segment_of(start: float, length: float) -> Segment:
    """A segment whose words are spread evenly over it."""
    step = length / WORDS
    words = tuple(Word(text=f"word{n}", start=start + n * step, end=start + (n + 1) * step) for n in range(WORDS))
    return Segment(start=start, end=start + length, text=" ".join(word.text for word in words), words=words)
