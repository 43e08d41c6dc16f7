"""Choose the parameters that a phase trains, their learning rates, and their sharding.

In: a model and a phase. Out: the trained parameters, an AdamW over them, and the learning rates of each step. Sharding
is PyTorch's FSDP2: each layer of the decoder is a unit, all else is another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ola.model import OlaForConditionalGeneration
from stages.errors import StagesError
from stages.lora import is_adapter
from stages.ranks import device_mesh

if TYPE_CHECKING:  # a GPU's bench needs no pydantic
    from stages.recipe import Phase

# module in a recipe -> modules of the model; the decoder is Qwen2 with its embeddings
PARTS: dict[str, tuple[str, ...]] = {
    "vision_tower": ("vision_tower",),
    "visual_projector": ("visual_projector",),
    "speech_encoder": ("speech_encoder",),
    "speech_projector": ("speech_projector",),
    "decoder": ("model", "lm_head"),
}


def module_of(name: str) -> str:
    """Return the recipe's name for the module of a parameter."""
    first = name.split(".", 1)[0]
    return next(part for part, prefixes in PARTS.items() if first in prefixes)


def unfreeze(model: OlaForConditionalGeneration, phase: Phase) -> None:
    """Freeze all modules that the phase does not train; trained parameters become float32.

    Raises StagesError if the phase trains a module that the model does not have.
    """
    present = {module_of(name) for name, _ in model.named_parameters()}
    if missing := [part for part in phase.lr if part not in present]:
        raise StagesError(
            f"phase {phase.name}: lr: this model has no {missing[0]} (it has: {', '.join(sorted(present))})"
        )
    for name, parameter in model.named_parameters():
        fixed = "embed_positions" in name and not parameter.requires_grad  # Whisper's sinusoids are not weights
        adapts = phase.lora is not None and module_of(name) in phase.lora.parts
        parameter.requires_grad_(module_of(name) in phase.lr and not fixed and (is_adapter(name) or not adapts))
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def set_mode(model: OlaForConditionalGeneration) -> None:
    """Set the decoder and the projectors to training mode, the encoders to evaluation mode."""
    model.train()
    for name in ("vision_tower", "speech_encoder"):
        if hasattr(model, name):
            getattr(model, name).eval()


def enable_recompute(model: OlaForConditionalGeneration) -> None:
    """Recompute the activations of the decoder, and of trained encoders, in the backward pass to save memory.

    Without recomputation a pack of 55,000 patches would need about 57 GB in the released model.
    """
    old = model.gradient_checkpointing_enable  # the method's name before transformers 5
    getattr(model, "activation_checkpointing_enable", old)({"use_reentrant": False})
    for layer in _layers_of_encoders(model):
        if any(parameter.requires_grad for parameter in layer.parameters()):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def _layers_of_encoders(model: OlaForConditionalGeneration) -> Iterator[nn.Module]:
    yield from model.vision_tower.layers
    if hasattr(model, "speech_encoder"):
        yield from model.speech_encoder.whisper.layers
        yield from model.speech_encoder.beats.layers


def trained_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield name and parameter of all trained parameters."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def make_optimizer(model: nn.Module, phase: Phase) -> torch.optim.AdamW:
    """Make an AdamW with two groups per module: weight decay is off for norms, biases and single vectors."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trained_parameters(model):
        groups.setdefault((module_of(name), parameter.ndim > 1), []).append(parameter)
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
    fused = all(parameter.is_cuda for group in groups.values() for parameter in group)
    return torch.optim.AdamW(facts, betas=phase.betas, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, step: int, steps: int) -> None:
    """Set the learning rates of step `step` of `steps`, counted from 0."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * rate_share(phase, step, steps)


def rate_share(phase: Phase, step: int, steps: int) -> float:
    """Return a step's factor on the learning rate: it rises in the warm-up, then follows the schedule to 0."""
    warmup_steps = math.ceil(phase.warmup * steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    factors = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return factors[phase.schedule]


def shard_model(model: OlaForConditionalGeneration, ranks: int, device: torch.device, compute: torch.dtype) -> None:
    """Shard the parameters over the ranks; frozen encoders, which are small, are replicated.

    compute: dtype of the arithmetic; BEATs, losses and reductions use float32. A single rank computes in the same way
    and gets its process group here; several ranks need an initialised group.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh, frozen = device_mesh(ranks, device.type), _replicated_parameters(model, compute)
    policy = MixedPrecisionPolicy(compute, torch.float32)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    if hasattr(model, "speech_encoder") and any(p.requires_grad for p in model.speech_encoder.beats.parameters()):
        fully_shard(model.speech_encoder.beats, mesh=mesh)  # BEATs computes in float32
    # the modules cast their media: BEATs needs them in float32
    root_policy = MixedPrecisionPolicy(compute, torch.float32, cast_forward_inputs=False)
    fully_shard(model, mesh=mesh, mp_policy=root_policy, ignored_params=frozen)
    for parameter in frozen:
        if not parameter.is_meta:
            parameter.data = parameter.data.to(device)


def _replicated_parameters(model: OlaForConditionalGeneration, compute: torch.dtype) -> set[nn.Parameter]:
    """Return the frozen parameters of encoders whose dtype is also their compute dtype."""
    return {
        parameter
        for name, parameter in model.named_parameters()
        if module_of(name) in ("vision_tower", "speech_encoder") and not parameter.requires_grad
        if parameter.dtype == compute or "beats" in name
    }
