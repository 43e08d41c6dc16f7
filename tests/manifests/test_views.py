"""Views: DuckDB opens the manifests of a root of any name, from Python, from the database file and from the script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from manifests import storage, views
from manifests.ledger import Manifest, parquet_bytes, read_parquet
from manifests.moved_root import DATABASE, setting, sql_string
from manifests.records import Outcome, PackedTask, Segment, Source, Transcript
from manifests.schema import records_table
from tests.manifests.test_storage import ODD
from tests.object_store import bucket


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / ODD.replace("?", ""))  # DuckDB takes what follows a ? for parameters


def manifests(root: str) -> list[Manifest]:
    made = [Manifest(root, n, name, "k*[]", Source) for n, name in enumerate(("take", "crack", "polish"), start=1)]
    for manifest in made[:2]:
        for part in (0, 1):
            manifest.commit(part, ["a", "b"], [_ok(f"{part}"), Outcome("b", "failed", 1.0, (), "bad")])
    return made


def _ok(name: str) -> Outcome:
    return Outcome("a", "ok", 0.0, (Source(id=name, uri="x", bytes=1),))


def test_a_view_a_step_that_has_parts(root: str) -> None:
    connection = views.connect(root, manifests(root), {})
    counted = connection.sql("SELECT status, count(*) FROM take GROUP BY ALL ORDER BY ALL").fetchall()
    assert counted == [("failed", 2), ("ok", 2)]
    assert connection.sql("SELECT count(*) FROM crack WHERE reason = 'bad'").fetchall() == [(2,)]
    assert {
        name for (name,) in connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    } == {
        "take",
        "crack",
    }


@pytest.mark.parametrize("folder", ["uri=x/bytes=7", "status=ok/status=no", "kind=a"])
def test_names_of_folders_are_no_columns(tmp_path: Path, folder: str) -> None:
    root, plain = str(tmp_path / folder), str(tmp_path / "plain")
    views.write(root, manifests(root), {})
    query = "SELECT * FROM take ORDER BY ALL"
    expected = views.connect(plain, manifests(plain), {}).sql(query)
    with duckdb.connect(f"{root}/{DATABASE}", read_only=True) as stored:
        for connection in (stored, views.connect(root, manifests(root), {})):
            found = connection.sql(query)
            assert (found.columns, found.fetchall()) == (expected.columns, expected.fetchall())


def test_database_and_script_work_by_themselves(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = manifests(root)
    views.write(root, made, {})
    views.write(root, made, {})
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(f"{root}/{DATABASE}", read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM take").fetchall() == [(4,)]
    with duckdb.connect() as connection:
        connection.execute(Path(root, views.SCRIPT).read_text())
        assert connection.sql("SELECT count(*) FROM crack").fetchall() == [(4,)]
    assert not [path for path in Path(root).iterdir() if ".draft" in path.name]


def test_a_root_with_nothing_has_no_views(root: str) -> None:
    views.write(root, [Manifest(root, 1, "take", "k", Source)], {"omni": "shards/omni/k"})
    assert Path(root, views.SCRIPT).read_text() == ""


def test_shards_of_all_stages_are_one_view_too(root: str) -> None:
    for stage, count in (("video", 2), ("omni", 3)):
        folder = Path(root, "shards", stage, "k")
        folder.mkdir(parents=True)
        rows = [_task(f"{stage}{n}", stage) for n in range(count)]
        (folder / "shards.parquet").write_bytes(parquet_bytes(records_table(PackedTask, rows)))
    connection = views.connect(root, [], {stage: f"shards/{stage}/k" for stage in ("video", "omni")})
    assert connection.sql("SELECT stage, count(*) FROM shards GROUP BY ALL ORDER BY ALL").fetchall() == [
        ("omni", 3),
        ("video", 2),
    ]
    assert connection.sql("SELECT count(*) FROM shards_omni").fetchall() == [(3,)]


def test_shard_sets_with_other_columns_are_one_view(place: str) -> None:
    folders = {stage: f"shards/{stage}/k" for stage in ("video", "omni")}
    for stage, folder in folders.items():
        table = records_table(PackedTask, [_task(stage, stage)])
        newer = table.append_column("score", pa.array([0.5])).drop_columns(["digest"])
        data = parquet_bytes(newer if stage == "omni" else table)
        storage.write_bytes(storage.join(place, folder, "shards.parquet"), data)
    with views.connect(place, [], folders) as connection:
        query = "SELECT stage, digest FROM shards ORDER BY stage"
        assert connection.sql(query).fetchall() == [("omni", None), ("video", "")]


def _task(name: str, stage: str) -> PackedTask:
    return PackedTask(
        id=name, kind="subtitle", stage=stage, split="train", shard="train-000000.tar", key=name, clip="c", video="v",
        offset=0, size=1, digest="", json_offset=0, json_bytes=1, picture_offset=None, picture_bytes=(),
        sound_offset=None, sound_bytes=None, tokens=1,
    )  # fmt: skip


@pytest.fixture(params=["disk", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A root on disk, and one in an object store."""
    if request.param == "disk":
        yield str(tmp_path)
        return
    with bucket("older") as uri:
        yield f"{uri}/{tmp_path.name}"


def _transcript() -> Transcript:
    return Transcript(
        id="a",
        clip="a",
        origin="sidecar",
        track="a.srt",
        language=None,
        word_times="given",
        text="a",
        segments=(Segment(start=0.0, end=1.0, text="a", words=(), flags=("loop",)),),
        words=1,
        coverage=1.0,
        flagged=1.0,
    )


def _without_flags(table: pa.Table) -> pa.Table:
    """A part as it was before segments had scores and flags, and transcripts a share of flagged words."""
    (start, end, text, words, *_) = table.schema.field("segments").type.value_type.fields
    older = [pa.field("segments", pa.list_(pa.struct([start, end, text, words])))]
    gone = ("segments", "flagged", "language_probability")
    schema = pa.schema([field for field in table.schema if field.name not in gone] + older)
    rows = [{name: row[name] for name in schema.names} for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema.with_metadata(table.schema.metadata))


@pytest.mark.parametrize("all_older", [True, False])
def test_rows_without_newer_columns_have_the_defaults_there(place: str, all_older: bool) -> None:
    manifest = Manifest(place, 1, "heard", "k", Transcript)
    for part in (0, 1):
        outcomes = [Outcome("a", "ok", 0.0, (_transcript(),)), Outcome("b", "dropped", 0.0, (), "x")]
        manifest.commit(part, ["a", "b"], outcomes)
    for part in (0, 1) if all_older else (0,):
        older = _without_flags(read_parquet(manifest.uri(part)))
        storage.write_bytes(manifest.uri(part), parquet_bytes(older))
    query = "SELECT flagged + 1, segments[1].flags[1], segments[1].text FROM heard WHERE status = 'ok'"
    older = (1.0, None, "a")
    newer = older if all_older else (2.0, "loop", "a")
    with views.connect(place, [manifest], {}) as connection:
        assert sorted(connection.sql(query).fetchall(), key=str) == sorted([older, newer], key=str)
        assert connection.sql("SELECT count(*), count(reason), count(flagged) FROM heard").fetchall() == [(4, 2, 2)]
    if storage.is_local(place):
        views.write(place, [manifest], {})
        with duckdb.connect(f"{place}/{DATABASE}", read_only=True) as connection:
            assert len(connection.sql(query).fetchall()) == 2


def counts(connection: duckdb.DuckDBPyConnection, prefix: str = "") -> list[int]:
    return [connection.sql(f"SELECT count(*) FROM {prefix}{name}").fetchall()[0][0] for name in ("take", "shards")]


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A root that was written elsewhere, with four rows in `take` and one in `shards`."""
    first = tmp_path / "first [a]"
    made = manifests(str(first))
    task = PackedTask(
        id="t", kind="k", stage="omni", split="train", shard="s", key="k", clip="c", video="v", offset=0, size=1,
        digest="", json_offset=0, json_bytes=1, picture_offset=None, picture_bytes=(), sound_offset=None,
        sound_bytes=None, tokens=1,
    )  # fmt: skip
    storage.write_bytes(f"{first}/shards/omni/k/shards.parquet", parquet_bytes(records_table(PackedTask, [task])))
    views.write(str(first), made, {"omni": "shards/omni/k"})
    return first.rename(tmp_path / "it's second [b]")


def test_the_database_of_a_moved_root_reads_its_new_place(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (("/", moved / DATABASE), (moved, DATABASE), (moved.parent, f"{moved.name}/{DATABASE}")):
        monkeypatch.chdir(folder)
        with duckdb.connect(str(name), read_only=True) as connection:
            assert counts(connection) == [4, 1]


def test_a_moved_root_that_is_attached_or_read_as_a_script_is_told_its_place(moved: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {sql_string(str(moved / DATABASE))} AS run (READ_ONLY)")
        connection.execute(setting(str(moved)))
        assert counts(connection, "run.") == [4, 1]
        connection.execute((moved / views.SCRIPT).read_text())
        assert counts(connection) == [4, 1]


def test_a_root_that_is_attached_to_another_is_never_taken_for_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        views.write(str(tmp_path / name), manifests(str(tmp_path / name)), {})
    with duckdb.connect(str(tmp_path / "one" / DATABASE), read_only=True) as connection:
        connection.execute(f"ATTACH '{tmp_path / 'two' / DATABASE}' AS two (READ_ONLY)")
        assert connection.sql("SELECT count(*) FROM take").fetchall() == [(4,)]
        with pytest.raises(duckdb.Error, match="SET VARIABLE ola_root"):
            connection.sql("SELECT count(*) FROM two.take").fetchall()
        connection.execute(setting(str(tmp_path / "two")))
        assert connection.sql("SELECT count(*) FROM two.take").fetchall() == [(4,)]
