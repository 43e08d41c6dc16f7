"""Sources keep their places when they change, move or are copied; one of several copies is the owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from manifests import storage
from manifests.ledger import parquet_bytes
from manifests.records import Source
from manifests.schema import records_table
from manifests.sources import Registered, SourceManifest, source_id
from pipeline.errors import RunError
from pipeline.state.registration import merge_sources, register


def manifest_at(folder: Path) -> SourceManifest:
    return SourceManifest(str(folder), 0, "source", "", Source)


def source(uri: str, content: str = "", stamp: str = "1", sidecars: Sequence[str] = ()) -> Source:
    """A source of seven bytes, whose content its uri names unless `content` does."""
    facts = {"sidecars": tuple(sidecars), "companions": "c" if sidecars else ""}
    made = Source(id="", uri=uri, bytes=7, stamp=f"{stamp} {content or uri}", **facts)  # type: ignore[arg-type]
    return replace(made, id=source_id(made))


class Disk:
    """The files there are, and a registration of them. A source's content is the last word of its stamp."""

    def __init__(self, folder: Path) -> None:
        self.manifest = manifest_at(folder)
        self.read: list[str] = []
        self.unreadable: set[str] = set()
        self.changes: list[tuple[Registered, Registered]] = []

    def register(self, *found: Source, limit: int | None = None) -> None:
        def digests(wanted: Sequence[Registered]) -> Mapping[str, str]:
            self.read += [each.source.uri for each in wanted]
            wanted = [each for each in wanted if each.source.uri not in self.unreadable]
            return {each.source.uri: f"sha of {(each.source.stamp or each.source.uri).split()[-1]}" for each in wanted}

        def live(sources: Sequence[Source]) -> set[str]:
            return {one.uri for one in found} & {one.uri for one in sources}

        self.changes, self.read = [], []
        register(self.manifest, list(found), limit, 2, digests, live, self.changes.extend)

    @property
    def rows(self) -> dict[str, tuple[int, int, str | None]]:
        """Part, place and twin by uri."""
        return {r.source.uri: (r.part, r.place, r.source.twin) for r in self.manifest.registered()}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_new_sources_form_new_parts_and_old_parts_stay(disk: Disk) -> None:
    disk.register(source("a"), source("b"), source("c"))
    assert disk.rows == {"a": (0, 0, None), "b": (0, 1, None), "c": (1, 0, None)}
    first = disk.manifest.registered()
    disk.register(*(source(name) for name in "abcde"), limit=4)
    assert disk.manifest.registered()[:3] == [replace(r, source=s.source) for r, s in zip(first, first, strict=True)]
    assert disk.rows["d"] == (2, 0, None)
    assert disk.changes == []


def test_a_limit_draws_from_all_folders_and_a_higher_one_keeps_them() -> None:
    found = [source(f"{folder}/{n}") for folder in "abcde" for n in range(20)]
    few = merge_sources([], found, 25)
    more = merge_sources(few, found, 50)
    assert [len(few), len(more)] == [25, 50]
    assert more[:25] == few
    assert {each.source.uri[0] for each in few} == set("abcde")
    assert [each.source.uri for each in few] == [s.uri for s in found if s.uri in {e.source.uri for e in few}]
    assert merge_sources([], found[::-1], 25) == few[::-1], "the order of the listing does not decide"


def test_a_registration_of_the_same_writes_nothing(disk: Disk, tmp_path: Path) -> None:
    for _ in range(2):
        disk.register(source("a"), source("b"))
        assert [path.name for path in tmp_path.rglob("*.parquet")] == ["sources-000000.parquet"]
    assert disk.read == []


def test_parts_are_read_one_by_one(disk: Disk) -> None:
    names = [f"v{n:05d}" for n in range(20_000)]
    register(disk.manifest, [source(name) for name in names], None, 3)
    assert disk.manifest.read(6000)["uri"].to_pylist() == names[18_000:18_003]
    assert disk.manifest.committed()[6666] == 2
    assert len(disk.manifest.committed()) == 6667
    with pytest.raises(KeyError):
        disk.manifest.read(6667)


def test_a_moved_file_keeps_its_place(disk: Disk) -> None:
    disk.register(source("a"), source("b"))
    disk.register(source("b"), source("sub/a", content="a"))
    assert disk.rows == {"sub/a": (0, 0, None), "b": (0, 1, None)}
    ((old, new),) = disk.changes
    assert (old.source.uri, new.source.uri, new.source.sha256) == ("a", "sub/a", "sha of a")


def test_a_file_that_moves_before_it_was_read_keeps_its_place(disk: Disk) -> None:
    disk.register(source("a", stamp="7"), source("b", stamp="8"))
    disk.unreadable = {"a"}
    moved = source("sub/a", content="a", stamp="7")
    disk.register(source("b", stamp="8"), moved)
    assert disk.rows == {"sub/a": (0, 0, None), "b": (0, 1, None)}


def test_a_moved_mount_moves_everything(disk: Disk) -> None:
    disk.register(*(source(f"old/{n}", content=str(n)) for n in range(5)))
    before = disk.rows
    disk.register(*(source(f"new/{n}", content=str(n)) for n in range(5)))
    assert disk.rows == {uri.replace("old", "new"): row for uri, row in before.items()}


def test_of_copies_the_one_with_subtitles_is_the_owner_and_stays_it(disk: Disk) -> None:
    disk.register(source("a", "x"), source("b", "x", sidecars=["b.srt"]), source("c"))
    assert disk.rows["a"] == (0, 0, "b")
    assert disk.rows["b"] == (0, 1, None)
    disk.register(source("a", "x"), source("b", "x", sidecars=["b.srt"]), source("c"), source("0", "x"))
    assert disk.rows["0"] == (2, 0, "b")
    assert disk.changes == []
    disk.register(source("a", "x"), source("b", "x", sidecars=["b.srt"]), source("c"), source("0", "x"))
    assert disk.read == []  # what was compared once is known


def test_an_owner_that_is_gone_gives_its_place_to_a_copy(disk: Disk) -> None:
    disk.register(source("a", "x"), source("b", "y"), source("c", "x"))
    disk.register(source("b", "y"), source("c", "x"), source("d"))
    assert disk.rows == {"c": (0, 0, None), "b": (0, 1, None), "a": (1, 0, "c"), "d": (2, 0, None)}


def test_copies_that_move_keep_their_places(disk: Disk) -> None:
    disk.register(source("a", "x"), source("b", "x"), source("c", "x"))
    disk.register(source("0", "x"), source("b", "x"), source("d", "x"))
    assert disk.rows == {"0": (0, 0, None), "b": (0, 1, "0"), "d": (1, 0, "0")}


def test_an_owner_with_new_content_sets_its_copies_free(disk: Disk) -> None:
    disk.register(source("a", "x"), source("b", "x"))
    disk.register(source("a", "y", stamp="2"), source("b", "x"))
    assert disk.rows == {"a": (0, 0, None), "b": (0, 1, None)}
    assert len({r.source.id for r in disk.manifest.registered()}) == 2
    assert len(disk.changes) == 2


def test_a_copy_that_is_touched_stays_a_copy(disk: Disk) -> None:
    disk.register(source("a", "x", sidecars=["a.srt"]), source("0", "x"))
    disk.register(source("a", "x", sidecars=["a.srt"]), source("0", "x", stamp="2"))
    assert disk.rows == {"a": (0, 0, None), "0": (0, 1, "a")}


def test_two_files_that_change_places(disk: Disk) -> None:
    disk.register(source("a", "x"), source("b", "y"))
    disk.register(source("a", "y", stamp="2"), source("b", "x", stamp="2"))
    assert disk.rows == {"a": (0, 0, None), "b": (0, 1, None)}
    assert len(disk.changes) == 2


def test_what_cannot_be_read_now_keeps_what_it_has(disk: Disk) -> None:
    disk.register(source("a"), source("b"))
    disk.register(replace(source("a"), fault="cannot be read: Stale file handle", bytes=0), source("b"))
    assert disk.changes == []


def test_other_columns_of_the_list_change_the_source(disk: Disk) -> None:
    disk.register(source("a"))
    disk.register(replace(source("a"), meta='{"licence": "CC0"}', id="other"))
    assert [new.source.meta for _, new in disk.changes] == ['{"licence": "CC0"}']


def test_two_registrations_at_once_are_one(disk: Disk) -> None:
    disk.register(source("a"))

    def other(changes: object) -> None:
        Disk(Path(disk.manifest.root)).register(source("a"), source("b"))

    with pytest.raises(RunError, match="another run registered sources"):
        register(disk.manifest, [source("a"), source("c")], None, None, reopen=other)
    assert set(disk.rows) == {"a", "b"}


def test_a_root_of_an_earlier_release_is_read_and_gets_the_new_file(disk: Disk) -> None:
    fields = ["id", "uri", "bytes", "sidecars", "fault", "meta"]
    for part, names in enumerate(("ab", "c")):
        table = records_table(Source, [replace(source(name), id=name) for name in names]).select(fields)
        storage.write_bytes(disk.manifest.uri(part), parquet_bytes(table))
    assert disk.rows == {"a": (0, 0, None), "b": (0, 1, None), "c": (1, 0, None)}
    assert disk.manifest.committed() == {0: 2, 1: 1}
    disk.register(source("a"), source("b"), source("c"), source("d"))
    assert disk.rows["d"] == (2, 0, None)
    assert [r.source.id for r in disk.manifest.registered()][:3] == ["a", "b", "c"]


def test_two_owners_that_a_release_before_left_become_one(disk: Disk) -> None:
    for part, name in enumerate(("a", "sub/a")):
        row = replace(source(name, content="a"), id=name, stamp="")
        storage.write_bytes(disk.manifest.uri(part), parquet_bytes(records_table(Source, [row])))

    def digests(wanted: Sequence[Registered]) -> Mapping[str, str]:
        return {each.source.uri: "sha" for each in wanted}

    register(disk.manifest, [source("sub/a", content="a")], None, 1, digests, lambda sources: {"sub/a"})
    assert disk.rows == {"a": (0, 0, "sub/a"), "sub/a": (1, 0, None)}
