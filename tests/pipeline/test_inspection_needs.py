"""What the plan check says of families of `inspect` whose packages are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.checkup import tools, upfront
from pipeline.checkup.finding import State
from pipeline.checkup.needs import needs_of
from pipeline.cli.plan import show_plan
from pipeline.config import load
from pipeline.forecast.forecast import Machines
from tests.media import pattern

INSPECTING = ("extra_steps=[inspect]", "inspect.text=true", "inspect.speech=true")


def test_families_of_inspect_need_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = needs_of(load(None, INSPECTING))
    assert asked.modules == {
        "inspect.text": ("rapidocr", "onnxruntime"),
        "inspect.speech": ("silero_vad", "onnxruntime"),
    }
    assert asked.steps == ("inspect",)
    assert needs_of(load(None, ["inspect.text=true"])).modules == {}, "the step is not in the run"
    lacking = {"rapidocr", "onnxruntime"}
    for module in (tools, upfront):
        monkeypatch.setattr(module, "missing_package", lambda name: f"no {name}" if name in lacking else "")
    lines = list(upfront.package_faults(asked))
    assert [line.partition(":")[0] for line in lines] == ["inspect.text", "inspect.speech"]
    assert "no rapidocr; pip install 'ola-pipeline[inspect-text]'" in lines[0]
    assert "words_on_screen" in lines[0], "it names the columns that are lost"
    assert "no onnxruntime; pip install 'ola-pipeline[inspect-speech]'" in lines[1]
    missing = [str(each) for each in tools.tool_findings(asked) if each.state is State.MISSING]
    found = [line for line in missing if "inspect." in line]
    assert len(found) == 2
    assert all("columns" in line for line in found)


def test_a_dry_run_says_which_columns_a_missing_package_would_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upfront, "missing_package", lambda name: f"there is no {name} here")
    film = str(pattern("dry.mp4", 3, size="64x48"))
    show_plan([film], str(tmp_path / "root"), None, INSPECTING, Machines(1), 1, 0, brief=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("inspect.")]
    assert len(lines) == 2
    assert lines[1].endswith("do without its columns speech_share")
