"""The journal: finished records are not repeated, and only vanished workers of this session are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.journal import Journal, count_finished, journal_path
from manifests.records import Outcome, Segment, Source, Transcript, Word


def journal(path: Path, session: str = "s1", life: str = "l1") -> Journal:
    return Journal(path, Source, session, life)


def reopened(path: Path, session: str = "s1", life: str = "l9") -> Journal:
    """What the next worker reads."""
    made = journal(path, session, life)
    made.close(delete=False)
    return made


def ok(name: str) -> Outcome:
    return Outcome(name, "ok", 0.5, (Source(id=name, uri="line\nbreak \u2028 é", bytes=1, sidecars=("a", "b")),))


def left(path: Path, life: str, *starts: list[str], done: str = "", session: str = "s1") -> None:
    """What a worker leaves that vanishes: `done` are of what it started."""
    one = journal(path, session, life)
    for names in starts:
        one.start(names)
        for name in names:
            if name in done:
                one.done(ok(name))
    one.close(delete=False)


def test_outcomes_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / "part.journal"
    outcomes = [
        ok("a"),
        Outcome("b", "dropped", 0.0, (), "short", None),
        Outcome("c", "failed", 2.0, (), "bad", "at\nline 3"),
    ]
    first = journal(path)
    first.start(["a", "b", "c"])
    for outcome in outcomes:
        first.done(outcome)
    assert count_finished(path).total() == 3
    first.close(delete=False)
    assert reopened(path).outcomes == {o.input: o for o in outcomes}


def test_nested_records_are_read_back(tmp_path: Path) -> None:
    word = Word(text="é", start=0.0, end=float("inf"))
    segments = (Segment(start=0.0, end=1.0, text="é", words=(word,)),)
    record = Transcript(
        id="t", clip="c", origin="sidecar", track="x", language=None, word_times="given", text="é", segments=segments,
        words=1, coverage=0.1,
    )  # fmt: skip
    for life in range(2):
        one = Journal(tmp_path / "j", Transcript, "s", f"l{life}")
        assert life == 0 or one.outcomes["c"].records == (record,)
        one.done(Outcome("c", "ok", 0.1, (record,)))
        one.close(delete=False)


def test_of_a_flight_in_order_only_the_first_without_an_outcome_may_have_killed_its_worker(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for life in ("l1", "l2"):
        one = journal(path, "s1", life)
        one.start(["a", "b", "c"], in_order=True)
        one.done(ok("a"))
        one.close(delete=False)
    left(path, "l3", ["b", "c"])
    assert [reopened(path).deaths(name) for name in "abc"] == [0, 3, 1]


def test_deaths_count_workers_of_this_session_that_had_it_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "j"
    left(path, "l1", ["a"], ["b"], done="a")
    left(path, "l2", ["b"])
    third = journal(path, "s1", "l3")
    assert [third.deaths(name) for name in "abc"] == [0, 2, 0]
    third.done(ok("b"))
    third.close(delete=False)
    assert reopened(path).deaths("b") == 0


def test_another_session_blames_nobody(tmp_path: Path) -> None:
    path = tmp_path / "j"
    left(path, "l1", ["a"])
    left(path, "l2", ["a"])
    assert reopened(path, "s2").deaths("a") == 0


def test_innocents_of_a_batch_that_ran_again_one_by_one_are_not_charged(tmp_path: Path) -> None:
    path = tmp_path / "j"
    left(path, "l1", ["a", "b", "c"], ["a"], ["b"], done="")
    second = reopened(path)
    assert [second.deaths(name) for name in "abc"] == [0, 1, 0]


def test_a_record_that_is_done_anew_can_be_blamed(tmp_path: Path) -> None:
    """A step that keeps media repeats its whole part, so a finished record may kill its worker the second time."""
    path = tmp_path / "j"
    left(path, "l1", ["a"], ["b"], done="a")
    left(path, "l2", ["a"])
    third = reopened(path)
    assert [third.deaths(name) for name in "ab"] == [1, 1]


@given(st.integers(min_value=1), st.binary(max_size=20).filter(lambda tail: b"\n" not in tail))
def test_a_torn_line_is_a_record_that_was_not_finished(
    tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes
) -> None:
    path = tmp_path_factory.mktemp("torn") / "j"
    left(path, "l1", ["a"], ["b"], done="ab")
    whole = path.read_bytes()
    last = len(whole) - whole.rindex(b"\n", 0, -1) - 1
    path.write_bytes(whole[: -(cut % last or 1)] + tail)
    second = journal(path, "s1", "l2")
    assert set(second.outcomes) == {"a"}
    assert second.deaths("b") == 1
    second.done(ok("b"))
    second.close(delete=False)
    assert set(reopened(path).outcomes) == {"a", "b"}


def test_what_follows_a_line_that_makes_no_sense_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "j"
    left(path, "l1", ["a"], done="a")
    path.write_bytes(path.read_bytes() + b"\0\0\0\n" + path.read_bytes().replace(b'"a"', b'"b"'))
    assert set(reopened(path).outcomes) == {"a"}


def test_close_deletes_when_the_part_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    one = journal(path)
    one.close(delete=True)
    assert not path.exists()
    assert count_finished(path).total() == 0


def test_what_is_finished_is_counted_as_it_grows_and_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    seen = count_finished(path)
    assert seen.total() == 0
    left(path, "l1", ["a", "b"], done="ab")
    assert (seen.total(), seen.total()) == (2, 2)
    whole = path.read_bytes()
    left(path, "l2", ["c"], done="c")
    grown = path.read_bytes()
    path.write_bytes(b"x" * len(whole) + grown[len(whole) : -1])  # what was read before is not looked at
    assert seen.total() == 2  # the last line is still being written
    path.write_bytes(b"x" * len(whole) + grown[len(whole) :])
    assert seen.total() == 3
    path.unlink()
    assert seen.total() == 3
    left(path, "l3", ["d"], done="d")  # begun anew
    assert seen.total() == 1


def test_journals_of_object_stores_lie_on_this_machine() -> None:
    first, second = (journal_path(f"s3://bucket/{name}", "01-take-a/part-000000.journal") for name in "ab")
    assert first != second
    assert first.name == second.name == "part-000000.journal"
    assert first == journal_path("s3://bucket/a", "01-take-a/part-000000.journal")


def test_journals_of_folders_lie_beside_the_part(tmp_path: Path) -> None:
    assert journal_path(f"file://{tmp_path}", "x/part.journal") == tmp_path / "x" / "part.journal"
