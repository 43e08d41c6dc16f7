"""Discovery: each named input becomes a source, with its subtitles or its fault."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manifests import storage
from manifests.records import Source
from pipeline.errors import ConfigError
from pipeline.sources.discovery import discover


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


@pytest.mark.parametrize("pattern", ["**/*.mp4", "**", "**/*", "*/*.mp4", "**.mp4", "*"])
def test_links_that_loop_give_no_file_twice(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "in"
    write(folder / "sub" / "a.mp4")
    for name in ("loop", "other loop"):
        (folder / "sub" / name).symlink_to(folder)
    sources = found(tmp_path, folder / pattern) if pattern != "**.mp4" else found(tmp_path, folder / "*" / pattern)
    assert {name for name, source in sources.items() if source.fault is None} == {"in/sub/a.mp4"}
    assert all("not followed" in (source.fault or "not followed") for source in sources.values())


@pytest.mark.parametrize("pattern", ["*/*/*/*.mp4", "sub/*/*/a.mp4", "*/loop/*/a.mp4"])
def test_globs_do_not_go_through_links_to_folders(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "in"
    write(folder / "sub" / "a.mp4")
    (folder / "sub" / "loop").symlink_to(folder)
    faults = {name: source.fault for name, source in found(tmp_path, folder / pattern).items()}
    assert faults == {"in/sub/loop": "symbolic link to a folder: not followed"}
    assert found(tmp_path, folder / "sub" / "loop" / "s*")["in/sub/loop/sub/a.mp4"].fault is None, "it is named itself"


def test_links_in_globs_are_those_of_folders(tmp_path: Path) -> None:
    secret = write(tmp_path / "outside" / "secret.mp4")
    write(tmp_path / "in" / "a.mp4")
    (tmp_path / "in" / "out.mp4").symlink_to(secret)
    (tmp_path / "in" / "copy.mp4").symlink_to("a.mp4")
    (tmp_path / "in" / "there").symlink_to(secret.parent)
    faults = {name: source.fault for name, source in found(tmp_path, tmp_path / "in" / "**").items()}
    assert faults == {name: source.fault for name, source in found(tmp_path, tmp_path / "in").items()}
    assert faults["in/out.mp4"] == "symbolic link out of the input"
    assert faults["in/copy.mp4"] is None
    assert found(tmp_path, tmp_path / "in" / "out.mp4")["in/out.mp4"].fault is None, "it is named itself"


def test_what_globs_match(tmp_path: Path) -> None:
    names = ["a.mp4", "a.en.srt", ".h.mp4", "x/a.mp4", "x/y/a.mp4", "x/y/b.avi", "z/.h/a.mp4", "run/00-source/a.mp4"]
    for name in names:
        write(tmp_path / name)
    expected = {
        "*.mp4": {"a.mp4"},
        "**/*.mp4": {"a.mp4", "x/a.mp4", "x/y/a.mp4"},
        "**/**/a.mp4": {"a.mp4", "x/a.mp4", "x/y/a.mp4"},
        "x/**": {"x/a.mp4", "x/y/a.mp4", "x/y/b.avi"},
        "?": {"x/a.mp4", "x/y/a.mp4", "x/y/b.avi"},
        "**/y": {"x/y/a.mp4", "x/y/b.avi"},
        "*/y/*.[am]*": {"x/y/a.mp4", "x/y/b.avi"},
        "**/x/**/*.mp4": {"x/a.mp4", "x/y/a.mp4"},
        ".h*": {".h.mp4"},
        "*/.h/*.mp4": {"z/.h/a.mp4"},
    }
    assert {pattern: set(found(tmp_path, tmp_path / pattern)) for pattern in expected} == expected
    assert len(found(tmp_path, tmp_path / "*.mp4")["a.mp4"].sidecars) == 1
    with pytest.raises(ConfigError, match="is the root of a run"):
        found(tmp_path, tmp_path / "run" / "*" / "*.mp4")


@pytest.mark.parametrize("pattern", ["", "**/*.mp4"])
def test_each_folder_and_each_file_is_asked_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    names = ["a.mp4", "a.srt", "x/a.mp4", "x/a.en.srt", "x/y/b.mp4"]
    for name in names:
        write(tmp_path / "in" / name)
    asked: list[str] = []

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(path: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(os.path.relpath(path, tmp_path / "in"))
            return call(path, *args, **kwargs)

        return noting

    for name in ("scandir", "stat"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    sources = found(tmp_path, tmp_path / "in" / pattern)
    assert sum(len(source.sidecars) for source in sources.values()) == 2
    assert sorted(asked) == sorted([*names, ".", "x", "x/y", pattern or "."])  # the last one: is the input a folder?


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
    entry = storage.stat(str(video))
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


def test_links_that_a_pattern_names_are_read_wherever_they_lead(tmp_path: Path) -> None:
    outside = write(tmp_path / "archive" / "a.mp4")
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "a.mp4").symlink_to(outside)
    assert [source.fault for source in found(tmp_path, tmp_path / "chosen" / "*.mp4").values()] == [None]
    (walked,) = found(tmp_path, tmp_path / "chosen").values()
    assert walked.fault == "symbolic link out of the input"
