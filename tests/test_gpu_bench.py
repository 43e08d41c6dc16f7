"""The bench of a GPU runs whole with a tiny model on the CPU, with no more than torch and transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bench import gpu

# Packages that a machine with torch and transformers lacks.
MISSING = ("ray", "pydantic", "duckdb", "av", "decord", "webdataset", "typer", "soxr")
RUN = f"""
import sys
sys.modules |= dict.fromkeys({MISSING})
from tests.bench import gpu
raise SystemExit(gpu.main(["--sizes", "tiny", "--json", sys.argv[1]]))
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would measure the GPU")
def test_each_figure_is_printed_and_written_as_it_comes(tmp_path: Path) -> None:
    file, environment = tmp_path / "figures.jsonl", {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", RUN, str(file)], env=environment, capture_output=True, text=True,
                          check=False, cwd=Path(__file__).parent.parent)  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert list(dict.fromkeys(line["figure"] for line in lines)) == list(gpu.FIGURES)
    assert {(line["card"], line["torch"]) for line in lines} == {("CPU", torch.__version__)}
    by_name = {name: [line for line in lines if line["figure"] == name] for name in gpu.FIGURES}
    assert [line["lengths"] for line in by_name["decode"]] == ["unequal", "equal"]
    assert all(line["tokens_per_s"] > 0 for name in ("decode", "prefill", "train") for line in by_name[name])
    [prefixes] = by_name["prefixes"]
    assert prefixes["positions_read"] < prefixes["positions_asked"] * 0.6
    assert {line["backend"] for line in by_name["backends"]} == {"without cuDNN", "memory-efficient"}
    assert by_name["train"][0]["mfu"] is None  # of no known card
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [line["figure"] for line in lines]


def test_a_figure_that_fails_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_world: object) -> Iterator[Any]:
        yield from ()
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB")

    monkeypatch.setattr(gpu, "FIGURES", {"decode": fail, "prefill": lambda _world: iter([{"number": 1}])})
    file = tmp_path / "figures.jsonl"
    assert gpu.main(["--sizes", "tiny", "--json", str(file), "--only", "decode", "prefill"]) == 1
    failed, whole = [json.loads(line) for line in file.read_text().splitlines()]
    assert failed["error"] == "CUDA out of memory. Tried to allocate 3 GiB"
    assert (whole["figure"], whole["number"]) == ("prefill", 1)


def test_no_figure_begins_after_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()

    def figures(_world: object) -> Iterator[Any]:
        yield {"number": 1}
        monkeypatch.setattr(time, "monotonic", lambda: now + 301)
        yield {"number": 2}
        yield {"number": 3}

    monkeypatch.setattr(gpu, "FIGURES", {"decode": figures, "prefill": figures})
    file = tmp_path / "figures.jsonl"
    gpu.main(["--sizes", "tiny", "--minutes", "5", "--json", str(file), "--only", "decode", "prefill"])
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == [1, 2]
