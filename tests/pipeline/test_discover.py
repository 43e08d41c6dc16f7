"""What is named in the input: everything gets a source, with its subtitles, or with what is wrong with it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
        (
            "a.jsonl",
            '{"path": "a.mp4"}\n{"licence": "x"}\n',
            r"row 2 names no video \(columns looked for: uri, path, video",
        ),
        ("a.jsonl", "not json\n", "is not a readable list"),
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
