"""Real films with real speech, where available: all are processed, and speech has the right times."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from stages.samples import Sample
from stages.shards import ShardReader
from tests.runs import Said, ola, shards_of, status

MEDIA = Path(os.environ.get("OLA_TEST_MEDIA") or Path(__file__).resolve().parents[2].parent / "shared" / "media")
FILMS = ("hello.mp4", "reading.mp4", "trailer.mp4")
TRUTH = "reading.truth.srt"

pytestmark = pytest.mark.skipif(
    not all((MEDIA / name).is_file() for name in (*FILMS, TRUTH)),
    reason=f"{', '.join(FILMS)} and {TRUTH} are not in {MEDIA}: set OLA_TEST_MEDIA to their folder",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for name in FILMS:
        shutil.copy(MEDIA / name, folder / name)
    shutil.copy(MEDIA / TRUTH, folder / "reading.srt")
    said = ola("run", folder, "--root", folder / "out", "--set", "pack.val=0")
    assert said.code == 0, said
    return folder / "out"


def sentences() -> list[tuple[float, float, str]]:
    """Start, end and text of each sentence of the truth, read without our own parser."""
    found = []
    for block in (MEDIA / TRUTH).read_text(encoding="utf-8").strip().split("\n\n"):
        _, timing, *lines = block.splitlines()
        hours, minutes, seconds, *rest = (float(number.replace(",", ".")) for number in re.findall(r"[\d,]+", timing))
        ends = rest[0] * 3600 + rest[1] * 60 + rest[2]
        found.append((hours * 3600 + minutes * 60 + seconds, ends, " ".join(lines)))
    return found


def test_all_films_go_through(root: Path) -> None:
    steps = status(root)
    assert (steps["ingest"]["ok"], steps["split"]["ok"]) == (3, 3)
    assert (steps["extract"]["ok"], steps["extract"]["failed"]) == (steps["split"]["outputs"], 0)
    assert ola("check", root) == Said(0, "no fault\n", "")


def test_what_is_said_is_said_at_its_time(root: Path) -> None:
    words: list[tuple[float, float, str]] = []
    for shard in shards_of(root):
        with ShardReader(shard) as reader:
            for raw in reader:
                sample = Sample.model_validate_json(bytes(raw.members["json"]))
                start = sample.start_ms / 1000
                spoken = [word for task in sample.tasks if task.kind == "subtitle" for word in task.words]
                words += [(start + word.start, start + word.end, word.text) for word in spoken]
    words.sort()
    truth = sentences()
    assert len(truth) == 5
    assert " ".join(word for _, _, word in words) == " ".join(text for _, _, text in truth)
    at = 0
    for start, end, text in truth:
        said = words[at : at + len(text.split())]
        at += len(said)
        assert said[0][0] == pytest.approx(start, abs=0.1)
        assert said[-1][1] == pytest.approx(end, abs=0.1)
