"""Run the command line in this process, and make runs that several tests share, once per session."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline.cli import main
from pipeline.cli.open_run import connect
from tests.media import numbered, pattern, store

WORDS = "the quick brown fox jumps over the lazy dog and runs away"


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


class Heard(io.StringIO):
    """What is written, but by a thread of Ray: that tells at any time of workers that other tests have killed."""

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else super().write(text)


def ola(*arguments: str | Path) -> Said:
    """`ola` with these arguments."""
    out, err = Heard(), Heard()
    code = 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["ola", *map(str, arguments)]):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Said(code, out.getvalue(), err.getvalue())


def status(root: Path | str) -> dict[str, dict[str, Any]]:
    """Facts of each step, after a check of the law: every input of a step is ok, dropped or failed."""
    steps = {step["step"]: step for step in json.loads(ola("status", root, "--json").out)["steps"]}
    for step in steps.values():
        assert step["inputs"] == step["ok"] + step["dropped"] + step["failed"], step
    for before, after in (("ingest", "split"), ("split", "extract"), ("extract", "transcribe"), ("extract", "pack")):
        assert after not in steps or steps[after]["inputs"] == steps[before]["outputs"], steps
    return steps


def rows(root: Path | str, query: str) -> list[tuple[Any, ...]]:
    """Answer of a query over the run's views."""
    with connect(str(root)) as connection:
        return connection.sql(query).fetchall()


def srt(*cues: tuple[float, float, str]) -> str:
    """A subtitle file of cues in seconds."""
    texts = [f"{n}\n{stamp(start)} --> {stamp(end)}\n{text}\n" for n, (start, end, text) in enumerate(cues, start=1)]
    return "\n".join(texts)


def stamp(seconds: float) -> str:
    """1.5 as 00:00:01,500."""
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def talking(folder: Path, name: str, source: Path, seconds: float) -> Path:
    """A copy of a video with one cue a second beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    video = folder / f"{name}{source.suffix}"
    shutil.copy(source, video)
    said = [
        (n + 0.1, n + 0.8, f"{word} of {name}") for n, word in zip(range(int(seconds)), WORDS.split(), strict=False)
    ]
    video.with_suffix(".srt").write_text(srt(*said), encoding="utf-8")
    return video


@cache
def finished() -> Path:
    """Root of a run of four videos from a list, with several shards, train and val. Copy it to change it."""
    # a table read by guesses would take these folders' names for its columns
    folder = Path(tempfile.mkdtemp(dir=store(), prefix="kind=")) / "split=none" / "width=640"
    films = [
        talking(folder, "numbers", numbered("numbers.mp4", 200), 8),
        *(talking(folder, f"film {n}", pattern(f"film{n}.mp4", 5 + n / 5, size="320x240"), 5) for n in range(3)),
    ]
    facts = [
        {"path": film.name, "licence": "CC-BY" if n % 2 else "unknown", "title": film.stem}
        for n, film in enumerate(films)
    ]
    listed = folder / "list.jsonl"
    listed.write_text("".join(json.dumps(fact) + "\n" for fact in facts), encoding="utf-8")
    root = folder / "out"
    settings = ("split.longest=4", "extract.frames.fps=8", "pack.shard_mb=1", "pack.val=0.4", "videos_per_part=2")
    said = ola("run", listed, "--root", root, *(word for setting in settings for word in ("--set", setting)))
    assert said.code == 0, said
    return root


def copy_of(root: Path, folder: Path) -> Path:
    """A copy of a run that a test may damage."""
    return Path(shutil.copytree(root, folder / "copy"))


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a root with its size and time of change."""
    found = (Path(path, name) for path, _, names in os.walk(root) for name in names)
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def shards_of(root: Path) -> list[Path]:
    """The tars of a run, in order."""
    return sorted(root.glob("shards/*/*/*.tar"))
