"""Mistakes in settings, inputs and commands give one line with key, value and choices; nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media import numbered
from tests.runs import finished, ola

MISTAKES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown key": (
        ["--set", "split.longst=3"],
        ("split.longst: no such setting", "did you mean 'longest'?", "shortest"),
    ),
    "unknown section": (["--set", "spilt.longest=3"], ("spilt: no such setting", "did you mean 'split'?")),
    "wrong type": (["--set", "split.longest=long"], ("split.longest: expected a number, got 'long'\n",)),
    "out of bounds": (
        ["--set", "extract.quality=100"],
        ("extract.quality: expected less than or equal to 95, got 100\n",),
    ),
    "wrong choice": (
        ["--set", "extract.reader=opencv"],
        ("extract.reader: expected 'libav' or 'decord', got 'opencv'\n",),
    ),
    "wrong engine": (["--set", "engine=spark"], ("engine: expected 'inline' or 'ray', got 'spark'\n",)),
    "a section that is none": (["--set", "split=3"], ("split: expected a section of settings, got 3\n",)),
    "no value": (
        ["--set", "split.longest"],
        ("--set: expected key=value, as in ", "got 'split.longest'"),
    ),
    "bad yaml in a value": (["--set", "pack.where={a"], ("--set pack.where={a: ",)),
    "no room to cut": (
        ["--set", "split.longest=3", "--set", "split.shortest=2"],
        ("split: ", "expected longest to be at least 4.0 s, twice shortest, got 3.0 s"),
    ),
    "unknown step": (["--set", "steps=[ingest, splt]"], ("steps: ", "no step 'splt' (choices: ingest, split, ")),
    "a step without what it needs": (
        ["--set", "steps=[ingest, extract]"],
        ("step 'extract' needs clips; no step before it makes them (add 'split')",),
    ),
    "unknown step of resources": (["--set", "resources.spilt.cpus=2"], ("resources.spilt: no such step", "split")),
    "unknown resource": (["--set", "resources.split.cpu=2"], ("resources.split.cpu: no such setting", "'cpus'")),
    "unknown only": (["--only", "splt"], ("--only splt: no such step in this run (choices: ingest, split, ", "pack)")),
    "bad where": (
        ["--set", "pack.where=wrds > 3"],
        ("pack.where: expected a condition, got 'wrds > 3': ", "columns: clip"),
    ),
    "no sql at all": (["--set", "pack.where=)("], ("pack.where: expected a condition, got ')(': ",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(mistake: str, tmp_path: Path) -> None:
    arguments, expected = MISTAKES[mistake]
    said = ola("run", numbered("plain.mp4", 100), "--root", tmp_path / "out", *arguments)
    assert said.code == 2, said
    assert said.err.startswith("ola: ")
    assert said.err.count("\n") == 1, said.err
    for text in expected:
        assert text in said.err
    assert not list(tmp_path.glob("out/0*/part-*")), "something has run"


def test_mistakes_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("licence\nx\n")
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "empty").mkdir()
    for name, text in {
        "nothing": "inputs: no such file or folder: ",
        "*.avi": "inputs: no file matches ",
        "none.csv": "inputs: no such list: ",
        "bad.csv": "row 1 names no video (columns looked for: uri, path, video, file)",
        "bad.jsonl": "is not a readable list: ",
        "empty": "inputs: expected at least one file, got none in ",
    }.items():
        said = ola("run", tmp_path / name, "--root", tmp_path / "out")
        assert (said.code, said.err.count("\n")) == (2, 1), said
        assert text in said.err, name


def test_mistakes_of_the_command(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("split: [1\n")
    lone = tmp_path / "lone.yaml"
    lone.write_text("just words\n")
    film = numbered("plain.mp4", 100)
    for arguments, text in {
        ("run", film): "--root: expected the folder or URI of the run, got nothing",
        ("run", "--root", tmp_path / "out"): "inputs: expected files, folders, globs or lists, got none",
        ("run", film, "--root", film): "File exists",
        ("run", film, "--root", tmp_path / "out", "--config", tmp_path / "gone.yaml"): "No such file or directory",
        ("run", film, "--root", tmp_path / "out", "--config", bad): f"{bad}: while parsing",
        ("run", film, "--root", tmp_path / "out", "--config", lone): "expected keys and values, got str",
        ("status", tmp_path): f"no run at {tmp_path}: expected run.yaml there",
        ("sql", tmp_path, "SELECT 1"): "no run at ",
        ("why", tmp_path, "x"): "no run at ",
        ("export", tmp_path, tmp_path / "x.json"): "no shards at ",
        ("export", finished(), tmp_path / "x.json", "--to", "csv"): "--to: expected ola-json, got 'csv'",
        ("sql", finished(), "SELECT x FROM splt"): "(views: ",
    }.items():
        said = ola(*arguments)
        assert said.code == 2, said
        assert said.err.count("\n") == 1, said.err
        assert text in said.err


def test_settings_come_from_the_file_then_from_the_command(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("split:\n  longest: 6\n  shortest: 1\nextract: {quality: 80}\n")
    film = numbered("plain.mp4", 100)
    said = ola(
        *("run", film, "--root", tmp_path / "out", "--config", tmp_path / "run.yaml"),
        *("--set", "split.longest=5", "--only", "ingest"),
    )
    assert said.code == 0, said
    stored = (tmp_path / "out" / "run.yaml").read_text()
    for line in ("longest: 5", "shortest: 1.0", "quality: 80"):
        assert line in stored
    assert ola("run", "--root", tmp_path / "out", "--only", "ingest").code == 0
    assert (tmp_path / "out" / "run.yaml").read_text() == stored
