"""The digest of rows: equal for equal rows in any Arrow layout, different for others, independent of timings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.ledger import parquet_bytes, read_parquet
from manifests.records import ModelCall, Outcome
from manifests.row_digest import digest_rows
from manifests.schema import to_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One end of a tree."""

    text: str
    weight: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Each way in which records nest."""

    id: str
    count: int | None
    green: bool
    names: tuple[str, ...]
    top: Leaf | None
    leaves: tuple[Leaf, ...]
    asked: ModelCall | None


ASKED = ModelCall(
    prompt="p", answer="a", finish="stop", prompt_tokens=1, answer_tokens=2, latency=0.5, notes=("thinned",)
)
TREE = Tree(
    id="é",
    count=3,
    green=True,
    names=("a", "bc"),
    top=Leaf(text="top", weight=None),
    leaves=(Leaf(text="", weight=0.1), Leaf(text="x", weight=-1e300)),
    asked=ASKED,
)
TEXTS = st.text("aé", max_size=2)
LEAVES = st.builds(Leaf, text=TEXTS, weight=st.none() | st.sampled_from([0.0, 1.5]))
TREES = st.builds(
    Tree,
    id=TEXTS,
    count=st.none() | st.integers(0, 1),
    green=st.booleans(),
    names=st.lists(TEXTS, max_size=2).map(tuple),
    top=st.none() | LEAVES,
    leaves=st.lists(LEAVES, max_size=2).map(tuple),
    asked=st.none() | st.just(ASKED),
)


def table_of(trees: Sequence[Tree]) -> pa.Table:
    return to_table(Tree, [Outcome(f"{n}", "ok", 1.0, (tree,)) for n, tree in enumerate(trees)])


def digest_of(*trees: Tree) -> str:
    return digest_rows(table_of(trees))


@given(st.lists(TREES, max_size=3), st.lists(TREES, max_size=3))
def test_equal_rows_and_no_others_have_equal_digests(some: list[Tree], others: list[Tree]) -> None:
    assert (digest_of(*some) == digest_of(*others)) == (some == others)


CHANGES: Sequence[Callable[[Tree], Tree]] = [
    lambda tree: replace(tree, id="e"),
    lambda tree: replace(tree, count=None),
    lambda tree: replace(tree, green=False),
    lambda tree: replace(tree, names=("ab", "c")),
    lambda tree: replace(tree, top=None),
    lambda tree: replace(tree, leaves=tree.leaves[::-1]),
    lambda tree: replace(tree, leaves=(tree.leaves[0], replace(tree.leaves[1], weight=None))),
    lambda tree: replace(tree, asked=replace(ASKED, answer="b")),
    lambda tree: replace(tree, asked=replace(ASKED, notes=())),
]


@pytest.mark.parametrize("change", CHANGES)
def test_each_value_counts(change: Callable[[Tree], Tree]) -> None:
    assert digest_of(TREE, change(TREE)) != digest_of(TREE, TREE)


def test_what_a_clock_measured_does_not_count() -> None:
    late = replace(TREE, asked=replace(ASKED, latency=99.0))
    tables = [to_table(Tree, [Outcome("a", "ok", seconds, (tree,))]) for seconds, tree in ((1.0, TREE), (2.0, late))]
    assert not tables[0].equals(tables[1])
    assert digest_rows(tables[0]) == digest_rows(tables[1])


def test_the_order_of_rows_counts() -> None:
    other = replace(TREE, id="x")
    tables = [
        to_table(Tree, [Outcome(name, "ok", 1.0, (tree,)) for name, tree in rows])
        for rows in ([("a", TREE), ("b", other)], [("b", other), ("a", TREE)])
    ]
    assert digest_rows(tables[0]) != digest_rows(tables[1])


@given(st.lists(TREES, min_size=1, max_size=5), st.data())
def test_how_arrow_holds_the_rows_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, trees: list[Tree], data: st.DataObject
) -> None:
    table = table_of(trees)
    expected = digest_rows(table)
    cut = data.draw(st.integers(0, len(trees)))
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    path = tmp_path_factory.mktemp("part") / "part.parquet"
    path.write_bytes(parquet_bytes(table))
    within = pa.concat_tables([table_of([TREE]), table, table_of([TREE])]).combine_chunks().slice(1, len(trees))
    for other in (pieces, within, read_parquet(str(path)), table.select(table.column_names[::-1])):
        assert digest_rows(other) == expected


@pytest.mark.parametrize("garbage", ["", "b", "longer"])
def test_what_stands_in_the_place_of_a_null_does_not_count(garbage: str) -> None:
    """Arrow allows any bytes behind a null: here the second text, number and list."""
    ends = np.array([0, 1, 1 + len(garbage)], np.int32)
    only_first = pa.py_buffer(b"\x01")
    texts = pa.StringArray.from_buffers(2, pa.py_buffer(ends), pa.py_buffer(b"a" + garbage.encode()), only_first)
    numbers = pa.array([1, len(garbage)], mask=np.array([False, True]))
    held = pa.array(range(1 + len(garbage)))
    lists = pa.Array.from_buffers(pa.list_(pa.int64()), 2, [only_first, pa.py_buffer(ends)], children=[held])
    plain = pa.table({"text": pa.array(["a", None]), "number": pa.array([1, None]), "list": pa.array([[0], None])})
    assert digest_rows(pa.table({"text": texts, "number": numbers, "list": lists})) == digest_rows(plain)


def test_every_nan_is_the_same() -> None:
    bits = np.array([0x7FF8000000000000, 0xFFF8000000000001], np.uint64).view(np.float64)
    assert all(map(math.isnan, bits))
    first, second = (digest_rows(pa.table({"x": pa.array([value])})) for value in bits)
    assert first == second != digest_rows(pa.table({"x": pa.array([0.0])}))


def test_the_digest_is_the_same_on_every_machine() -> None:
    """The value is a constant: if it changed, the parts of all existing runs would count as new."""
    assert digest_of(TREE, replace(TREE, count=None, top=None, asked=None, leaves=())) == (
        "5d0ddc895fbf2391570483c503a70637146de57a5986dff8d6251abcbe625e05"
    )
    assert digest_rows(to_table(Tree, [])) == ("fed683d2aac4401572b1f3bba06568eec0ac768ec412ce2a69fc1d21be2535aa")
