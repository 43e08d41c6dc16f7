"""Write the model of a checkpoint as a Hugging Face folder, tensor by tensor.

In: a checkpoint of `ola train`, whose ranks wrote a file each. Out: `model.safetensors` with weights in the dtype that
config.json names, beside the configuration and the tokenizer. Only one tensor is in memory at a time.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from ola.checkpoint import SINGLE, BadCheckpoint, Stored, write_safetensors
from ola.weights import config_of
from stages import lora
from stages.checkpoints import DONE, FACTS
from stages.errors import StagesError
from stages.sharded_state import STATE, WEIGHTS


@dataclass(frozen=True)
class ShardedTensor:
    """A weight of a checkpoint, as `ola.checkpoint.Stored`. dtype: of the copy, not of the file."""

    folder: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    stored_dtype: torch.dtype

    def copy_into(self, target: Tensor, first_row: int = 0) -> None:
        """Fill `target` with rows from `first_row` on; the whole tensor is read."""
        whole: dict[str, Any] = {self.name: torch.empty(self.shape, dtype=self.stored_dtype)}
        with warnings.catch_warnings():  # torch warns that this is not a collective load
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load(whole, checkpoint_id=self.folder, no_dist=True)
        target.copy_(whole[self.name][first_row : first_row + len(target)] if target.ndim else whole[self.name])


def merge(checkpoint: Path, out: Path) -> None:
    """Write the model of a checkpoint to the folder `out`, which must not exist; it appears complete.

    Raises StagesError if `checkpoint` is not a complete checkpoint with a file for each rank.
    """
    if not (checkpoint / DONE).exists() or not (checkpoint / STATE).is_dir():
        raise StagesError(
            f"{checkpoint}: expected a checkpoint of `ola train` with {DONE} and the folder {STATE}; "
            "a folder with model.safetensors is a model already"
        )
    if out.exists():
        raise StagesError(f"{out}: exists already; name another folder")
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(checkpoint, draft, ignore=shutil.ignore_patterns(DONE, FACTS, STATE, SINGLE, lora.FOLDER))
    write_merged(checkpoint, draft)
    draft.rename(out)


def write_merged(checkpoint: Path, out: Path) -> None:
    """Write the weights of a checkpoint to the folder `out`; adapters are added, and also written by themselves.

    Raises StagesError if the weights cannot be read.
    """
    try:
        write_safetensors(lora.merged(_stored_weights(checkpoint), checkpoint, out), out / SINGLE)
    except BadCheckpoint as error:
        raise StagesError(str(error)) from error
    except CheckpointException as error:
        raise StagesError(f"{checkpoint / STATE}: {next(iter(error.failures.values()))[0]}") from error


def _stored_weights(checkpoint: Path) -> dict[str, Stored]:
    """Return the weights of a checkpoint by name; BEATs and adapters keep their dtypes."""
    dtype, folder = config_of(checkpoint).dtype, checkpoint / STATE
    if not isinstance(dtype, torch.dtype):
        raise BadCheckpoint(f"{checkpoint / 'config.json'}: expected `dtype`, the dtype of the weights, got nothing")
    stored = FileSystemReader(folder).read_metadata().state_dict_metadata
    return {
        name.removeprefix(WEIGHTS): ShardedTensor(
            folder,
            name,
            tuple(each.size),
            each.properties.dtype if "beats" in name or lora.is_adapter(name) else dtype,
            each.properties.dtype,
        )
        for name, each in stored.items()
        if name.startswith(WEIGHTS) and isinstance(each, TensorStorageMetadata)
    }
