"""Videos in columns of Parquet and Arrow files: found by type and name, and read by row groups."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.records import Source
from manifests.sources import Registered
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources.containers import columns, listing
from pipeline.sources.containers.long_meta import read_whole
from pipeline.sources.containers.members import Unreadable
from pipeline.sources.discovery import discover
from pipeline.state.registration import NEW, assign_parts
from tests.containers import done, footage, loose, of_files, range_sizes, videos
from tests.killing import Killed
from tests.object_store import bucket, client
from tests.runs import files_of, ola, rows

SCENES = {"title": "One", "scenes": [{"name": "a", "at": {"start": "00:00:00"}}], "speech": "long " * 5000}


def films() -> list[bytes]:
    return [data for name, data in videos().items() if name.endswith(".mp4")]


@pytest.fixture(scope="module")
def finevideo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes in `mp4`, a nested struct in `json`; two row groups."""
    path = tmp_path_factory.mktemp("finevideo") / "train-00000.parquet"
    pq.write_table(pa.table({"mp4": films(), "json": [SCENES] * 3, "n": [1, 2, 3]}), path, row_group_size=2)
    return path


def hub(**more: Any) -> pa.Table:
    """The form of the Hub: a struct of bytes and path, and a feature that says so."""
    values = [{"bytes": data, "path": f"{n}.mp4"} for n, data in enumerate(films())]
    table = pa.table({"film": [*values, {"bytes": None, "path": "gone.mp4"}], "licence": ["a", "b", None, "d"], **more})
    features = {"info": {"features": {"film": {"_type": "Video"}}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(features)})


def index(path: Path, column: str = "") -> list[tuple[str, int, str | None]]:
    return [(row.name, row.bytes, row.fault) for row in listing.rows(str(path), path.stat().st_size, column)]


def test_a_column_gives_what_its_files_give(finevideo: Path, tmp_path: Path) -> None:
    root = done(tmp_path / "root", finevideo, sets=["steps=[ingest,split,extract]"])
    assert footage(root) == footage(of_files()) != {}
    found = rows(root, """SELECT uri, meta->>'$.json.scenes[0].at.start', length(meta->>'$.json.speech'),
                          meta->>'n' FROM ingest ORDER BY uri""")  # fmt: skip
    assert found == [(f"{finevideo}#{n}", "00:00:00", 25000, str(n + 1)) for n in range(3)]
    [(longest,)] = rows(root, "SELECT max(length(meta)) FROM source")
    assert longest < 200, "the driver holds no long texts"
    held = str(rows(root, "SELECT max(meta) FROM source")[0][0])
    assert json.loads(read_whole(held, str(root)))["json"]["title"] == "One"
    shutil.rmtree(root / "00-source" / "containers")
    with pytest.raises(Unavailable, match="run again"):
        read_whole(re.sub(r", \d+,", ", 64,", held), str(root))
    done(root, finevideo, sets=["steps=[ingest,split,extract]"])
    assert (root / "00-source" / "containers").exists(), "an index that is lost is made again"


@pytest.mark.parametrize("form", ["parquet", "stream", "file"])
def test_the_form_of_the_hub(form: str, tmp_path: Path) -> None:
    table, path = hub(), tmp_path / "in" / f"a.{'parquet' if form == 'parquet' else 'arrow'}"
    path.parent.mkdir()
    if form == "parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    root = done(tmp_path / "root", path.parent, sets=["steps=[ingest]"])
    loose_ids = rows(of_files(), "SELECT id FROM ingest WHERE status = 'ok' ORDER BY uri")
    assert rows(root, "SELECT id FROM ingest WHERE status = 'ok' ORDER BY uri") == loose_ids
    assert rows(root, "SELECT meta->>'$.film.path', meta->>'licence' FROM ingest WHERE status = 'ok' ORDER BY uri") == [
        ("0.mp4", "a"), ("1.mp4", "b"), ("2.mp4", None)]  # fmt: skip
    assert rows(root, "SELECT reason FROM ingest WHERE status = 'failed'") == [
        ("the row holds no bytes, only the path 'gone.mp4'",)]  # fmt: skip


def test_a_store_reads_each_row_group_once_a_pass(finevideo: Path, tmp_path: Path) -> None:
    with bucket("tables") as store, pytest.MonkeyPatch.context() as patch:
        client().upload_file(str(finevideo), "tables", "in/a.parquet")
        sizes = range_sizes(patch)
        done(tmp_path / "root", f"{store}/in", sets=["steps=[ingest]"])
        whole = finevideo.stat().st_size
        assert sum(sizes) < 1.1 * whole + 6 * 65536, "each value once, and footers"
    assert rows(tmp_path / "root", "SELECT count(*) FROM ingest WHERE status = 'ok'") == [(3,)]
    assert rows(tmp_path / "root", "SELECT count(*) FROM source WHERE bytes = 0 AND read_bytes > 0") == [(3,)]


def uploaded(path: Path, table: pa.Table, key: str) -> str:
    """The table in the bucket of this module's tests."""
    pq.write_table(table, path, row_group_size=2)
    client().upload_file(str(path), "tables", key)
    return f"s3://tables/{key}"


def told(root: Path) -> list[tuple[str, str]]:
    """Name of each source, and its video or why it has none."""
    found = rows(root, "SELECT s.uri, coalesce(i.id, i.reason) FROM source s JOIN ingest i ON input = s.id ORDER BY 1")
    return [(str(uri).rpartition("/")[2], str(what)) for uri, what in found]


@pytest.mark.parametrize("per_part", [2, 100])
def test_copies_among_rows_in_a_store_are_those_of_local_rows(per_part: int, tmp_path: Path) -> None:
    """The rows are unread at registration: copies are found once `ingest` has read all rows."""
    one, other, third = films()
    table = pa.table({"mp4": [other, one, b"no video", third, one, b"no video", b"", other]})
    folder = loose(tmp_path / "in", {"loose.mp4": third})
    pq.write_table(table, folder / "a.parquet", row_group_size=2)
    sets = ["steps=[ingest,split,extract]", f"videos_per_part={per_part}"]
    expected = done(tmp_path / "expected", folder, sets=sets)
    with bucket("tables") as store:
        uploaded(tmp_path / "a.parquet", table, f"{per_part}/a.parquet")
        client().upload_file(str(folder / "loose.mp4"), "tables", f"{per_part}/loose.mp4")
        root = done(tmp_path / "root", f"{store}/{per_part}", sets=sets)
        assert told(root) == told(expected)
        assert footage(root) == footage(expected)
        before = files_of(root / "00-source")
        done(root, f"{store}/{per_part}", sets=sets)
        assert files_of(root / "00-source") == before, "an idle run reads nothing again"
        late = loose(tmp_path / "late", {"late.mp4": other})
        done(root, f"{store}/{per_part}", late, sets=sets)
        assert ("late.mp4", f"duplicate of {dict(told(root))['a.parquet#0']}") in told(root)


def test_copies_are_found_by_the_next_run_of_one_that_was_killed_before_it_compared(tmp_path: Path) -> None:
    film = films()[0]
    with bucket("tables") as store, pytest.MonkeyPatch.context() as patch:
        uploaded(tmp_path / "a.parquet", pa.table({"mp4": [film, films()[1], film]}), "killed/a.parquet")
        patch.setattr("pipeline.run._compare_new_digests", dies)
        with pytest.raises(Killed):
            done(tmp_path / "root", f"{store}/killed", sets=["steps=[ingest,split]", "videos_per_part=1"])
        patch.undo()
        root = done(tmp_path / "root", f"{store}/killed", sets=["steps=[ingest,split]", "videos_per_part=1"])
    (first, _), *_, (last, reason) = told(root)
    assert (first, last, reason) == ("a.parquet#0", "a.parquet#2", f"duplicate of {told(root)[0][1]}")


def dies(*arguments: Any) -> Any:
    """Stand for a kill."""
    raise Killed


def test_a_row_with_a_video_that_was_removed_goes_as_soon_as_it_was_read(tmp_path: Path) -> None:
    gone, kept = films()[:2]
    folder = loose(tmp_path / "in", {"gone.mp4": gone})
    sets = ["steps=[ingest,split,extract]"]
    root = done(tmp_path / "root", folder, sets=sets)
    (video,) = (what for _, what in told(root))
    assert ola("remove", root, video, "--yes").code == 0
    with bucket("tables") as store:
        uploaded(tmp_path / "a.parquet", pa.table({"mp4": [gone, kept]}), "removed/a.parquet")
        done(root, f"{store}/removed", sets=sets)
    assert [what for name, what in told(root) if name.startswith("a.")][:1] == ["removed"]
    assert rows(root, "SELECT count(DISTINCT split_part(clip, '_', 1)) FROM extract WHERE status = 'ok'") == [(1,)]
    referred = {uri for (uri,) in rows(root, "SELECT frames.uri FROM extract WHERE status = 'ok'")}
    assert {str(path.relative_to(root)) for path in root.rglob("03-extract-*/*.tar")} == referred


def test_a_table_in_a_store_that_moved_keeps_its_rows(tmp_path: Path) -> None:
    with bucket("tables") as store:
        uploaded(tmp_path / "a.parquet", pa.table({"mp4": films()}), "moved/a.parquet")
        root = done(tmp_path / "root", f"{store}/moved", sets=["steps=[ingest,split]"])
        clips = rows(root, "SELECT id, seconds FROM split ORDER BY 1")
        client().delete_object(Bucket="tables", Key="moved/a.parquet")
        client().upload_file(str(tmp_path / "a.parquet"), "tables", "moved/b.parquet")
        done(root, f"{store}/moved", sets=["steps=[ingest,split]"])
    assert rows(root, "SELECT id, seconds FROM split ORDER BY 1") == clips, "nothing ran again"
    assert rows(root, "SELECT DISTINCT parse_filename(uri) LIKE 'b.parquet#%' FROM source") == [(True,)]


def test_a_damaged_row_group_in_a_store_is_a_reason_for_each_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with bucket("tables") as store:
        uploaded(path, pa.table({"mp4": [films()[0], b"b" * 9000, b"c" * 9000, b"d" * 9000]}), "damaged/a.parquet")
        whole = path.read_bytes()
        at = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
        damaged = whole[: at + 4] + bytes(40) + whole[at + 44 :]
        client().put_object(Bucket="tables", Key="damaged/a.parquet", Body=damaged)
        root = done(tmp_path / "root", f"{store}/damaged", sets=["steps=[ingest]"])
    reasons = rows(root, "SELECT status, split_part(reason, ':', 1) FROM ingest ORDER BY 1, 2")
    assert reasons[1:3] == [("failed", "row group 1 is damaged")] * 2
    assert [status for status, _ in reasons] == ["failed"] * 3 + ["ok"]


def test_the_column_is_found_by_type_and_name() -> None:
    def found(**types: pa.DataType) -> str:
        return columns.find_column(pa.schema(types))

    both = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    assert found(text=pa.string(), anything=pa.large_binary()) == "anything"
    assert found(thumbnail=pa.binary(), mp4=pa.binary()) == "mp4"
    assert found(hash=pa.binary(), clip_video=both) == "clip_video"
    with pytest.raises(Unreadable, match=r"\(a, b\): set media_column"):
        found(a=pa.binary(), b=pa.binary())
    with pytest.raises(Unreadable, match="no column holds media"):
        found(text=pa.string())
    with pytest.raises(Unreadable, match="no column 'x'"):
        columns.find_column(pa.schema({"a": pa.binary()}), "x")
    audio = hub(sound=[{"bytes": b"", "path": ""}] * 4)
    assert columns.find_column(audio.schema) == "film"


def test_a_list_stays_a_list(tmp_path: Path) -> None:
    film = loose(tmp_path, {"a.mp4": films()[0]}) / "a.mp4"
    forms: list[dict[str, Any]] = [{"uri": ["a.mp4"], "hash": [b"\0"]}, {"video": [b"a.mp4"]}, {"path": [str(film)]}]
    for columns_of_list in forms:
        pq.write_table(pa.table(columns_of_list), tmp_path / "list.parquet")
        [source] = discover([str(tmp_path / "list.parquet")], "")
        assert source.uri == str(film)
    pq.write_table(pa.table({"video": [films()[0]], "uri": ["a.mp4"]}), tmp_path / "list.parquet")
    assert discover([str(tmp_path / "list.parquet")], "", column="video")[0].uri.endswith("list.parquet")
    pq.write_table(pa.table({"title": ["x"]}), tmp_path / "list.parquet")
    with pytest.raises(ConfigError, match="names no video"):
        discover([str(tmp_path / "list.parquet")], "")


def test_damaged_tables_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"mp4": [b"a" * 9000, b"", b"c" * 9000, b"d"]}), path, row_group_size=2, compression="zstd")
    assert index(path) == [("0", 9000, None), ("1", 0, None), ("2", 9000, None), ("3", 1, None)]
    whole = path.read_bytes()
    at = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    path.write_bytes(whole[: at + 20] + bytes(20) + whole[at + 40 :])
    found = index(path)
    assert [fault for _, _, fault in found[:2]] == [None, None]
    assert [name for name, _, fault in found[2:] if "row group 1 is damaged" in str(fault)] == ["2", "3"]
    path.write_bytes(whole[:-20])
    assert [name for name, _, fault in index(path) if "cannot be read" in str(fault)] == [""]
    pq.write_table(pa.table({"mp4": pa.array([], pa.binary())}), path)
    assert index(path) == [("", 0, "a table without rows")]
    pq.write_table(pa.table({"text": ["x"]}), path)
    assert "no column holds media" in str(index(path)[0][2])


def test_a_part_holds_whole_row_groups() -> None:
    sources = [Source(id=f"{n}", uri=f"/a.parquet#{n}", bytes=1, stamp=f"1@mp4/{n // 50}/{n % 50}") for n in range(150)]
    made = assign_parts([Registered(each, NEW, 0) for each in sources], sources, 8)
    assert [sum(each.part == part for each in made) for part in range(3)] == [50, 50, 50]
