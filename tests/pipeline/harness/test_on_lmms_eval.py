"""Ola in lmms-eval itself (`make test-lmms-eval`): made tasks of each kind, asked in both ways, end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.harness.made_task import TASKS, write_tasks

pytestmark = pytest.mark.skipif(
    find_spec("lmms_eval") is None, reason="`make test-lmms-eval` gives it a venv of its own"
)
DOCS = 16


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder, DOCS)
    return folder


def evaluated(tasks: Path, out: Path, model: str, *names: str, args: str = "pretrained=nano") -> dict[str, Any]:
    """The scores of tasks by name, as the harness writes them."""
    command = [sys.executable, "-m", "lmms_eval", "--model", model, "--model_args", args, "--tasks", ",".join(names),
               "--include_path", str(tasks), "--batch_size", "8", "--output_path", str(out)]  # fmt: skip
    # One thread: the order of sums, and so an answer between two almost equal tokens, does not hang on the machine.
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **offline})
    files = list(out.glob("**/*results.json"))
    assert files, done.stdout[-3000:] + done.stderr[-3000:]  # the harness ends with 0 after an error, too
    found: dict[str, Any] = json.loads(files[0].read_bytes())["results"]
    figures = {
        f"{name} {key}": round(value, 3)
        for name in names
        for key, value in found[name].items()
        if key in ("exact,none", "named,none", "acc,none")
    }
    sys.stdout.write(f"\n{model} {args}: {figures}\n")
    return found


@pytest.fixture(scope="module")
def scores(tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return evaluated(tasks, tmp_path_factory.mktemp("plain"), "ola_pipeline", *TASKS)


def test_scores_of_each_kind_of_task(scores: dict[str, Any]) -> None:
    assert scores["toy_picture"]["exact,none"] > 0.9
    assert scores["toy_sound"]["exact,none"] > 0.9
    assert scores["toy_video"]["named,none"] > 0.7
    assert scores["toy_choice"]["acc,none"] > 0.9, "a quarter by guessing"


def test_chat_messages_give_the_same_answers(scores: dict[str, Any], tasks: Path, tmp_path: Path) -> None:
    names = [name for name in TASKS if name != "toy_choice"]
    chat = evaluated(tasks, tmp_path, "ola_pipeline_chat", *names)
    assert [chat[name]["exact,none"] for name in names] == [scores[name]["exact,none"] for name in names]


def test_a_video_without_its_sound_tells_less(scores: dict[str, Any], tasks: Path, tmp_path: Path) -> None:
    seen = evaluated(tasks, tmp_path, "ola_pipeline", "toy_video", args="pretrained=nano,video_sound=False")
    assert seen["toy_video"]["named,none"] < scores["toy_video"]["named,none"] - 0.2
