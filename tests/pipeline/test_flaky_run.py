"""Run, check and train on a failing store: the same rows and bytes, or one line and open parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import retries
from pipeline.state import lease
from tests.flaky_proxy import Weather, flaky, objects
from tests.media import numbered
from tests.object_store import client, forget
from tests.runs import ola, rows, talking
from tests.stages.lessons import lessons, write_model

pytestmark = pytest.mark.slow  # whole runs

BUCKET = "minutes"
FAST = ("--set", "extract.frames.cap=2", "--set", "videos_per_part=1")
FACTS = "SELECT input, status, reason, id, frame_bytes, sound.size FROM extract ORDER BY ALL"
RECIPE = """
phases:
  - {name: see, stages: [image], lr: {visual_projector: 1e-3}, batch: 1, sequence_tokens: 200, steps: 3}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Weather]]:
    folder = tmp_path_factory.mktemp("films")
    talking(folder, "one", numbered("short.mp4", 75), 2)
    (folder / "bad.mp4").write_text("no video")
    with flaky(BUCKET) as (uri, weather):
        upload(folder, "in")
        yield uri, weather


@pytest.fixture
def weather(store: tuple[str, Weather], monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.05)
    forget()
    yield store[1]
    store[1].clear()
    retries.tally.take()


@pytest.fixture(scope="module")
def quiet(store: tuple[str, Weather]) -> tuple[dict[str, bytes], list[tuple[object, ...]], int]:
    """Shards, rows of `extract` and number of requests of a run on a quiet store."""
    uri, weather = store
    weather.clear()
    assert ola("run", f"{uri}/in", "--root", f"{uri}/quiet", *FAST).code == 0
    asked = weather.asked
    return objects(BUCKET, "quiet/shards/"), rows(f"{uri}/quiet", FACTS), asked


def upload(folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client().upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder)}")


def test_a_run_and_a_check_in_bad_minutes(
    store: tuple[str, Weather], quiet: tuple[dict[str, bytes], list[tuple[object, ...]], int], weather: Weather
) -> None:
    root = f"{store[0]}/bad"
    weather.busy, weather.reset, weather.lost, weather.cut = 0.2, 0.03, 0.03, 0.05
    said = ola("run", f"{store[0]}/in", "--root", root, *FAST)
    assert said.code == 0, said
    assert "requests to stores tried again" in said.out
    weather.busy = 0.4
    checked = ola("check", root)
    assert (checked.code, checked.out) == (0, "no fault\n"), checked
    assert "tried again" in checked.err
    weather.clear()
    assert ola("check", root).err == ""
    assert objects(BUCKET, "bad/shards/") == quiet[0]
    assert rows(root, FACTS) == quiet[1]


def test_a_store_that_stays_away_ends_the_run_with_one_line(
    store: tuple[str, Weather],
    quiet: tuple[dict[str, bytes], list[tuple[object, ...]], int],
    weather: Weather,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = f"{store[0]}/gone"
    weather.clear()
    weather.left = quiet[2] // 3
    monkeypatch.setenv(retries.VARIABLE, "30")
    said = ola("run", f"{store[0]}/in", "--root", root, *FAST, "--set", "store_patience=0.01")
    assert said.code == 4, said
    assert said.err.count("\n") == 1
    assert said.err.startswith("ola: s3://minutes does not answer (503 Service Unavailable")
    assert said.err.endswith("committed parts are kept: run again\n")
    monkeypatch.setenv(retries.VARIABLE, "0.003")
    for command in (("status", root), ("sql", root, "FROM split"), ("check", root), ("why", root, "one.mp4")):
        gone = ola(*command)
        assert (gone.code, gone.err.count("\n"), gone.out) == (4, 1, ""), gone
    weather.clear()
    monkeypatch.setenv(retries.VARIABLE, "1")
    for name in ("PATIENCE", "POLL_SECONDS"):  # its holder, which could not delete the lock, is this very process
        monkeypatch.setattr(lease, name, 0.5)
    assert ola("run", "--root", root, "--set", "store_patience=1").code == 0
    assert objects(BUCKET, "gone/shards/") == quiet[0]
    assert rows(root, FACTS) == quiet[1]


def test_a_training_in_bad_minutes(store: tuple[str, Weather], weather: Weather, tmp_path: Path) -> None:
    (shards,) = lessons(tmp_path / "shards", ["image_caption"], 3)
    upload(Path(shards), "lessons")
    (tmp_path / "see.yaml").write_text(RECIPE)
    given = ("train", tmp_path / "see.yaml", "--model", write_model(tmp_path / "model"))
    weights = []
    for share, decoders in ((0.0, "0"), (0.4, "0"), (0.41, "1")):
        weather.busy, weather.cut = share, share / 8
        weather.random.seed(7)
        out = tmp_path / str(share)
        said = ola(*given, "--shards", f"{store[0]}/lessons", "--out", out, "--decoders", decoders)
        assert said.code == 0, said
        if decoders == "0":  # with a process of its own, which of the few requests fail depends on who is faster
            assert ("tried again" in said.err) == (share > 0)
        weights.append((out / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]
