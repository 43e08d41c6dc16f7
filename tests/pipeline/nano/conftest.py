"""A run over ten films of the synthetic world (five linked clips, one of each other kind), shared by these tests."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.synthetic.nano.lessons import write_lessons
from pipeline.synthetic.world.score import RunScore, ScoredClip
from tests.runs import ola

SEED, CLIPS = 7, 10


@dataclass(frozen=True)
class Run:
    root: Path
    file: Path
    counts: Counter[str]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def clips(self) -> list[ScoredClip]:
        return list(RunScore(str(self.root)).clips.values())


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("lessons")
    films, root, file = folder / "films", folder / "run", folder / "lessons.jsonl"
    assert ola("world", "make", films, "--clips", str(CLIPS), "--seed", str(SEED), "--subtitles").code == 0
    assert ola("run", films / "*.mp4", "--root", root, "--set", "pack.val=0", "--set", "isolate=false").code == 0
    return Run(root, file, write_lessons(str(root), str(file), 0))
