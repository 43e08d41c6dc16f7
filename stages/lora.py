"""Train small adapters (LoRA, by the package peft) in place of a module's own weights.

In: a model on the meta device. Out: the same model with adapters beside the linear layers of some modules; merged
weights of a checkpoint, and the adapters as peft reads them. The adapters of a checkpoint lie in `adapter/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from ola.checkpoint import Stored, write_safetensors
from ola.weights import Loading, rows_of_rank
from stages.errors import StagesError

if TYPE_CHECKING:  # a GPU's bench needs no pydantic
    from stages.recipe import Lora

Model = TypeVar("Model", bound=Qwen2ForCausalLM)

LAYERS = {"decoder": "model.layers.", "vision_tower": "vision_tower.layers."}  # linear layers below get adapters
FOLDER, FILE = "adapter", "adapter_model.safetensors"  # peft's name of the file
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"  # in names of peft's layers
PREFIX = "base_model.model."  # of names in peft's files


def add_adapters(found: Loading[Model], lora: Lora) -> Loading[Model]:
    """Put adapters beside the linear layers; the sources of the weights follow. Raises StagesError without peft."""
    try:
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise StagesError(f"lora: expected the package peft, got: {error}; pip install 'ola-pipeline[lora]'") from error
    inject_adapter_in_model(_settings(found.model, lora), found.model)
    names = [name for name, _ in found.model.named_parameters() if not is_adapter(name)]
    return replace(found, sources={name: found.sources[_plain(name)] for name in names if found.sources})


def is_adapter(name: str) -> bool:
    """Return whether a parameter belongs to an adapter."""
    return name.endswith((DOWN, UP))


def initialise(model: nn.Module, seed: int) -> None:
    """Draw the adapters' first matrices, whatever the number of ranks; the second ones are zero, as peft has it."""
    from blake3 import blake3

    for name, parameter in model.named_parameters():
        if name.endswith(UP):
            parameter.data.zero_()
        elif name.endswith(DOWN):
            digest = blake3(f"{seed} {name}".encode()).digest(length=7)
            generator = torch.Generator().manual_seed(int.from_bytes(digest))
            whole = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(whole, a=math.sqrt(5), generator=generator)
            rows, first = rows_of_rank(parameter)
            rows.copy_(whole[first : first + len(rows)])


def save_settings(model: nn.Module, lora: Lora, folder: Path) -> None:
    """Write peft's description of the adapters to a checkpoint."""
    _settings(model, lora).save_pretrained(folder / FOLDER)


def merged(weights: Mapping[str, Stored], checkpoint: Path, out: Path) -> dict[str, Stored]:
    """Return the weights of a checkpoint with its adapters added; write the adapters alone to a folder of `out`."""
    adapters = {name: stored for name, stored in weights.items() if is_adapter(name)}
    if not adapters:
        return dict(weights)
    from peft import LoraConfig

    settings: Any = LoraConfig.from_pretrained(str(checkpoint / FOLDER))
    (out / FOLDER).mkdir(exist_ok=True)
    settings.save_pretrained(out / FOLDER)
    named = {PREFIX + name.replace(".default.", "."): stored for name, stored in adapters.items()}
    write_safetensors(named, out / FOLDER / FILE)
    return {
        _plain(name): MergedTensor(
            stored, adapters[layer + DOWN], adapters[layer + UP], settings.lora_alpha / settings.r
        )
        if (layer := name.removesuffix(f"{BASE}weight")) + DOWN in adapters
        else stored
        for name, stored in weights.items()
        if name not in adapters
    }


@dataclass(frozen=True)
class MergedTensor:
    """A weight plus its adapter, as `ola.checkpoint.Stored`."""

    base: Stored
    down: Stored
    up: Stored
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.base.dtype

    def copy_into(self, target: Tensor, first_row: int = 0) -> None:
        """Fill `target` with rows from `first_row` on; the sum is taken in float32."""
        rows = torch.empty(target.shape)
        up, down = torch.empty(len(target), self.up.shape[1]), torch.empty(self.down.shape)
        self.base.copy_into(rows, first_row)
        self.up.copy_into(up, first_row)
        self.down.copy_into(down)
        target.copy_(rows + self.scale * (up @ down))


def _settings(model: nn.Module, lora: Lora) -> Any:
    from peft import LoraConfig

    begins = tuple(LAYERS[part] for part in lora.parts)
    layers = [
        _plain(name)
        for name, module in model.named_modules()
        if name.startswith(begins) and isinstance(module, nn.Linear) and "lora_" not in name
    ]
    return LoraConfig(r=lora.rank, lora_alpha=cast(int, lora.alpha), target_modules=layers)


def _plain(name: str) -> str:
    """Return the name of a parameter, or of a layer, without adapters."""
    return name.replace(BASE, ".").removesuffix(BASE.rstrip("."))
