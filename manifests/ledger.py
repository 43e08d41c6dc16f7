"""The ledger of parts: what is committed, under which key, and the law that no input vanishes.

A `Manifest` is the committed rows of one step: a folder `<NN-step>-<key>` with one Parquet file a part. The file of a
part is written last and atomically; that it is there means that the part is done. Its footer carries the part's
counts, so that progress and the funnel need not read rows.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.records import Outcome
from manifests.row_digest import digest_rows
from manifests.schema import SCALARS, from_rows, hints, manifest_schema, to_table

OK, DROPPED, FAILED = "ok", "dropped", "failed"
FOOTER = b"ola.counts"
ROWS_FOOTER = b"ola.rows"
PART = re.compile(r"part-(\d{6,})\.parquet")
KEY_DIGITS = 12


class LawBroken(RuntimeError):
    """A step lost an input, or answered for one it was never given."""


class Damaged(OSError):
    """A committed part cannot be read: its file was cut short, emptied or overwritten."""


def digest(facts: Any, digits: int = KEY_DIGITS) -> str:
    """Key of anything JSON can hold: the same facts give the same key on every machine."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


@dataclass(slots=True)
class Counts:
    """What became of the inputs of a step: inputs = ok + dropped + failed; `outputs` are the records made of them."""

    inputs: int = 0
    ok: int = 0
    dropped: int = 0
    failed: int = 0
    outputs: int = 0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Counts:
        """Counts of the outcomes of one part."""
        counts = cls()
        for outcome in outcomes:
            counts.inputs += 1
            setattr(counts, outcome.status, getattr(counts, outcome.status) + 1)
            counts.outputs += len(outcome.records)
            counts.seconds += outcome.seconds
            if outcome.reason is not None:
                counts.reasons[outcome.reason] = counts.reasons.get(outcome.reason, 0) + 1
        return counts

    @classmethod
    def sum(cls, parts: Iterable[Counts]) -> Counts:
        """Counts of several parts together."""
        total = cls()
        for counts in parts:
            total.add(counts)
        return total

    def add(self, other: Counts) -> None:
        """Add the counts of another part."""
        for name in ("inputs", "ok", "dropped", "failed", "outputs", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count


def check_law(name: str, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """Raise LawBroken unless every input has exactly one outcome, and `ok` ones have rows."""
    asked, answered = Counter(inputs), Counter(outcome.input for outcome in outcomes)
    if asked != answered:
        lost, strange = asked - answered, answered - asked
        raise LawBroken(f"step '{name}': inputs without a row: {sorted(lost)[:5]}; rows without an input: "
                        f"{sorted(strange)[:5]}")  # fmt: skip
    for outcome in outcomes:
        if (outcome.status == OK) != bool(outcome.records):
            raise LawBroken(f"step '{name}': input {outcome.input} is {outcome.status} with {outcome.records!r}")


def misfit(hint: Any, value: Any, name: str = "") -> str | None:
    """What keeps `value` from being stored as `hint` says and read back the same; None where nothing does.

    Arrow alone would cut 3.5 to 3, and store a record of another type as a row of nulls.
    """
    if is_dataclass(hint):
        if type(value) is not hint:
            return f"{name or 'it'} is a {type(value).__name__}"
        inner = hints(typing.cast(type, hint)).items()
        return next(filter(None, (misfit(of, getattr(value, field), field) for field, of in inner)), None)
    if hint in SCALARS:
        return None if _fits(hint, value) else f"{name} is {value!r:.80}, not {hint.__name__}"
    (of,) = (argument for argument in typing.get_args(hint) if argument not in (type(None), Ellipsis))
    if typing.get_origin(hint) is not tuple:
        return None if value is None else misfit(of, value, name)
    if not isinstance(value, tuple):
        return f"{name} is a {type(value).__name__}, not a tuple"
    return next(filter(None, (misfit(of, one, f"{name}[{n}]") for n, one in enumerate(value))), None)


def _fits(scalar: type, value: Any) -> bool:
    if scalar is str and isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value) if not value.isascii() else True
    if scalar is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if scalar is float and isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= 2**53
    return isinstance(value, scalar)


@dataclass(frozen=True)
class Manifest:
    """The committed rows of one step of one run."""

    root: str
    number: int
    name: str
    key: str
    record: type

    @property
    def schema(self) -> pa.Schema:
        """Schema of its rows."""
        return manifest_schema(self.record)

    @property
    def folder(self) -> str:
        """Folder below the root: `02-split-1a2b3c`."""
        return f"{self.number:02d}-{self.name}" + (f"-{self.key}" if self.key else "")

    def path(self, part: int, suffix: str = "parquet") -> str:
        """Path of a part's file below the root."""
        return f"{self.folder}/part-{part:06d}.{suffix}"

    def uri(self, part: int, suffix: str = "parquet") -> str:
        """Full URI of a part's file."""
        return storage.join(self.root, self.path(part, suffix))

    def pattern(self) -> str | None:
        """Which files of the folder a view reads; None if no part is committed."""
        return "part-*.parquet" if self.committed() else None

    def committed(self) -> dict[int, int]:
        """Numbers of the committed parts, with the size of each file in bytes."""
        entries = storage.listing(storage.join(self.root, self.folder))
        found = ((PART.fullmatch(entry.path), entry.size) for entry in entries)
        return {int(match.group(1)): size for match, size in found if match}

    def has(self, part: int) -> bool:
        """Whether this part is committed."""
        return storage.exists(self.uri(part))

    def commit(self, part: int, inputs: Sequence[str], outcomes: Sequence[Outcome]) -> bool:
        """Write the part's rows in the order of its inputs, unless the part is committed.

        Returns whether these rows are the part's now. Raises LawBroken before anything is written.
        """
        check_law(self.name, inputs, outcomes)
        place = {name: n for n, name in enumerate(inputs)}
        ordered = sorted(outcomes, key=lambda outcome: place[outcome.input])
        table = to_table(self.record, ordered)
        facts = {FOOTER: json.dumps(asdict(Counts.of(outcomes))), ROWS_FOOTER: digest_rows(table)}
        return storage.create(self.uri(part), parquet_bytes(table.replace_schema_metadata(facts)))

    def read(self, part: int) -> pa.Table:
        """All rows of a committed part. Raises Damaged, or OSError where it cannot be reached."""
        with self._undamaged(part):
            return read_parquet(self.uri(part))

    def counts(self, part: int) -> Counts:
        """Counts of a committed part, from its footer alone."""
        return Counts(**json.loads(self._footer(part)[FOOTER]))

    def rows_digest(self, part: int) -> str:
        """Digest of a committed part's rows but for timings: equal for equal rows. From the footer, if it is there."""
        stored = self._footer(part).get(ROWS_FOOTER)
        # through outcomes, so that fields which an older part lacks have their defaults
        return stored.decode() if stored else digest_rows(to_table(self.record, self.outcomes(part)))

    def outcomes(self, part: int) -> Iterator[Outcome]:
        """The outcomes that a part was committed with."""
        for name, group in groupby(self.read(part).to_pylist(), key=lambda row: str(row["input"])):
            rows = list(group)
            status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
            records = tuple(from_rows(self.record, rows)) if status == OK else ()
            yield Outcome(name, status, seconds, records, rows[0]["reason"], rows[0]["detail"])

    def _footer(self, part: int) -> dict[bytes, bytes]:
        with self._undamaged(part), storage.open_random(self.uri(part)) as file:
            stored = dict(pq.read_metadata(file).metadata or {})
            json.loads(stored[FOOTER])
            return stored

    @contextmanager
    def _undamaged(self, part: int) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise Damaged(f"{self.uri(part)} is damaged: delete it and run again ({one_line(error)})") from error

    def part_counts(self) -> dict[int, Counts | Damaged]:
        """Counts of every committed part, or how it is damaged."""
        return self.counts_of(sorted(self.committed()))

    def counts_of(self, parts: Sequence[int]) -> dict[int, Counts | Damaged]:
        """Counts of these committed parts, or how they are damaged."""
        with ThreadPoolExecutor(8) as pool:  # footers are small: the wait is for the store, not for this machine
            return dict(zip(parts, pool.map(self._counts_or_damage, parts), strict=True))

    def _counts_or_damage(self, part: int) -> Counts | Damaged:
        try:
            return self.counts(part)
        except Damaged as damage:
            return damage

    def total(self) -> Counts:
        """Counts of all committed parts that are not damaged."""
        return Counts.sum(counts for counts in self.part_counts().values() if isinstance(counts, Counts))


def one_line(error: BaseException) -> str:
    """The words of an error on one line, or else its type."""
    return " ".join(str(error).split()) or type(error).__name__


def read_parquet(uri: str) -> pa.Table:
    """A Parquet file as a table. Raises OSError, or pyarrow's ArrowException where it is none."""
    return pq.read_table(pa.BufferReader(storage.read_bytes(uri)))


def parquet_bytes(table: pa.Table, row_group: int | None = None) -> bytes:
    """A table as a Parquet file. row_group: rows of each group; None leaves the choice to pyarrow."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group)
    return bytes(sink.getvalue().to_pybytes())
