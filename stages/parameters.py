"""Which parameters of the model a phase trains, at which rate, and where they live.

In: a model and a phase. Out: the parameters that are trained, an AdamW over them, and the share of its rates that a
step takes. Sharding is PyTorch's FSDP2: each layer of the decoder by itself, all else together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.utils.checkpoint import checkpoint

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
    """Have the activations of the decoder, and of encoders that are trained, made anew in the backward pass.

    That saves their memory: those of a pack of 55,000 patches would take some 57 GB at released sizes.
    """
    old = model.gradient_checkpointing_enable  # its name before transformers 5
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
    """The parameters that are trained, by name."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def optimizer_of(model: nn.Module, phase: Phase) -> torch.optim.AdamW:
    """AdamW with a group for each module, in two: norms, biases and single vectors do not decay."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trained_parameters(model):
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
    fused = all(parameter.is_cuda for group in groups.values() for parameter in group)
    return torch.optim.AdamW(facts, betas=phase.betas, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, step: int, steps: int) -> None:
    """The rates of step `step` of `steps`, counted from 0."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * rate_share(phase, step, steps)


def rate_share(phase: Phase, step: int, steps: int) -> float:
    """Of its rate that a step takes: rising over the warm-up, then by the schedule down to 0 after the last step."""
    warm = math.ceil(phase.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    gone = (step - warm) / max(1, steps - warm)
    falls = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}
    return falls[phase.schedule]


def shard(model: OlaForConditionalGeneration, ranks: int, device: torch.device, compute: torch.dtype) -> None:
    """Spread the parameters over the ranks; frozen encoders, which are small beside the decoder, stay whole on each.

    compute: dtype of all arithmetic but BEATs', losses and reductions, which are float32. One rank computes as several
    do. Ranks that are not alone need a process group; one alone gets it here.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh, frozen = _mesh(ranks, device), _whole_on_each_rank(model, compute)
    policy = MixedPrecisionPolicy(compute, torch.float32)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    if hasattr(model, "speech_encoder") and any(p.requires_grad for p in model.speech_encoder.beats.parameters()):
        fully_shard(model.speech_encoder.beats, mesh=mesh)  # it computes in float32
    # media are cast where they are read: BEATs takes them as they are
    whole = MixedPrecisionPolicy(compute, torch.float32, cast_forward_inputs=False)
    fully_shard(model, mesh=mesh, mp_policy=whole, ignored_params=frozen)
    for parameter in frozen:
        parameter.data = parameter.data.to(device)


def _mesh(ranks: int, device: torch.device) -> DeviceMesh:
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    return init_device_mesh(device.type, (ranks,))


def _whole_on_each_rank(model: OlaForConditionalGeneration, compute: torch.dtype) -> set[nn.Parameter]:
    """Frozen parameters of encoders, where they compute in the dtype that they are held in."""
    return {
        parameter
        for name, parameter in model.named_parameters()
        if part_of(name) in ("vision_tower", "speech_encoder") and not parameter.requires_grad
        if parameter.dtype == compute or "beats" in name
    }
