"""A root outlives releases: new settings and fields run nothing again, and what runs again is said and asked about."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from manifests.ledger import FOOTER, Counts
from manifests.records import Clip
from manifests.schema import from_rows
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.keys import FILE, known_settings
from pipeline.pack.settings import PackSettings
from pipeline.steps import STEPS
from pipeline.steps.extract import ExtractSettings, Frames
from pipeline.steps.split import SplitSettings
from tests.runs import Said, copy_of, files_of, finished, ola, rows, status

ANEW = ("run.yaml", "views.sql", "manifest.duckdb", ".lock", FILE)


def committed(root: Path) -> dict[str, Any]:
    return {name: facts for name, facts in files_of(root).items() if name not in ANEW}


def run(root: Path, *arguments: str) -> Said:
    return ola("run", "--root", root, "--set", "isolate=false", *arguments)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = copy_of(finished(), tmp_path)
    assert run(root).code == 0
    return root


class LaterSplit(SplitSettings):
    blur: float = 0.5


class LaterFrames(Frames):
    sharpest: bool = False


class LaterExtract(ExtractSettings):
    frames: LaterFrames = LaterFrames()


class LaterPack(PackSettings):
    dedupe: str = "none"


class LaterConfig(Config):
    split: LaterSplit = LaterSplit()
    extract: LaterExtract = LaterExtract()
    pack: LaterPack = LaterPack()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release with settings more: in a step, in a group of settings of a step, and in pack."""
    monkeypatch.setattr(configuration, "Config", LaterConfig)
    monkeypatch.setattr(STEPS["split"], "settings_type", LaterSplit)
    monkeypatch.setattr(STEPS["extract"], "settings_type", LaterExtract)


def test_new_settings_at_their_defaults_run_nothing_again(root: Path, later: None) -> None:
    before = committed(root)
    for _ in range(2):
        said = run(root)
        assert said.code == 0, said
        assert "will run again" not in said.out
        assert committed(root) == before
    assert ola("check", root).code == ola("status", root).code == 0


def test_a_new_setting_that_is_set_runs_its_step_and_those_after_it(root: Path, later: None) -> None:
    before = {path.name for path in root.glob("0*")}
    said = run(root, "--set", "extract.frames.sharpest=true")
    assert said.code == 0, said
    fresh = sorted(path.name.split("-")[1] for path in root.glob("0*") if path.name not in before)
    assert fresh == ["extract", "pack", "transcribe"]
    assert "extract will run again (2 parts, " in said.out
    assert "of work): extract.frames.sharpest None -> True\n" in said.out
    assert "transcribe will run again" in said.out
    assert "extract runs again before it" in said.out


def test_a_default_that_changes_later_is_a_change(root: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(root).code == 0  # the default is noted

    class Latest(SplitSettings):
        blur: float = 0.9

    monkeypatch.setattr(STEPS["split"], "settings_type", Latest)

    class LatestConfig(LaterConfig):
        split: Latest = Latest()  # type: ignore[assignment]

    monkeypatch.setattr(configuration, "Config", LatestConfig)
    stored = (root / "run.yaml").read_text(encoding="utf-8").replace("  blur: 0.5\n", "")
    (root / "run.yaml").write_text(stored, encoding="utf-8")
    said = run(root)
    assert "split.blur 0.5 -> 0.9" in said.out


def test_a_root_without_notes_keeps_its_keys(tmp_path: Path) -> None:
    """As of a release before them."""
    root = copy_of(finished(), tmp_path)
    (root / FILE).unlink(missing_ok=True)
    before = committed(root)
    assert run(root).code == 0
    assert committed(root) == before


def test_what_is_known_of_settings_is_what_was_there_or_is_no_default() -> None:
    class Inner(SplitSettings):
        new: int = 1

    assert "new" not in known_settings(Inner(), {"shortest": 2.0, "longest": 30.0})
    assert known_settings(Inner(new=2), {"shortest": 2.0, "longest": 30.0})["new"] == 2
    assert known_settings(Inner(), {"new": 5})["new"] == 1


@pytest.fixture
def dear(root: Path) -> Path:
    """A root whose split took hours."""
    for path in root.glob("02-split-*/part-*.parquet"):
        table = pq.read_table(path)
        counts = Counts(**json.loads(table.schema.metadata[FOOTER]))
        counts.seconds = 7200.0
        footer = {**table.schema.metadata, FOOTER: json.dumps(asdict(counts))}
        pq.write_table(table.replace_schema_metadata(footer), path)
    return root


def test_hours_of_work_are_not_done_again_unasked(dear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = committed(dear)
    said = run(dear, "--set", "split.longest=5")
    assert said.code == 2, said
    assert "split will run again (2 parts, 4.0 h of work): split.longest 4.0 -> 5.0\n" in said.out
    assert (
        "hours of work would be done again (split, extract, transcribe; split.longest 4.0 -> 5.0): `--yes`" in said.err
    )
    assert committed(dear) == before
    assert run(dear, "--set", "split.longest=5", "--set", "ask_above_hours=9").code == 0


def test_yes_goes_on(dear: Path) -> None:
    assert run(dear, "--set", "split.longest=5", "--yes").code == 0


def test_a_terminal_is_asked(dear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda text: "hours of work will be done again" not in text)
    assert run(dear, "--set", "split.longest=5").code == 2


LEFT_OUT = {"ingest": ["stamp"], "transcribe": ["language_probability", "flagged"]}


def test_rows_of_an_earlier_release_lack_columns_and_are_read(root: Path) -> None:
    for step, columns in LEFT_OUT.items():
        for path in root.glob(f"*-{step}-*/part-*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(columns), path)
    said = run(root, "--set", "pack.where=flagged IS NULL OR flagged < 0.5")
    assert said.code == 0, said
    assert status(root)["pack"]["ok"] == status(finished())["pack"]["ok"]
    assert rows(root, "SELECT DISTINCT stamp FROM ingest") == [(None,)]
    for part in root.glob("03-extract-*/part-000000.parquet"):
        part.unlink()
    assert run(root).code == 0
    assert ola("check", root).out == "no fault\n"
    assert ola("why", root, "numbers.mp4").code == 0


def test_a_column_without_a_default_is_named() -> None:
    with pytest.raises(
        ValueError, match="rows of Clip have no end_ms, loudness, silence, start_ms: they are of another release"
    ):
        from_rows(Clip, [{"id": "a", "video": "v", "motion": 0.0, "frozen": 0.0, "black": 0.0}])
