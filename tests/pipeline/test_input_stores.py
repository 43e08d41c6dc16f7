"""Inputs in an object store: what is found, and how many requests it takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manifests import storage
from manifests.records import Source
from pipeline.errors import ConfigError, RunError
from pipeline.sources import named_files
from pipeline.sources.discovery import discover
from pipeline.sources.metadata import meta_of
from tests.object_store import Answer, Watched, client, watched
from tests.pipeline.test_companions import META, check, fill

ELSEWHERE = "s3://elsewhere/out"  # the root of the run


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Watched]]:
    with watched("found") as (uri, requests):
        yield uri, requests


@pytest.fixture
def seen(store: tuple[str, Watched]) -> Iterator[Watched]:
    """The requests from now on; the bucket is empty."""
    yield store[1]
    store[1].before = lambda _: None
    for entry in client().list_objects_v2(Bucket="found").get("Contents", []):
        client().delete_object(Bucket="found", Key=entry["Key"])


def put(*names: str) -> None:
    for name in names:
        client().put_object(Bucket="found", Key=name, Body=b"x")


def found(seen: Watched, *inputs: str) -> dict[str, Source]:
    """Sources by key. The requests that they took are left in `seen`."""
    seen.requests.clear()
    return {source.uri.removeprefix("s3://found/"): source for source in discover(inputs, ELSEWHERE)}


def listed(seen: Watched, folder: Path, *keys: str) -> dict[str, Source]:
    """Sources of a list that names these keys."""
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps({"uri": f"s3://found/{key}"}) + "\n" for key in keys), encoding="utf-8")
    return found(seen, str(path))


def faults(sources: dict[str, Source]) -> dict[str, str | None]:
    return {key: source.fault for key, source in sources.items()}


def kinds(seen: Watched) -> list[str]:
    return sorted({request.split(" ")[0] for request in seen.requests})


def refuse(kind: str, status: int) -> Callable[[str], Answer | None]:
    return lambda request: (status, b"") if request.startswith(kind) else None


def test_a_bucket_is_a_folder(seen: Watched) -> None:
    put("a.mp4", "d/b.mp4", "d/b.srt")
    for name in ("s3://found", "s3://found/"):
        sources = found(seen, name)
        assert faults(sources) == {"a.mp4": None, "d/b.mp4": None}
        assert len(sources["d/b.mp4"].sidecars) == 1
        assert len(seen.requests) == 1
    assert not storage.exists("s3://found")
    assert storage.stat("s3://found/") is None


def test_runs_in_a_bucket_are_left_out(seen: Watched) -> None:
    put("in/a.mp4", "in/old/run/00-source/x.parquet", "in/old/run/03-extract-1/part.tar", "in/.h/r/00-source/y")
    assert set(found(seen, "s3://found/in")) == {"in/a.mp4"}
    assert set(found(seen, "s3://found/in/*")) == {"in/a.mp4"}
    with pytest.raises(ConfigError, match="is the root of a run"):
        found(seen, "s3://found/in/old/run")


def test_a_list_of_many_folders_takes_one_listing(seen: Watched, tmp_path: Path) -> None:
    keys = [f"films/{n:03}/clip.mp4" for n in range(named_files.MANY + 8)]
    put(*keys, "films/000/clip.en.srt", "films/other/clip.mp4")
    gone = ["films/001/gone.mp4", "films/gone/clip.mp4"]
    sources = listed(seen, tmp_path, *keys, *gone)
    assert [request.split("?")[0] for request in seen.requests] == ["GET /found"]
    assert faults(sources) == {**dict.fromkeys(keys), **dict.fromkeys(gone, "no such file")}
    assert all(sources[key].stamp and sources[key].bytes == 1 for key in keys)
    assert [key for key in keys if sources[key].sidecars] == ["films/000/clip.mp4"]


def test_a_prefix_that_holds_much_else_is_not_listed_to_its_end(
    seen: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_files, "OBJECTS_A_FOLDER", 1)
    monkeypatch.setattr(named_files, "MANY", 3)
    keys = [f"films/{n}/clip.mp4" for n in range(4)]
    put(*keys, *(f"films/0/other-{n}.mp4" for n in range(9)), "films/0/clip.srt")
    sources = listed(seen, tmp_path, *keys, "films/3/gone.mp4")
    assert faults(sources) == {**dict.fromkeys(keys), "films/3/gone.mp4": "no such file"}
    assert len(sources["films/0/clip.mp4"].sidecars) == 1
    assert len(seen.requests) == 1 + len(keys)
    assert kinds(seen) == ["GET"]


def test_rows_of_one_folder_take_one_listing(seen: Watched, tmp_path: Path) -> None:
    keys = [f"films/{n}.mp4" for n in range(5)]
    put(*keys)
    assert faults(listed(seen, tmp_path, *keys, "films/gone.mp4")) == {
        **dict.fromkeys(keys),
        "films/gone.mp4": "no such file",
    }
    assert len(seen.requests) == 1


def test_where_nothing_may_be_listed_each_row_takes_one_request(seen: Watched, tmp_path: Path) -> None:
    keys = [f"films/{n}.mp4" for n in range(5)]
    put(*keys)
    seen.before = refuse("GET", 403)
    assert faults(listed(seen, tmp_path, *keys)) == dict.fromkeys(keys)
    assert len([request for request in seen.requests if request.startswith("HEAD")]) == len(keys)


def test_a_folder_that_cannot_be_listed_now_is_no_folder_without_subtitles(seen: Watched, tmp_path: Path) -> None:
    put("films/a.mp4", "films/a.srt")
    seen.before = refuse("GET", 400)
    sources = listed(seen, tmp_path, "films/a.mp4")
    assert (sources["films/a.mp4"].fault or "").startswith("cannot be read: s3://found/films: ")
    assert (found(seen, "s3://found/films/a.mp4")["films/a.mp4"].fault or "").startswith("cannot be read: ")


def test_an_input_that_does_not_answer_is_one_line(seen: Watched) -> None:
    seen.before = refuse("GET", 400)
    with pytest.raises(RunError, match="inputs: s3://found/films cannot be read: ") as error:
        found(seen, "s3://found/films")
    assert "\n" not in str(error.value)
    with pytest.raises(RunError, match=r"empty folder name \(//\)"):
        found(seen, "s3://found/a//b.mp4")


def test_rows_whose_keys_are_no_paths_say_so(seen: Watched, tmp_path: Path) -> None:
    put("a//b.mp4", "a/../c.mp4", "d//e/f.mp4", "good.mp4")
    sources = listed(seen, tmp_path, "a//b.mp4", "a/../c.mp4", "d//e/f.mp4", "good.mp4")
    assert sources.pop("good.mp4").fault is None
    assert len(sources) == 3
    assert all("rename the object" in (source.fault or "") for source in sources.values())


def test_a_list_may_name_what_is_no_object(seen: Watched, tmp_path: Path) -> None:
    put("d/a.mp4")
    path = tmp_path / "list.csv"
    path.write_text("uri\ns3://found\ns3://found/d\nnobody://x/a.mp4\ns3://\n", encoding="utf-8")
    told = faults(found(seen, str(path)))
    assert told.pop("nobody://x/a.mp4") == "cannot be read: Protocol not known: nobody"
    assert set(told.values()) == {"no such file"}
    assert len(told) == 3


def test_what_lies_beside_videos_is_known_by_the_rule_of_folders(seen: Watched, tmp_path: Path) -> None:
    for path in fill(tmp_path / "in").iterdir():
        client().put_object(Bucket="found", Key=f"in/{path.name}", Body=path.read_bytes())
    passed_over = Counter[str]()
    sources = {source.uri.rpartition("/")[2]: source for source in discover(["s3://found/in"], ELSEWHERE, passed_over)}
    check(sources, passed_over)
    assert json.loads(meta_of(sources["talk.mp4"])) == META
    talk = found(seen, "s3://found/in/talk.mp4")["in/talk.mp4"]
    assert (talk.sidecars, talk.metadata) == (sources["talk.mp4"].sidecars, sources["talk.mp4"].metadata)
