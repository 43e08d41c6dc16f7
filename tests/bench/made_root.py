"""Make a root with many committed clips, without encoding media or making records one by one.

The rows of one part are records that fit each other; those of all others are the same with other ids. All clips share
the media of the first. Sources are sparse files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.ledger import DROPPED, FOOTER, OK, ROWS_FOOTER, Counts, Manifest, parquet_bytes
from manifests.records import ID_DIGITS, Source
from pipeline.config import RUN, Config, dump
from pipeline.media.media_store import MediaTar
from pipeline.plan import Plan
from pipeline.sources.discovery import discover
from pipeline.state.registration import register
from tests.bench import again
from tests.pipeline import report_root

CLIPS = again.CLIPS
VIEWS = ("image", "video", "sound", "joint")
IDS = {"input", "id", "clip", "video", "footage", "transcript", "question"}  # columns that hold ids


def make(folder: Path, root: Path, clips: int, annotated: bool = False) -> Plan:
    """Make the sources in `folder` and a root with so many clips, 25 a video. annotated: with made-up model output."""
    folder.mkdir()
    for n in range(clips // CLIPS):
        with open(folder / f"video-{n:06d}.mp4", "wb") as file:
            os.truncate(file.fileno(), 32 + n)  # sizes differ, or each would have to be compared with all others
    config = Config(inputs=(str(folder),), annotator={"model": "nano" if annotated else ""})  # type: ignore[arg-type]
    plan = config.plan(str(root))
    storage.write_bytes(storage.join(plan.root, RUN), dump(config).encode())
    parts = register(plan.sources, discover(config.inputs, plan.root), None, config.videos_per_part)
    template: dict[str, pa.Table] = {}
    for part in parts:
        _fill(plan, part, template)
    return plan


def _fill(plan: Plan, part: int, template: dict[str, pa.Table]) -> None:
    """Commit one part of every step; the first part's rows become the template of all of as many videos."""
    sources: list[Source] = plan.find_step("ingest").inputs(part)
    if not template:
        _first(plan, sources, template)
    new = [hashlib.sha256(source.id.encode()).hexdigest()[:ID_DIGITS] for source in sources]
    old = [hashlib.sha256(b"%d" % n).hexdigest()[:ID_DIGITS] for n in range(len(sources))]
    for planned in plan.steps:
        table = template[planned.manifest.name]
        if planned.step.name == "ingest":
            table = _of_sources(table, sources)
        _commit(planned.manifest, part, _renamed(table, dict(zip(old, new, strict=True))))


def _of_sources(table: pa.Table, sources: list[Source]) -> pa.Table:
    table = table.slice(0, len(sources))
    for name, column in (("input", "id"), ("source", "id"), ("uri", "uri")):
        values = pa.array([getattr(source, column) for source in sources], pa.string())
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def _first(plan: Plan, sources: list[Source], template: dict[str, pa.Table]) -> None:
    """Commit rows of as many videos as a part has to a part beyond all others, and take them away again."""
    extract, scratch = plan.find_step("extract").manifest, 999_999
    media = MediaTar(extract.path(0, "tar"), storage.draft_path(extract.uri(0, "tar")))
    names = [hashlib.sha256(b"%d" % n).hexdigest()[:ID_DIGITS] for n in range(len(sources))]
    clips = {name: again.clips_of(name) for name in names}
    flat = [clip for found in clips.values() for clip in found]
    shared = again.footage_of(flat[0], media)
    media.close()
    storage.place(media.path, extract.uri(0, "tar"))
    videos = zip(names, sources, strict=True)
    again.commit(plan, "ingest", scratch, {source.id: [again.described(name, source)] for name, source in videos})
    again.commit(plan, "split", scratch, clips)
    again.commit(plan, "extract", scratch, {clip.id: [again.of_clip(shared, clip)] for clip in flat})
    again.commit(plan, "transcribe", scratch, {
        clip.id: [again.transcript_of(clip)] if n % 2 else [] for n, clip in enumerate(flat)
    })  # fmt: skip
    if any(planned.step.name == "verify" for planned in plan.steps):
        _annotate(plan, scratch, [clip.id for clip in flat[1::2]], [clip.id for clip in flat])
    for planned in plan.steps:
        template[planned.manifest.name] = planned.manifest.read(scratch)
        storage.remove(planned.manifest.uri(scratch))


def _annotate(plan: Plan, part: int, spoken: list[str], clips: list[str]) -> None:
    """Commit three questions of each clip with speech, their verification, and four captions of every clip."""
    captions = {name: [report_root.caption_of(name, view) for view in VIEWS] for name in clips}
    questions = {name: [report_root.question_of(name, n) for n in range(3)] for name in spoken}
    flat = [question for some in questions.values() for question in some]
    again.commit(plan, "screen", part, {name: [report_root.screening_of(name)] for name in spoken})
    again.commit(plan, "caption", part, captions)
    again.commit(plan, "ask", part, questions)
    again.commit(plan, "verify", part, {each.id: [report_root.verification_of(each)] for each in flat})


def _renamed(table: pa.Table, names: dict[str, str]) -> pa.Table:
    """The rows with other videos; those of videos that have no other name are left out."""
    owners = table["id"] if "source" in table.column_names else table["input"]
    known = pa.array([str(owner)[:ID_DIGITS] in names for owner in owners.to_pylist()])
    table = table.filter(known)
    for column in IDS & set(table.column_names):
        if not pa.types.is_string(table.schema.field(column).type):  # the answer of the view `video`
            continue
        values = [names.get(value[:ID_DIGITS], value[:ID_DIGITS]) + value[ID_DIGITS:] if value else None
                  for value in table[column].to_pylist()]  # fmt: skip
        table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))
    return table


def _commit(manifest: Manifest, part: int, table: pa.Table) -> None:
    """Write a part; the digest of its rows in the footer need only differ from others."""
    status = dict(zip(table["input"].to_pylist(), table["status"].to_pylist(), strict=True))
    found = Counter(status.values())
    outputs = pc.sum(pc.equal(table["status"], OK)).as_py()
    reasons = {"no subtitles": found[DROPPED]} if found[DROPPED] else {}
    counts = Counts(len(status), found[OK], found[DROPPED], 0, outputs, 0.1 * len(status), reasons)
    facts = {FOOTER: json.dumps(asdict(counts)), ROWS_FOOTER: f"{part:064d}"}
    storage.write_bytes(manifest.uri(part), parquet_bytes(table.replace_schema_metadata(facts)))
