"""The draft of a part's tar: takeover, valid contents and deletion."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.journal import Journal
from manifests.records import Media, Outcome
from pipeline.engine.engines import InlineEngine
from pipeline.engine.part_journals import remove_left_journals, rewrite_journal
from pipeline.errors import Unavailable
from pipeline.media.media_draft import MARK, STALE, part_draft, remove_orphaned_drafts, remove_stale_drafts
from pipeline.media.media_store import MediaTar
from tests import toys
from tests.killing import Killed
from tests.object_store import bucket
from tests.runs import copy_of, finished, ola
from tests.toys import Take

URI = "01-film-key/part-000000.tar"


def drafts(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if MARK in path.name]


def left_draft(base: Path, *names: str) -> tuple[MediaTar, dict[str, Outcome]]:
    """Return the tar and the outcomes of an attempt that died after these records."""
    with suppress(Killed), part_draft(URI, base, [], {}) as tar:
        outcomes = {name: reel(name, tar.add(name, b"x")) for name in names}
        raise Killed
    return tar, outcomes


def reel(name: str, media: Media) -> Outcome:
    return Outcome(name, "ok", 0.0, (media,))


def test_a_cell_that_outlives_its_worker_writes_nothing_more(tmp_path: Path) -> None:
    tar, outcomes = left_draft(tmp_path / "part-000000.tar", "a")
    orphan = replace(tar)
    with part_draft(URI, tmp_path / "part-000000.tar", ["a"], outcomes) as mine:
        assert (mine.uri, mine.size) == (tar.uri, 1024)
        assert mine.path != tar.path
        with pytest.raises(Unavailable, match="taken over"):
            orphan.add("b", b"b")
        assert mine.add("c", b"c").offset == 1536
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_somebody_holds_is_not_taken_over(tmp_path: Path) -> None:
    base = tmp_path / "part-000000.tar"
    with part_draft(URI, base, [], {}) as held:
        outcomes = {"a": reel("a", held.add("a", b"a")), "b": Outcome("b", "failed", 0.0, (), "bad", None)}
        with part_draft(URI, base, ["a", "b"], outcomes) as mine:
            assert mine.uri != held.uri
            assert set(outcomes) == {"b"}
        assert [str(path) for path in tmp_path.iterdir()] == [held.path]


def test_only_the_first_inputs_without_a_gap_are_taken_over(tmp_path: Path) -> None:
    base = tmp_path / "part-000000.tar"
    _, outcomes = left_draft(base, *"abcd")
    del outcomes["b"]
    outcomes["done before"] = reel("done before", Media(uri="01-film-key/part-000000-abc.tar", offset=512, size=9))
    with part_draft(URI, base, ["done before", *"abcd"], outcomes) as mine:
        assert set(outcomes) == {"a", "done before"}
        assert mine.size == 1024


def test_drafts_go_with_their_journal_and_stale_ones_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "01-film-key"
    left_draft(folder / "part-000000.tar")
    left_draft(folder / "part-000001.tar")
    (folder / "part-000001.journal").touch()
    remove_orphaned_drafts(str(tmp_path))
    (left,) = drafts(tmp_path)
    assert left.name.startswith("part-000001.tar.draft.")
    remove_stale_drafts(folder)
    assert drafts(tmp_path) == [left]
    os.utime(left, (0, left.stat().st_mtime - 2 * STALE))
    remove_stale_drafts(folder)
    assert drafts(tmp_path) == []


@pytest.mark.parametrize("place", ["disk", "store"])
def test_what_workers_left_that_were_killed_right_after_their_commit_goes(place: str, tmp_path: Path) -> None:
    with bucket("committed") if place == "store" else nullcontext(str(tmp_path)) as root:
        plan, parts = toys.planned(root, [Take()], ["ok"] * 3, per_part=1)
        manifest = plan.steps[0].manifest
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "close", killed)
            for _ in parts[:2]:
                with suppress(Killed):
                    toys.apply(plan, parts, InlineEngine(), isolate=False)
        rewrite_journal(manifest, parts[2], [])
        assert manifest.listed().journals == set(parts)
        remove_left_journals(manifest)
        assert manifest.listed().journals == {parts[2]}
        assert set(manifest.committed()) == set(parts[:2])


def killed(journal: Journal, delete: bool) -> None:
    """The moment between the commit of a part and the end of its journal."""
    journal.file.close()
    raise Killed


def test_a_run_deletes_them(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    (part,) = root.glob("01-ingest-*/part-000000.parquet")
    for name in ("part-000000.journal", "part-000000.journal-notes"):
        (part.parent / name).touch()
    assert ola("run", finished().parent / "list.jsonl", "--root", root, "--config", root / "run.yaml").code == 0
    assert not list(root.rglob("*journal*"))
