"""Find near-duplicates over all parts of a run, and write them below its root.

<root>/duplicates/pairs.parquet        pairs of clips that are alike: `DuplicatePair`
<root>/duplicates/clips.parquet        groups and families: `DuplicateClip`; written last, with the digest of all inputs

Both follow from the fingerprints alone, so they are the same after one run over all videos and after many runs over a
few more each time. A run whose fingerprints and settings did not change reads no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.duplicate_records import DuplicateClip, DuplicatePair
from manifests.ledger import Manifest, digest, parquet_bytes
from manifests.parquet_files import raise_damaged
from manifests.records import ID_DIGITS
from manifests.schema import record_schema
from pipeline.duplicates.candidates import find_candidates
from pipeline.duplicates.fingerprints import Fingerprints, from_tables
from pipeline.duplicates.groups import UnionFind, best_of
from pipeline.duplicates.hash_files import rows_of
from pipeline.duplicates.relations import COPY, PART, Relation, relate
from pipeline.duplicates.settings import DedupSettings
from pipeline.duplicates.sources import FingerprintSource
from pipeline.engine.lane_plan import Lane
from pipeline.errors import ConfigError
from pipeline.plan import Plan

STEP = "fingerprint"
PAIRS, CLIPS = "duplicates/pairs.parquet", "duplicates/clips.parquet"  # below the root
FACTS = b"ola.duplicates"  # in the footer of CLIPS
CONTAINS = "contains"  # the relation of a clip to a known one that is a part of it


@dataclass(frozen=True)
class GroupingInputs:
    """All that the groups of a run follow from. known, benchmarks: other fingerprints."""

    plan: Plan
    prefer: tuple[str, ...]
    known: tuple[FingerprintSource, ...]
    benchmarks: tuple[FingerprintSource, ...]

    @property
    def others(self) -> tuple[FingerprintSource, ...]:
        """Return the sources of fingerprints outside of this run."""
        return self.known + self.benchmarks

    def identity(self) -> str:
        """Return the digest of all inputs."""
        files = [_file_facts(self.plan.find_step(name).manifest) for name in ("ingest", STEP)]
        others = [[each.name, each.stamp()] for each in self.others]
        return digest([files, self.prefer, others, len(self.known)], digits=64)


def _file_facts(manifest: Manifest) -> list[Any]:
    return [manifest.folder, [[each.path, each.size, each.stamp] for each in storage.listing(manifest.folder_uri)]]


def has_fingerprints(plan: Plan) -> bool:
    """Return whether a run makes fingerprints."""
    return any(planned.step.name == STEP for planned in plan.steps)


def check_dedup(plan: Plan, settings: DedupSettings, decontaminate: Sequence[str]) -> None:
    """Raise ConfigError, before the steps run, for a source without fingerprints or a run without the step."""
    names = {"dedup.against": settings.against, "decontaminate": tuple(decontaminate)}
    for key, sources in names.items():
        if sources and not has_fingerprints(plan):
            raise ConfigError(
                f"{key}: expected a run with the step '{STEP}', got one without; set extra_steps=[{STEP}]"
            )
        for source in sources:
            FingerprintSource.open(source)


def update_duplicates(
    plan: Plan,
    settings: DedupSettings,
    decontaminate: Sequence[str],
    run_lanes: Callable[[Callable[[], Lane], Sequence[int]], object],
) -> None:
    """Bring the groups of a run up to date with its fingerprints; nothing is read or written if they are.

    Raises ConfigError for a root or file that has no fingerprints.
    """
    if not has_fingerprints(plan):
        return
    known, benchmarks = (tuple(map(FingerprintSource.open, names)) for names in (settings.against, decontaminate))
    inputs = GroupingInputs(plan, settings.prefer, known, benchmarks)
    if stored_identity(plan.root) != inputs.identity():
        run_lanes(partial(GroupLane, inputs), [0])


def stored_identity(root: str) -> str:
    """Return the digest of the inputs of the stored groups; "" if there are none."""
    uri = storage.join(root, CLIPS)
    if not storage.exists(uri):
        return ""
    with raise_damaged(uri), storage.open_random(uri) as file:
        return str((pq.read_metadata(file).metadata or {}).get(FACTS, b"").decode())


class GroupLane(Lane):
    """Finds the near-duplicates of a run, in one number."""

    def __init__(self, inputs: GroupingInputs) -> None:
        self.inputs = inputs

    def __call__(self, number: int) -> None:
        """Find all pairs and groups, and write them."""
        inputs = self.inputs
        identity = inputs.identity()
        step = inputs.plan.find_step(STEP).manifest
        prints = from_tables([rows_of(step), *(each.read() for each in inputs.others)])
        pairs = list(find_pairs(prints, ["", *(each.name for each in inputs.others)]))
        clips = group_clips(prints, pairs, inputs)
        _write(storage.join(inputs.plan.root, PAIRS), DuplicatePair, pairs)
        _write(storage.join(inputs.plan.root, CLIPS), DuplicateClip, clips, {FACTS: identity})


def _write(uri: str, record: type, rows: Sequence[Any], facts: Mapping[bytes, str] | None = None) -> None:
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=record_schema(record))
    storage.write_bytes(uri, parquet_bytes(table.replace_schema_metadata(dict(facts or {}))))


def find_pairs(prints: Fingerprints, sets: Sequence[str]) -> Iterator[DuplicatePair]:
    """Yield all related pairs with a clip of the first set, in the order of clips. sets: names, "" for this run."""
    candidates = find_candidates(prints)
    own = prints.sets[candidates[:, 0]] == 0
    for a, b in candidates[own].tolist():
        found = relate(prints, a, b)
        if found is not None:
            yield make_pair(prints, a, b, found, sets[int(prints.sets[b])])


def make_pair(prints: Fingerprints, a: int, b: int, found: Relation, against: str) -> DuplicatePair:
    """Make the row of a pair; `clip` is the part, or the clip of this run."""
    values = asdict(found)
    name, is_whole = values.pop("name"), found.share < found.other_share
    del values["is_mirrored"]
    if name == PART and is_whole and against:
        name = CONTAINS
    elif name == PART and is_whole:
        a, b = b, a
        values |= {"tempo": 1 / found.tempo, "offset": -found.offset / found.tempo}
        values |= {"share": found.other_share, "other_share": found.share}
    rounded: dict[str, Any] = {key: round(each, 4) for key, each in values.items()}
    rounded["mirrored"] = bool(found.is_mirrored)
    return DuplicatePair(clip=str(prints.ids[a]), other=str(prints.ids[b]), relation=name, against=against, **rounded)


def group_clips(prints: Fingerprints, pairs: Iterable[DuplicatePair], inputs: GroupingInputs) -> list[DuplicateClip]:
    """Return a row for each clip of the videos that have near-duplicates, in the order of the clips."""
    own = prints.ids.filter(pa.array(prints.sets == 0))
    order = {clip: number for number, clip in enumerate(own.to_pylist())}
    copies, relations = UnionFind[str](order), defaultdict[str, set[str]](set)
    hits: dict[str, set[str]] = defaultdict(set)
    families = UnionFind[str](_first_numbers(order))
    for pair in pairs:
        families.join(pair.clip[:ID_DIGITS], (pair.clip if pair.against else pair.other)[:ID_DIGITS])
        relations[pair.clip].add(pair.relation)
        if pair.against:
            hits[pair.clip].add(pair.against)
            continue
        relations[pair.other].add(pair.relation)
        if pair.relation in (COPY, PART):
            copies.join(pair.clip, pair.other)
    best = _best_clips(copies, _qualities(prints, order, copies.parents, inputs.plan), inputs.prefer)
    known, leaked = ({each.name for each in group} for group in (inputs.known, inputs.benchmarks))
    return [
        DuplicateClip(
            clip=clip,
            video=clip[:ID_DIGITS],
            part=int(prints.parts[order[clip]]),
            first=copies.find(clip) if clip in copies.parents else None,
            best=best.get(clip),
            relations=tuple(sorted(relations[clip])),
            family=families.find(clip[:ID_DIGITS]),
            known_in=tuple(sorted(hits[clip] & known)),
            leaked_from=tuple(sorted(hits[clip] & leaked)),
        )
        for clip in order
        if clip[:ID_DIGITS] in families.parents
    ]


def _first_numbers(order: Mapping[str, int]) -> dict[str, int]:
    """Return the number of the first clip of each video."""
    found: dict[str, int] = {}
    for clip, number in order.items():
        found.setdefault(clip[:ID_DIGITS], number)
    return found


def _best_clips(
    copies: UnionFind[str], qualities: Mapping[str, Mapping[str, float]], prefer: Sequence[str]
) -> dict[str, str]:
    """Return the best clip of each grouped clip's group."""
    found = {}
    for members in copies.groups().values():
        best = best_of(members, qualities, prefer)
        found.update(dict.fromkeys(members, best))
    return found


def _qualities(
    prints: Fingerprints, order: Mapping[str, int], clips: Iterable[str], plan: Plan
) -> dict[str, dict[str, float]]:
    """Return what `dedup.prefer` may name, for each of these clips."""
    wanted = {clip[:ID_DIGITS] for clip in clips}
    videos = {row["id"]: row for row in _read_videos(plan.find_step("ingest").manifest, wanted)}
    return {
        clip: {
            "resolution": float(videos[clip[:ID_DIGITS]]["width"] * videos[clip[:ID_DIGITS]]["height"]),
            "subtitles": float(bool(videos[clip[:ID_DIGITS]]["subtitles"] or videos[clip[:ID_DIGITS]]["sidecars"])),
            "length": float(np.round(prints.seconds[order[clip]], 3)),
        }
        for clip in clips
    }


def _read_videos(manifest: Manifest, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of some videos, with the columns that tell which copy is better."""
    ids = pa.array(sorted(wanted), pa.string())
    for name in manifest.file_names() if wanted else ():
        uri = storage.join(manifest.folder_uri, name)
        with raise_damaged(uri), storage.open_random(uri) as file:
            table = pq.read_table(file, columns=["id", "width", "height", "subtitles", "sidecars"])
        yield from table.filter(pc.is_in(table["id"], ids)).to_pylist()
