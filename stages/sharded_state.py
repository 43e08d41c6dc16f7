"""Save and load weights and optimizer of a phase in shards: no rank holds more than its own.

    <step>/state/   .metadata, and a file for each rank, in the format of `torch.distributed.checkpoint`

In: a model and an optimizer, whose tensors may be sharded (DTensors). Out: the same tensors, on any number of ranks.
`load_gathered` reads the file of optimizers that earlier versions wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ola.checkpoint import BadCheckpoint, Stored, spans_of
from ola.weights import rows_of_rank
from stages.errors import StagesError
from stages.parameters import trained_parameters

STATE = "state"  # folder in a checkpoint
WEIGHTS, OPTIMIZER = "model/", "optimizer/"  # beginnings of the names of tensors
GATHERED = "optimizer.safetensors"  # the optimizer in checkpoints of earlier versions
MASTER = "master"  # in GATHERED: key of a trained weight in float32, if the model is stored in a shorter dtype
ADVICE = "remove the folder to resume from the previous one"


class RankFiles(FileSystemWriter):
    """Writes a file for each rank. Raises OSError where the disk fails; torch raises an error of its file format."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Any:
        """Write this rank's tensors."""
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def copy_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return this rank's rows of all tensors to save, by name; those that training changes are copied to the CPU."""
    state = {f"{WEIGHTS}{name}": parameter.detach() for name, parameter in model.named_parameters()}
    changing = {f"{WEIGHTS}{name}": parameter.detach() for name, parameter in trained_parameters(model)}
    for name, parameter in trained_parameters(model):
        changing |= {f"{OPTIMIZER}{name}/{key}": tensor for key, tensor in optimizer.state[parameter].items()}
    return state | {name: tensor.to("cpu", copy=True) for name, tensor in changing.items()}


def save_state(folder: Path, state: Mapping[str, Tensor], group: dist.ProcessGroup) -> None:
    """Write this rank's rows. All ranks of the group must call the function; it returns when all have written."""
    try:
        save(dict(state), storage_writer=RankFiles(folder / STATE), process_group=group)
    except CheckpointException as error:
        raise _first_failure(error) from error


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, group: dist.ProcessGroup) -> None:
    """Read this rank's rows of weights and optimizer. All ranks of the group must call it. Raises StagesError."""
    try:
        stored = FileSystemReader(folder / STATE).read_metadata().state_dict_metadata
        state: dict[str, Any] = {f"{WEIGHTS}{name}": each.detach() for name, each in model.named_parameters()}
        for name, parameter in trained_parameters(model):
            begin = f"{OPTIMIZER}{name}/"
            keys = [key.removeprefix(begin) for key in stored if key.startswith(begin)]
            optimizer.state[parameter] = {key: _empty_state(key, parameter, optimizer) for key in keys}
            state |= {begin + key: tensor for key, tensor in optimizer.state[parameter].items()}
        load(state, checkpoint_id=folder / STATE, process_group=group)
    except CheckpointException as error:
        raise StagesError(f"{folder / STATE}: {_first_failure(error)}; {ADVICE}") from error
    except (OSError, EOFError, RuntimeError) as error:
        raise StagesError(f"{folder / STATE}: {error}; {ADVICE}") from error


def load_gathered(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Read this rank's rows of optimizer and float32 weights from `optimizer.safetensors`. Raises StagesError."""
    try:
        stored = spans_of(folder / GATHERED)
        for name, parameter in trained_parameters(model):
            found = {key.rpartition("/")[2]: span for key, span in stored.items() if key.rpartition("/")[0] == name}
            if (master := found.pop(MASTER, None)) is not None:
                _read_rows(master, parameter)
            optimizer.state[parameter] = {key: _empty_state(key, parameter, optimizer) for key in found}
            for key, span in found.items():
                _read_rows(span, optimizer.state[parameter][key])
    except (OSError, BadCheckpoint) as error:
        raise StagesError(f"{folder / GATHERED}: {error}; {ADVICE}") from error


def _empty_state(key: str, parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> Tensor:
    """Return a tensor of AdamW's state to read into: a counter of steps, or a tensor like the parameter."""
    if key != "step":
        return torch.empty_like(parameter, requires_grad=False)
    return torch.zeros((), device=parameter.device if optimizer.defaults.get("fused") else "cpu")


def _read_rows(stored: Stored, target: Tensor) -> None:
    rows, first = rows_of_rank(target)
    if rows.numel():
        stored.copy_into(rows, first)


def _first_failure(error: CheckpointException) -> BaseException:
    """Return the error of a rank, which torch wraps in one that is no `Exception`."""
    return next(iter(error.failures.values()))[0]
