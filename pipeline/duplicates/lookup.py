"""Find the videos of a run that are alike to given files: re-encodes, crops, cuts, and longer videos that hold them.

    FILE ─ windows ─ extract, fingerprint in a scratch root ─┐
                                                             ├─ candidates ─ alignment ─► AlikeVideo
    fingerprints of the run, or hashes of its stored media ──┘

Windows are twice as long as the clips of the run and overlap by half, so that each clip of a copy lies whole in one of
them, wherever the copy was cut.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from manifests.duplicate_records import DuplicatePair, Fingerprint
from manifests.records import ID_DIGITS, Clip, ClipMedia
from manifests.schema import record_schema
from pipeline.config import load
from pipeline.duplicates.candidates import find_matches
from pipeline.duplicates.fingerprints import COLUMNS, from_tables
from pipeline.duplicates.grouping import CONTAINS, STEP, has_fingerprints, make_pair
from pipeline.duplicates.hash_files import rows_of
from pipeline.duplicates.relations import OTHER_PICTURE, OTHER_SOUND, PART, name_overlap, relate
from pipeline.errors import ConfigError
from pipeline.plan import Plan, ok_records
from pipeline.run import run
from pipeline.steps.fingerprint import FingerprintInput, FingerprintStep

STEPS = ["ingest", "split", "extract"]
Outcome = dict[str, Any]  # a row of a step
Span = tuple[int, int]  # first and last ms
FILE = "file"  # the set of clips that are not of the run
BATCH = 20_000  # clips of the run that are compared at once, in 0.1 GB


@dataclass(frozen=True)
class AlikeVideo:
    """A video of the run that is alike to a given file.

    file: uri of the file. relation: of the video to the file, as in `DuplicatePair`. clips: ids of the alike clips.
    start_ms, end_ms: first and last ms that are alike, on the clock of the video; file_start_ms, file_end_ms: on that
    of the file. share, file_share: shares of the length of the video and of the file that are alike.
    """

    video: str
    uri: str
    file: str
    relation: str
    clips: tuple[str, ...]
    start_ms: int
    end_ms: int
    file_start_ms: int
    file_end_ms: int
    share: float
    file_share: float


@dataclass(frozen=True)
class _AlikeClip:
    """A clip of the run that is alike to a part of a file. file: the id of its video. spans: first and last ms."""

    clip: str
    file: str
    relation: str
    span: Span
    file_span: Span


@dataclass(frozen=True)
class FilePrints:
    """Fingerprints of windows of some files. files: (uri, length in seconds) by the id of the video."""

    rows: pa.Table
    files: Mapping[str, tuple[str, float]]


def fingerprint_videos(inputs: Sequence[str], root: str, sets: Sequence[str] = ()) -> Plan:
    """Fingerprint videos in a new root, as step `fingerprint` does, and return the plan of that run.

    sets: settings, as in `split.longest=20`.
    """
    base: dict[str, Any] = {"inputs": list(inputs), "steps": STEPS, "extra_steps": [STEP]}
    return run(load(None, sets, base), root)


def fingerprint_files(files: Sequence[str], longest: float) -> FilePrints:
    """Fingerprint files in a scratch root. longest: seconds of the run's clips.

    Raises ConfigError where one of the files has nothing to compare.
    """
    with tempfile.TemporaryDirectory(prefix="ola-like-") as folder:
        probed = run(load(None, (), {"inputs": list(files), "steps": ["ingest"]}), str(Path(folder, "probed")))
        videos = _check_videos(_outcomes(probed, "ingest"))
        windows = Path(folder, "windows.jsonl")
        windows.write_text("".join(_window_lines(videos, longest)), encoding="utf-8")
        frames = f"extract.frames.cap={max(48, round(2 * longest))}"
        plan = fingerprint_videos([str(windows)], str(Path(folder, "root")), [frames])
        names = {row["id"]: (row["uri"], float(row["duration"])) for row in videos}
        prints = FilePrints(rows_of(plan.find_step(STEP).manifest), names)
        _check_prints(plan, prints)
    return prints


def _check_videos(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of videos. Raises ConfigError for a file that is none: its copies would stay in silence."""
    for row in outcomes:
        if row["status"] != "ok" and not row["reason"].startswith("duplicate of"):
            raise ConfigError(f"--like: expected videos, got a file that is {row['status']}: {row['reason']}")
    return [row for row in outcomes if row["status"] == "ok"]


def _check_prints(plan: Plan, prints: FilePrints) -> None:
    """Raise ConfigError where a video has no clip to compare."""
    lacking = set(prints.files) - {clip[:ID_DIGITS] for clip in prints.rows["id"].to_pylist()}
    if lacking:
        lost = [row["reason"] for step in (*STEPS, STEP) for row in _outcomes(plan, step) if row["status"] != "ok"]
        name, _ = prints.files[min(lacking)]
        raise ConfigError(f"--like {name}: expected a video with frames to compare, got none ({'; '.join(lost[:2])})")


def _window_lines(videos: Sequence[Outcome], longest: float) -> Iterator[str]:
    """Yield the lines of a list of the windows of some videos."""
    for video in videos:
        for number in range(max(1, math.ceil(video["duration"] / longest) - 1)):
            start, end = number * longest, min((number + 2) * longest, video["duration"])
            yield json.dumps({"path": video["uri"], "start": start, "end": round(end, 3)}) + "\n"


def find_alike(plan: Plan, asked: FilePrints) -> list[AlikeVideo]:
    """Return the videos of a run that are alike to some files, in order of their ids.

    Hashes the stored media of parts of which the run has no fingerprints. Raises Damaged or another OSError where rows
    or media of the run cannot be read.
    """
    groups: dict[tuple[str, str], list[_AlikeClip]] = defaultdict(list)
    for batch in _batches(read_fingerprints(plan)):
        for found in _compare(asked, batch):
            groups[found.clip[:ID_DIGITS], found.file].append(found)
    videos = {row["id"]: row for row in _outcomes(plan, "ingest") if row["id"]} if groups else {}
    return [_alike_video(videos[video], asked.files[file], groups[video, file]) for video, file in sorted(groups)]


def _outcomes(plan: Plan, step: str) -> list[Outcome]:
    manifest = plan.find_step(step).manifest
    return [row for part in sorted(manifest.committed()) for row in manifest.read(part).to_pylist()]


def read_fingerprints(plan: Plan) -> Iterator[pa.Table]:
    """Yield the fingerprints of each part: those that the run has, else hashes of the stored frames and sound."""
    extract = plan.find_step("extract").manifest
    stored = plan.find_step(STEP).manifest if has_fingerprints(plan) else None
    known = stored.committed() if stored is not None else {}
    for part in sorted(extract.committed()):
        if stored is not None and part in known:
            rows = stored.read(part)
            yield rows.filter(pc.equal(rows["status"], "ok")).select(COLUMNS).replace_schema_metadata()
        else:
            yield _hash_part(plan, part)


def _hash_part(plan: Plan, part: int) -> pa.Table:
    """Hash the stored frames and sound of a part's clips."""
    step = FingerprintStep()
    step.root = plan.root
    step.open()
    clips = {clip.id: clip for clip in ok_records(Clip, plan.find_step("split").manifest.read(part))}
    media = ok_records(ClipMedia, plan.find_step("extract").manifest.read(part))
    made = [each for of in step.run([FingerprintInput(one, clips[one.clip]) for one in media]) for each in of]
    table = pa.Table.from_pylist([asdict(each) for each in made], schema=record_schema(Fingerprint))
    return table.select(COLUMNS).replace_schema_metadata()


def _batches(tables: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    batch: list[pa.Table] = []
    for table in tables:
        batch.append(table)
        if sum(map(len, batch)) >= BATCH:
            yield batch
            batch = []
    yield batch


def _compare(asked: FilePrints, batch: Sequence[pa.Table]) -> Iterator[_AlikeClip]:
    prints = from_tables([asked.rows, *batch])
    for query, clip in find_matches(prints, len(asked.rows)).tolist():
        found = relate(prints, clip, query)
        if found is not None:
            yield _alike_clip(make_pair(prints, clip, query, found, FILE))


def _alike_clip(pair: DuplicatePair) -> _AlikeClip:
    first, file_first = max(0.0, -pair.offset / pair.tempo), max(0.0, pair.offset)
    relation = pair.relation if pair.relation in (OTHER_SOUND, OTHER_PICTURE) else ""
    span, file_span = _shared_span(pair.clip, first, pair.share), _shared_span(pair.other, file_first, pair.other_share)
    return _AlikeClip(pair.clip, pair.other[:ID_DIGITS], relation, span, file_span)


def _shared_span(clip: str, first: float, share: float) -> Span:
    """Return what is alike of a clip on its video's clock. first: seconds from the start. share: of the length."""
    start, end = (int(number) for number in clip[ID_DIGITS + 1 :].split("-")[:2])
    begin = start + 1000 * first
    return round(begin), round(begin + share * (end - start))


def _alike_video(video: Outcome, file: tuple[str, float], clips: Sequence[_AlikeClip]) -> AlikeVideo:
    """Join what is alike of a video's clips. Clips that agree in picture and sound count, if there are any."""
    relation = min(each.relation for each in clips)
    counted = [each for each in clips if each.relation == relation]
    spans, file_spans = [each.span for each in counted], [each.file_span for each in counted]
    share, file_share = (
        min(1.0, _covered(of) / 1000 / seconds) for of, seconds in ((spans, video["duration"]), (file_spans, file[1]))
    )
    named = name_overlap(share, file_share)
    return AlikeVideo(
        video=video["id"],
        uri=video["uri"],
        file=file[0],
        relation=relation or (CONTAINS if named == PART and share < file_share else named),
        clips=tuple(sorted({each.clip for each in clips})),
        start_ms=min(start for start, _ in spans),
        end_ms=max(end for _, end in spans),
        file_start_ms=min(start for start, _ in file_spans),
        file_end_ms=max(end for _, end in file_spans),
        share=round(share, 4),
        file_share=round(file_share, 4),
    )


def _covered(spans: Sequence[Span]) -> int:
    """Return the ms that at least one of the spans covers."""
    total, reached = 0, 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
