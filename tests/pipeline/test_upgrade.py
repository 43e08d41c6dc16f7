"""A newer version on a root of an older one: finished work stays, and repeated work is announced.

The older version is simulated by columns and settings that it lacks, the newer one by settings that are added.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import typing
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import create_model

from manifests.ledger import FOOTER
from manifests.records import Transcript, Video
from manifests.schema import MissingColumn, from_rows, hints
from pipeline import config
from pipeline.cli.run import confirm_rerun
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.pack.settings import PackSettings
from pipeline.state import keys, rerun
from pipeline.state.keys import key_for
from pipeline.state.rerun import RerunStep, steps_to_rerun
from pipeline.step import Settings
from pipeline.steps import STEPS
from pipeline.steps.extract import ExtractSettings, Frames
from pipeline.steps.split import SplitSettings
from pipeline.steps.transcribe import TranscribeSettings
from tests.runs import copy_of, files_of, finished, ola, rows, status

IN_PROCESS = ("--set", "isolate=false")


class NewSplit(SplitSettings):
    margin: float = 0.0


class ChangedSplit(SplitSettings):
    margin: float = 1.0


class NewFrames(Frames):
    jitter: float = 0.0


class NewExtract(ExtractSettings):
    frames: NewFrames = NewFrames()
    chroma: tuple[int, ...] = (4, 2, 0)


@dataclass(frozen=True)
class Line:
    text: str
    size: int = 1


@dataclass(frozen=True)
class Page:
    lines: tuple[Line, ...]
    title: str = ""


class NewPack(PackSettings):
    order: str = "key"


def newer(monkeypatch: pytest.MonkeyPatch, **sections: type[Settings]) -> None:
    """Let the configuration know more settings in these sections."""
    fields: dict[str, Any] = {name: (settings, settings()) for name, settings in sections.items()}
    monkeypatch.setattr(config, "Config", create_model("Config", __base__=Config, **fields))


def parts(root: Path) -> dict[str, tuple[int, int]]:
    """The files of committed parts, and of shards, with size and time of change."""
    return {name: facts for name, facts in files_of(root).items() if name.endswith((".parquet", ".tar"))}


def folders(root: Path) -> dict[str, str]:
    """The folder of each step in the last run."""
    return dict(json.loads((root / keys.KEYS).read_text())["last"])


def done_in(root: Path, step: str, seconds: float) -> None:
    """Change the footers of a step's parts so that its work took that long in all."""
    files = sorted(root.glob(f"0*-{step}-*/part-*.parquet"))
    for path in files:
        table = pq.read_table(path)
        counts = {**json.loads(table.schema.metadata[FOOTER]), "seconds": seconds / len(files)}
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, FOOTER: json.dumps(counts)}), path)


def test_a_new_setting_at_its_default_runs_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of(finished(), tmp_path)
    before, used = parts(root), folders(root)
    newer(monkeypatch, split=NewSplit, extract=NewExtract, pack=NewPack)
    said = ola("run", "--root", root, *IN_PROCESS)
    assert (said.code, "run again" in said.out) == (0, False), said
    assert parts(root) == before
    assert folders(root) == used
    assert "margin: 0.0" in (root / "run.yaml").read_text(), "the newer settings were in force"
    assert status(root)["split"]["ok"] == 4
    assert ola("check", root).out == "no fault\n"


def test_a_default_that_changes_after_it_was_in_force_runs_its_step_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(finished(), tmp_path)
    newer(monkeypatch, split=NewSplit)
    assert ola("run", "--root", root, *IN_PROCESS).code == 0
    before = parts(root)
    newer(monkeypatch, split=ChangedSplit)
    (root / "run.yaml").write_text((root / "run.yaml").read_text().replace("  margin: 0.0\n", ""))
    said = ola("run", "--root", root, *IN_PROCESS)
    assert said.code == 0, said
    lines = [line.partition(" (")[0] for line in said.out.splitlines() if "will run again" in line]
    assert lines == [
        "split will run again: split.margin 0.0 -> 1.0",
        "extract will run again: split runs again before it",
        "transcribe will run again: extract runs again before it",
    ]
    assert {name.split("-")[1] for name in parts(root).keys() - before.keys() if name[0] == "0"} == {
        *("split", "extract", "transcribe", "pack")
    }
    assert {name: facts for name, facts in parts(root).items() if name in before} == before


def test_a_root_without_keys_keeps_the_keys_it_has(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    before, stored = parts(root), (root / keys.KEYS).read_bytes()
    (root / keys.KEYS).unlink()
    assert ola("run", "--root", root, *IN_PROCESS).code == 0
    assert parts(root) == before
    assert json.loads((root / keys.KEYS).read_bytes()) == json.loads(stored)


def test_a_root_without_keys_runs_nothing_again_for_a_new_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(finished(), tmp_path)
    before, used = parts(root), folders(root)
    (root / keys.KEYS).unlink()
    newer(monkeypatch, split=NewSplit, extract=NewExtract)
    said = ola("run", "--root", root, *IN_PROCESS)
    assert (said.code, "run again" in said.out) == (0, False), said
    assert {name: facts for name, facts in parts(root).items() if name[0] == "0"} == {
        name: facts for name, facts in before.items() if name[0] == "0"
    }
    assert folders(root) == used
    (root / keys.KEYS).unlink()
    (root / "run.yaml").write_text((root / "run.yaml").read_text().replace("  margin: 0.0\n", ""))
    said = ola("run", "--root", root, "--set", "split.margin=1.0", *IN_PROCESS)
    assert said.code == 0, said
    assert "split will run again" in said.out


def test_damaged_keys_are_one_line(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    for text in ("{", "[]", '{"facts": {}}'):
        (root / keys.KEYS).write_text(text)
        said = ola("status", root)
        assert (said.code, said.err.count("\n")) == (2, 1), said
        assert "keys.json: expected the facts of keys, got something else; restore it, or delete it" in said.err


FACTS = {"step": "s", "settings": {"a": 1, "inner": {"b": [2], "named": {}}}, "before": "k"}
DEFAULTS = {"settings": {"a": 1, "inner": {"b": [2], "named": {}}}}


@pytest.mark.parametrize(
    ("old", "known"),
    [
        (FACTS, True),
        ({"step": "s", "settings": {"a": 1}, "before": "k"}, True),
        ({"step": "s", "settings": {"a": 1, "inner": {"named": {}}}, "before": "k"}, True),
        ({"step": "s", "settings": {"a": 2}, "before": "k"}, False),
        ({"step": "s", "settings": {"a": 1}, "before": "other"}, False),
        ({"step": "other", "settings": {"a": 1}, "before": "k"}, False),
        ({"step": "s", "settings": {"a": 1, "removed": 0}, "before": "k"}, False),
        ({"step": "s", "settings": {"a": 1, "inner": {"named": {"x": 1}}}, "before": "k"}, False),
    ],
)
def test_what_a_remembered_key_stands_for(old: dict[str, Any], known: bool) -> None:
    key = key_for(FACTS, DEFAULTS, {"03-s-abc": old})
    assert key == ("abc" if known else key_for(FACTS, DEFAULTS, {}))


def test_a_value_that_is_no_default_is_another_key_and_the_nearest_facts_win() -> None:
    changed = {**FACTS, "settings": {"a": 1, "inner": {"b": [3], "named": {}}}}
    old = {"step": "s", "settings": {"a": 1}, "before": "k"}
    assert key_for(changed, DEFAULTS, {"03-s-abc": old}) == key_for(changed, DEFAULTS, {})
    assert key_for(FACTS, DEFAULTS, {"03-s-f": old, "03-s-a": FACTS, "03-s-e": {**old, "settings": {}}}) == "a"


@pytest.mark.parametrize("name", STEPS)
def test_every_step_knows_the_defaults_of_its_facts(name: str) -> None:
    step = STEPS[name]()
    facts, defaults = json.loads(json.dumps([step.facts(), step.defaults()]))
    assert facts["settings"].items() <= defaults["settings"].items()
    assert {fact: facts[fact] for fact in ("dtype", "engine") if fact in facts}.items() <= defaults.items()


def test_a_listener_that_is_asked_has_defaults_too() -> None:
    step = STEPS["transcribe"](TranscribeSettings(sources=("whisperx",)))
    facts, defaults = step.facts(), json.loads(json.dumps(step.defaults()))
    old = {**facts, "whisperx": {name: value for name, value in facts["whisperx"].items() if name != "language"}}
    assert facts["whisperx"]["language"] == defaults["whisperx"]["language"]
    assert key_for(facts, defaults, {"04-transcribe-abc": old}) == "abc"


def test_work_above_the_limit_is_asked_about(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    done_in(root, "extract", 5400)
    before = parts(root)
    changed = ("run", "--root", root, "--set", "extract.quality=80", *IN_PROCESS)
    said = ola(*changed)
    assert said.code == 2, said
    assert said.err.startswith(
        "ola: extract, transcribe would run again, which took 1.5 hours; do `ola run` with --yes"
    )
    assert said.err.count("\n") == 1
    assert "extract will run again: extract.quality 90 -> 80 (2 parts done, 1.5 hours)\n" in said.out
    assert parts(root) == before, "something has run"
    assert ola(*changed, "--set", "ask_above_hours=1.6").code == 0
    assert parts(root).keys() > before.keys()


def test_yes_goes_on_without_asking(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    done_in(root, "transcribe", 7200)
    before = parts(root)
    said = ola("run", "--root", root, "--set", "transcribe.language=en", "--yes", *IN_PROCESS)
    assert said.code == 0, said
    assert parts(root).keys() > before.keys()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_a_terminal_is_asked(answer: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    asked = [RerunStep("caption", "prompts.caption changed", 3, 4000.0)]
    confirm_rerun([], 0.0)
    confirm_rerun(asked, 1.2)
    assert terminal.tell() == 0, "what took no longer than the limit is not asked about"
    with nullcontext() if code == 0 else pytest.raises(ConfigError, match="nothing has run"):
        confirm_rerun(asked, 1.0)
    assert terminal.tell() == len(answer)


def test_what_is_done_already_under_the_new_key_does_not_run_again(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    assert ola("run", "--root", root, "--set", "extract.quality=80", *IN_PROCESS).code == 0
    said = ola("run", "--root", root, "--set", "extract.quality=90", *IN_PROCESS)
    assert (said.code, "run again" in said.out) == (0, False)


def test_a_step_that_is_not_run_keeps_its_last_folder(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    quality = ("--set", "extract.quality=80", *IN_PROCESS)
    said = ola("run", "--root", root, *quality, "--only", "extract")
    assert [line.split()[0] for line in said.out.splitlines() if "will run again" in line] == ["extract"]
    said = ola("run", "--root", root, *quality)
    line = next(line for line in said.out.splitlines() if "will run again" in line)
    assert line.startswith("transcribe will run again: what comes before it has changed (")


def test_reasons_name_the_setting_as_a_user_knows_it(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    plan = config.load_run(str(root)).plan(str(root))
    remembered = keys.load(str(root))
    folder = folders(root)["split"]
    facts = {
        **plan.find_step("split").facts,
        "version": 2,
        "prompts": {"caption": "say it"},
        "model": "ab",
        "dtype": "auto",
    }
    old = {**facts, "version": 1, "prompts": {"caption": "Say it"}, "model": "cd", "dtype": "float16", "before": "x"}
    old["settings"] = {**facts["settings"], "longest": 30.0, "gone": "x" * 99}
    assert rerun.changes("split", old, facts) == [
        "version of split 1 -> 2",
        "split.longest 30.0 -> 4.0",
        "prompts.caption changed",
        "weights of annotator.model changed",
        "annotator.dtype float16 -> auto",
        "split.gone changed",
    ]
    assert steps_to_rerun(plan, remembered) == []
    (root / folder).rename(root / "02-split-0123456789ab")
    unknown = steps_to_rerun(plan, keys.StoredFacts())
    assert [(each.step, each.why) for each in unknown] == [
        ("split", "the root does not tell what it was done with (no keys.json)")
    ]


def older(record: type, columns: Iterable[pa.Field], nested: bool) -> list[pa.Field]:
    """The columns but for those that have a default in their record; `nested`: also within lists of records."""
    own = {f.name: f.default for f in fields(record)}
    kept = [column for column in columns if own.get(column.name, MISSING) is MISSING]
    return [shortened(record, column) if nested and pa.types.is_list(column.type) else column for column in kept]


def shortened(record: type, column: pa.Field) -> pa.Field:
    inner = [argument for argument in typing.get_args(hints(record)[column.name]) if is_dataclass(argument)]
    if not inner:
        return column
    return pa.field(
        column.name, pa.list_(pa.struct(older(typing.cast(type, inner[0]), column.type.value_type.fields, True)))
    )


def as_by_an_older_version(root: Path, record: type, step: str, nested: bool) -> None:
    """Rewrite a step's parts without the columns that have defaults."""
    for path in sorted(root.glob(f"0*-{step}*/part-*.parquet")):
        table = pq.read_table(path)
        schema = pa.schema(older(record, table.schema, nested))
        assert len(schema) < len(table.schema)
        rows_left = [{name: row[name] for name in schema.names} for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows_left, schema.with_metadata(table.schema.metadata)), path)


@pytest.mark.parametrize("nested", [False, True])
def test_rows_without_newer_columns_are_read(nested: bool, tmp_path: Path) -> None:
    """No step runs again, and SQL shows the defaults."""
    root = copy_of(finished(), tmp_path)
    as_by_an_older_version(root, Video, "ingest", nested)
    as_by_an_older_version(root, Transcript, "transcribe", nested)
    segment = pq.read_schema(next(root.glob("04-*/part-*"))).field("segments").type.value_type
    assert ("flags" in [field.name for field in segment.fields]) != nested
    before = parts(root)
    video, clip = rows(root, "SELECT video, clip FROM shards LIMIT 1")[0]
    assert status(root)["transcribe"]["ok"] > 0
    for name in (video, clip):
        assert ola("why", root, name).code == 0
    assert rows(root, "SELECT DISTINCT stamp FROM ingest") == [("",)]
    assert rows(root, "SELECT DISTINCT flagged FROM transcribe WHERE status = 'ok'") == [(0.0,)]
    said = ola("run", "--root", root, *IN_PROCESS)
    assert said.code == 0, said
    assert parts(root) == before
    assert ola("check", root).out == "no fault\n"
    said = ola("run", "--root", root, "--set", "pack.where=flagged < 0.1 AND words > 0", *IN_PROCESS)
    assert (said.code, "4 of 4 videos reached the shards" in said.out) == (0, True), said
    shutil.rmtree(root / folders(root)["transcribe"])
    said = ola("run", "--root", root, "--set", "pack.where=flagged = 0", *IN_PROCESS)
    assert (said.code, "4 of 4 videos reached the shards" in said.out) == (0, True), said
    assert ola("check", root).out == "no fault\n"


def test_a_missing_column_without_a_default_is_one_line(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    for path in root.glob("02-split-*/part-*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["motion"]), path)
    shutil.rmtree(root / folders(root)["extract"])
    said = ola("run", "--root", root, *IN_PROCESS)
    assert said.code == 3
    assert said.err.startswith("ola: Clip.motion: expected a column of that name, got rows without it")
    assert said.err.count("\n") == 1
    with pytest.raises(MissingColumn, match=r"^Page\.lines\.text: expected a column of that name"):
        from_rows(Page, [{"lines": [{"text": "a"}, {"size": 2}]}])
    assert from_rows(Page, [{"lines": [{"text": "a"}], "removed": 1}]) == [Page((Line("a", 1),), "")]
