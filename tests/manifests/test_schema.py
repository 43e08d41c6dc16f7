"""Records survive the way through Arrow; values that would not are refused before they are written."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import records
from manifests.field_types import type_mismatch
from manifests.ledger import parquet_bytes
from manifests.records import Clip, ClipMedia, Media, Outcome, Source
from manifests.schema import arrow_type, from_rows, hints, manifest_schema, records_table, to_table

RECORDS = [
    value
    for value in vars(records).values()
    if isinstance(value, type) and is_dataclass(value) and value not in (records.Drop, Outcome)
]
TEXT = st.text(max_size=20)  # no surrogates: hypothesis leaves them out of text by default
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type hint."""
    if hint in SCALARS:
        return SCALARS[hint]
    if is_dataclass(hint):
        return st.builds(
            typing.cast(type, hint), **{f.name: values(hints(typing.cast(type, hint))[f.name]) for f in fields(hint)}
        )
    inner = [argument for argument in typing.get_args(hint) if argument not in (type(None), Ellipsis)]
    if isinstance(hint, types.UnionType):
        return st.none() | values(inner[0])
    return st.lists(values(inner[0]), max_size=3).map(tuple)


def clip(**changed: Any) -> Clip:
    made = Clip(
        id="a", video="v", start_ms=0, end_ms=9, motion=0.5, frozen=0.0, black=0.0, silence=None, loudness=-23.0
    )
    return replace(made, **changed)


def test_all_records_are_covered() -> None:
    assert {record.__name__ for record in RECORDS} >= {
        "Source",
        "Video",
        "Clip",
        "ClipMedia",
        "Transcript",
        "PackedTask",
    }


@pytest.mark.parametrize("record", RECORDS)
def test_records_come_back_the_same(record: type) -> None:
    @given(st.lists(values(record), min_size=1, max_size=3))
    def check(made: list[Any]) -> None:
        assert all(type_mismatch(record, one) is None for one in made)
        table = pa.parquet.read_table(pa.BufferReader(parquet_bytes(records_table(record, made))))
        assert from_rows(record, table.to_pylist()) == made
        rows = to_table(record, [Outcome("i", "ok", 1.0, tuple(made))]).to_pylist()
        assert from_rows(record, rows) == made
        assert [row["seconds"] for row in rows] == [1.0, *[0.0] * (len(made) - 1)]

    check()


def test_an_input_without_records_has_one_row() -> None:
    table = to_table(
        Clip, [Outcome("x", "dropped", 0.5, (), "too short", "1 s"), Outcome("y", "failed", 0.0, (), "bad")]
    )
    assert table.schema == manifest_schema(Clip)
    assert table.select(["input", "status", "reason", "detail", "seconds", "id"]).to_pylist() == [
        {"input": "x", "status": "dropped", "reason": "too short", "detail": "1 s", "seconds": 0.5, "id": None},
        {"input": "y", "status": "failed", "reason": "bad", "detail": None, "seconds": 0.0, "id": None},
    ]


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"start_ms": 1.5}, "start_ms is 1.5, not int"),
        ({"start_ms": True}, "start_ms is True, not int"),
        ({"start_ms": 2**63}, "start_ms is 9223372036854775808, not int"),
        ({"start_ms": np.int64(3)}, "start_ms is np.int64(3), not int"),
        ({"motion": "much"}, "motion is 'much', not float"),
        ({"motion": 2**53 + 1}, "motion is 9007199254740993, not float"),
        ({"video": None}, "video is None, not str"),
        ({"video": b"v"}, "video is b'v', not str"),
        ({"video": "\udc80"}, "video is '\\udc80', not str"),
    ],
)
def test_what_arrow_would_bend_is_named(changed: dict[str, Any], wrong: str) -> None:
    assert type_mismatch(Clip, clip(**changed)) == wrong


def test_what_is_equal_to_the_hint_passes() -> None:
    for good in ({"motion": 1}, {"motion": np.float64(0.5)}, {"silence": float("nan")}, {"video": "é😀"}):
        assert type_mismatch(Clip, clip(**good)) is None


def changed(record: Any, **fields: Any) -> Any:
    return replace(record, **fields)


def test_nested_faults_are_named() -> None:
    media = Media(uri="x", offset=0, size=1)
    footage = ClipMedia(
        id="f", clip="c", width=1, height=1, frames=media, frame_bytes=(1, 2), frame_ms=(0, 1), sound=None
    )
    assert type_mismatch(ClipMedia, footage) is None
    assert type_mismatch(ClipMedia, media) == "it is a Media"
    assert type_mismatch(ClipMedia, changed(footage, frame_ms=(0, 0.5))) == "frame_ms[1] is 0.5, not int"
    assert type_mismatch(ClipMedia, changed(footage, frame_ms=[0])) == "frame_ms is a list, not a tuple"
    assert type_mismatch(ClipMedia, changed(footage, sound=clip())) == "sound is a Clip"
    assert type_mismatch(ClipMedia, changed(footage, frames=changed(media, size="1"))) == "size is '1', not int"


def test_types_that_records_may_not_hold_are_refused() -> None:
    for hint in (dict[str, str], tuple[int, str], int | str, object):
        with pytest.raises(TypeError, match="no Arrow type for"):
            arrow_type(hint)


def test_columns_that_are_not_the_records_are_left_aside() -> None:
    source = Source(id="a", uri="b", bytes=1, meta='{"title": "x"}')
    (row,) = to_table(Source, [Outcome("a", "ok", 0.0, (source,))]).to_pylist()
    assert from_rows(Source, [{**row, "more": 1}]) == [source]
