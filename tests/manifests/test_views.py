"""Views: DuckDB opens the manifests of a root of any name, from Python, from the database file and from the script."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from manifests import views
from manifests.ledger import Manifest, parquet_bytes
from manifests.records import Outcome, PackedTask, Source
from manifests.schema import records_table
from tests.manifests.test_storage import ODD


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


def test_database_and_script_work_by_themselves(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = manifests(root)
    views.write(root, made, {})
    views.write(root, made, {})
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(f"{root}/{views.DATABASE}", read_only=True) as connection:
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


def _task(name: str, stage: str) -> PackedTask:
    return PackedTask(
        id=name, kind="subtitle", stage=stage, split="train", shard="train-000000.tar", key=name, clip="c", video="v",
        offset=0, size=1, digest="", json_offset=0, json_bytes=1, picture_offset=None, picture_bytes=(),
        sound_offset=None, sound_bytes=None, tokens=1,
    )  # fmt: skip
