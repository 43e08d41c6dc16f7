"""What is named in the input: everything gets a source, with its subtitles, or with what is wrong with it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import storage
from manifests.records import Source
from pipeline.discover import discover
from pipeline.errors import ConfigError


def write(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def found(folder: Path, *inputs: Path | str) -> dict[str, Source]:
    """Sources by their path below the folder."""
    root = str(folder / "out")
    sources = discover([str(one) for one in inputs or (folder,)], root)
    return {os.path.relpath(source.uri, folder): source for source in sources}


def test_files_of_any_name_count_but_hidden_ones_and_the_run(tmp_path: Path) -> None:
    names = [
        "a.mp4",
        "sub/b.xyz",
        "c",
        "-d.mp4",
        "e f.mp4",
        "g\"h'.mp4",
        "i\nj.mp4",
        "видео.mp4",
        "%d.mp4",
        "concat:k|l",
    ]
    for name in [*names, ".hidden.mp4", ".git/object", "out/00-source/part.parquet"]:
        write(tmp_path / name)
    assert set(found(tmp_path)) == set(names)
    assert all(source.fault is None and source.bytes == 1 for source in found(tmp_path).values())


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    outside = write(tmp_path / "outside" / "secret.mp4")
    write(folder / "good.mp4")
    (folder / "out.mp4").symlink_to(outside)
    (folder / "gone.mp4").symlink_to(folder / "nothing")
    (folder / "there").symlink_to(outside.parent)
    (folder / "in.mp4").symlink_to("good.mp4")
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "good.srt")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")).write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        sources = found(folder)
    assert {name: source.fault for name, source in sources.items()} == {
        "good.mp4": None,
        "in.mp4": None,
        "out.mp4": "symbolic link out of the input",
        "there": "symbolic link to a folder: not followed",
        "gone.mp4": "cannot be read: No such file or directory",
        "pipe.mp4": "not a regular file",
        "good.srt": "not a regular file",
        "socket": "not a regular file",
        "caf\\xe9.mp4": "the name is not UTF-8: rename the file",
    }
    assert sources["good.mp4"].sidecars == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run as another user to test permissions")
def test_what_may_not_be_read_says_so(tmp_path: Path) -> None:
    write(tmp_path / "closed.mp4").chmod(0)
    write(tmp_path / "shut" / "in.mp4").parent.chmod(0)
    faults = {name: source.fault for name, source in found(tmp_path).items()}
    (tmp_path / "shut").chmod(0o700)
    assert faults == {
        "closed.mp4": "cannot be read: Permission denied",
        "shut": "folder cannot be read: Permission denied",
    }


def test_subtitles_belong_to_the_video_of_their_name(tmp_path: Path) -> None:
    for name in ("talk.mp4", "talk.srt", "talk.de.vtt", "talk.en.mp4", "talk.en.SRT", "other.srt", "deep/talk.srt"):
        write(tmp_path / name)
    sources = found(tmp_path)
    belong = {name: sorted(os.path.relpath(uri, tmp_path) for uri in s.sidecars) for name, s in sources.items()}
    assert belong == {
        "talk.mp4": ["talk.de.vtt", "talk.srt"],
        "talk.en.mp4": ["talk.en.SRT"],
        "other.srt": [],
        "deep/talk.srt": [],
    }
    assert len(found(tmp_path, tmp_path / "deep" / "talk.srt")) == 1
    assert len(found(tmp_path, tmp_path / "talk.en.mp4")["talk.en.mp4"].sidecars) == 1


def test_globs_and_what_is_not_there(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mkv", "[c].mp4"):
        write(tmp_path / name)
    assert set(found(tmp_path, tmp_path / "*.mp4")) == {"a.mp4", "[c].mp4"}
    assert set(found(tmp_path, tmp_path / "[c].mp4")) == {"[c].mp4"}
    for name, message in (("nothing", "no such file or folder"), ("*.avi", "no file matches")):
        with pytest.raises(ConfigError, match=f"inputs: {message}"):
            found(tmp_path, tmp_path / name)


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
        "row 8 is no JSON",
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
    assert rows["l.csv#2"].fault == "row 2 has 1 cells too many"


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


@pytest.mark.parametrize("pattern", ["**/*.mp4", "**", "**/*", "*/*.mp4", "**.mp4", "*"])
def test_links_that_loop_give_no_file_twice(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "in"
    write(folder / "sub" / "a.mp4")
    for name in ("loop", "other loop"):
        (folder / "sub" / name).symlink_to(folder)
    sources = found(tmp_path, folder / pattern) if pattern != "**.mp4" else found(tmp_path, folder / "*" / pattern)
    assert {name for name, source in sources.items() if source.fault is None} == {"in/sub/a.mp4"}
    assert all("not followed" in (source.fault or "not followed") for source in sources.values())


def test_runs_inside_the_input_are_left_out(tmp_path: Path) -> None:
    for name in ("a.mp4", "old/run/00-source/sources-000000.parquet", "old/run/03-extract-1/part.tar", "old/b.mp4"):
        write(tmp_path / "in" / name)
    assert set(found(tmp_path, tmp_path / "in")) == {"in/a.mp4", "in/old/b.mp4"}
    assert set(found(tmp_path, tmp_path / "in" / "**" / "*")) == {"in/a.mp4", "in/old/b.mp4"}
    with pytest.raises(ConfigError, match="is the root of a run, not a folder of videos"):
        found(tmp_path, tmp_path / "in" / "old" / "run")
    with pytest.raises(ConfigError, match="is the root of a run"):
        discover([str(tmp_path / "in")], str(tmp_path / "in"))


def test_stamps_are_those_that_storage_tells(tmp_path: Path) -> None:
    video, subtitles = write(tmp_path / "a.mp4"), write(tmp_path / "a.en.srt")
    (source,) = found(tmp_path).values()
    entry = storage.look(str(video))
    assert entry is not None
    assert source.stamp == entry.stamp == storage.stamp_of(str(video), "")
    os.utime(subtitles, ns=(1, 1))
    (later,) = found(tmp_path).values()
    assert later.stamp == source.stamp
    assert later.companions != source.companions
    os.utime(video, ns=(1, 1))
    assert found(tmp_path)["a.mp4"].id != later.id


def test_a_moved_video_has_the_companions_that_it_had(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    write(tmp_path / "a.en.srt")
    (before,) = found(tmp_path).values()
    for name in ("mp4", "en.srt"):
        (tmp_path / f"a.{name}").rename(tmp_path / f"b c.{name}")
    (after,) = found(tmp_path).values()
    assert (after.stamp, after.companions) == (before.stamp, before.companions)
