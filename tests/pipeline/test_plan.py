"""The plan: errors before anything runs, and keys that change with everything that decides a result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from manifests.ledger import KEY_DIGITS, digest
from manifests.records import Clip
from pipeline.engine.engines import InlineEngine
from pipeline.errors import ConfigError
from pipeline.plan import Plan, build_plan
from pipeline.run import lanes
from pipeline.step import Resources, Step
from pipeline.steps.ingest import Ingest
from pipeline.steps.split import Split
from tests import toys
from tests.toys import Crack, Film, Gem, Grain, Pebble, Polish, Reel, Take, Traced


class Tally(Step[Clip, Grain]):
    name, takes, gives = "tally", Clip, Grain


class Newer(Take):
    version = 2


@dataclass(frozen=True)
class Stranger:
    """Neither names the other."""

    reel: Reel
    pebble: Pebble


class Odd(Step[Stranger, Gem]):
    name, takes, gives = "odd", Stranger, Gem


def keys(made: Plan) -> list[str]:
    return [planned.manifest.key for planned in made.steps]


def test_a_missing_maker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        build_plan(str(tmp_path), [Ingest(), Tally()])
    assert str(caught.value) == "step 'tally' needs clips; no step before it makes them (add 'split')"
    build_plan(str(tmp_path), [Ingest(), Split(), Tally()])
    with pytest.raises(ConfigError, match=r"step 'polish' needs Grain; no step before it makes them$"):
        build_plan(str(tmp_path), [Take(), Polish()])
    assert list(tmp_path.iterdir()) == []


def test_a_step_twice_and_strangers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 'take' twice"):
        build_plan(str(tmp_path), [Take(), Film(), Take()])
    with pytest.raises(
        ConfigError,
        match=r"expected a column 'pebble' with its id in a record before it \(Reel\)",
    ):
        build_plan(str(tmp_path), [Take(), Film(), Odd()])


def test_keys_follow_what_decides_the_result(tmp_path: Path) -> None:
    made = build_plan(str(tmp_path), [Take(), Crack(), Polish()])
    assert keys(made) == keys(build_plan(str(tmp_path / "elsewhere"), [Take(), Crack(), Polish()]))
    few = {"take": Resources(cpus=7, batch=3, seconds=1)}
    assert keys(made) == keys(build_plan(str(tmp_path), [Take(), Crack(), Polish()], few))
    changed = keys(build_plan(str(tmp_path), [Take(), Crack(Traced(pause=1.0)), Polish()]))
    assert [a == b for a, b in zip(keys(made), changed, strict=True)] == [True, False, False]
    assert keys(build_plan(str(tmp_path), [Newer(), Crack(), Polish()]))[0] != keys(made)[0]
    late = build_plan(str(tmp_path), [Film(), Take(), Crack()])
    assert set(keys(late)).isdisjoint(keys(made))
    assert made.key == keys(made)[-1]


def test_folders_tell_number_step_and_key(tmp_path: Path) -> None:
    made = build_plan(str(tmp_path), [Take(), Crack()])
    assert [m.folder for m in made.manifests] == ["00-source", f"01-take-{keys(made)[0]}", f"02-crack-{made.key}"]
    assert made.find_step("crack") is made.steps[1]
    with pytest.raises(ConfigError, match=r"no step 'polish' in this run \(choices: take, crack\)"):
        made.find_step("polish")
    assert build_plan(str(tmp_path), []).key == ""


def test_a_bundle_is_looked_up_by_the_ids_its_records_name(tmp_path: Path) -> None:
    made, parts = toys.planned(tmp_path, [Take(), Crack(), Polish()], ["ok", "drop", "raise", "ok"], per_part=4)
    InlineEngine().map(lanes(made.steps[:2], isolate=True), parts)
    polish = made.steps[2]
    settings = polish.inputs(0)
    assert [polish.input_id(setting) for setting in settings] == [f"p-s000{n}-{m}" for n in (0, 3) for m in range(3)]
    assert all(setting.pebble.id == setting.grain.pebble for setting in settings)
    assert [pebble.id for pebble in made.steps[1].inputs(0)] == ["p-s0000", "p-s0003"]


def test_keys_do_not_depend_on_the_order_of_facts() -> None:
    whole = hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    assert digest({"b": 1, "a": "é"}) == digest({"a": "é", "b": 1}) == whole[:KEY_DIGITS]
