"""Which parameters of the model a phase trains, at which rate, and where they live.

In: a model and a phase. Out: the parameters that are trained, an AdamW over them, and the share of its rates that a
step takes. Sharding is PyTorch's FSDP2: each layer of the decoder by itself, all else together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ola.model import OlaForConditionalGeneration
from stages.errors import StagesError
from stages.recipe import Phase

# The names of a recipe to those of the model; the decoder is Qwen2 with its embeddings.
PARTS: dict[str, tuple[str, ...]] = {
    "vision_tower": ("vision_tower",),
    "visual_projector": ("visual_projector",),
    "speech_encoder": ("speech_encoder",),
    "speech_projector": ("speech_projector",),
    "decoder": ("model", "lm_head"),
}


def part_of(name: str) -> str:
    """The recipe's name for the module that a parameter belongs to."""
    first = name.split(".", 1)[0]
    return next(part for part, prefixes in PARTS.items() if first in prefixes)


def unfreeze(model: OlaForConditionalGeneration, phase: Phase) -> None:
    """Freeze all that the phase does not name; what it trains is held in float32.

    Encoders stay in evaluation mode. StagesError where the phase trains what the model does not have.
    """
    have = {part_of(name) for name, _ in model.named_parameters()}
    if lacking := [part for part in phase.lr if part not in have]:
        raise StagesError(f"phase {phase.name}: lr: this model has no {lacking[0]} (it has: {', '.join(sorted(have))})")
    model.train()
    for name, parameter in model.named_parameters():
        fixed = "embed_positions" in name and not parameter.requires_grad  # Whisper's, which are no weights
        parameter.requires_grad_(part_of(name) in phase.lr and not fixed)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for name in ("vision_tower", "speech_encoder"):
        if hasattr(model, name):
            getattr(model, name).eval()


def recompute(model: OlaForConditionalGeneration) -> None:
    """Have the decoder's activations made anew in the backward pass, which saves their memory."""
    old = model.gradient_checkpointing_enable  # its name before transformers 5
    getattr(model, "activation_checkpointing_enable", old)({"use_reentrant": False})


def trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that are trained, by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def optimizer_of(model: nn.Module, phase: Phase) -> torch.optim.AdamW:
    """AdamW with a group for each module, in two: norms, biases and single vectors do not decay."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trained(model):
        groups.setdefault((part_of(name), parameter.ndim > 1), []).append(parameter)
    rates = {str(part): rate for part, rate in phase.lr.items()}
    facts: list[dict[str, Any]] = [
        {
            "params": group,
            "part": part,
            "rate": rates[part],
            "lr": rates[part],
            "weight_decay": phase.weight_decay * decays,
        }
        for (part, decays), group in groups.items()
    ]
    return torch.optim.AdamW(facts, betas=phase.betas)


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, step: int, steps: int) -> None:
    """The rates of step `step` of `steps`, counted from 0."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share(phase, step, steps)


def share(phase: Phase, step: int, steps: int) -> float:
    """Of its rate that a step takes: rising over the warm-up, then by the schedule down to 0 after the last step."""
    warm = math.ceil(phase.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    gone = (step - warm) / max(1, steps - warm)
    falls = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}
    return falls[phase.schedule]


def shard(model: OlaForConditionalGeneration, ranks: int, device: torch.device) -> None:
    """Spread the parameters over the ranks; frozen encoders, which are small beside the decoder, stay whole on each."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (ranks,))
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if device.type == "cuda" else MixedPrecisionPolicy()
    towers = {
        parameter
        for name, parameter in model.named_parameters()
        if part_of(name) in ("vision_tower", "speech_encoder") and not parameter.requires_grad
    }
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    if hasattr(model, "speech_encoder") and any(p.requires_grad for p in model.speech_encoder.beats.parameters()):
        fully_shard(model.speech_encoder.beats, mesh=mesh)  # it computes in float32
    fully_shard(model, mesh=mesh, mp_policy=policy, ignored_params=towers)
    for parameter in towers:
        parameter.data = parameter.data.to(device)
