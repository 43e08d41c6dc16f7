"""Presets of pack: conditions by name, combined with `pack.where` by AND; `none` changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.pack.facts import pack_facts
from pipeline.pack.presets import NO_LEAKS, PRESETS, Preset, preset_condition
from pipeline.pack.rules import check_where
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from tests.pipeline.report_root import make_root
from tests.pipeline.test_pack_tasks import annotated, verdicts
from tests.runs import ola

HOW_TO = Path(__file__).parents[2] / "docs/how-to/presets.md"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return annotated(tmp_path_factory.mktemp("presets"), [range(4)])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_leaves_out_what_its_conditions_do_not_keep(plan: Plan, preset: Preset) -> None:
    as_where = verdicts(plan, where=preset_condition(preset, ()))
    as_preset = verdicts(plan, preset=preset)
    assert {
        key: reason and reason.replace("pack.where", "pack.preset") for key, reason in as_where.items()
    } == as_preset


def test_presets_differ_and_the_users_where_holds_as_well(plan: Plan) -> None:
    kept = {
        preset: {key for key, reason in verdicts(plan, preset=preset).items() if reason is None} for preset in PRESETS
    }
    assert {kind for _, kind, _ in kept["speech"]} == {"subtitle", "speech_recognition"}
    assert not {kind for _, kind, _ in kept["ola-paper"]} & {
        "subtitle",
        "video_qa",
        "cross_modal_qa",
    }  # informative 0.4
    assert kept["none"] > kept["ola-paper"]
    assert kept["none"] > kept["strict"]
    both = verdicts(plan, preset="speech", where="kind = 'subtitle'")
    assert {key for key, reason in both.items() if reason is None} == {
        key for key in kept["speech"] if key[1] == "subtitle"
    }
    assert set(both.values()) >= {"pack.preset", "pack.where"}


def test_conditions_on_columns_that_a_run_lacks_are_left_out() -> None:
    assert "leaked" not in preset_condition("strict", ["kind"])
    assert all(each.sql in preset_condition("strict", [*each.columns]) for each in NO_LEAKS)
    assert preset_condition("none", ["leaked_text"]) == "true"


def test_the_default_keeps_the_key_and_another_preset_or_its_text_changes_it(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "preset" not in pack_facts(plan, PackSettings())["settings"]
    before = pack_facts(plan, PackSettings(preset="strict"))
    assert before != pack_facts(plan, PackSettings())
    monkeypatch.setitem(PRESETS, "strict", PRESETS["strict"][:-1])
    assert pack_facts(plan, PackSettings(preset="strict")) != before


def test_a_wrong_where_beside_a_preset_is_named_as_the_user_wrote_it(plan: Plan) -> None:
    with pytest.raises(Exception, match=r"pack\.where: expected a condition, got 'colour = 1'"):
        check_where(plan, PackSettings(preset="strict", where="colour = 1"))


def test_whatif_tries_a_preset(tmp_path: Path) -> None:
    root = make_root(tmp_path, 4).root
    shown = ola("whatif", root, "--set", "pack.preset=speech").out
    kinds = {line.split()[1] for line in shown.splitlines() if ": " in line and line.split()[-1] != "0"}
    assert kinds == {"subtitle", "speech_recognition"}
    refused = ola("whatif", root, "--set", "split.longest=3").err
    assert refused.startswith("ola: --set: expected a setting of pack, as in pack.preset=strict, got 'split.longest=3'")


def test_the_page_shows_every_condition() -> None:
    page = HOW_TO.read_text(encoding="utf-8")
    for conditions in PRESETS.values():
        for each in conditions:
            assert each.sql.replace("|", "\\|") in page, each.sql


def test_the_conditions_use_columns_that_exist(plan: Plan) -> None:
    for preset in PRESETS:
        check_where(plan, PackSettings(preset=preset))
