"""Videos inside tars: found by their headers, read in place, and every damage is a row with its reason."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests import object_file
from manifests.records import Source
from pipeline.checkup.upfront import has_work
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.sources.containers import listing
from pipeline.sources.containers.members import split_uri
from pipeline.sources.discovery import discover
from pipeline.state.content_digests import live_uris
from tests.containers import done, footage, loose, of_files, range_sizes, tar, videos
from tests.media import made, pattern, samples
from tests.object_store import bucket, client
from tests.pipeline.test_same_bytes import shards
from tests.runs import ola, rows

FRAMES = ["steps=[ingest,split,extract]"]
MP4 = b"some bytes of a video"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tar(tmp_path_factory.mktemp("held") / "00000.tar", videos().items())


@pytest.fixture(scope="module")
def of_tar(held: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return done(tmp_path_factory.mktemp("of_tar") / "root", held.parent)


def faults(path: Path, size: int | None = None) -> dict[str, str | None]:
    """What the index of a container says of each of its sources."""
    return {row.name: row.fault for row in listing.rows(str(path), size or path.stat().st_size, "")}


def test_a_tar_gives_what_its_files_give(of_tar: Path, held: Path) -> None:
    assert footage(of_tar) == footage(of_files()) != {}
    said = "SELECT clip, text, segments FROM transcribe ORDER BY clip"
    assert rows(of_tar, said) == rows(of_files(), said) != []
    found = rows(of_tar, "SELECT uri, meta->>'license', meta->>'$.of.number', meta->>'caption' FROM ingest ORDER BY 1")
    assert found == [(f"{held}#00000000{n}.mp4", "CC-BY", str(n), f"pattern {n}") for n in range(3)]


def test_a_second_run_does_nothing_and_touching_changes_no_clip(held: Path, tmp_path: Path) -> None:
    copy = tar(tmp_path / "a.tar", videos().items())
    root = done(tmp_path / "root", copy, sets=FRAMES)
    before = footage(root)
    indexes = list((root / "00-source" / "containers").iterdir())
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}
    done(root, copy, sets=FRAMES)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")} == times
    os.utime(copy, (1, 1))
    done(root, copy, sets=FRAMES)
    assert footage(root) == before
    assert len(indexes) == len(list((root / "00-source" / "containers").iterdir())) == 1, "the old index is gone"
    copy.rename(tmp_path / "moved.tar")
    done(root, tmp_path / "moved.tar", sets=FRAMES)
    assert rows(root, "SELECT count(*) FROM ingest WHERE uri LIKE '%moved.tar#%'") == [(3,)]
    assert len(rows(root, "SELECT * FROM extract WHERE status = 'ok'")) == 3


def test_why_replay_remove_and_export_know_members(held: Path, tmp_path: Path) -> None:
    root = done(tmp_path / "root", held)
    uri = f"{held}#000000001.mp4"
    assert uri in ola("why", root, uri).out
    [(source, clip)] = rows(
        root, f"SELECT i.input, c.id FROM ingest i JOIN split c ON c.video = i.id WHERE uri = '{uri}'"
    )
    assert ola("replay", root, source, "--step", "ingest").code == 0
    assert "the same" in ola("replay", root, clip.split("-")[0], "--step", "split").out
    assert ola("remove", root, uri, "--yes").code == 0
    done(root, held)
    assert rows(root, "SELECT status, reason FROM ingest WHERE status <> 'ok'") == [("dropped", "removed")]
    assert ola("export", root, tmp_path / "ola.json").code == 0


def test_a_list_names_members_and_adds_its_columns(held: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    named = [{"uri": f"{held}#000000002.mp4", "topic": "two"}, {"uri": f"{held}#9.mp4"}]
    listed.write_text("".join(json.dumps(row) + "\n" for row in named))
    root = done(tmp_path / "root", listed, sets=["steps=[ingest]"])
    found = rows(root, "SELECT status, reason, meta->>'topic', meta->>'license' FROM ingest ORDER BY status DESC")
    assert found == [("ok", None, "two", "CC-BY"), ("failed", "no such member", None, None)]


def test_a_file_whose_name_looks_like_a_member_is_a_file(tmp_path: Path) -> None:
    data = videos()["000000000.mp4"]
    folder = loose(tmp_path / "in", {"a#b.mp4": data, "x.tar#1.mp4": data + b"\0"})
    root = done(tmp_path / "root", folder, sets=["steps=[ingest]"])
    assert rows(root, "SELECT count(*) FROM ingest WHERE status = 'ok'") == [(2,)]
    assert split_uri("/d/x.tar#a/b.tar#c.mp4") == ("/d/x.tar", "a/b.tar#c.mp4")
    assert split_uri("/d/x.tart#a.mp4") is None


def test_a_store_is_asked_for_members_alone(held: Path, of_tar: Path, tmp_path: Path) -> None:
    with bucket("tars") as store, pytest.MonkeyPatch.context() as patch:
        client().upload_file(str(held), "tars", "in/00000.tar")
        sizes = range_sizes(patch)
        patch.setattr("manifests.object_download.download", None)
        root = done(tmp_path / "root", f"{store}/in")
    assert footage(root) == footage(of_tar)
    assert rows(root, "SELECT count(*) FROM transcribe WHERE status = 'ok'") == [(3,)]
    assert sum(sizes) <= 1.1 * sum(map(len, videos().values())) + 4096 * 2 * len(videos()) / 4


def test_a_run_killed_inside_a_tar_goes_on(held: Path, tmp_path: Path, of_tar: Path) -> None:
    root = tmp_path / "root"
    command = [sys.executable, "-m", "pipeline", "run", str(held.parent), "--root", str(root)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as driver:
        while not list(root.glob("01-ingest-*")) and driver.poll() is None:
            pass
        driver.send_signal(signal.SIGKILL)
    assert driver.returncode == -signal.SIGKILL
    done(root, held.parent)
    assert shards(root) == shards(of_tar)


def test_names_in_every_form_of_tar(tmp_path: Path) -> None:
    name = f"./{'long folder/' * 30}a.v1/clip ü.mp4"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        found = list(listing.rows(str(tar(tmp_path / "a.tar", [(name, MP4), ("z.mp4", MP4)], form)), 1 << 20, ""))
        assert [row.name for row in found] == [name[2:], "z.mp4"]
        assert all(row.bytes == len(MP4) and not row.fault for row in found)
    prefixed = f"{'f' * 90}/{'n' * 60}.mp4"
    assert list(faults(tar(tmp_path / "a.tar", [(prefixed, MP4)]))) == [prefixed]


def test_keys_are_those_of_webdataset(tmp_path: Path) -> None:
    members = [("a.b/1.mp4", MP4), ("a.b/1.en.srt", b""), ("a.b/1.jpg", b""), ("a.b/2.v1.mp4", MP4)]
    members += [("a.b/2.v2.mp4", MP4), ("a.b/2.v2.json", b'{"n": 2}'), ("c/1.json", b"{}"), ("c/1.mkv", MP4)]
    found = {row.name: row for row in listing.rows(str(tar(tmp_path / "a.tar", members)), 1 << 20, "")}
    assert list(found) == ["a.b/1.mp4", "a.b/2.v1.mp4", "a.b/2.v2.mp4", "c/1.mkv"]
    assert found["a.b/1.mp4"].sidecars[0].startswith("a.b/1.en.srt@")
    assert found["a.b/2.v1.mp4"].meta == "{}"
    assert found["a.b/2.v2.mp4"].meta == '{"n": 2}'
    assert not any(row.fault for row in found.values())


def test_metadata_has_the_names_of_the_field(tmp_path: Path) -> None:
    info = {"fulltitle": "Talk", "license": "CC-BY", "formats": [{"url": "x"}], "channel": "C"}
    told = {"license": "CC0", "scenes": [{"at": 1}], "key": "1"}
    members = [("1.mp4", MP4), ("1.json", told), ("1.info.json", info), ("1.txt", "a caption"), ("2.mp4", MP4)]
    members += [("2.json", [1, 2])]
    data = [(name, value if isinstance(value, bytes) else json.dumps(value).encode()) for name, value in members]
    data[3] = ("1.txt", b"\xef\xbb\xbfa caption\n")
    one, other = listing.rows(str(tar(tmp_path / "a.tar", data)), 1 << 20, "")
    assert json.loads(one.meta) == {"title": "Talk", "uploader": "C", "licence": "CC0", **told, "caption": "a caption"}
    assert json.loads(other.meta) == {"json": [1, 2]}


def test_damaged_members_are_rows(tmp_path: Path) -> None:
    members = [
        ("a.mp4", MP4),
        ("a.json", b"{"),
        ("b.mp4", MP4),
        ("a.mp4", MP4),
        ("a.txt", b"late"),
        ("/etc/c.mp4", MP4),
    ]
    members += [("../d.mp4", MP4), ("alone.json", b"{}"), (".hidden.mp4", MP4), ("e\udcff.mp4", MP4)]
    path = tar(tmp_path / "a.tar", members, tarfile.GNU_FORMAT)
    with tarfile.open(path, "a") as file:
        for name, kind in (("link.mp4", tarfile.SYMTYPE), ("hard.mp4", tarfile.LNKTYPE), ("folder", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.mp4"
            file.addfile(info)
    found = faults(path)
    assert [name for name, fault in found.items() if not fault] == ["a.mp4", "b.mp4"]
    words = {"a.json": "no JSON", "a.txt": "apart", "/etc/c.mp4": "absolute", "../d.mp4": "leads out"}
    words |= {"alone.json": "beside no video", "e\\xff.mp4": "UTF-8", "link.mp4": "symbolic", "hard.mp4": "hard link"}
    assert {name for name, word in words.items() if word not in (found.get(name) or "")} == set()
    [twice] = [name for name in found if name.startswith("a.mp4@")]
    assert "twice" in str(found[twice])
    assert set(found) == {"a.mp4", "b.mp4", twice, *words}


def test_a_damaged_tar_keeps_what_came_before(tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole.tar", [("a.mp4", MP4 * 100), ("b.mp4", MP4 * 100)]).read_bytes()

    def cut(data: bytes) -> Iterator[tuple[str, str | None]]:
        (tmp_path / "cut.tar").write_bytes(data)
        return iter(faults(tmp_path / "cut.tar", len(data)).items())

    end = 512 + 2560  # of the first member with its header
    assert list(cut(whole[: end + 1000]))[1] == (
        "b.mp4",
        "the tar is cut off within this member: 488 of 2100 bytes are there",
    )
    assert [name for name, fault in cut(whole[: end + 100])] == ["a.mp4", ""]
    assert "end mark" in str(dict(cut(whole[: 2 * end]))[""])
    assert "damaged at byte 3072" in str(dict(cut(whole[:end] + b"x" * 5000))[""])
    assert dict(cut(bytes(1024))) == {"": "an empty tar"}
    assert dict(cut(b"%PDF" + bytes(1000))) == {"": "not a tar: a PDF"}


def test_damage_is_a_row_of_the_run(tmp_path: Path) -> None:
    members = list(videos().items())
    data, last = tar(tmp_path / "whole.tar", members).read_bytes(), len(members[4][1])
    start = data.rindex(members[4][1][:100])
    reason = f"the tar is cut off within this member: 1000 of {last} bytes are there"
    loose(tmp_path / "in", {"cut.tar": data[: start + 1000], "page.tar": b"<!doctype html><p>" * 100, "no.tar": b""})
    root = done(tmp_path / "root", tmp_path / "in", sets=["steps=[ingest]"])
    found = dict(
        rows(root, "SELECT regexp_extract(s.uri, '[^/]*$'), reason FROM ingest i JOIN source s ON s.id = i.input")
    )
    assert found == {
        "cut.tar#000000000.mp4": None,
        "cut.tar#000000001.mp4": reason,
        "no.tar": "empty file",
        "page.tar": "not a tar: a web page: the download went wrong",
    }


def test_braces_name_many_tars(tmp_path: Path) -> None:
    for number in range(3):
        tar(tmp_path / f"s-{number:05d}.tar", [("a.mp4", MP4)])
    found = [source.uri for source in discover([str(tmp_path / "s-{00000..00002}.tar")], "")]
    assert found == [str(tmp_path / f"s-{number:05d}.tar") for number in range(3)]
    with pytest.raises(ConfigError, match=r"no such file: .*s-00003.tar"):
        discover([str(tmp_path / "s-{00001..00003}.tar")], "")
    odd = loose(tmp_path, {"{a,b}.mp4": MP4}) / "{a,b}.mp4"
    assert [source.uri for source in discover([str(odd)], "")] == [str(odd)]


def test_an_index_beside_a_tar_is_used_and_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "0.tar", [("a.mp4", MP4), ("a.txt", b"words"), ("b.mp4", MP4)])
    headers = list(listing.rows(str(path), path.stat().st_size, ""))
    lines = ["v1.2 2", "mp4 512 21 a.mp4 txt 1536 5 a.txt", "mp4 2560 21 b.mp4"]
    for name in ("0.parquet", "0_stats.json", "0.tar.idx"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "0.idx").write_text("\n".join(lines))
    assert [source.uri for source in discover([str(tmp_path)], "")] == [str(path)]
    assert list(listing.rows(str(path), path.stat().st_size, "")) == headers
    monkeypatch.setattr(listing, "tar_members", lambda *_: iter(()))
    assert list(listing.rows(str(path), path.stat().st_size, "")) == headers, "no header is walked through"
    (tmp_path / "0.idx").write_text("\n".join([*lines[:2], "mp4 3072 21 b.mp4"]))
    assert list(listing.rows(str(path), path.stat().st_size, "")) == [], "an index that does not fit is not used"


def test_an_index_of_energon_lets_a_store_be_asked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [
        (f"{n:03d}.{ending}", data) for n in range(40) for ending, data in (("mp4", bytes(40_000)), ("json", b"{}"))
    ]
    path = tar(tmp_path / "0.tar", members)
    size, sample = path.stat().st_size, 512 + 40_448 + 1024
    headers = list(listing.rows(str(path), size, ""))
    threads = set[int]()
    read_range = object_file.read_range

    def watched(*of: Any) -> bytes:
        threads.add(threading.get_ident())
        return read_range(*of)

    monkeypatch.setattr(object_file, "read_range", watched)
    right = struct.pack("<41Q", *(n * sample for n in range(41)))
    wrong = {
        "of another tar": struct.pack("<41Q", *(n * 512 for n in range(41))),
        "too long": struct.pack("<2Q", 0, size + 512),
        "backwards": struct.pack("<3Q", 0, sample, sample),
        "cut off": right[:-3],
        "not at headers": struct.pack("<41Q", *(n * (sample - 512) for n in range(41))),
    }
    with bucket("energon") as store:
        client().upload_file(str(path), "energon", "0.tar")
        for name, index in {"right": right, **wrong}.items():
            client().put_object(Bucket="energon", Key="0.tar.idx", Body=index)
            threads.clear()
            assert list(listing.rows(f"{store}/0.tar", size, "")) == headers, name
            assert (len(threads) > 1) == (name == "right"), name


def test_file_systems_of_fsspec(held: Path, of_tar: Path, tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/sets/00000.tar", held.read_bytes())
    root = done(tmp_path / "root", "memory://sets/00000.tar", sets=FRAMES)
    assert footage(root) == footage(of_tar)


@pytest.mark.parametrize("ending", ["m4a", "wav"])
def test_sound_that_lies_apart_is_heard(ending: str, tmp_path: Path) -> None:
    film, mute = pattern("held-3.mp4", 3), pattern("mute.mp4", 3, sound=False)
    codec = ("-c:a", "copy") if ending == "m4a" else ("-ar", "44100")
    sound = made(f"apart.{ending}", "-i", film, "-vn", *codec)
    members = [("a.mp4", mute.read_bytes()), (f"a.{ending}", sound.read_bytes()), ("b.mp4", film.read_bytes())]
    members += [("c.mp4", mute.read_bytes() + b"0"), ("c.wav", b"no sound at all")]
    root = done(tmp_path / "root", tar(tmp_path / "a.tar", members), sets=FRAMES)
    uris = dict(rows(root, "SELECT id, regexp_extract(uri, '[^#]*$') FROM ingest WHERE status = 'ok'"))
    found = {uris[clip.partition("-")[0]]: media for clip, media in footage(root).items()}
    assert len(found["a.mp4"][1]) == len(found["b.mp4"][1])
    apart, own = (samples(found[name][1]).astype(float) for name in ("a.mp4", "b.mp4"))
    assert np.corrcoef(apart, own)[0, 1] > 0.99
    [(reason,)] = rows(root, "SELECT reason FROM ingest WHERE status = 'failed'")
    assert "its sound, which lies apart, cannot be read" in reason


@pytest.mark.parametrize("place", ["folder", "store", "list"])
def test_sound_beside_a_loose_file_is_heard(place: str, tmp_path: Path) -> None:
    film, mute = pattern("held-3.mp4", 3), pattern("mute.mp4", 3, sound=False)
    sound = made("apart.wav", "-i", film, "-vn", "-ar", "44100")
    files = {"a.mp4": mute.read_bytes(), "a.wav": sound.read_bytes(), "alone.wav": sound.read_bytes() + b"0"}
    folder = loose(tmp_path / "in", files)
    with bucket("apart") as store:
        named: Path | str = folder
        if place == "store":
            for name in files:
                client().upload_file(str(folder / name), "apart", f"in/{name}")
            named = f"{store}/in"
        elif place == "list":
            named = tmp_path / "list.csv"
            named.write_text("path\nin/a.mp4\n")
        root = done(tmp_path / "root", named, sets=FRAMES)
        [(_, heard)] = footage(root).values()
        own = samples(next(data for clip, (_, data) in footage(of_files()).items() if len(data) == len(heard)))
        assert np.corrcoef(samples(heard).astype(float), own.astype(float))[0, 1] > 0.99
        said = "SELECT regexp_extract(s.uri, '[^/]*$'), i.status FROM ingest i JOIN source s ON s.id = i.input"
        assert sorted(rows(root, said)) == [("a.mp4", "ok"), *([("alone.wav", "dropped")] if place != "list" else [])]
        assert sorted(path.name for path in folder.iterdir()) == sorted(files), "nothing is written beside the videos"
        louder = made("louder.wav", "-i", film, "-vn", "-ar", "44100", "-af", "volume=0.5")
        (folder / "a.wav").write_bytes(louder.read_bytes())
        client().upload_file(str(louder), "apart", "in/a.wav")
        done(root, named, sets=FRAMES)
        [(_, changed)] = footage(root).values()
    ratio = samples(changed).astype(float).std() / samples(heard).astype(float).std()
    assert ratio == pytest.approx(0.5, abs=0.05), "a sound that was replaced is extracted anew"


def test_sound_beside_a_video_that_has_its_own_is_not_used(tmp_path: Path) -> None:
    film = pattern("held-3.mp4", 3)
    folder = loose(tmp_path / "in", {"a.mp4": film.read_bytes(), "a.wav": b"no sound at all"})
    root = done(tmp_path / "root", folder, sets=FRAMES)
    assert rows(root, "SELECT status, apart FROM ingest") == [("ok", "")]
    assert set(footage(root).items()) <= set(footage(of_files()).items())


def test_a_member_that_left_its_container_is_gone(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [("a.mp4", MP4), ("b.mp4", MP4 + b"b")])
    before = [Source(id=n, uri=f"{path}#{n}", bytes=1, stamp="1@512+21") for n in ("a.mp4", "b.mp4")]
    assert live_uris(before[:1], before) == {each.uri for each in before}, "an input may name one member alone"
    after = [Source(id="a", uri=f"{path}#a.mp4", bytes=1, stamp="2@512+21")]
    assert live_uris(after, before) == {f"{path}#a.mp4"}
    path.unlink()
    assert live_uris([], before) == set()


def test_a_tar_that_is_registered_is_no_new_work(held: Path, of_tar: Path) -> None:
    plan = load(None, [], {"inputs": [str(held)]}).plan(str(of_tar))
    found = discover([str(held)], "")
    assert not has_work(plan, ["ingest"], found)
    assert has_work(plan, ["ingest"], [replace(found[0], stamp="another")])
