"""Videos inside zip files and compressed tars."""

from __future__ import annotations

import gzip
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources.containers import listing, readers
from tests.containers import done, footage, of_files, tar, videos
from tests.object_store import bucket, client
from tests.runs import rows

MP4 = b"some bytes of a video"


def zipped(path: Path, members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def made(form: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path, members = folder / f"videos.{form}", videos().items()
    if form == "zip":
        return zipped(path, members)
    plain = tar(folder.parent / "plain.tar", members).read_bytes()
    if form == "tar.gz":
        path.write_bytes(gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]))
    else:
        with pa.CompressedOutputStream(str(path), "zstd") as sink:
            sink.write(plain)
    return path


def faults(path: Path) -> dict[str, str | None]:
    return {row.name: row.fault for row in listing.rows(str(path), path.stat().st_size, "")}


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.zst"])
def test_an_archive_gives_what_its_files_give(form: str, tmp_path: Path) -> None:
    path = made(form, tmp_path / "in")
    root = done(tmp_path / "root", path.parent, sets=["steps=[ingest,split,extract,transcribe]"])
    assert footage(root) == footage(of_files()) != {}
    said = "SELECT clip, text FROM transcribe ORDER BY clip"
    assert rows(root, said) == rows(of_files(), said) != []
    assert rows(root, "SELECT meta->>'caption' FROM ingest ORDER BY uri") == [(f"pattern {n}",) for n in range(3)]


@pytest.mark.parametrize("form", ["zip", "tgz"])
def test_an_archive_in_a_store(form: str, tmp_path: Path) -> None:
    with bucket("archives") as store:
        client().upload_file(str(made(form.replace("tgz", "tar.gz"), tmp_path / "in")), "archives", f"in/a.{form}")
        root = done(tmp_path / "root", f"{store}/in", sets=["steps=[ingest,split,extract]"])
    assert footage(root) == footage(of_files())


def test_a_compressed_tar_is_read_once_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made("tar.gz", tmp_path / "in")
    opened, begun = readers.stream, list[str]()

    def counted(uri: str, stamp: str = "") -> readers.ForwardStream:
        begun.append(uri)
        return opened(uri, stamp)

    monkeypatch.setattr(readers, "stream", counted)
    done(tmp_path / "root", path, sets=["steps=[ingest,split,extract]"])
    assert len(begun) == 1, "the index has its own reading"
    assert f"{path}: read from the beginning by each part" in capsys.readouterr().err
    assert rows(tmp_path / "root", "SELECT count(*) FROM ingest WHERE status = 'ok'") == [(3,)]


def test_damaged_zip_files_are_rows(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a.mp4", MP4), ("/b.mp4", MP4), ("../c.mp4", MP4), ("__MACOSX/x", b"")], 0)
    with zipfile.ZipFile(path, "a") as file:
        info = zipfile.ZipInfo("link.mp4")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "a.mp4")
        file.writestr("d.mp4", MP4, zipfile.ZIP_BZIP2)
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.mp4", MP4)
    found = faults(path)
    words = {"/b.mp4": "absolute", "../c.mp4": "leads out", "link.mp4": "symbolic link", "d.mp4": "method 12"}
    assert {name for name, word in words.items() if word not in str(found[name])} == set()
    [twice] = [name for name in found if name.startswith("a.mp4@")]
    assert "twice" in str(found[twice])
    assert found["a.mp4"] is None
    assert set(found) == {"a.mp4", twice, *words}
    path.write_bytes(path.read_bytes()[:-30])
    assert "cut off" in str(faults(path)[""])
    zipped(path, [])
    assert faults(path) == {"": "an empty zip file"}


def test_a_member_damaged_in_its_zip_file_fails_alone(tmp_path: Path) -> None:
    members = {name: data for name, data in videos().items() if name.endswith(".mp4")}
    path = zipped(tmp_path / "a.zip", members.items(), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(members["000000001.mp4"][:200]) + 5000] ^= 255
    path.write_bytes(data)
    root = done(tmp_path / "root", path, sets=["steps=[ingest]"])
    found = rows(root, "SELECT status, reason FROM ingest ORDER BY status DESC")
    assert found == [("ok", None)] * 2 + [("failed", "damaged in its zip file: its checksum is another one")]


def test_damaged_compressed_tars_are_rows(tmp_path: Path) -> None:
    members = [("a.mp4", MP4), ("b.mp4", bytes(range(256)) * 4000)]
    plain = tar(tmp_path / "a.tar", members).read_bytes()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(plain)[:-500])
    found = faults(path)
    assert found.pop("a.mp4") is None
    assert all("cut off" in str(fault) for fault in found.values())
    assert found
    path.write_bytes(gzip.compress(plain[:5000]))
    assert faults(path) == {
        "a.mp4": None,
        "b.mp4": "the tar is cut off within this member: 3464 of 1024000 bytes are there",
    }
    path.write_bytes(b"<!doctype html>" * 100)
    assert "damaged" in str(faults(path)[""]) or "not a tar" in str(faults(path)[""])
    path.write_bytes(gzip.compress(b""))
    assert faults(path) == {"": "an empty file"}
