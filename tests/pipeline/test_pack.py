"""Pack on synthetic manifests: selection, placement, and sets that are complete or absent."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from manifests.records import Clip, ClipMedia, Media, Outcome, PackedTask, Segment, Transcript, Video, Word
from manifests.schema import from_rows
from pipeline.config import Config
from pipeline.engine.engines import InlineEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.errors import ConfigError
from pipeline.media.audio import wav_bytes
from pipeline.media.media_store import MediaTar
from pipeline.pack import lanes
from pipeline.pack.check import check_run
from pipeline.pack.groups import update_groups
from pipeline.pack.part_candidates import PartCandidates
from pipeline.pack.publish import current_manifest, pack
from pipeline.pack.selection import select_tasks
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from stages.catalogue import current
from stages.shards import ShardReader

VIDEOS, CLIPS, MS = 40, 3, 2000


def video_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:20]


def video(number: int) -> Video:
    return Video(
        id=video_id(number),
        source=f"source {number}",
        uri=f"video {number}.mp4",
        bytes=number,
        sha256="",
        container="mp4",
        duration=CLIPS * MS / 1000,
        picture=0,
        codec="h264",
        pixel_format="yuv420p",
        coded_width=64,
        coded_height=32,
        width=64,
        height=32,
        rotation=0,
        frame_rate=25.0,
        frames=150,
        variable_rate=False,
        sounds=(),
        sound=1,
        subtitles=(),
        sidecars=(),
        meta=json.dumps({"licence": "CC-BY" if number % 2 else "unknown"}),
    )


def clip(number: int, place: int) -> Clip:
    start = place * MS
    name = f"{video_id(number)}-{start:09d}-{start + MS:09d}"
    return Clip(
        id=name,
        video=video_id(number),
        start_ms=start,
        end_ms=start + MS,
        motion=float(number),
        frozen=0.0,
        black=0.0,
        silence=0.5,
        loudness=-20.0,
    )


def jpeg(shade: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (64, 32), (shade, shade, shade)).save(sink, "JPEG")
    return sink.getvalue()


def footage(made: Clip, tar: MediaTar, *, silent: bool) -> ClipMedia:
    frames = [jpeg(place * 50) for place in range(3)]
    return ClipMedia(
        id=made.id,
        clip=made.id,
        width=64,
        height=32,
        frames=tar.add(f"{made.id}.mjpg", b"".join(frames)),
        frame_bytes=tuple(len(frame) for frame in frames),
        frame_ms=(300, 1000, 1700),
        sound=None if silent else tar.add(f"{made.id}.wav", wav_bytes(bytes(MS * 32))),
    )


def transcript(made: Clip, text: str) -> Transcript:
    words = tuple(Word(text=word, start=0.2 * n, end=0.2 * n + 0.2) for n, word in enumerate(text.split()))
    return Transcript(
        id=made.id,
        clip=made.id,
        origin="sidecar",
        track="x.srt",
        language=None,
        word_times="interpolated",
        text=text,
        segments=(Segment(start=0.0, end=1.0, text=text, words=words),),
        words=len(words),
        coverage=0.5,
    )


def ok(name: str, *records: object) -> Outcome:
    return Outcome(name, "ok", 0.1, records)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Forty videos of three clips: one video has no sound, and every third clip says nothing."""
    root = tmp_path_factory.mktemp("root")
    made = Config().plan(str(root))
    ingest, split, extract, transcribe = (planned.manifest for planned in made.steps)
    path = extract.path(0, "tar")
    (root / path).parent.mkdir(parents=True)
    tar = MediaTar(path, str(root / path))
    clips = [clip(number, place) for number in range(VIDEOS) for place in range(CLIPS)]
    silent = video_id(7)
    videos = [video(number) for number in range(VIDEOS)]
    ingest.commit(0, [v.source for v in videos], [ok(v.source, v) for v in videos])
    of = {v.id: [c for c in clips if c.video == v.id] for v in videos}
    split.commit(0, list(of), [ok(name, *made_clips) for name, made_clips in of.items()])
    records = [footage(c, tar, silent=c.video == silent) for c in clips]
    extract.commit(0, [c.id for c in clips], [ok(f.id, f) for f in records])
    tar.close()
    said = [
        Outcome(c.id, "dropped", 0.0, (), "nothing said") if n % 3 == 2 else ok(c.id, transcript(c, "one two three"))
        for n, c in enumerate(clips)
    ]
    transcribe.commit(0, [c.id for c in clips], said)
    return made


def packed(plan: Plan, **settings: Any) -> list[PackedTask]:
    faults = pack(plan, PackSettings(**settings), lambda make, numbers: InlineEngine().map([LanePlan(make)], numbers))
    assert faults == ()
    manifest = current_manifest(plan)
    assert manifest is not None
    counts = manifest.total()
    assert counts.inputs == VIDEOS * CLIPS == counts.ok + counts.dropped + counts.failed
    rows: list[PackedTask] = []
    for folder in current(plan.root).values():
        table = pq.read_table(Path(plan.root, folder, "shards.parquet"))
        rows += from_rows(PackedTask, table.to_pylist())
    return rows


def reasons_of(plan: Plan, settings: PackSettings) -> dict[str, str]:
    """Why each clip is in no shard; "" of one that is in some."""
    tables = [select_tasks(PartCandidates(plan, settings), group)[0] for group in update_groups(plan)]
    rows = [row for table in tables for row in table.to_pylist()]
    return {row["clip"]: row["reason"] or "" for row in rows}


def samples(plan: Plan) -> Iterator[dict[str, Any]]:
    for folder in current(plan.root).values():
        for path in sorted(Path(plan.root, folder).glob("*.tar")):
            for sample in ShardReader(path):
                yield json.loads(bytes(sample.members["json"]))


def test_every_clip_has_its_reason(plan: Plan) -> None:
    reasons = reasons_of(plan, PackSettings())
    found = list(reasons.values())
    assert len(found) == VIDEOS * CLIPS
    assert found.count("no transcript") == VIDEOS
    assert found.count("no sound") == 2
    assert found.count("") == VIDEOS * 2 - 2


def test_where_chooses_by_scores_and_by_carried_columns(plan: Plan) -> None:
    rows = packed(plan, where="motion >= 20 AND meta->>'licence' = 'CC-BY'")
    assert {row.video for row in rows} == {video_id(n) for n in range(20, VIDEOS) if n % 2}
    assert {json.loads(sample["meta"])["licence"] for sample in samples(plan)} == {"CC-BY"}


def test_where_that_is_null_keeps_nothing(plan: Plan) -> None:
    assert packed(plan, where="motion > NULL") == []


@pytest.mark.parametrize("where", ["colour = 'red'", "motion >", "motion) OR (", "'word'"])
def test_where_that_is_no_condition_is_refused(plan: Plan, where: str) -> None:
    with pytest.raises(ConfigError, match=r"pack\.where"):
        reasons_of(plan, PackSettings(where=where))


def test_what_is_over_the_context_is_left_out(plan: Plan) -> None:
    reasons = set(reasons_of(plan, PackSettings(context=100)).values())
    assert reasons == {"no transcript", "no sound", "over pack.context"}


def test_train_and_val_share_no_video_and_numbers_have_no_gap(plan: Plan) -> None:
    rows = packed(plan, val=0.4, shard_mb=1)
    sides = {side: {row.video for row in rows if row.split == side} for side in ("train", "val")}
    assert sides["train"]
    assert sides["val"]
    assert not sides["train"] & sides["val"]
    for side in sides:
        names = sorted({row.shard for row in rows if row.split == side})
        assert names == [f"{side}-{number:06d}.tar" for number in range(len(names))]
    assert len({row.shard for row in rows}) > 2  # 1 MB is too little for all
    assert len({row.id for row in rows}) == len(rows)
    assert list(check_run(plan.root)) == []


def test_the_order_is_that_of_the_keys(plan: Plan) -> None:
    packed(plan, val=0.0)
    keys = [sample["key"] for sample in samples(plan)]
    assert keys == sorted(keys)
    assert all("." not in key for key in keys)


def test_where_no_part_changed_no_row_is_read(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = packed(plan)
    selections = []

    def counted(*arguments: Any) -> Any:
        selections.append(arguments)
        return select_tasks(*arguments)

    monkeypatch.setattr(lanes, "select_tasks", counted)
    assert packed(plan) == before
    assert selections == []
    path = Path(plan.find_step("split").manifest.uri(0))
    os.utime(path, (1, 1))
    assert packed(plan) == before
    assert len(selections) == 1, "a part that was written again is read"
    assert len(packed(plan, where="motion > 0.5")) < len(before)
    assert packed(plan) == before
    assert len(selections) == 3, "sets of other settings are the current ones in between"


def test_packing_again_writes_nothing(plan: Plan) -> None:
    packed(plan, where="motion < 5")
    before = {path: path.stat().st_mtime_ns for path in Path(plan.root).rglob("*") if path.is_file()}
    packed(plan, where="motion < 5")
    assert {path: path.stat().st_mtime_ns for path in Path(plan.root).rglob("*") if path.is_file()} == before


def test_another_where_is_another_set_and_the_old_one_stays(plan: Plan) -> None:
    packed(plan, where="motion < 6")
    old = current(plan.root)["omni"]
    packed(plan, where="motion < 7")
    assert current(plan.root)["omni"] != old
    assert Path(plan.root, old, "shards.parquet").exists()


def test_a_sample_says_what_its_clip_says(plan: Plan) -> None:
    packed(plan)
    sample = next(samples(plan))
    alone, task = sample["tasks"]
    assert (alone["kind"], task["kind"]) == ("speech_recognition", "subtitle")
    assert alone["conversations"][0]["value"].startswith("<speech>\n")
    assert (alone["conversations"][1], alone["times"]) == (task["conversations"][1], task["times"])
    human, answer = task["conversations"]
    assert human["from"] == "human"
    assert human["value"].startswith("<speech><image>\n")
    assert answer == {"from": "gpt", "value": "one two three"}
    assert task["times"] == [{"start": 0.0, "end": 1.0, "text": "one two three"}]
    assert [word["text"] for word in task["words"]] == ["one", "two", "three"]
    assert sample["sound"] == {"rate": 16000, "samples": MS * 16}
    assert sample["pictures"]["ms"] == [300, 1000, 1700]


def test_what_is_absent_has_the_type_of_what_is_there(plan: Plan) -> None:
    """Hugging Face datasets infer types from the first samples: after a null, a text would not load."""
    packed(plan)
    for sample in samples(plan):
        assert all(isinstance(value, str) for value in sample["provenance"].values())
        assert all(isinstance(value, int | float) for value in sample["scores"].values())
        assert sample["provenance"]["language"] == ""


def test_media_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    from pipeline.media.media_store import MediaReader

    (tmp_path / "short.tar").write_bytes(b"0123456789")
    with pytest.raises(OSError, match=r"short\.tar: 20 bytes at 5 are not there"):
        MediaReader(str(tmp_path))(Media(uri="short.tar", offset=5, size=20))
    assert Media(uri="a", offset=0, size=1).size == 1
