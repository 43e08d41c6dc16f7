"""Adapters: what is trained, that two ranks learn what one learns, and what is written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ola.model import OlaForConditionalGeneration
from ola.packing import PACKED
from ola.prompt import Prompt
from ola.weights import Loading
from stages.errors import StagesError
from stages.lora import add_adapters
from stages.parameters import trained_parameters, unfreeze
from stages.recipe import Lora
from stages.trainer import Training, train
from tests.ola.test_meta_device import released
from tests.stages.lessons import lessons, logged, short, tensors, training, write_model

LORA = Lora(rank=4, alpha=8, parts=("decoder",))
RATES = {"visual_projector": 1e-3, "decoder": 1e-2}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    write_model(folder / "model", torch.bfloat16)
    lessons(folder / "shards", ("image_caption",), 4)
    return folder


def plan(folder: Path, name: str, **options: Any) -> Training:
    shards = tuple(str(path) for path in sorted((folder / "shards").iterdir()))
    phase = short(name="test", lr=RATES, lora=LORA, steps=8)
    return training(shards, str(folder / "model"), folder / name, phase, **options)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
def test_adapters_learn_and_are_merged(folder: Path) -> None:
    peft = pytest.importorskip("peft")
    said: list[str] = []
    train(plan(folder, "out", save_every=3), say=said.append)
    losses = [row["loss"] for row in logged(folder / "out")]
    assert losses[-1] < 0.9 * losses[0]
    before, after = tensors(folder / "model"), tensors(folder / "out" / "model")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {name for name in before if name.startswith("model.layers.") and name.endswith("proj.weight")}
    assert changed == layers | {name for name in before if name.startswith("visual_projector.")}
    start = OlaForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(start, folder / "out" / "model" / "adapter").merge_and_unload()
    whole = OlaForConditionalGeneration.from_pretrained(folder / "out" / "model", dtype=torch.float32)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.allclose(adapted(input_ids=ids).logits, whole(input_ids=ids).logits, atol=0.05)
        assert not torch.allclose(adapted(input_ids=ids).logits, bare(folder)(input_ids=ids).logits, atol=0.05)


def bare(folder: Path) -> OlaForConditionalGeneration:
    return OlaForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)


def test_sharded_in_bfloat16_they_learn_and_resume_alike(folder: Path) -> None:
    """As on GPUs: frozen bfloat16 beside float32 adapters in one unit of FSDP2."""
    pytest.importorskip("peft")
    options: dict[str, Any] = {"compute": torch.bfloat16, "recompute": True, "save_every": 3}
    train(plan(folder, "sharded", **options), say=len)
    train(plan(folder, "plain"), say=len)
    sharded, plain = ([row["loss"] for row in logged(folder / name)] for name in ("sharded", "plain"))
    assert sharded == pytest.approx(plain, rel=0.05)
    whole = tensors(folder / "sharded" / "model")
    shutil.rmtree(folder / "sharded" / "test" / "step-000008")
    said: list[str] = []
    train(plan(folder, "sharded", **options), say=said.append)
    assert "resumes after step 6 of 8" in said[0]
    again = tensors(folder / "sharded" / "model")
    assert all(torch.allclose(again[name], whole[name], atol=1e-3) for name in whole)


def test_at_the_released_sizes_adapters_alone_are_trained() -> None:
    """On the meta device, with two of the 28 layers: 1.4M parameters a layer, in float32 beside bfloat16."""
    pytest.importorskip("peft")
    model = released(attn_implementation=PACKED, num_hidden_layers=2)
    add_adapters(Loading(model, {}, {}, ()), Lora())
    unfreeze(model, short(lr={"decoder": 1e-4}, lora=Lora()))
    model.train()
    trained = dict(trained_parameters(model))
    width, narrow, inner = 3584, 512, 18_944
    layer = 16 * (2 * 2 * width + 2 * (width + narrow) + 3 * (width + inner))
    assert sum(each.numel() for each in trained.values()) == 2 * layer
    assert {each.dtype for each in trained.values()} == {torch.float32}
    ids = torch.arange(30)
    loss = model([Prompt(ids, labels=ids, length=30)]).losses
    loss.sum().backward()
    assert all(each.grad is not None for each in trained.values())


def test_without_peft_it_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(StagesError, match=r"lora: expected the package peft, .*; pip install 'ola-pipeline\[lora\]'"):
        train(plan(folder, "none"), say=len)


def test_an_adapted_module_needs_a_rate() -> None:
    with pytest.raises(ValueError, match=r"lora\.parts: expected modules with a learning rate in lr, got decoder"):
        short(lr={"visual_projector": 1e-3}, lora=LORA)
