"""The ledger: no input is lost, parts are complete or absent, and footers agree with rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import storage
from manifests.ledger import FOOTER, Counts, LawBroken, Manifest, check_law, digest, parquet_bytes
from manifests.records import Outcome, Source

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, max_size=12)


def source(name: str) -> Source:
    return Source(id=name, uri=f"file {name}", bytes=1)


def ok(name: str, records: int = 1) -> Outcome:
    return Outcome(name, "ok", 0.25, tuple(source(f"{name}{n}") for n in range(records)))


def manifest(root: Path) -> Manifest:
    return Manifest(str(root), 3, "toy", "abc", Source)


OUTCOMES = st.builds(
    lambda name, kind: ok(name, 2) if kind == "ok" else Outcome(name, kind, 0.5, (), f"{kind} it"),
    st.text("xyz", min_size=1, max_size=4),
    st.sampled_from(["ok", "dropped", "failed"]),
)


@given(st.lists(OUTCOMES, unique_by=lambda outcome: outcome.input))
def test_counts_of_the_footer_are_those_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[Outcome]
) -> None:
    made = manifest(tmp_path_factory.mktemp("run"))
    assert made.commit(5, [o.input for o in outcomes], list(reversed(outcomes)))
    written = made.counts(5)
    rows = made.read(5).to_pylist()
    assert written == Counts.from_outcomes(outcomes) == made.total()
    assert written.inputs == written.ok + written.dropped + written.failed == len({row["input"] for row in rows})
    assert written.outputs == sum(row["id"] is not None for row in rows)
    assert list(dict.fromkeys(row["input"] for row in rows)) == [o.input for o in outcomes]
    assert sum(row["seconds"] for row in rows) == written.seconds


@given(NAMES.filter(len), st.data())
def test_a_lost_input_breaks_the_law(names: list[str], data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(names))
    rest = [ok(name) for name in names if name != lost]
    check_law("toy", names, [*rest, ok(lost)])
    with pytest.raises(LawBroken, match=f"inputs without a row: \\['{lost}'\\]; rows without an input: \\[\\]"):
        check_law("toy", names, rest)
    with pytest.raises(LawBroken, match=f"inputs without a row: \\[\\]; rows without an input: \\['{lost}'\\]"):
        check_law("toy", names, [*rest, ok(lost), ok(lost)])


def test_an_answer_of_nothing_breaks_the_law(tmp_path: Path) -> None:
    for wrong in (Outcome("a", "ok", 0.0), Outcome("a", "failed", 0.0, (source("a"),), "bad")):
        with pytest.raises(LawBroken, match="step 'toy': input a is"):
            manifest(tmp_path).commit(0, ["a"], [wrong])
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_no_inputs_is_a_part(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    made.commit(0, [], [])
    assert made.has(0)
    assert made.read(0).num_rows == 0
    assert made.total() == Counts()


def test_only_parts_are_committed(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    assert made.committed() == {}
    made.commit(12, ["a"], [ok("a")])
    made.commit(1234567, ["a"], [ok("a")])
    folder = tmp_path / "03-toy-abc"
    for name in ("part-000001.parquet.draft-1-2", "part-000002.tar", "part-000003.journal", "x-part-000004.parquet"):
        (folder / name).write_bytes(b"")
    sizes = {int(path.stem[5:]): path.stat().st_size for path in folder.glob("part-*.parquet")}
    assert made.committed() == sizes
    assert set(sizes) == {12, 1234567}
    assert not made.has(1)
    assert made.uri(12) == storage.join(str(tmp_path), "03-toy-abc", "part-000012.parquet")


def test_equal_parts_are_equal_bytes(tmp_path: Path) -> None:
    made = [manifest(tmp_path / name) for name in ("one", "two")]
    for one in made:
        one.commit(0, ["a", "b"], [ok("b"), ok("a")])
    assert Path(made[0].uri(0)).read_bytes() == Path(made[1].uri(0)).read_bytes()


def test_a_part_is_committed_once(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    assert made.commit(0, ["a"], [ok("a")])
    assert not made.commit(0, ["a"], [ok("a", 2)])
    assert made.read(0).num_rows == 1


def test_equal_rows_have_equal_digests_whatever_the_clock_said(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    for part, outcome in enumerate((ok("a"), replace(ok("a"), seconds=9.0), ok("a", 2))):
        made.commit(part, ["a"], [outcome])
    first, slow, other = (made.rows_digest(part) for part in range(3))
    assert first == slow != other
    assert made.counts(0) != made.counts(1)


def test_a_part_of_an_earlier_release_has_the_digest_of_its_rows(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    made.commit(0, ["a"], [ok("a", 2)])
    table = made.read(0)
    footer = {FOOTER: table.schema.metadata[FOOTER]}
    storage.write_bytes(made.uri(1), parquet_bytes(table.replace_schema_metadata(footer)))
    assert made.rows_digest(0) == made.rows_digest(1)


def test_reasons_add_up() -> None:
    total = Counts.from_outcomes([Outcome("a", "dropped", 1.0, (), "short"), Outcome("b", "failed", 1.0, (), "bad")])
    total.add(Counts.from_outcomes([Outcome("c", "dropped", 1.0, (), "short")]))
    assert total == Counts(3, 0, 2, 1, 0, 3.0, {"short": 2, "bad": 1})


def test_digests_do_not_depend_on_order_and_do_on_values() -> None:
    assert digest({"a": 1, "b": "é"}) == digest({"b": "é", "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": 1}) != digest({"a": "1"})
