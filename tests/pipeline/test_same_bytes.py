"""The same videos give the same shards, byte for byte, on any engine and however often the run was killed."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.run import Options, run
from tests.media import pattern

KILLS = 10
OLA = [sys.executable, "-m", "pipeline"]
CUES = "1\n00:00:00,500 --> 00:00:02,500\nOne, two, three.\n\n2\n00:00:03,000 --> 00:00:04,500\nFour and five.\n"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos with subtitles of one kind or another, and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(6):
        made = pattern(f"same-{number}.mp4", 5 + number, size="160x128")
        shutil.copy(made, folder / f"video {number}.mp4")
        (folder / f"video {number}.srt").write_text(CUES)
        with (folder / f"video {number}.mp4").open("ab") as file:
            file.write(bytes([number]))  # so that no two are copies
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def shards(root: Path) -> dict[str, str]:
    """Digest of every file of the shard sets but the rows, whose Parquet is not promised to be equal."""
    files = sorted(path for path in (root / "shards").rglob("*") if path.is_file() and path.suffix != ".parquet")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def made(videos: Path, root: Path, *sets: str) -> dict[str, str]:
    """Shards of a whole run in this process."""
    run(load(None, ["pack.val=0.3", "pack.shard_mb=1", *sets], {"inputs": [str(videos)]}), str(root), Options())
    return shards(root)


@pytest.fixture(scope="module")
def expected(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = made(videos, tmp_path_factory.mktemp("inline") / "root")
    assert sum(path.endswith(".tar") for path in found) >= 2
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_bytes(
    videos: Path, expected: dict[str, str], tmp_path: Path, ray_here: None, workers: int
) -> None:
    assert made(videos, tmp_path / "root", "engine=ray", f"workers={workers}") == expected


def test_a_run_killed_ten_times_gives_the_same_bytes(videos: Path, expected: dict[str, str], tmp_path: Path) -> None:
    moments = random.Random(20)
    root = tmp_path / "root"
    command = [*OLA, "run", str(videos), "--root", str(root), "--set", "pack.val=0.3", "--set", "pack.shard_mb=1"]
    kills = 0
    while kills < KILLS:
        # the first start must come as far as its sources; later ones die anywhere, also while they still import
        if not kill_after(command, moments.uniform(1.5, 4.0)):
            shutil.rmtree(root / "shards", ignore_errors=True)  # it got through: kill it within pack as well
            shutil.rmtree(next(root.glob("*-pack-*")), ignore_errors=True)
        kills += 1
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shards(root) == expected
    status = subprocess.run([*OLA, "status", str(root), "--json"], capture_output=True, text=True, check=True)
    for step in json.loads(status.stdout)["steps"]:
        assert step["inputs"] == step["ok"] + step["dropped"] + step["failed"], step
        assert not any("killed" in reason for reason in step["reasons"]), step
    left = [path for path in root.rglob("*") if ".draft" in path.name or path.suffix == ".journal"]
    assert not left


def kill_after(command: list[str], seconds: float) -> bool:
    """Start a command and kill it with SIGKILL; False if it ended before."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False
