"""Reckon the peak memory of a training step on one rank. All results are bytes.

In: a model whose trained parameters are chosen (`parameters.unfreeze`), also on the meta device, and what a pass reads.
Out: a `StepMemory`. Counted are tensors, as in `ola.memory`; CUDA's context, workspaces and gaps are in no result. The
activations of a trained speech encoder and of adapters are not counted; a frozen decoder keeps less than reckoned.

Small models on a CPU take within 15 % of it. A step on an H200 took 52.7 GB: a decoder of 1.5B shape, full encoders,
8,421 positions, decoder and projectors trained by FSDP2 on one rank, without recomputation. Reckoned are 52.1 GB.

Legend: C width of the decoder, I of its feed-forward, V vocabulary, D width of the vision tower, e bytes of a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ola.config import OlaConfig
from ola.memory import FLOAT32
from ola.model import LOGITS_AT_ONCE, OlaForConditionalGeneration
from stages.parameters import module_of
from stages.phase_model import Numerics
from stages.recipe import Phase

POOLED = 7  # widths of the decoder that the trained visual projector keeps for each patch
COPIES = 12  # bytes a logit: in the compute dtype, its softmax in float32, and the gradients of both
REPLICATED = ("vision_tower", "speech_encoder")


@dataclass(frozen=True)
class TrainingPass:
    """What a rank reads in one pass, and how.

    positions: of the decoder. supervised: tokens with a loss. patches: of pictures. compute: dtype of the arithmetic.
    ranks: over which FSDP2 shards; 0: not sharded. accumulates: a step has several passes, so that the gradients of
    the earlier ones are there.
    """

    positions: int
    supervised: int
    patches: int = 0
    recompute: bool = True
    compute: torch.dtype = torch.bfloat16
    ranks: int = 1
    accumulates: bool = True


@dataclass(frozen=True)
class StepMemory:
    """The peak of a step on one rank. working: activations, and whole weights and gradients of sharded modules."""

    weights: int
    gradients: int
    optimizer: int
    working: int

    @property
    def total(self) -> int:
        """The peak of all."""
        return self.weights + self.gradients + self.optimizer + self.working

    def line(self) -> str:
        """Return the figures in GB for people."""
        parts = {"weights": self.weights, "gradients": self.gradients, "optimizer": self.optimizer}
        each = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in {**parts, "activations": self.working}.items())
        return f"{self.total / 1e9:.1f} GB ({each})"


def describe_room(model: OlaForConditionalGeneration, given: TrainingPass, room: int) -> str:
    """Return a line for people: the reckoned peak of a rank, the room that its GPU has, and what to do if it lacks."""
    needed = step_memory(model, given)
    line = f"memory of a rank: about {needed.line()} for {given.positions} tokens in a pass, of {room / 1e9:.1f} GB"
    advice = "may not fit: lower sequence_tokens, use more ranks, or train adapters with lora"
    return line if needed.total <= room else f"{line}; {advice}"


def fullest_pass(model: OlaForConditionalGeneration, phase: Phase, numerics: Numerics, ranks: int) -> TrainingPass:
    """Return a pass of one sequence on a GPU, as long as the phase allows, of pictures alone but all supervised."""
    tokens = phase.sequence_tokens
    return TrainingPass(
        tokens, tokens, tokens * model.config.pool**2, numerics.recompute is not False,
        numerics.compute or torch.bfloat16, ranks, accumulates=phase.batch > ranks,
    )  # fmt: skip


def step_memory(model: OlaForConditionalGeneration, given: TrainingPass) -> StepMemory:
    """Return the peak of a step with AdamW: the most of the last layer's backward, and of the end of the backward."""
    weights = sum(_bytes_on_rank(name, each, given) for name, each in model.named_parameters())
    trained = [each.numel() for each in model.parameters() if each.requires_grad]
    masters = FLOAT32 * sum(trained) // max(1, given.ranks)
    start, end = activation_bytes(model, given), 0
    if given.ranks:
        whole, reduced = _whole_bytes(model, given)
        start, end = start + whole, reduced
    before = masters if given.accumulates else 0
    working = max(before + start, masters + end) - masters
    return StepMemory(weights, masters, 2 * masters, working)


def activation_bytes(model: OlaForConditionalGeneration, given: TrainingPass) -> int:
    """Return the most of the activations: while the logits are there, or in the backward pass of the last layer."""
    config, item = model.config, given.compute.itemsize
    layers, one = int(config.num_hidden_layers), given.positions * layer_bytes(config, item)
    between = given.positions * config.hidden_size * item
    kept = layers * (between if given.recompute else one)
    ends = given.positions * (config.hidden_size * (2 * item + (FLOAT32 if item < FLOAT32 else item)))
    backward = (one if given.recompute else 0) + 2 * between + given.positions * config.intermediate_size * item
    return kept + ends + _media_bytes(model, given) + max(backward, logits_bytes(config, given.supervised))


def layer_bytes(config: OlaConfig, item: int) -> int:
    """Return what a layer of the decoder keeps per position for its backward pass.

    Each norm: its input in float32, what is multiplied by its weight, and its result. Attention: queries, keys, values
    and its result. The feed-forward: the gate before and after its activation, its other half, and their product.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    keys = 2 * int(config.num_key_value_heads or heads) * (width // heads)
    norms = 2 * width * (FLOAT32 + 2 * item)
    attention = ((2 if item < FLOAT32 else 3) * width + keys) * item + heads * FLOAT32
    return int(norms + attention + 4 * config.intermediate_size * item)


def logits_bytes(config: OlaConfig, supervised: int) -> int:
    """Return the peak of the losses."""
    return int(min(supervised, LOGITS_AT_ONCE) * config.vocab_size * COPIES)


def _media_bytes(model: OlaForConditionalGeneration, given: TrainingPass) -> int:
    """Return what the trained vision tower and its projector keep."""
    config, tower, item = model.config, model.config.vision, given.compute.itemsize
    trained = {module_of(name) for name, each in model.named_parameters() if each.requires_grad}
    kept = 0
    if "vision_tower" in trained:
        block = (10 * tower.hidden_size + 2 * tower.intermediate_size) * item
        between = int(tower.hidden_size) * item
        blocks = int(tower.num_hidden_layers)
        kept += given.patches * (blocks * between + block if given.recompute else blocks * block)
    if trained & {"vision_tower", "visual_projector"}:
        kept += given.patches * (tower.hidden_size + POOLED * config.hidden_size) * item
    return kept


def _bytes_on_rank(name: str, parameter: torch.nn.Parameter, given: TrainingPass) -> int:
    """Return a parameter's bytes on a rank; frozen encoders are not sharded (`parameters.shard_model`)."""
    whole = module_of(name) in REPLICATED and not parameter.requires_grad
    return parameter.nbytes // (1 if whole else max(1, given.ranks))


def _whole_bytes(model: OlaForConditionalGeneration, given: TrainingPass) -> tuple[int, int]:
    """Return the bytes of whole weights and gradients of FSDP2's units, in the first layer's backward and at the end.

    Two layers at most are whole: the one at work and the next. All that is in no layer is one unit, whole throughout;
    at the end its gradients are there in the compute dtype and, to be reduced, in float32.
    """
    item, layers, rest = given.compute.itemsize, model.config.num_hidden_layers, [0, 0]
    layer = [0, 0]
    for name, each in model.named_parameters():
        if module_of(name) in REPLICATED and not each.requires_grad:
            continue
        unit = layer if name.startswith("model.layers.") else rest
        unit[0] += each.numel()
        unit[1] += each.numel() if each.requires_grad else 0
    weights, gradients = layer[0] // layers, layer[1] // layers
    head = model.lm_head.weight.numel() if model.lm_head.weight.requires_grad else 0
    start = (rest[0] + 2 * weights + head) * item + gradients * (item + FLOAT32)
    return start, rest[0] * item + rest[1] * (item + FLOAT32)
