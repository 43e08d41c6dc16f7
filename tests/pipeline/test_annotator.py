"""Whole runs of the steps that ask a model: contents of the shards, repeated work, and the cost of a kill."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from ola.prompt import Answer, Request, Wave
from pipeline.annotation import annotator
from pipeline.annotation.annotator_settings import AnnotatorSettings, choose_device
from pipeline.annotation.media_loader import MediaLoader
from pipeline.config import load
from pipeline.errors import ConfigError
from stages.shards import ShardReader
from tests.killing import Killed
from tests.media import numbered, pattern
from tests.pipeline.random_model import make_model
from tests.pipeline.scripted import ENGINE, Scripted, prompt_of
from tests.runs import ola, rows, shards_of, status, talking

ASKING = ("screen", "caption", "ask", "verify")
FEW = ("--set", "extract.frames.cap=3", "--set", "split.longest=4", "--set", "pack.val=0")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    talking(folder, "one", pattern("one.mp4", 8.2), 8)
    talking(folder, "two", pattern("two.mp4", 4.4), 4)
    talking(folder, "mute", numbered("plain.mp4", 100), 4)
    return folder


@pytest.fixture(scope="module")
def annotated(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model says sensible things."""
    root = tmp_path_factory.mktemp("annotated") / "out"
    said = ola("run", videos, "--root", root, *FEW, "--set", f"annotator.engine={ENGINE}")
    assert said.code == 0, said
    return root


def test_every_stage_gets_tasks(annotated: Path) -> None:
    steps = status(annotated)
    assert [steps[name]["failed"] for name in ASKING] == [0, 0, 0, 0]
    assert steps["ask"]["outputs"] == 3 * steps["ask"]["ok"] > 0
    kinds = dict(rows(annotated, "SELECT kind, any_value(stage) FROM shards GROUP BY kind"))
    assert {"image_caption", "video_caption", "sound_caption", "subtitle", "speech_recognition"} <= kinds.keys()
    assert set(kinds.values()) == {"image", "video", "omni"}
    for table in ("caption", "ask", "verify"):
        assert rows(annotated, f"SELECT DISTINCT made_by FROM {table} WHERE status = 'ok'") == [(ENGINE,)]
    samples = [json.loads(bytes(raw.members["json"])) for shard in shards_of(annotated) for raw in ShardReader(shard)]
    made_by = {sample["stage"]: sample["provenance"].get("made_by") for sample in samples}
    assert made_by == {"image": ENGINE, "video": ENGINE, "omni": ENGINE}
    assert "no fault" in ola("check", annotated).out


def test_why_shows_what_was_asked_and_said(annotated: Path) -> None:
    [(clip, question)] = rows(annotated, "SELECT clip, question FROM ask ORDER BY id LIMIT 1")
    told = ola("why", annotated, clip).out
    assert question in told
    assert "prompt: " in told
    assert "answer: Q1" in told


def test_status_counts_tokens(annotated: Path) -> None:
    told = status(annotated)
    [(read, written)] = rows(annotated, "SELECT sum(asked.prompt_tokens), sum(asked.answer_tokens) FROM caption")
    assert (told["caption"]["prompt_tokens"], told["caption"]["answer_tokens"]) == (read, written)
    clips = told["ask"]["ok"]
    [(once,)] = rows(annotated, "SELECT any_value(asked.answer_tokens) FROM ask")
    assert told["ask"]["answer_tokens"] == clips * once  # three questions are one answer
    assert 0 < told["verify"]["read_tokens"] < told["verify"]["prompt_tokens"]
    assert f"ask: {told['ask']['prompt_tokens']:,} tokens asked" in ola("status", annotated).out


def test_replay_of_an_answer(annotated: Path) -> None:
    [(clip,)] = rows(annotated, "SELECT clip FROM ask ORDER BY id LIMIT 1")
    said = ola("replay", annotated, clip, "--step", "ask")
    assert (said.code, "the same as committed" in said.out) == (0, True), said


def test_a_changed_prompt_is_asked_anew_and_what_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(None, [f"annotator.engine={ENGINE}"])

    def keys() -> dict[str, str]:
        return {planned.step.name: planned.manifest.key for planned in config.plan(str(tmp_path)).steps}

    before = keys()
    monkeypatch.setattr("pipeline.annotation.annotator.prompt", _changed("ask"))
    after = keys()
    assert {name for name in before if before[name] != after[name]} == {"ask", "verify"}


def _changed(which: str) -> Callable[[str], str]:
    from pipeline.prompts import prompt

    return lambda name: prompt(name) + " And be brief." * (name == which)


def test_weights_name_the_step_and_need_not_be_there_later(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    found = AnnotatorSettings(model=str(tmp_path / "model")).resolve()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert AnnotatorSettings(model=str(tmp_path / "model")).resolve().digest != found.digest
    weights.unlink()
    config = load(None, []).model_copy(update={"annotator": found})
    assert config.plan(str(tmp_path)).steps[-1].step.name == "verify"


def test_large_weights_are_not_left_to_a_cpu_by_chance(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(18 * 10**9)
    with pytest.raises(ConfigError, match=r"expected a GPU for 18 GB of weights, got none; set annotator\.gpus=1"):
        choose_device(AnnotatorSettings(model=str(tmp_path)), has_gpu=False)
    assert choose_device(AnnotatorSettings(model=str(tmp_path)), has_gpu=True) == "cuda"
    assert choose_device(AnnotatorSettings(model=str(tmp_path), device="cpu"), has_gpu=False) == "cpu"
    assert choose_device(AnnotatorSettings(model=str(tmp_path / "small")), has_gpu=False) == "cpu"


def test_large_weights_and_cuda_take_a_gpu_on_ray(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(18 * 10**9)

    def gpus(step: str, *sets: str) -> float:
        return load(None, ["engine=ray", *sets]).step_resources()[step].gpus

    large, listening = f"annotator.model={tmp_path}", "transcribe.sources=[whisperx]"
    assert gpus("caption", large) == gpus("caption", "annotator.model=nano", "annotator.device=cuda") == 1
    assert gpus("caption", "annotator.model=nano") == gpus("caption", large, "annotator.device=cpu") == 0
    assert gpus("caption", large, "annotator.gpus=0.5") == 0.5
    assert gpus("transcribe", listening, "transcribe.whisperx.device=cuda") == 1
    assert gpus("transcribe", listening) == gpus("extract", large) == 0
    with pytest.raises(ConfigError, match=r"^annotator\.gpus: expected more than 0 with annotator\.device=cuda"):
        gpus("caption", large, "annotator.device=cuda", "annotator.gpus=0")
    with pytest.raises(ConfigError, match=r"^resources\.transcribe\.gpus: expected more than 0 with transcribe\.whisp"):
        gpus("transcribe", listening, "transcribe.whisperx.device=cuda", "resources.transcribe.gpus=0")


def test_what_a_gpu_answers_stands_under_a_key_of_its_own(tmp_path: Path) -> None:
    make_model(tmp_path / "model")

    def keys(*sets: str, **update: str) -> list[str]:
        config = load(None, [f"annotator.model={tmp_path / 'model'}", *sets]).with_weights()
        annotator = config.annotator.model_copy(update=update)
        plan = config.model_copy(update={"annotator": annotator}).plan(str(tmp_path / "root"))
        return [planned.manifest.key for planned in plan.steps if planned.step.name in ASKING]

    on_cpu = keys("annotator.device=cpu")
    assert keys() == on_cpu == keys(runs_on=""), "as rows of earlier releases, and here"
    assert not set(on_cpu) & set(keys("annotator.device=cuda:1"))
    assert keys("annotator.device=cuda") == keys("annotator.device=cuda:1")
    assert keys("engine=ray") == on_cpu
    assert keys("engine=ray", "annotator.gpus=1") == keys("annotator.device=cuda")
    shares = [f"resources.{name}.gpus=0.5" for name in ASKING]
    assert keys("engine=ray", *shares) == keys("annotator.device=cuda")


def opening(folder: Path, number: int) -> None:
    with annotator._lock_gpu(0.5), (folder / "lines").open("a") as file:
        file.write(f"{number} begins\n")
        file.flush()
        time.sleep(0.3)
        file.write(f"{number} ends\n")


def test_workers_that_share_a_gpu_open_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fractions: list[float] = []
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", fractions.append)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:  # each opens the file of the lock itself, as processes do
        list(pool.map(partial(opening, tmp_path), range(2)))
    lines = (tmp_path / "lines").read_text().split("\n")[:-1]
    assert [line.split()[1] for line in lines] == ["begins", "ends", "begins", "ends"]
    assert fractions == [0.5, 0.5]


def test_a_node_with_another_kind_of_device_does_not_answer() -> None:
    began = AnnotatorSettings(model="nano", runs_on="cuda")
    assert choose_device(began, has_gpu=True) == "cuda"
    with pytest.raises(ConfigError, match=r"^annotator\.device: expected cuda on this node .*, got cpu"):
        choose_device(began, has_gpu=False)
    with pytest.raises(ConfigError, match=r"expected cpu on this node"):
        choose_device(AnnotatorSettings(model="nano", runs_on="cpu"), has_gpu=True)


def test_without_a_model_nothing_is_asked(tmp_path: Path) -> None:
    assert not set(load(None, []).step_names) & set(ASKING)
    with pytest.raises(ConfigError, match=r"step 'ask' asks a model; set annotator\.model to its folder"):
        load(None, ["steps=[ingest, ask]"]).plan(str(tmp_path))
    with pytest.raises(ConfigError, match="got /nowhere, which does not exist"):
        load(None, ["annotator.model=/nowhere"]).plan(str(tmp_path))


@pytest.mark.slow
def test_the_same_bytes_from_both_engines(videos: Path, tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    small = ("--set", "caption.longest=4", "--set", "ask.longest=4", "--set", "ask.least_informative=0")
    digests, outcomes = [], []
    for name, engine in (("one", "inline"), ("two", "ray")):
        root = tmp_path / name
        model = ("--set", f"annotator.model={tmp_path / 'model'}")
        assert ola("run", videos, "--root", root, "--engine", engine, *FEW, *small, *model).code == 0
        digests.append([hashlib.sha256(tar.read_bytes()).hexdigest() for tar in shards_of(root)])
        query = "SELECT input, status, reason, detail FROM {} ORDER BY ALL"
        outcomes.append([rows(root, query.format(step)) for step in ASKING])
    assert digests[0] == digests[1] != []
    assert outcomes[0] == outcomes[1]


class Watched(Scripted):
    """Calls `look` with each request right after its answer was noted."""

    def look(self, request: Request) -> None:
        raise NotImplementedError

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        def told(index: int, answer: Answer) -> None:
            assert on_answer is not None
            on_answer(index, answer)
            self.look(requests[index])

        return super().generate(requests, on_answer=told)


class Traced(Watched):
    """Slow, and writes down what it has answered."""

    def __init__(self, trace: Path) -> None:
        super().__init__()
        self.trace = trace

    def look(self, request: Request) -> None:
        digest = hashlib.sha256(request.text.encode()).hexdigest()[:8]
        with self.trace.open("a") as file:
            file.write(f"{prompt_of(request)} {digest} {len(request.sounds)}\n")
        time.sleep(1.0 if prompt_of(request) == "ask" else 0.0)  # time for somebody to kill it


def traced(settings: AnnotatorSettings) -> Traced:
    """A factory; where to write is in `device`."""
    return Traced(Path(settings.device))


def answered(trace: Path, name: str) -> Counter[str]:
    lines = trace.read_text().splitlines() if trace.exists() else []
    return Counter(line for line in lines if line.startswith(f"{name} "))


def test_what_was_answered_before_a_kill_is_not_asked_again(videos: Path, tmp_path: Path) -> None:
    trace, root = tmp_path / "trace", tmp_path / "out"
    engine = ("--set", "annotator.engine=tests.pipeline.test_annotator:traced", "--set", f"annotator.device={trace}")
    one = ("--set", "videos_per_part=3", "--set", "caption.kinds=[image]")
    command = [sys.executable, "-m", "pipeline", "run", str(videos), "--root", str(root), *FEW, *engine, *one]
    run = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not answered(trace, "ask") and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(0.5)  # the sandbox dies with its lifeline
    before = answered(trace, "ask")
    assert before
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    clips = status(root)["ask"]["ok"]
    assert sum(before.values()) < clips
    assert answered(trace, "ask").keys() > before.keys()
    assert set(answered(trace, "ask").values()) == {1}
    assert not list(root.rglob("*-notes"))


class Dying(Watched):
    """Writes down what it has answered, and dies right after so many answers of this process."""

    left, trace = 0, list[str]()

    def look(self, request: Request) -> None:
        Dying.trace.append(f"{prompt_of(request).partition('_')[0]} {digest_of(request)}")
        Dying.left -= 1
        if not Dying.left:
            raise Killed


def digest_of(request: Request) -> str:
    """Of all that is asked and shown; of requests without media many are the same."""
    shown = [*request.images, *(request.video or ()), *request.sounds]  # type: ignore[misc]
    found = hashlib.sha256(request.text.encode())
    for medium in shown:
        found.update((medium.samples if isinstance(medium, Wave) else medium).tobytes())
    return f"{'shown' if shown else 'blind'} {found.hexdigest()}"


def dying(settings: AnnotatorSettings) -> Dying:
    """The factory."""
    return Dying()


@pytest.mark.parametrize("lives", [0, 7])
def test_clips_go_through_all_steps_that_ask_in_slices_and_a_kill_within_one_costs_nothing(
    lives: int, annotated: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "CLIPS", 1)
    monkeypatch.setattr(Dying, "trace", [])
    expected: list[list[str]] = []
    monkeypatch.setattr(MediaLoader, "expect", lambda _, clips: expected.append([each.clip for each in clips]))
    engine = ("--set", "annotator.engine=tests.pipeline.test_annotator:dying", "--set", "isolate=false")
    command = ("run", videos, "--root", tmp_path / "out", *FEW, *engine, "--set", "videos_per_part=3")
    done = False
    while not done:
        monkeypatch.setattr(Dying, "left", lives)
        with suppress(Killed):
            assert ola(*command).code == 0
            done = True
    assert max(many for asked, many in Counter(Dying.trace).items() if " shown" in asked) == 1, "nothing is asked twice"
    steps = [asked.split()[0] for asked in Dying.trace]
    turns = [name for name, _ in groupby(steps)]
    clips = status(tmp_path / "out")["ask"]["ok"]
    assert turns.count("caption") >= turns.count("ask") == turns.count("verify") == clips > 2
    assert turns[:4] == ["caption", "ask", "verify", "caption"]
    slices = [clips for clips, _ in groupby(expected)]
    assert [len(clips) for clips in slices[-2:]] == [2, 1]
    assert all(clips[1:] == following[:1] for clips, following in pairwise(slices) if len(clips) > 1)
    for step in ASKING:
        differ = "seconds" if step == "screen" else "seconds, made_by"
        query = f"SELECT * EXCLUDE ({differ}) FROM {step} ORDER BY input, id"
        assert untimed(rows(tmp_path / "out", query)) == untimed(rows(annotated, query))


def untimed(found: list[Any]) -> str:
    """Rows as text, without what no two runs have in common."""
    return re.sub(r"'latency': [^,}]+", "", str(found))


def test_a_cpu_that_answers_has_one_thread_and_one_that_prepares_for_a_gpu_has_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from ola.generation import Ola

    threads = torch.get_num_threads()
    monkeypatch.setattr(Ola, "from_pretrained", lambda *_, **__: torch.get_num_threads())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: range(3))
    found: dict[str, Any] = {}
    try:
        for device in ("cpu", "cuda"):
            monkeypatch.setattr(annotator, "choose_device", lambda *_, device=device: device)
            torch.set_num_threads(1)  # as on Ray
            found[device] = annotator.open_annotator.__wrapped__(AnnotatorSettings(model="nano"))
    finally:
        torch.set_num_threads(threads)
    assert found == {"cpu": 1, "cuda": 3}
