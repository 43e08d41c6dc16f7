"""Several ranks learn the same as one, and each resumes after a kill of another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stages.distributed import train_on_ray
from stages.errors import StagesError, Stopped
from stages.ranks import World
from stages.recipe import packaged_recipes
from stages.trainer import train
from tests.stages.lessons import lessons, logged, read, short, tensors, training, write_model

KINDS = ("image_caption", "video_caption", "cross_modal_qa", "speech_recognition", "audio_chat")
ONE_RANK = """
import sys
from stages.trainer import train
from tests.stages.lessons import short, training
train(training(tuple(sys.argv[3:]), sys.argv[1], __import__("pathlib").Path(sys.argv[2]), short(batch=3), save_every=1))
"""


@pytest.mark.slow
def test_killed_on_one_rank_and_gone_on_with_on_two(ray_here: None, tmp_path: Path) -> None:
    """With batches of three packs, one of two ranks has a filler pack in each step."""
    model, shards = write_model(tmp_path / "model"), lessons(tmp_path / "shards", KINDS, 2)
    torch.set_num_threads(1)
    plan = training(shards, model, tmp_path / "one", short(batch=3), save_every=1)
    train(plan, say=len)
    out = tmp_path / "two"
    process = subprocess.Popen([sys.executable, "-c", ONE_RANK, model, str(out), *shards], stdout=subprocess.DEVNULL)
    while not list(out.glob("test/step-*2/DONE")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    said: list[str] = []
    last = train_on_ray(training(shards, model, out, short(batch=3), save_every=1), 2, said.append)
    assert "resumes after step" in said[0]
    assert last == (out / "model").resolve()
    whole, pieced = ([row["loss"] for row in logged(tmp_path / name)] for name in ("one", "two"))
    assert len(pieced) == 6
    assert pieced == pytest.approx(whole, abs=1e-4)
    assert read(out) == read(tmp_path / "one")
    one, two = tensors(tmp_path / "one" / "model"), tensors(out / "model")
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    longer = [
        training(shards, model, tmp_path / name, short(batch=3), short(name="more", steps=2)) for name in ("one", "two")
    ]
    for more in longer:
        train(more, say=len)
    first, second = ([row["loss"] for row in logged(tmp_path / name, "more")] for name in ("one", "two"))
    assert second == pytest.approx(first, abs=1e-3)


@pytest.mark.slow
def test_ranks_that_are_asked_to_stop_save_the_same_step(ray_here: None, tmp_path: Path) -> None:
    model, shards = write_model(tmp_path / "model"), lessons(tmp_path / "shards", KINDS[:1], 2)
    plan, said = training(shards, model, tmp_path / "out", short(steps=40), save_every=100), list[str]()
    with pytest.raises(Stopped, match=r"^phase test: step \d+ of 40 is saved$") as caught:
        train_on_ray(plan, 2, said.append, stop_requested=lambda: any(line.startswith("step 2/") for line in said))
    (saved,) = (tmp_path / "out" / "test").glob("step-*/DONE")
    step = int(saved.parent.name.removeprefix("step-"))
    assert f"step {step} of 40" in str(caught.value)
    assert 2 <= step < 40
    resumed: list[str] = []
    with pytest.raises(Stopped):
        train(plan, World(stop_requested=lambda: True), resumed.append)
    assert f"resumes after step {step} of 40" in resumed[0]


@pytest.mark.slow
def test_what_a_rank_cannot_do_is_one_line(ray_here: None, tmp_path: Path) -> None:
    model, shards = write_model(tmp_path / "model"), lessons(tmp_path / "shards", KINDS[:1], 2)
    with pytest.raises(StagesError, match=r"^phase test, step \d: loss"):
        train_on_ray(training(shards, model, tmp_path / "out", short(lr={"decoder": 1e30}, warmup=0)), 2, len)


def test_the_recipes_of_the_paper_are_there() -> None:
    assert {"progressive", "direct", "balanced", "image", "video", "omni"} <= set(packaged_recipes())
