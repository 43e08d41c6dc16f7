"""The order of tasks: each once per epoch, in the shares of the recipe, determined by its inputs alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.catalogue import Catalogue
from stages.errors import StagesError
from stages.samples import KINDS
from stages.sampling import SHUFFLED_SHARDS, Order, apportion, group_by_sample, pack_starts
from tests.stages.shardset import phase

SIZES = st.dictionaries(st.sampled_from(list(KINDS)), st.integers(1, 40), min_size=1, max_size=5)
TOKENS = st.lists(st.integers(1, 50), min_size=1, max_size=200)


def made(sizes: dict[str, int], tokens: int = 10) -> Catalogue:
    """A catalogue of so many tasks of each kind."""
    kinds = [kind for kind, size in sizes.items() for _ in range(size)]
    length = [tokens + n % 7 for n in range(len(kinds))]
    columns = {
        "id": [f"task-{n}" for n in range(len(kinds))],
        "kind": kinds,
        "stage": [KINDS[kind].stage for kind in kinds],
        "uri": [f"{n // 5}.tar" for n in range(len(kinds))],
        "tokens": pa.array(length, pa.int64()),
    }
    return Catalogue(pa.table(columns))


def order(sizes: dict[str, int], seed: int = 0, **changes: Any) -> Order:
    return Order(made(sizes), phase(**{"sequence_tokens": 50, "batch": 4} | changes), seed)


def drawn(of: Order, epoch: int, sizes: dict[str, int]) -> Counter[str]:
    """How often each kind comes in an epoch."""
    return Counter(np.array(made(sizes).table["kind"].to_pylist())[of.epoch(epoch).rows].tolist())


@given(SIZES, st.integers(0, 5), st.integers(0, 3))
def test_each_task_comes_once_an_epoch(sizes: dict[str, int], seed: int, epoch: int) -> None:
    rows = order(sizes, seed).epoch(epoch).rows
    assert sorted(rows) == list(range(sum(sizes.values())))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 5))
def test_tasks_of_a_sample_come_together(samples: list[int], most: int) -> None:
    rows = group_by_sample(np.array(samples), most).tolist()
    assert sorted(rows) == list(range(len(samples)))
    runs: list[list[int]] = []
    for row in rows:  # in the order of the first task of each run
        if runs and samples[runs[-1][0]] == samples[row] and len(runs[-1]) < most:
            runs[-1].append(row)
        else:
            runs.append([row])
    assert len(runs) == sum(-(-count // most) for count in Counter(samples).values())
    assert [run[0] for run in runs] == sorted(run[0] for run in runs)
    assert all(run == sorted(run) for run in runs)


def test_a_sample_is_told_by_its_shard_and_the_ids_of_its_tasks() -> None:
    columns = {"id": ["a-b-chat-0", "a-b-chat-1", "a-c-chat-0", "a-c-chat-1"], "uri": ["0", "0", "0", "1"]}
    assert Catalogue(pa.table(columns)).samples().tolist() == [0, 0, 1, 2]


def test_together_changes_the_order_and_nothing_else() -> None:
    columns = {**made({"chat": 40}).table.to_pydict(), "id": [f"clip{n // 8}-chat-{n % 8}" for n in range(40)]}
    tasks = Catalogue(pa.table({**columns, "uri": ["0.tar"] * 40, "tokens": pa.array([10] * 40, pa.int64())}))
    rows = Order(tasks, phase(batch=2, sequence_tokens=40, together=4), 0).epoch(0)
    assert sorted(rows.rows) == list(range(40))
    assert all(len({row // 8 for row in pack}) == 1 for step in range(len(rows)) for pack in rows.packs(step))


@given(SIZES, st.integers(1, 9), st.integers(20, 100))
def test_steps_are_the_epoch_in_packs_within_the_budget(sizes: dict[str, int], batch: int, budget: int) -> None:
    catalogue = made(sizes)
    epoch = Order(catalogue, phase(batch=batch, sequence_tokens=budget), 0).epoch(0)
    steps = [epoch.packs(step) for step in range(len(epoch))]
    assert np.array_equal(np.concatenate([pack for packs in steps for pack in packs]), epoch.rows)
    assert all(len(packs) == batch for packs in steps[:-1])
    assert 1 <= len(steps[-1]) <= batch
    tokens = catalogue.numbers("tokens")
    assert all(tokens[pack].sum() <= budget for packs in steps for pack in packs)
    with pytest.raises(IndexError, match=f"step {len(epoch)} of an epoch"):
        epoch.packs(len(epoch))


@given(TOKENS, st.integers(1, 120))
def test_packs_are_neighbours_and_only_a_task_alone_is_over_the_budget(tokens: list[int], budget: int) -> None:
    lengths = np.array(tokens)
    starts = pack_starts(lengths, budget)
    assert (starts[0], starts[-1]) == (0, len(tokens))
    for start, end in pairwise(starts):
        assert lengths[start:end].sum() <= budget or end - start == 1
        # as many as fit: the next one would not
        assert end == len(tokens) or lengths[start : end + 1].sum() > budget


@given(SIZES, st.integers(0, 5), st.integers(0, 3), st.integers(1, 9))
def test_the_order_is_a_pure_function(sizes: dict[str, int], seed: int, epoch: int, batch: int) -> None:
    """The order depends on the seed, the epoch and the data, not on earlier calls; the batch size only cuts it."""
    one, other = order(sizes, seed), order(sizes, seed, batch=batch)
    for number in range(epoch):
        one.epoch(number)
    assert np.array_equal(one.epoch(epoch).rows, other.epoch(epoch).rows)
    assert np.array_equal(one.epoch(epoch).starts, other.epoch(epoch).starts)


def test_seed_epoch_and_data_each_change_the_order() -> None:
    sizes = {"image_caption": 100}
    base = order(sizes).epoch(0).rows
    others = Order(made(sizes, tokens=11), phase(), 0)
    for other in (order(sizes, 1).epoch(0), order(sizes).epoch(1), others.epoch(0)):
        assert not np.array_equal(base, other.rows)


@given(SIZES, st.integers(0, 40))
def test_a_step_is_at_its_place_in_its_epoch(sizes: dict[str, int], step: int) -> None:
    of = order(sizes)
    number, within = of.locate_step(step)
    assert 0 <= within < len(of.epoch(number))
    assert sum(len(of.epoch(n)) for n in range(number)) + within == step


@given(SIZES, st.data())
def test_shares_are_the_recipes_within_rounding(sizes: dict[str, int], data: st.DataObject) -> None:
    weights = {kind: data.draw(st.integers(1, 9)) for kind in sizes}
    shares = {kind: weight / sum(weights.values()) for kind, weight in weights.items()}
    total = sum(sizes.values())
    of = order(sizes, tasks=shares)
    for epoch in range(2):
        found = drawn(of, epoch, sizes)
        assert found.total() == total
        assert all(abs(found[kind] - total * share) < 1 for kind, share in shares.items())
    assert of.mix() == pytest.approx({kind: found[kind] / total for kind in sizes})


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(10, 60))
def test_over_epochs_a_kind_drawn_in_part_comes_evenly(small: int, large: int) -> None:
    """All tasks of the kind occur before one occurs again."""
    sizes = {"image_caption": large, "video_qa": small}
    of = order(sizes, tasks={"image_caption": 0.5, "video_qa": 0.5})
    seen = Counter(row for epoch in range(5) for row in of.epoch(epoch).rows.tolist())
    for rows in (range(large), range(large, large + small)):
        times = [seen[row] for row in rows]
        assert max(times) - min(times) <= 1


def test_balance_lifts_small_kinds() -> None:
    sizes = {"image_caption": 90, "video_qa": 10}
    assert drawn(order(sizes, balance=1.0), 0, sizes) == {"image_caption": 90, "video_qa": 10}
    assert drawn(order(sizes, balance=0.0), 0, sizes) == {"image_caption": 50, "video_qa": 50}
    assert drawn(order(sizes, balance=0.5), 0, sizes) == {"image_caption": 75, "video_qa": 25}


def test_caps_choose_the_same_tasks_every_epoch() -> None:
    sizes = {"image_caption": 50, "video_qa": 10}
    of = order(sizes, cap={"image_caption": 7})
    epochs = [set(of.epoch(number).rows.tolist()) for number in range(3)]
    assert epochs[0] == epochs[1] == epochs[2]
    assert len([row for row in epochs[0] if row < 50]) == 7
    assert sum(row >= 50 for row in epochs[0]) == 10
    assert len(order(sizes, cap={"image_caption": 70}).epoch(0).rows) == 60


@given(st.integers(5, 60), st.integers(1, 30), st.floats(0.05, 0.9))
def test_replay_is_its_share_of_all_that_is_drawn(own: int, earlier: int, share: float) -> None:
    sizes = {"video_qa": own, "image_caption": earlier}
    of = order(sizes, stages=["video"], replay={"image": share})
    found = drawn(of, 0, sizes)
    assert found["video_qa"] == own
    assert abs(found["image_caption"] - share * found.total()) <= 0.5 + share
    assert of.mix()["replay image"] == pytest.approx(found["image_caption"] / found.total())


@given(st.integers(0, 500), st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=6))
def test_whole_numbers_add_up_and_are_near_their_shares(total: int, weights: dict[str, float]) -> None:
    given_ = apportion(total, weights)
    assert sum(given_.values()) == total
    whole = sum(weights.values())
    assert all(abs(given_[name] - total * weight / whole) < 1 + 1e-9 for name, weight in weights.items())


def test_how_long_a_phase_is() -> None:
    sizes = {"image_caption": 100}
    once = order(sizes)
    each = len(once.epoch(0))
    assert once.steps() == each
    assert order(sizes, epochs=2.0).steps() == each + len(once.epoch(1))
    assert order(sizes, epochs=0.5).steps() == round(each / 2)
    assert order(sizes, steps=7).steps() == 7


@given(st.integers(1, 4000))
def test_so_many_tokens_and_not_a_step_more(tokens: int) -> None:
    sizes = {"image_caption": 60}
    of = order(sizes, tokens=tokens)
    lengths = of.tokens

    def came(steps: int) -> int:
        places = [of.locate_step(step) for step in range(steps)]
        return sum(int(lengths[pack].sum()) for epoch, step in places for pack in of.epoch(epoch).packs(step))

    assert came(of.steps() - 1) < tokens <= came(of.steps())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tasks": ["video_qa"]},
            r"phase test: no shard has a task of the kind 'video_qa' \(there are: image_caption 5\)",
        ),
        ({"stages": ["omni"]}, "phase test: no shard has a task of the stages omni"),
        (
            {"stages": ["omni"], "tasks": ["subtitle"]},
            r"no shard has a task of the kind 'subtitle' \(there are: none\)",
        ),
        (
            {"stages": ["image"], "replay": {"video": 0.1}},
            "phase test: replay: no shard has a task of the stage 'video'",
        ),
    ],
)
def test_what_no_shard_has_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StagesError, match=message):
        order({"image_caption": 5}, **changes)


def test_a_live_first_epoch_takes_shards_in_the_order_they_are_packed() -> None:
    """Some shards are shuffled together; each task occurs once, and later epochs are unchanged."""
    tasks = made({"image_caption": 100})
    live, whole = (Order(tasks, phase(), 0, live) for live in (True, False))
    shards = live.shards[live.epoch(0).rows] // SHUFFLED_SHARDS
    assert sorted(live.epoch(0).rows) == list(range(100))
    assert np.all(np.diff(shards) >= 0)
    assert len(set(shards)) == 5
    assert not np.array_equal(live.epoch(0).rows, np.arange(100))
    assert np.array_equal(live.epoch(1).rows, whole.epoch(1).rows)
