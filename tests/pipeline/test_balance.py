"""Shares and caps of clips: they hold in each group, whatever the order of rows, and whatif shows them first."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.whatif import pack_yields
from pipeline.config import validate_settings
from pipeline.errors import ConfigError
from pipeline.pack import groups, part_candidates
from pipeline.pack.balance import choose_unbalanced, largest_count
from pipeline.pack.facts import pack_facts
from pipeline.pack.rules import check_where
from pipeline.pack.settings import BalanceSettings, PackSettings
from pipeline.plan import Plan
from tests.pipeline import test_pack_tasks
from tests.pipeline.test_pack import reasons_of, video
from tests.pipeline.test_pack_tasks import annotated, commit_part, packed

CATEGORIES = ["music", "music", "music", "news", "sport", "music", "news", "sport"]  # of videos with three clips each
BY: dict[str, Any] = {"by": "meta->>'category'"}


def rows(**counts: int) -> list[dict[str, Any]]:
    return [
        {"clip": f"{value}-{n}", "video": f"{value}-{n // 2}", "channel": value, "value": value}
        for value, count in counts.items()
        for n in range(count)
    ]


def kept(clips: list[dict[str, Any]], **settings: Any) -> Counter[str]:
    out = set(choose_unbalanced(clips, BalanceSettings(**settings))["clip"].to_pylist())
    return Counter(row["value"] for row in clips if row["clip"] not in out)


@pytest.mark.parametrize(
    ("counts", "rule", "expected"),
    [
        ({"en": 90, "de": 6, "fr": 6}, {"at_most": 0.4}, {"en": 8, "de": 6, "fr": 6}),
        ({"en": 90, "de": 6, "fr": 6}, {"at_most": 0.9}, {"en": 90, "de": 6, "fr": 6}),
        ({"en": 10, "de": 10}, {"at_most": 0.5}, {"en": 10, "de": 10}),
        ({"en": 10, "de": 10}, {"at_most": 0.4}, {}),  # two values cannot both have less than half
        ({"en": 10}, {"at_most": 1}, {"en": 10}),
        ({"en": 90, "de": 6, "fr": 3}, {"like": "uniform"}, {"en": 3, "de": 3, "fr": 3}),
        ({}, {"like": "uniform"}, {}),
    ],
)
def test_as_many_clips_are_kept_as_the_shares_allow(
    counts: Mapping[str, int], rule: dict[str, Any], expected: Mapping[str, int]
) -> None:
    assert kept(rows(**counts), by="language", **rule) == expected


def test_no_larger_limit_would_hold() -> None:
    rng = random.Random(3)
    for _ in range(200):
        counts = {str(n): rng.randrange(1, 40) for n in range(rng.randrange(1, 7))}
        share = rng.choice((0.1, 0.29, 0.3, 0.4, 0.7))
        holding = [
            limit
            for limit in range(max(counts.values()) + 1)
            if limit * 100 <= round(share * 100) * sum(min(count, limit) for count in counts.values())
        ]
        assert largest_count(counts, BalanceSettings(by="x", at_most=share)) == holding[-1]


def test_caps_come_first_and_the_order_of_rows_does_not_matter() -> None:
    clips = rows(en=20, de=4)
    assert kept(clips, clips_per_video=1) == {"en": 10, "de": 2}
    assert kept(clips, clips_per_channel=3) == {"en": 3, "de": 3}
    assert kept([{**row, "channel": None} for row in clips], clips_per_channel=3) == {"en": 20, "de": 4}
    settings = BalanceSettings(by="x", at_most=0.7, clips_per_video=1)
    shuffled = random.Random(1).sample(clips, len(clips))
    out = choose_unbalanced(clips, settings).to_pydict()
    assert choose_unbalanced(shuffled, settings).to_pydict() == out
    assert set(out["reason"]) == {"over pack.balance", "over pack.balance.clips_per_video"}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    def categorised(number: int) -> Any:
        return replace(video(number), meta=f'{{"category": "{CATEGORIES[number % 8]}", "uploader": "u{number % 2}"}}')

    monkeypatch.setattr(test_pack_tasks, "video", categorised)
    return annotated(tmp_path, [range(4), range(4, 8)])


def shares(plan: Plan, **balance: Any) -> Counter[str]:
    by_video = {video(n).id: CATEGORIES[n % 8] for n in range(16)}
    return Counter(by_video[name[:20]] for name in {row.clip for row in packed(plan, balance=balance)})


def test_shares_hold_in_the_shards_and_whatif_foretells_them(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shares(plan) == {"music": 12, "news": 6, "sport": 6}
    assert shares(plan, **BY, at_most=0.4) == {"music": 8, "news": 6, "sport": 6}
    settings = PackSettings(balance=BalanceSettings(**BY, at_most=0.4))
    _, then = pack_yields(plan, settings, "true")
    tasks = packed(plan, balance=settings.balance)
    assert (then.candidates, then.clips, then.tokens) == (24, 20, sum(row.tokens for row in tasks))
    assert {key: count for key, (count, _) in then.tasks.items()} == Counter((row.stage, row.kind) for row in tasks)
    assert sum("over pack.balance" in reason for reason in reasons_of(plan, settings).values()) == 4
    monkeypatch.setattr(part_candidates, "BATCH", 1)  # a batch for each part: the rule is over the group
    assert {row.id for row in packed(plan, balance=settings.balance, val=0.5)} == {row.id for row in tasks}


def test_a_new_group_leaves_the_old_ones_as_they_are(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "LARGEST_GROUP", 8)
    balance = {**BY, "like": "uniform"}
    before = {row.id for row in packed(plan, balance=balance)}
    commit_part(tmp_path, plan, 2, range(8, 16))
    after = {row.id for row in packed(plan, balance=balance)}
    old = {video(n).id for n in range(8)}
    assert {name for name in after if name[:20] in old} == before
    assert after > before


def test_the_default_keeps_the_key(plan: Plan) -> None:
    assert "balance" not in pack_facts(plan, PackSettings())["settings"]
    assert pack_facts(plan, PackSettings(balance=BalanceSettings(clips_per_video=2)))["settings"]["balance"]


def test_wrong_rules_are_one_line(plan: Plan) -> None:
    for wrong in ({"by": "language"}, {"at_most": 0.5}, {"by": "language", "at_most": 0.5, "like": "uniform"}):
        with pytest.raises(ConfigError, match=r"pack\.balance: expected `by` with one of"):
            validate_settings(PackSettings, {"balance": wrong}, "pack")
    with pytest.raises(
        ConfigError, match=r"pack\.balance\.by: expected an expression over a clip, got 'question_kind'"
    ):
        check_where(plan, PackSettings(balance=BalanceSettings(by="question_kind", like="uniform")))
