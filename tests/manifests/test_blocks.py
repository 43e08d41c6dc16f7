"""Block files keep rows, counts and SQL results, through kills and with leftover files beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import blocks, storage, views
from manifests.ledger import FOOTER, Counts, Damaged, Manifest, parquet_bytes, read_parquet
from manifests.moved_root import DATABASE
from manifests.records import Outcome, Source
from tests.killing import Killed, killed_at
from tests.manifests.test_views import _transcript, _without_flags
from tests.object_store import bucket

PARTS = 6  # a block of four, and two parts of the next one


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    monkeypatch.setattr(blocks, "GROUP_ROWS", 5)


def source(name: str) -> Source:
    return Source(id=name, uri=f"file {name}", bytes=1)


def outcomes_of(part: int) -> list[Outcome]:
    """Part 1 has no inputs; others have several rows of one input, a drop and a failure."""
    if part == 1:
        return []
    records = tuple(source(f"{part}-{n}") for n in range(part % 3 + 1))
    drop, failure = Outcome("b", "dropped", 0.5, (), "short"), Outcome("c", "failed", 0.1, (), "bad", "a\nb")
    return [Outcome("a", "ok", 0.25, records), drop, failure]


def made(root: Path | str, parts: int = PARTS) -> Manifest:
    manifest = Manifest(str(root), 3, "toy", "abc", Source)
    for part in range(parts):
        commit(manifest, part)
    return manifest


def commit(manifest: Manifest, part: int, outcomes: list[Outcome] | None = None) -> bool:
    outcomes = outcomes_of(part) if outcomes is None else outcomes
    return manifest.commit(part, [outcome.input for outcome in outcomes], outcomes)


def compact(manifest: Manifest) -> None:
    for number in blocks.part_files(manifest.folder_uri).complete_blocks():
        blocks.write_block(manifest.folder_uri, manifest.schema, number)
    blocks.remove_leftovers(manifest.folder_uri, blocks.part_files(manifest.folder_uri))


def names(manifest: Manifest) -> list[str]:
    return [entry.path for entry in storage.listing(manifest.folder_uri)]


def seen(manifest: Manifest) -> dict[str, Any]:
    """All that a manifest and its views tell."""
    parts = list(manifest.committed())
    with views.connect(manifest.root, [manifest], {}) as connection:
        rows = connection.sql("SELECT * FROM toy ORDER BY ALL").fetchall()
    return {
        "parts": parts,
        "has": [manifest.has(part) for part in parts],
        "rows": [manifest.read(part).to_pylist() for part in parts],
        "footers": [manifest.read(part).schema.metadata for part in parts],
        "outcomes": [list(manifest.outcomes(part)) for part in parts],
        "counts": manifest.part_counts(),
        "some": manifest.counts_of(parts[2:5]),
        "digests": [manifest.rows_digest(part) for part in parts],
        "total": manifest.total(),
        "sql": rows,
    }


BLOCK_AND_REST = ["part-000004.parquet", "part-000005.parquet", "parts-000000-000003.parquet"]


@pytest.fixture(params=["disk", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path)
        return
    with bucket("blocks") as uri:
        yield f"{uri}/{tmp_path.name}"  # the store outlives a test


def test_a_compacted_manifest_tells_what_it_told_before(place: str) -> None:
    manifest = made(place)
    before = seen(manifest)
    compact(manifest)
    assert names(manifest) == BLOCK_AND_REST
    assert seen(manifest) == before
    assert before["parts"] == list(range(PARTS))
    assert before["counts"][1] == Counts()
    assert not manifest.has(6)
    with pytest.raises(FileNotFoundError):
        manifest.read(6)
    with pytest.raises(FileNotFoundError):
        manifest.counts(6)


def test_a_row_group_holds_whole_parts(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    rows = [manifest.read(part).num_rows for part in range(4)]
    compact(manifest)
    found = pq.read_metadata(tmp_path / "03-toy-abc" / "parts-000000-000003.parquet")
    assert rows == [3, 0, 5, 3]
    assert [found.row_group(n).num_rows for n in range(found.num_row_groups)] == [8, 3]


def test_blocks_of_parts_without_rows(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path), 3, "toy", "abc", Source)
    for part in range(4):
        commit(manifest, part, [])
    compact(manifest)
    assert manifest.part_counts() == dict.fromkeys(range(4), Counts())
    assert [manifest.read(part).num_rows for part in range(4)] == [0, 0, 0, 0]
    with views.connect(manifest.root, [manifest], {}) as connection:
        assert connection.sql("SELECT count(*) FROM toy").fetchall() == [(0,)]


def test_removing_a_part_gives_the_others_their_files_back(place: str) -> None:
    manifest = made(place)
    before = seen(manifest)
    files = names(manifest)
    tables = [read_parquet(manifest.uri(part)) for part in range(PARTS)]
    compact(manifest)
    manifest.remove(2)
    assert list(manifest.committed()) == [0, 1, 3, 4, 5]
    assert names(manifest) == [name for name in files if name != "part-000002.parquet"]
    assert all(read_parquet(manifest.uri(n)).equals(tables[n], check_metadata=True) for n in range(PARTS) if n != 2)
    assert not manifest.has(2)
    assert commit(manifest, 2)
    assert seen(manifest) == before


def test_part_files_beside_a_block_file_are_never_read(tmp_path: Path) -> None:
    """An isolated worker may write its part late, and a kill may leave part files that are also in the block file."""
    manifest = made(tmp_path)
    kept = storage.read_bytes(manifest.uri(0))
    before = seen(manifest)
    compact(manifest)
    storage.write_bytes(manifest.uri(0), kept)
    assert not commit(manifest, 2, [Outcome("a", "dropped", 0.0, (), "of a late worker")])
    assert len(names(manifest)) == len(BLOCK_AND_REST) + 2
    assert seen(manifest) == before
    manifest.remove(2)
    assert not manifest.has(2)
    assert list(manifest.committed()) == [0, 1, 3, 4, 5]
    assert commit(manifest, 2)
    compact(manifest)
    storage.write_bytes(manifest.uri(0), kept)
    compact(manifest)
    assert names(manifest) == BLOCK_AND_REST
    assert seen(manifest) == before


def persisted(root: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer of `manifest.duckdb`, which is that of `views.sql`."""
    with duckdb.connect(f"{root}/{DATABASE}", read_only=True) as connection:
        answer = connection.sql(query).fetchall()
    with duckdb.connect() as connection:
        connection.execute((root / views.SCRIPT).read_text())
        assert connection.sql(query).fetchall() == answer
    return answer


def test_persisted_views_show_each_row_once_at_every_moment(tmp_path: Path) -> None:
    root = tmp_path / "a [b] *"
    manifest = made(root)
    views.write(str(root), [manifest], {})
    query = "SELECT * FROM toy ORDER BY ALL"
    before = persisted(root, query)
    assert len(before) == sum(manifest.read(part).num_rows for part in range(PARTS))
    assert [column for (column, *_) in persisted(root, "DESCRIBE toy")] == manifest.schema.names
    kept = storage.read_bytes(manifest.uri(0))
    compact(manifest)
    assert persisted(root, query) == before
    storage.write_bytes(manifest.uri(0), kept)
    assert persisted(root, query) == before
    commit(manifest, 6)
    assert len(persisted(root, query)) == len(before) + manifest.read(6).num_rows


def moments(writes: int) -> Iterator[tuple[int, bool]]:
    """Every write, and one that does not come; whether it is done before the kill."""
    return ((moment, after) for moment in range(1, writes + 2) for after in (False, True))


def test_a_kill_at_any_write_of_a_compaction_changes_nothing_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    before = seen(made(tmp_path / "whole"))
    hits, writes = 0, 1 + 4  # a creation and four removals
    for moment, after in moments(writes):
        root = tmp_path / f"{moment}{after}"
        manifest = made(root)
        views.write(str(root), [manifest], {})
        try:
            with killed_at(moment, after):
                compact(manifest)
        except Killed:
            hits += 1
        assert seen(manifest) == before
        assert persisted(root, "FROM toy ORDER BY ALL") == before["sql"]
        compact(manifest)
        assert names(manifest) == BLOCK_AND_REST
        assert seen(manifest) == before
    assert hits == 2 * writes


def test_a_kill_at_any_write_while_a_part_is_removed_loses_no_other_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    before = seen(made(tmp_path / "whole"))
    hits, writes = 0, 3 * 2 + 2  # of three files the write and the rename; two removals
    for moment, after in moments(writes):
        manifest = made(tmp_path / f"{moment}{after}")
        compact(manifest)
        with suppress(Killed), killed_at(moment, after):
            hits += 1
            manifest.remove(2)
            hits -= 1
        assert list(manifest.committed()) in (list(range(PARTS)), [0, 1, 3, 4, 5])
        if manifest.has(2):
            assert seen(manifest) == before
        manifest.remove(2)
        assert list(manifest.committed()) == [0, 1, 3, 4, 5]
        commit(manifest, 2)
        compact(manifest)
        assert names(manifest) == BLOCK_AND_REST
        assert seen(manifest) == before
    assert hits == 2 * writes


@pytest.mark.parametrize("nested", [False, True])
def test_parts_of_an_older_release_come_back_as_they_were(nested: bool, tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path), 1, "heard", "k", _transcript().__class__)
    for part in range(4):
        commit(manifest, part, [Outcome("a", "ok", 0.0, (_transcript(),)), Outcome("b", "dropped", 0.0, (), "x")])
    for part in (0, 2):
        table = read_parquet(manifest.uri(part))
        older = _without_flags(table) if nested else table.drop_columns(["flagged"])
        footer = {FOOTER: table.schema.metadata[FOOTER]}
        storage.write_bytes(manifest.uri(part), parquet_bytes(older.replace_schema_metadata(footer)))
    query = "SELECT input, flagged + 1, segments[1].flags[1], segments[1].text FROM heard ORDER BY ALL"
    tables, digests = [manifest.read(part) for part in range(4)], [manifest.rows_digest(part) for part in range(4)]
    with views.connect(str(tmp_path), [manifest], {}) as connection:
        before = connection.sql(query).fetchall()
    compact(manifest)
    assert names(manifest) == ["parts-000000-000003.parquet"]
    assert all(manifest.read(part).equals(tables[part], check_metadata=True) for part in range(4))
    assert [manifest.rows_digest(part) for part in range(4)] == digests
    assert [len(list(manifest.outcomes(part))) for part in range(4)] == [2, 2, 2, 2]
    with views.connect(str(tmp_path), [manifest], {}) as connection:
        assert connection.sql(query).fetchall() == before
    manifest.remove(1)
    assert manifest.read(0).equals(tables[0], check_metadata=True)


def test_parts_of_a_newer_release_keep_the_columns_that_this_one_does_not_know(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    table = manifest.read(0)
    wider = table.append_column("score", pa.array([0.5] * table.num_rows))
    storage.write_bytes(manifest.uri(0), parquet_bytes(wider))
    compact(manifest)
    assert manifest.read(0).equals(wider, check_metadata=True)
    assert manifest.read(3).schema.names == table.schema.names


def test_a_part_that_is_reopened_while_its_block_is_written_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = made(tmp_path)
    unify = pa.unify_schemas

    def late(*schemas: Any, **options: Any) -> pa.Schema:
        manifest.remove(2)
        return unify(*schemas, **options)

    monkeypatch.setattr(pa, "unify_schemas", late)
    compact(manifest)
    assert not manifest.has(2)
    assert list(manifest.committed()) == [0, 1, 3, 4, 5]


def test_a_damaged_part_keeps_its_block_from_being_compacted(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    Path(manifest.uri(3)).write_bytes(b"PAR1 no more")
    before = names(manifest)
    with pytest.raises(Damaged, match=r"part-000003\.parquet is damaged: delete it and run again"):
        compact(manifest)
    assert names(manifest) == before


@pytest.mark.parametrize("data", [b"", b"PAR1 no more", parquet_bytes(pa.table({"a": [1]}))])
def test_a_damaged_block_file_is_named(data: bytes, tmp_path: Path) -> None:
    manifest = made(tmp_path)
    compact(manifest)
    Path(manifest.block(0).uri).write_bytes(data)
    said = "parts-000000-000003.parquet is damaged: delete it and run again"
    for look in (manifest.read, manifest.counts, manifest.remove):
        with pytest.raises(Damaged, match=said):
            look(2)
    counts = manifest.part_counts()
    assert all(said in str(counts[part]) for part in range(4))
    assert manifest.total() == Counts.sum(manifest.counts(part) for part in (4, 5))
    damaged: list[Damaged] = []
    with views.connect(str(tmp_path), [manifest], {}, damaged, checked=True) as connection:
        assert connection.sql("SELECT count(*) FROM toy").fetchall()[0][0] >= 3 + 5
    assert [said in str(each) for each in damaged] == ([True] if not data.startswith(b"PAR1\x15") else [])


def test_a_reader_finds_rows_that_move_while_it_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader finds no block file; when it opens the part file, compaction has deleted it."""
    manifest, open_random, read_bytes = made(tmp_path), storage.open_random, storage.read_bytes
    before = seen(manifest)
    counts = manifest.counts_of([0, 1, 2])

    def late(read: Any) -> Any:
        def call(uri: str) -> Any:
            if uri == manifest.uri(2):
                with monkeypatch.context() as patch:
                    patch.setattr(storage, "open_random", open_random)
                    patch.setattr(storage, "read_bytes", read_bytes)
                    compact(manifest)
            return read(uri)

        return call

    for look in (
        lambda: manifest.read(2).to_pylist(),
        lambda: manifest.counts(2),
        lambda: manifest.counts_of([0, 1, 2]),
    ):
        expected = look()
        manifest.remove(5)
        commit(manifest, 5)
        with monkeypatch.context() as patch:
            patch.setattr(storage, "open_random", late(open_random))
            patch.setattr(storage, "read_bytes", late(read_bytes))
            assert look() == expected
        assert names(manifest) == BLOCK_AND_REST
        manifest.remove(2)
        commit(manifest, 2)
    assert seen(manifest) == before
    assert manifest.counts_of([0, 1, 2]) == counts


def test_a_query_whose_files_are_compacted_meanwhile_is_asked_again(place: str) -> None:
    manifest = made(place)
    rows, asked = seen(manifest)["sql"], []

    def ask(connection: duckdb.DuckDBPyConnection) -> list[Any]:
        asked.append(connection)
        compact(manifest)
        return connection.sql("SELECT * FROM toy ORDER BY ALL").fetchall()

    assert views.query(lambda: views.connect(place, [manifest], {}), ask) == rows
    assert len(asked) == 2


def test_the_footer_of_a_block_file_tells_all_of_its_parts(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    counts = [asdict(manifest.counts(part)) for part in range(4)]
    compact(manifest)
    stored = json.loads(pq.read_metadata(manifest.block(0).uri).metadata[blocks.FOOTER])
    assert [facts["counts"] for facts in stored] == counts
    assert [facts["schema"] for facts in stored] == [None] * 4
    assert [(facts["first"], facts["rows"]) for facts in stored] == [(0, 3), (3, 0), (3, 5), (8, 3)]
