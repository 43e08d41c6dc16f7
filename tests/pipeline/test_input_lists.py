"""Lists of videos: names and columns of rows, and rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import storage
from manifests.records import Source
from pipeline.errors import ConfigError
from tests.pipeline.test_discover import found, write


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_lists_carry_their_further_columns(tmp_path: Path, form: str) -> None:
    write(tmp_path / "a b.mp4")
    facts = [
        {"path": "a b.mp4", "licence": "CC-BY", "title": 'A, "b"'},
        {"path": "gone.mp4", "licence": "", "title": ""},
    ]
    listed = tmp_path / f"list.{form}"
    if form == "jsonl":
        write(listed, "".join(json.dumps(fact) + "\n" for fact in facts))
    elif form == "csv":
        write(listed, 'path,licence,title\na b.mp4,CC-BY,"A, ""b"""\ngone.mp4,,\n')
    else:
        pq.write_table(pa.Table.from_pylist(facts), listed)
    sources = found(tmp_path, listed)
    assert json.loads(sources["a b.mp4"].meta) == {"licence": "CC-BY", "title": 'A, "b"'}
    assert sources["gone.mp4"].fault == "no such file"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"licence": "x"}\n', r"row 1 names no video \(columns looked for: uri, path, video"),
        ("a.jsonl", "not json\n", "row 1 is no JSON: Expecting value"),
        ("a.jsonl", '"a.mp4"\n', "row 1 is no object of columns"),
        ("a.csv", "licence,title\nx,y\n", "row 1 names no video"),
        ("a.parquet", "not parquet", "is not a readable list"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        found(tmp_path, write(tmp_path / name, content))
    with pytest.raises(ConfigError, match="no such list"):
        found(tmp_path, tmp_path / f"gone-{name}")


def listed(folder: Path, name: str, content: str | bytes) -> dict[str, Source]:
    """Sources of a list, by their path below its folder."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return found(folder, path)


def metas(sources: dict[str, Source]) -> list[dict[str, object]]:
    return [json.loads(source.meta) for source in sources.values() if source.fault is None]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\x0c"])
def test_what_unicode_calls_the_end_of_a_line_is_part_of_a_title(tmp_path: Path, separator: str) -> None:
    write(tmp_path / "a.mp4")
    title = f"one{separator}two"
    line = json.dumps({"path": "a.mp4", "title": title}, ensure_ascii=separator < "\x20")
    assert metas(listed(tmp_path, "l.jsonl", line + "\n")) == [{"title": title}]


@pytest.mark.parametrize("form", ["\ufeff{}\n", "{}\r\n", "\n{}", "{}\n\n"])
def test_marks_and_ends_of_lines_are_no_part_of_a_row(tmp_path: Path, form: str) -> None:
    write(tmp_path / "a.mp4")
    assert metas(listed(tmp_path, "l.jsonl", form.replace("{}", '{"path": "a.mp4", "n": "1"}'))) == [{"n": "1"}]


def test_a_row_that_cannot_be_read_is_a_row_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    lines = [
        b'{"path": "a.mp4"}',
        b"{broken",
        b'["a.mp4"]',
        b'{"licence": "x"}',
        b'{"path": "a.mp4", "licence": "other"}',
        b'{"path": "b.mp4", "title": "\\ud800"}',
        b'{"path": "c.mp4", "title": "\xff"}',
        b"[" * 100_000,
    ]
    faults = {name: source.fault for name, source in listed(tmp_path, "l.jsonl", b"\n".join(lines)).items()}
    assert faults.pop("a.mp4") is None
    assert [fault.split(":")[0] for fault in faults.values() if fault] == [
        "row 2 is no JSON",
        "row 3 is no object of columns",
        "row 4 names no video (columns looked for",
        "row 5 names the same video as row 1",
        "row 6 holds half a character (\\ud800)",
        "row 7 is no JSON",
        "row 8 is nested too deep",
    ]
    assert list(faults) == [f"l.jsonl#{n}" for n in range(2, 9)]


def test_cells_of_a_csv_are_text(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    cells = {"id": "007", "n": "1e3", "none": "NA", "empty": "", "date": "2026-01-01", "long": "x" * (2 << 20)}
    content = f"path,{','.join(cells)}\na.mp4,{','.join(cells.values())}\n"
    assert metas(listed(tmp_path, "l.csv", content)) == [cells]
    assert metas(listed(tmp_path, "l.csv", "\ufeff" + content.replace("\n", "\r\n"))) == [cells]


def test_a_csv_in_another_encoding_is_read_as_text(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    title = "Der Tee ist heiß und süß, schön für Müde"
    rows = listed(tmp_path, "l.csv", f'path,title\na.mp4,"{title}"\n'.encode("latin-1"))
    assert metas(rows) == [{"title": title}]


def test_a_row_with_too_many_cells_says_so_and_one_with_too_few_is_filled(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name)
    rows = listed(tmp_path, "l.csv", "path,title\na.mp4\nb.mp4,x,y\n")
    assert metas(rows) == [{"title": ""}]
    assert rows["l.csv#2"].fault == "row 2 has 3 cells, but the first line has 2 names"


def test_what_json_does_not_hold_is_null_or_base64(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    facts = {"path": "a.mp4", "score": float("nan"), "deep": {"x": [float("inf"), 1.5]}, "raw": b"\xff\x00"}
    pq.write_table(pa.Table.from_pylist([facts]), tmp_path / "l.parquet")
    (meta,) = metas(found(tmp_path, tmp_path / "l.parquet"))
    assert meta == {"score": None, "deep": {"x": [None, 1.5]}, "raw": "/wA="}
    assert metas(listed(tmp_path, "l.jsonl", '{"path": "a.mp4", "score": NaN}')) == [{"score": None}]


def test_file_uris_may_be_written_with_percents_or_not(tmp_path: Path) -> None:
    for name in ("my clip.mp4", "50%25.mp4"):
        write(tmp_path / name)
    uris = [f"file://{tmp_path}/my%20clip.mp4", f"file://{tmp_path}/50%25.mp4"]
    sources = listed(tmp_path, "l.jsonl", "".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
    assert {name: source.fault for name, source in sources.items()} == {"my clip.mp4": None, "50%25.mp4": None}


def test_the_columns_of_a_list_count_though_a_folder_names_the_file_as_well(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.mp4")
    path = write(tmp_path / "l.jsonl", '{"path": "in/a.mp4", "licence": "CC0"}')
    for inputs in ((tmp_path / "in", path), (path, tmp_path / "in")):
        assert metas(found(tmp_path, *inputs)) == [{"licence": "CC0"}]


def faults(sources: dict[str, Source]) -> dict[str, str]:
    """What is wrong, by row; of good sources nothing."""
    return {name: source.fault for name, source in sources.items() if source.fault is not None}


@pytest.mark.parametrize("depth", [600, 20_000])
def test_a_row_that_is_nested_too_deep_is_a_row_with_its_reason(tmp_path: Path, depth: int) -> None:
    write(tmp_path / "a.mp4")
    deep = f'{{"path": "a.mp4", "x": {"[" * depth}{"]" * depth}}}'
    rows = listed(tmp_path, "l.jsonl", f'{deep}\n{{"path": "a.mp4", "n": 1}}')
    assert faults(rows) == {"l.jsonl#1": "row 1 is nested too deep"}
    assert metas(rows) == [{"n": 1}]


def test_a_name_is_text(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    rows = listed(tmp_path, "l.jsonl", '{"path": ["a.mp4"]}\n{"uri": 5}\n{"uri": "", "path": "a.mp4"}')
    assert faults(rows) == {
        "l.jsonl#1": "row 1 names no video: path is no text: \"['a.mp4']\"",
        "l.jsonl#2": "row 2 names no video: uri is no text: '5'",
    }
    assert rows["a.mp4"].fault is None


def test_names_in_bytes_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    pq.write_table(pa.table({"path": [b"a.mp4", b"\xff.mp4"]}), tmp_path / "l.parquet")
    rows = found(tmp_path, tmp_path / "l.parquet")
    assert rows.pop("a.mp4").fault is None
    assert faults(rows) == {"l.parquet#2": "row 2 names a video in bytes that are no UTF-8 (path)"}


def test_a_value_that_cannot_be_read_costs_its_row_alone(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name)
    times = pa.array([2**62, 1], pa.timestamp("us"))
    offsets, data = pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"x\xff")
    for column, bad in ((times, 1), (pa.StringArray.from_buffers(2, offsets, data), 2)):
        pq.write_table(pa.table({"path": ["a.mp4", "b.mp4"], "x": column}), tmp_path / "l.parquet")
        rows = found(tmp_path, tmp_path / "l.parquet")
        assert list(faults(rows)) == [f"l.parquet#{bad}"]
        assert f"row {bad} has a value that cannot be read: " in str(rows[f"l.parquet#{bad}"].fault)
        assert len(metas(rows)) == 1


def test_a_quote_that_is_never_closed_takes_no_row_without_a_word(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        write(tmp_path / name)
    rows = listed(tmp_path, "l.csv", 'path,title\na.mp4,x\nb.mp4,"B" b\nc.mp4,"C\nc"\nd.mp4,"D\ne.mp4,x\n')
    assert faults(rows) == {
        "l.csv#2": "row 2 is no CSV: ',' expected after '\"'",
        "l.csv#4": "row 4 opens a quote that is never closed: it and all rows after it cannot be read",
    }
    assert metas(rows) == [{"title": "x"}, {"title": "C\nc"}]


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_lists_in_utf_16_are_read(tmp_path: Path, name: str) -> None:
    for video in ("a.mp4", "b.mp4"):
        write(tmp_path / video)
    lines = {
        "l.csv": "path,title\na.mp4,Füße\nb.mp4,\u010a\n",  # its second byte is that of a line's end
        "l.jsonl": '{"path": "a.mp4", "title": "Füße"}\n{"path": "b.mp4", "title": "\u010a"}\n',
    }
    assert metas(listed(tmp_path, name, lines[name].encode("utf-16"))) == [{"title": "Füße"}, {"title": "\u010a"}]


def test_file_uris_may_name_this_machine(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    rows = listed(tmp_path, "l.jsonl", json.dumps({"uri": f"file://localhost{tmp_path}/a.mp4"}))
    assert rows["a.mp4"].fault is None


def test_a_list_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(uri: str) -> bytes:
        raise PermissionError(13, "Permission denied", uri)

    path = write(tmp_path / "l.jsonl", '{"path": "a.mp4"}')
    monkeypatch.setattr(storage, "read_bytes", denied)
    with pytest.raises(ConfigError, match=r"inputs: .*l.jsonl cannot be read: .*Permission denied"):
        found(tmp_path, path)
