"""Convert records to Arrow tables and back: dataclass fields become typed, nested columns.

table = to_table(Clip, outcomes)      # the ledger's columns first, then the record's
clips = from_rows(Clip, table.to_pylist())
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa

from manifests.records import Outcome

R = TypeVar("R")


class MissingColumn(ValueError):
    """Stored rows lack a column that their record type requires."""


SCALARS: Mapping[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}

# The first columns of every manifest; `input` is the id of the step's input record.
LEDGER_FIELDS = (
    pa.field("input", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
    pa.field("seconds", pa.float64(), nullable=False),
)


def arrow_type(annotation: Any) -> pa.DataType:
    """Return the Arrow type of a field: a scalar, a nested record, `tuple[X, ...]` or `X | None`. Raises TypeError."""
    if annotation in SCALARS:
        return SCALARS[annotation]
    if is_dataclass(annotation):
        return pa.struct(record_fields(typing.cast(type, annotation)))
    arguments = [a for a in typing.get_args(annotation) if a not in (type(None), Ellipsis)]
    if typing.get_origin(annotation) is tuple and len(arguments) == 1:
        return pa.list_(arrow_type(arguments[0]))
    if isinstance(annotation, types.UnionType) and len(arguments) == 1:
        return arrow_type(arguments[0])
    raise TypeError(f"no Arrow type for {annotation!r}; records hold scalars, records and tuples of them")


@cache
def hints(record: type) -> dict[str, Any]:
    """Return the evaluated type hints of a record type, by field name."""
    return typing.get_type_hints(record)


def record_fields(record: type) -> list[pa.Field]:
    """Return one Arrow field per dataclass field; all nullable, since rows of dropped inputs leave them empty."""
    return [pa.field(f.name, arrow_type(hints(record)[f.name])) for f in fields(record)]


@cache
def record_schema(record: type) -> pa.Schema:
    """Return the schema of a table of these records, without the ledger's columns."""
    return pa.schema(record_fields(record))


@cache
def manifest_schema(record: type) -> pa.Schema:
    """Return the schema of a manifest: the ledger's columns and those of the record type."""
    return pa.schema([*LEDGER_FIELDS, *record_fields(record)])


def to_table(record: type, outcomes: Iterable[Outcome]) -> pa.Table:
    """Convert outcomes to manifest rows: one row per record, or one row for a dropped or failed input."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        head = {name: getattr(outcome, name) for name in ("input", "status", "reason", "detail", "seconds")}
        bodies = [asdict(typing.cast(Any, r)) for r in outcome.records] or [{}]
        # only the first row of an input has its time, so that sums over rows are right
        rows += [{**head, **body, "seconds": outcome.seconds if n == 0 else 0.0} for n, body in enumerate(bodies)]
    return pa.Table.from_pylist(rows, schema=manifest_schema(record))


def records_table(record: type, records: Sequence[Any]) -> pa.Table:
    """Convert records to a table without the ledger's columns."""
    return pa.Table.from_pylist([asdict(each) for each in records], schema=record_schema(record))


@cache
def adapter(record: type) -> Any:
    """Return the pydantic validator that converts rows to records, nested records included."""
    from pydantic import TypeAdapter

    return TypeAdapter(record)


def from_rows(record: type[R], rows: Iterable[Mapping[str, Any]]) -> list[R]:
    """Convert rows to records. A missing column takes the field's default; other columns are ignored.

    Raises MissingColumn if the field has no default.
    """
    from pydantic import ValidationError

    names = [f.name for f in fields(typing.cast(Any, record))]
    validate = adapter(typing.cast(Any, record)).validate_python
    try:
        return [validate({name: row[name] for name in names if name in row}) for row in rows]
    except ValidationError as error:
        absent = [found["loc"] for found in error.errors() if found["type"] == "missing"]
        if not absent:
            raise
        name = ".".join([record.__name__, *(part for part in absent[0] if isinstance(part, str))])
        raise MissingColumn(
            f"{name}: expected a column of that name, got rows without it, which another version wrote, and the field "
            "has no default; delete the folder of these rows to make them again, or use the version that wrote them"
        ) from error
