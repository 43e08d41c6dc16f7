"""The reckoned memory of a training step against live tensors of small models and a GPU's; the released sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ola.config import OlaConfig
from ola.model import OlaForConditionalGeneration
from ola.packing import PACKED
from ola.prompt import IMAGE, Prompt, Visual
from ola.weights import Loading
from stages import parameters
from stages.lora import add_adapters
from stages.phase_model import Numerics
from stages.ranks import World
from stages.recipe import Lora
from stages.trainer import PhaseTraining
from stages.training_memory import TrainingPass, activation_bytes, describe_room, fullest_pass, step_memory
from tests.bench.gpu_world import RELEASED
from tests.ola import tiny
from tests.ola.live_bytes import LiveBytes
from tests.ola.test_memory import MODELS, WITHIN
from tests.stages.lessons import short

RATES = {"visual_projector": 1e-5, "speech_projector": 1e-5, "decoder": 1e-5}
GB = 10**9

pytestmark = pytest.mark.usefixtures("one_thread")


def small(sizes: dict[str, Any], dtype: torch.dtype, *parts: str) -> OlaForConditionalGeneration:
    """A model in training mode that trains these modules in the dtype in which it computes."""
    model = tiny.model(**sizes, attn_implementation=PACKED, has_speech=False)
    parameters.unfreeze(model, short(lr=dict.fromkeys(parts, 1e-3)))
    torch.nn.Module.to(model, dtype)
    parameters.set_mode(model)
    return model


def measured(model: OlaForConditionalGeneration, prompts: list[Prompt]) -> int:
    """The most bytes of a pass, beside weights and gradients."""
    trained = [each for _, each in parameters.trained_parameters(model)]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    given = [each for prompt in prompts for each in (prompt.input_ids, *(v for m in prompt.visuals for v in m.views))]
    gradients = [each.grad for each in trained if each.grad is not None]
    with LiveBytes("cpu", [*model.parameters(), *model.buffers(), *gradients, *given]) as live:
        cast("Any", model(prompts)).losses.sum().backward()
    return int(live.peak)


def text(length: int, first: int, *visuals: Visual) -> Prompt:
    """A prompt that shares no beginning with one of another first token."""
    ids = (torch.arange(length) + first) % 300
    if visuals:
        ids[0] = IMAGE
    return Prompt(ids, visuals, (), ids.clone(), length)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("sizes", MODELS.values(), ids=MODELS)
def test_activations_of_the_decoder(sizes: dict[str, Any], recompute: bool, dtype: torch.dtype) -> None:
    model = small(sizes, dtype, "decoder")
    if recompute:
        parameters.enable_recompute(model)
    given = TrainingPass(400, 398, recompute=recompute, compute=dtype, ranks=0)
    assert activation_bytes(model, given) == pytest.approx(measured(model, [text(200, 0), text(200, 9)]), rel=WITHIN)


def test_a_step_with_its_optimizer() -> None:
    """The second step, on one rank without FSDP2: weights, gradients and AdamW's two averages are there."""
    model = small(MODELS["narrow"], torch.float32, "decoder")
    optimizer = torch.optim.AdamW([each for _, each in parameters.trained_parameters(model)])
    known = [*model.parameters(), *model.buffers()]
    weights = sum(each.nbytes for each in model.parameters())
    prompts = [text(200, 0), text(200, 9)]
    with LiveBytes("cpu", known) as live:
        for _ in range(2):
            cast("Any", model(prompts)).losses.sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    given = TrainingPass(400, 398, recompute=False, compute=torch.float32, ranks=0, accumulates=False)
    assert step_memory(model, given).total == pytest.approx(weights + live.peak, rel=WITHIN)


def released(sizes: dict[str, Any], lora: Lora | None = None) -> OlaForConditionalGeneration:
    with torch.device("meta"):
        model = OlaForConditionalGeneration(OlaConfig(**sizes)).bfloat16()
    if lora:
        pytest.importorskip("peft")
        add_adapters(Loading(model, {}, {}, ()), lora)
    parameters.unfreeze(model, short(lr=RATES, lora=lora))
    return model


def test_a_step_on_an_h200() -> None:
    """`tests.bench.gpu_training` took 52.7 GB; a clip has 48 pictures of 28 x 22 patches, and 200 tokens of answer."""
    model = released(RELEASED.trained)
    assert sum(each.numel() for each in model.parameters()) == 2_992_709_871
    given = TrainingPass(8421, 200, 48 * 28 * 22, recompute=False, accumulates=False)
    assert step_memory(model, given).total == pytest.approx(52.7 * GB, rel=0.05)


def test_what_fits_in_80_gb_at_the_released_sizes() -> None:
    """Sequences of 16,384 tokens: adapters on one GPU, all of the decoder on eight, but not on one."""
    phase, numerics = short(sequence_tokens=16_384, batch=128), Numerics()
    adapted, whole = released(tiny.RELEASED_DECODER, Lora()), released(tiny.RELEASED_DECODER)

    def peak(model: OlaForConditionalGeneration, ranks: int) -> int:
        return step_memory(model, fullest_pass(model, phase, numerics, ranks)).total

    assert 30 * GB < peak(adapted, 1) < 40 * GB
    assert 30 * GB < peak(whole, 8) < 40 * GB
    assert peak(whole, 1) > 140 * GB
    given = fullest_pass(whole, phase, numerics, 1)
    assert "may not fit: lower sequence_tokens" in describe_room(whole, given, 80 * GB)
    assert "may not fit" not in describe_room(whole, replace(given, ranks=8), 80 * GB)


def test_a_phase_on_a_gpu_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a GPU with 30 GB free and 10 GB in use by this process."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (30 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10 * GB)
    phase = SimpleNamespace(
        training=SimpleNamespace(recompute=None, compute=None), phase=short(sequence_tokens=16_384, batch=128),
        model=released(tiny.RELEASED_DECODER), world=World(ranks=8, device="cuda"),
    )  # fmt: skip
    said = PhaseTraining._memory_line(phase)  # type: ignore[arg-type]
    assert re.match(r"memory of a rank: about 3\d\.\d GB \(weights .*\) for 16384 tokens in a pass, of 40\.0 GB$", said)


def test_what_is_kept_is_split_over_the_ranks() -> None:
    """All but frozen encoders."""
    model, given = released(tiny.RELEASED_DECODER), TrainingPass(1000, 100)
    one, eight = (step_memory(model, replace(given, ranks=ranks)) for ranks in (1, 8))
    frozen = sum(
        each.nbytes for name, each in model.named_parameters()
        if parameters.module_of(name) in ("vision_tower", "speech_encoder")
    )  # fmt: skip
    assert eight.weights == pytest.approx(frozen + (one.weights - frozen) / 8, rel=1e-6)
    assert eight.gradients * 8 == pytest.approx(one.gradients, rel=1e-6)
    assert eight.optimizer * 8 == pytest.approx(one.optimizer, rel=1e-6)


def test_a_sharded_model_is_reckoned_as_before() -> None:
    model = small(MODELS["tiny"], torch.float32, "decoder")
    before = step_memory(model, TrainingPass(1000, 100))
    parameters.shard_model(model, 1, torch.device("cpu"), torch.bfloat16)
    assert step_memory(model, TrainingPass(1000, 100)) == before


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("parts", [("visual_projector",), ("vision_tower", "visual_projector")])
def test_activations_of_what_sees(parts: tuple[str, ...], recompute: bool) -> None:
    """Two pictures of 32 x 32 patches, and text."""
    model = small(MODELS["tiny"], torch.float32, "decoder", *parts)
    if recompute:
        parameters.enable_recompute(model)
    visual = Visual("video", (torch.zeros(2, 3, 512, 512, dtype=torch.uint8),), "")
    prompt = text(700, 0, visual)
    length = 699 + 2 + 2 * (16 * 17 + 1)
    given = TrainingPass(length, 698, 2 * 32**2, recompute, torch.float32, 0)
    assert activation_bytes(model, given) == pytest.approx(measured(model, [prompt]), rel=WITHIN)
