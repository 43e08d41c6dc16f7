"""Load the model, the processor and the optimizer of a phase on one rank.

In: the folder of the weights that the phase begins with, or a checkpoint of the phase. Out: a `PhaseModel`. The
model is laid out without memory first; then each rank reads only its rows of the weights and of the optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ola.checkpoint import BadCheckpoint
from ola.model import OlaForConditionalGeneration
from ola.packing import PACKED
from ola.processor import OlaProcessor
from ola.weights import Loading, allocate, config_of, fill_rows, prepare_checked
from stages import lora, parameters, sharded_state
from stages.errors import StagesError
from stages.merging import write_merged
from stages.ranks import World, process_group
from stages.recipe import Lora, Phase

EMBEDDING = "model.embed_tokens.weight"  # its dtype is used for the checkpoint


@dataclass(frozen=True)
class Numerics:
    """How a phase computes.

    recompute: recompute activations in the backward pass to save memory; None: only on a GPU. compute: dtype of the
    arithmetic, independent of the weights' dtype; None: bfloat16 on a GPU, float32 on a CPU.
    """

    recompute: bool | None = None
    compute: torch.dtype | None = None


@dataclass(frozen=True, eq=False)
class PhaseModel:
    """The model of a phase, whose weights may be sharded, and what belongs to it.

    group: of all ranks, with which a thread reads and writes checkpoints.
    """

    model: OlaForConditionalGeneration
    processor: OlaProcessor
    optimizer: torch.optim.AdamW
    group: dist.ProcessGroup
    lora: Lora | None = None

    def copy_state(self) -> dict[str, Tensor]:
        """Return this rank's rows of all tensors of a checkpoint; see `sharded_state`."""
        return sharded_state.copy_state(self.model, self.optimizer)

    def write(self, state: dict[str, Tensor], first: bool, merges: bool, folder: Path) -> None:
        """Write a checkpoint: this rank's rows, and on the first rank all else. merges: also make it a model folder."""
        sharded_state.save_state(folder, state, self.group)
        if first:
            self.processor.save_pretrained(folder)
            self.model.generation_config.save_pretrained(folder)
            if self.lora:
                lora.save_settings(self.model, self.lora, folder)
            if merges:
                write_merged(folder, folder)

    def clip_gradients(self, most: float) -> float:
        """Scale the gradients down to a norm of `most`; return their norm before."""
        trained = [parameter for _, parameter in parameters.trained_parameters(self.model)]
        norm = nn.utils.clip_grad_norm_(trained, most)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def open_model(
    phase: Phase, start: Path, resumed: Path | None, numerics: Numerics, world: World, seed: int = 0
) -> PhaseModel:
    """Load a phase's last checkpoint, or its initial weights. All ranks must call it. Raises StagesError.

    seed: of adapters.
    """
    folder, has_state = resumed or start, resumed is not None and (resumed / sharded_state.STATE).is_dir()
    device = torch.device(world.device)
    compute = numerics.compute or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    is_sharded = world.ranks > 1 or compute != torch.float32
    try:
        found = _lay_out(folder, has_state)
        if phase.lora:
            found = lora.add_adapters(found, phase.lora)
        stored_as: Any = found.model.config.dtype
        _set_dtypes(found, stored_as if is_sharded else torch.float32)
        processor = OlaProcessor.from_pretrained(folder)
        processor.config.dtype = stored_as
        parameters.unfreeze(found.model, phase)
        if device.type == "cuda" if numerics.recompute is None else numerics.recompute:
            parameters.enable_recompute(found.model)
        if is_sharded:
            parameters.shard_model(found.model, world.ranks, device, compute)
        model = allocate(found.model, folder, device) if has_state else fill_rows(found, folder, device)
    except (BadCheckpoint, OSError, KeyError, ValueError) as error:
        raise StagesError(f"model {folder}: {error}") from error
    parameters.set_mode(model)
    optimizer = parameters.make_optimizer(model, phase)
    opened = PhaseModel(model, processor, optimizer, process_group(device.type), phase.lora)
    if has_state:
        sharded_state.load_state(folder, model, opened.optimizer, opened.group)
    elif resumed:
        sharded_state.load_gathered(folder, model, opened.optimizer)
    elif phase.lora:
        lora.initialise(model, seed)
    return opened


def _lay_out(folder: Path, has_state: bool) -> Loading[OlaForConditionalGeneration]:
    """Return the model on the meta device, with the dtype of the folder's weights in its configuration.

    has_state: the weights are in the checkpoint's shards, which nothing here reads.
    """
    config = config_of(folder)
    config._attn_implementation = PACKED
    if has_state:
        with torch.device("meta"):
            return Loading(OlaForConditionalGeneration(config), {}, {}, ())
    found = prepare_checked(OlaForConditionalGeneration, folder, config)
    found.model.config.dtype = found.stored[EMBEDDING].dtype
    return found


def _set_dtypes(found: Loading[OlaForConditionalGeneration], dtype: torch.dtype) -> None:
    """Set the dtype of all parameters but those of BEATs, which stay float32."""
    for name, parameter in found.model.named_parameters():
        if "beats" not in name:
            parameter.data = parameter.data.to(dtype)
