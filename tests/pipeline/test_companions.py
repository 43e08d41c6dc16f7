"""Files beside videos are no sources: they are read with their video, ignored, or counted as no media."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Source, Video
from pipeline.sources import not_media
from pipeline.sources.companions import Videos, is_plain
from pipeline.sources.discovery import discover
from pipeline.sources.metadata import meta_of
from pipeline.steps.ingest import Ingest
from tests.media import pattern
from tests.runs import files_of, ola, rows, srt, status

INFO = {
    "title": "A talk",
    "description": "About\nmuch",
    "tags": ["a", "b"],
    "categories": ["Education"],
    "license": "Creative Commons",
    "uploader": "Anna",
    "upload_date": "20240131",
    "language": "en",
    "chapters": [{"start_time": 0, "end_time": 2, "title": "Begin"}],
    "formats": [{"url": "https://…"}],
    "view_count": 12,
    "duration": float("nan"),
}
META = {name: value for name, value in INFO.items() if name not in ("license", "formats", "view_count", "duration")}
META["licence"] = "Creative Commons"

IN_PROCESS = ("--set", "isolate=false")

# What yt-dlp and others leave beside `talk.mp4`.
BESIDE = """
talk.srt talk.de.vtt talk.ass talk.en.ssa talk.info.json talk.description talk.jpg talk.webp talk-poster.png
talk.live_chat.json talk.mp4.part talk.f137.mp4.part talk.f137.mp4.part-Frag3 talk.mp4.ytdl talk.txt talk.en.srv3
talk.nfo talk.json talk.mp4.md5 talk.truth.json talk.annotations.xml
"""
OTHERS = ("Thumbs.db", "desktop.ini", "cover.jpg", "notes.txt", "orphan.srt", "list.json", "empty.txt")
POSSIBLE = ("half.mp4.part", "page.mp4", "clip.xyz", "noname", "talk.f140.m4a", "film.txt", "pod.mp3")


def fill(folder: Path) -> Path:
    """A folder as it is found: one video with all that lies beside it, other files, and what could be a video."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*BESIDE.split(), *OTHERS, *POSSIBLE):
        (folder / name).write_text(f"this is {name}", encoding="utf-8")
    shutil.copy(pattern("talk.mp4", 3), folder / "talk.mp4")
    shutil.copy(pattern("film.mp4", 2.5), folder / "film.txt")  # by its name no video, and one
    (folder / "talk.srt").write_text(srt((0.5, 2, "Hello there, my friend.")), encoding="utf-8")
    (folder / "talk.info.json").write_text(json.dumps(INFO), encoding="utf-8")
    (folder / "talk.json").write_text("not json", encoding="utf-8")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(600))
    (folder / "empty.txt").write_bytes(b"")
    return folder


def found(*inputs: Path | str) -> tuple[dict[str, Source], Counter[str]]:
    passed_over = Counter[str]()
    sources = discover([str(each) for each in inputs], "/nowhere/out", passed_over)
    return {source.uri.rpartition("/")[2]: source for source in sources}, passed_over


def last(uris: tuple[str, ...]) -> list[str]:
    return [uri.rpartition("/")[2] for uri in uris]


COUNTED = {"picture": 1, "text or metadata": 4, "other": 1, "subtitles beside no video of their name": 1}


def check(sources: dict[str, Source], passed_over: Counter[str]) -> None:
    assert set(sources) == {"talk.mp4", *POSSIBLE}
    assert passed_over == COUNTED
    talk = sources["talk.mp4"]
    assert last(talk.sidecars) == ["talk.ass", "talk.de.vtt", "talk.en.ssa", "talk.srt"]
    assert last(talk.metadata) == ["talk.info.json", "talk.json"]
    assert all(not source.sidecars and not source.metadata for name, source in sources.items() if name != "talk.mp4")


def test_companions_are_no_sources_and_what_could_be_a_video_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in")
    check(*found(folder))
    check(*found(folder / "*"))
    sources, passed_over = found(folder / "*.mp4")
    assert set(sources) == {"talk.mp4", "page.mp4"}
    assert (len(sources["talk.mp4"].sidecars), len(sources["talk.mp4"].metadata), passed_over) == (4, 2, {})


def test_what_the_user_names_has_a_row_whatever_it_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in")
    listed = tmp_path / "list.csv"
    listed.write_text("path\nin/talk.mp4\nin/notes.txt\nin/talk.jpg\n", encoding="utf-8")
    assert set(found(listed)[0]) == {"talk.mp4", "notes.txt", "talk.jpg"}
    assert set(found(folder / "notes.txt")[0]) == {"notes.txt"}
    assert set(found(folder, folder / "notes.txt")[0]) == {"talk.mp4", "notes.txt", *POSSIBLE}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("a.b.info.json", "a.b.mp4"),
        ("a.info.json", "a.mp4"),
        ("a.mp4.json", "a.mp4"),
        ("a.c.json", None),  # of a video that is not there
        ("A.json", None),
    ],
)
def test_metadata_belongs_to_the_video_of_just_its_name(name: str, owner: str | None) -> None:
    owned = Videos(["x/a.mp4", "x/a.b.mp4"]).metadata([f"x/{name}"])
    assert owned == ({f"x/{owner}": [f"x/{name}"]} if owner else {})


def test_an_unfinished_download_may_be_a_video_of_its_own() -> None:
    videos = Videos(["x/a.mp4"])
    parts = ["x/a.mp4.part", "x/a.f137.mp4.part", "x/a.part", "x/a.b.mp4.part", "x/b.mp4.part"]
    assert videos.companions(parts) == set(parts[:3])
    assert not any(is_plain(name) for name in ("a.mp4", "a", "a.part", "a.mp3", "a.tar", "a.zip", "a.parquet", "a.bin"))


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x18ftypisom",
        b"\x1aE\xdf\xa3\x93B",
        b"RIFF\0\0\0\0AVI LIST",
        (b"G" + bytes(187)) * 4,
        b"\0\0\x01\xba!\0\x01",
        b"FLV\x01\x05",
        b"OggS\0\x02",
    ],
)
def test_a_container_under_a_plain_name_is_looked_at(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(head + bytes(range(200)))
    assert set(found(tmp_path)[0]) == {"a.txt"}


def described(folder: Path, **files: Any) -> dict[str, Any]:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
    (folder / "a.mp4").write_bytes(b"x")
    meta: dict[str, Any] = json.loads(meta_of(found(folder)[0]["a.mp4"]))
    return meta


def test_metadata_of_datasets(tmp_path: Path) -> None:
    flat = {"caption": "a cat", "url": "https://x/1", "license": "CC0", "key": "00001", "status": "success", "w": 640}
    assert described(tmp_path, a_json=flat) == {"caption": "a cat", "url": "https://x/1", "licence": "CC0", "w": 640}
    nested = {
        "caption": "a cat",
        "yt_meta_dict": {"info": {**INFO, "title": "Inside"}, "subtitles": None},
        "clips": [[0, 1]],
    }
    assert described(tmp_path, a_json=nested) == {**META, "title": "Inside", "caption": "a cat"}
    assert described(tmp_path, a_json={**flat, "title": "B"}, a_info_json=INFO)["title"] == "A talk"


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "[" * 100_000, '{"title": null}'])
def test_metadata_that_tells_nothing_harms_nobody(tmp_path: Path, content: str) -> None:
    assert described(tmp_path, a_info_json=content) == {}


def test_columns_of_a_list_go_before_files(tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"path": "a.mp4", "title": "Mine", "split": "x"}\n', encoding="utf-8")
    described(tmp_path, a_info_json={"title": "\ud83d theirs", "uploader": "Half \ud83d"})
    source = found(listed)[0]["a.mp4"]
    assert json.loads(meta_of(source)) == {"title": "Mine", "split": "x", "uploader": "Half ?"}


def test_new_metadata_is_a_change_and_other_files_are_none(tmp_path: Path) -> None:
    described(tmp_path, a_info_json={"title": "one"})
    before = found(tmp_path)[0]["a.mp4"]
    (tmp_path / "a.jpg").write_bytes(b"new")
    assert found(tmp_path)[0]["a.mp4"] == before
    os.utime(tmp_path / "a.info.json", ns=(1, 1))
    after = found(tmp_path)[0]["a.mp4"]
    assert (after.id != before.id, after.described != before.described) == (True, True)
    assert after.companions == before.companions == ""


def test_a_video_has_the_metadata_beside_it(tmp_path: Path) -> None:
    step = Ingest()
    step.scratch = "scratch"
    ((video,),) = step.run([found(fill(tmp_path / "in"))[0]["talk.mp4"]])  # type: ignore[misc]
    assert isinstance(video, Video)
    assert json.loads(video.meta) == META


def test_a_run_over_a_folder_of_downloads(tmp_path: Path) -> None:
    folder, root = fill(tmp_path / "in"), tmp_path / "out"
    for name in set(POSSIBLE) - {"film.txt"}:
        (folder / name).unlink()
    said = ola("run", folder, "--root", root, "--set", "extract.frames.cap=2", *IN_PROCESS)
    assert said.code == 0, said
    line = "not media: 7 (4 x text or metadata, 1 x other, 1 x picture, 1 x subtitles beside no video of their name)"
    assert f"\n1 of 2 videos reached the shards (50%)\n{line}\n" in said.out
    assert "1 of 2 clips have no subtitles, and nothing listens to them: install the extra" in said.out
    assert status(root)["ingest"]["inputs"] == 2
    assert rows(root, "SELECT meta->>'licence' FROM ingest WHERE uri LIKE '%talk.mp4'") == [("Creative Commons",)]
    assert f"\n{line}\n" in ola("status", root).out
    before = files_of(root)[not_media.FILE]
    assert line in ola("run", folder, "--root", root, *IN_PROCESS).out
    assert files_of(root)[not_media.FILE] == before
    (folder / "talk.info.json").write_text(json.dumps({"title": "Another"}), encoding="utf-8")
    assert ola("run", folder, "--root", root, *IN_PROCESS).code == 0
    assert rows(root, "SELECT meta->>'title' FROM ingest WHERE uri LIKE '%talk.mp4'") == [("Another",)]
    assert rows(root, "SELECT count(*) FROM split WHERE status = 'ok'") == [(2,)]


def test_nothing_is_said_where_all_is_media_or_somebody_listens(tmp_path: Path) -> None:
    assert not_media.summary({}) == ""
    shutil.copy(pattern("talk.mp4", 3), tmp_path / "talk.mp4")
    settings = (
        "transcribe.sources=[sidecar,whisperx]",
        "transcribe.whisperx.engine=tests.pipeline.test_transcribe:Ears",
    )
    said = ola("run", tmp_path, "--root", tmp_path / "out", *(w for s in settings for w in ("--set", s)), *IN_PROCESS)
    assert said.code == 0, said
    assert "not media" not in said.out
    assert "nothing listens" not in said.out
