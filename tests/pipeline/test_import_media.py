"""Media of imported records: the same from files, tars, zips, data URIs and columns of Parquet; faults become rows."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import storage
from pipeline.importing.importer import ImportRequest, import_records
from pipeline.pack.check import check_run
from tests.object_store import watched
from tests.pipeline.outside import (
    brought,
    encoded,
    imported,
    listed,
    media_folder,
    members_of_samples,
    noise,
    said,
    samples,
)
from tests.pipeline.test_import_forms import FORMS, RED, chat
from tests.runs import ola


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_folder(tmp_path_factory.mktemp("media"))


CARRIED = {
    "a member of a tar": lambda folder, name: f"m.tar#in/{name}",
    "a member of a tar.gz": lambda folder, name: f"m.tar.gz#in/{name}",
    "a member of a zip": lambda folder, name: f"m.zip#in/{name}",
    "a file": lambda folder, name: f"file://{folder}/{name}",
    "a data URI": lambda folder, name: f"data:x/y;base64,{base64.b64encode((folder / name).read_bytes()).decode()}",
}


@pytest.mark.parametrize("carried", CARRIED)
def test_media_are_the_same_wherever_they_lie(carried: str, media: Path, tmp_path: Path) -> None:
    records = [forms[1] for forms in FORMS.values()]
    records = [record for record in records if any(record.get(kind) for kind in ("image", "video", "audio"))]
    (tmp_path / "files").mkdir()
    (tmp_path / "carried").mkdir()

    def named(value: Any) -> Any:
        return [named(one) for one in value] if isinstance(value, list) else CARRIED[carried](media, value)

    moved = [
        {key: named(value) if key in ("image", "video", "audio") else value for key, value in record.items()}
        for record in records
    ]
    _, expected = brought(media, records, tmp_path / "files")
    _, found = brought(media, moved, tmp_path / "carried")
    assert [without_json(one) for one in found] == [without_json(one) for one in expected]
    assert [talks(one) for one in found] == [talks(one) for one in expected]


def test_a_tar_in_a_store_is_not_read_header_by_header(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        for number in range(40):
            picture = encoded(noise(64, 64, number))
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = len(picture)
            tar.addfile(info, io.BytesIO(picture))
    with watched("tars") as (store, seen):
        storage.write_bytes(f"{store}/m.tar", (tmp_path / "m.tar").read_bytes())
        seen.requests.clear()
        records = [{"image": f"m.tar#{number}.jpg", "conversations": RED} for number in (3, 17, 39)]
        report = import_records(ImportRequest(listed(tmp_path, records), store, val=0.0), str(tmp_path / "out"))
        assert sum(request.startswith("GET") for request in seen.requests) < 3, seen.requests
    assert [outcome.status for outcome in report.outcomes] == ["ok"] * 3, report.reasons
    assert sorted(bytes(raw.members["jpg"]) for _, raw in samples(tmp_path / "out")) == sorted(
        encoded(noise(64, 64, number)) for number in (3, 17, 39)
    )


def without_json(members: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in members.items() if name != "json"}


def talks(members: Mapping[str, bytes]) -> list[Any]:
    return [task["conversations"] for task in json.loads(members["json"])["tasks"]]


def test_a_parquet_with_media_in_its_columns(media: Path, tmp_path: Path) -> None:
    """Layouts of the Hub: bytes with a path, bytes alone, a path alone, or null in a record without media."""
    a, b = (media / "a.png").read_bytes(), (media / "b.png").read_bytes()
    rows = [
        {"images": [{"bytes": a, "path": "x.png"}, {"bytes": b, "path": None}], **chat("<image><image>Hm?", "Red")},
        {"images": [{"bytes": None, "path": "a.png"}], **chat("<image>Hm?", "Red")},
        {"images": None, "audio": (media / "c.wav").read_bytes(), **chat("<audio>Hm?", "A dog.")},
        {"images": [{"bytes": b"hello", "path": None}], **chat("<image>Hm?", "Red")},
    ]
    table = pa.Table.from_pylist([{"thumbnail": b"abc", "audio": None, **row} for row in rows])
    pq.write_table(table, tmp_path / "train.parquet")
    report = import_records(ImportRequest(str(tmp_path / "train.parquet"), str(media), val=0.0), str(tmp_path / "out"))
    assert [outcome.reason for outcome in report.outcomes] == [None, None, None, "not a picture"]
    assert list(check_run(str(tmp_path / "out"))) == []
    (tmp_path / "plain").mkdir()
    plain = [
        {"image": ["a.png", "b.png"], "conversations": said("<image><image>Hm?", "Red")},
        {"image": "a.png", "conversations": said("<image>Hm?", "Red")},
        {"audio": "c.wav", "conversations": said("<speech>Hm?", "A dog.")},
    ]
    _, expected = brought(media, plain, tmp_path / "plain")
    found = members_of_samples(tmp_path / "out", report.key)
    assert [without_json(one) for one in found] == [without_json(one) for one in expected]
    assert [talks(one) for one in found] == [talks(one) for one in expected]
    [meta, *_] = [json.loads(json.loads(one["json"])["meta"])["records"] for one in found]
    assert meta == [{"thumbnail": "3 bytes"}]


def test_parquet_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else")
    wrong = ola("import", tmp_path / "a.parquet", "--root", tmp_path / "out")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "a.parquet: broken Parquet" in wrong.err


TARS = {
    "no such tar": ("x.tar#a.png", "no such file"),
    "no such member": ("m.tar#b.png", "no such member of the archive"),
    "a folder": ("m.tar#in", "no such member of the archive"),
    "no tar": ("bad.tar#a.png", "the archive cannot be read"),
    "half a tar": ("half.tar#in/b.png", "the archive cannot be read"),
    "half a tar.gz": ("half.tar.gz#in/v", "the archive cannot be read"),
}


def test_what_is_wrong_with_a_tar_is_a_row(tmp_path: Path) -> None:
    for mode, name in (("w", "m.tar"), ("w:gz", "m.tar.gz")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            folder = tarfile.TarInfo("in")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for member in ("a.png", "b.png", "v"):
                info = tarfile.TarInfo(f"in/{member}")
                info.size = 3000
                tar.addfile(info, io.BytesIO(noise(100, 10).tobytes()))
        (tmp_path / name.replace("m", "half", 1)).write_bytes(
            (tmp_path / name).read_bytes()[: 6000 if mode == "w" else 900]
        )
    (tmp_path / "bad.tar").write_bytes(b"hello" * 300)
    records = [{"image": path, "conversations": RED} for path, _ in TARS.values()]
    report = imported(tmp_path, records, tmp_path / "out")
    assert [outcome.reason for outcome in report.outcomes] == [reason for _, reason in TARS.values()]
