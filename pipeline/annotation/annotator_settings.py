"""Which model annotates, how, and on which device: its settings, and what follows from them."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from ola import locate_model
from pipeline import step
from pipeline.annotation.model_digest import digest_of
from pipeline.errors import ConfigError

OURS = ("torch", "vllm")  # engines whose weights torch holds; what a `module:factory` needs is not known
CPU, CUDA = "cpu", "cuda"
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvmap", "/dev/kfd")  # one of them is there where torch may see a GPU
LARGE = 4e9  # bytes of weights: what a CPU takes minutes a clip for is hardly meant
# Of a worker's part of a GPU's memory, for weights and cache; the encoders, what they compute and what they made of
# recent media take some 8 GB of the released sizes in bfloat16.
VLLM_SHARE = 0.8


class AnnotatorSettings(step.Settings):
    """Settings of the model that annotates.

    `vllm` takes `VLLM_SHARE` of its part of a GPU's memory; the encoders need the rest. At its first start it writes
    the decoder below $XDG_CACHE_HOME/ola (else ~/.cache/ola), once for each model: 15 GB of the released one.
    """

    model: str = ""
    """Folder of the weights, or `nano`; empty: no step that asks a model can run."""
    engine: str = "torch"
    """`torch`, `vllm`, or `module:factory`."""
    dtype: str = "auto"
    """Dtype of the weights; `auto` is the stored one (float32 for float16 weights on a CPU)."""
    device: str = ""
    """`cuda` or `cpu`; empty: the GPU if there is one."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of a worker on Ray; 0.5: two workers on a GPU; null: 1 for `device: cuda` and weights over 4 GB, else 0."""
    digest: str = ""
    """Digest of the weights; `ola run` computes it."""
    runs_on: str = ""
    """Kind of device that answers; `ola run` sets it."""

    def resolved(self, engine: str = "inline") -> AnnotatorSettings:
        """With the digest of the weights as they are now, and where they answer. engine: of the run.

        Raises ConfigError where there are no weights.
        """
        if not self.model:
            return self.model_copy(update={"digest": "", "runs_on": ""})
        return self.model_copy(update={"digest": digest_of(self.model), "runs_on": self._kind_of_device(engine)})

    @property
    def share(self) -> float:
        """GPUs that a worker on Ray takes."""
        if self.gpus is not None:
            return self.gpus
        is_large = bool(self.model) and self.device == "" and weight_bytes(locate_model(self.model)) > LARGE
        return float(is_large or self.device.startswith(CUDA))

    def _kind_of_device(self, engine: str) -> str:
        """Return `cuda` or `cpu`; "" where an engine of somebody else's decides."""
        if self.engine not in OURS:
            return ""
        if self.device:
            return self.device.partition(":")[0]
        return CUDA if (self.share > 0 if engine == "ray" else has_gpu()) else CPU


def device_for(settings: AnnotatorSettings, has_gpu: bool) -> str:
    """Where the weights go.

    Raises ConfigError where large ones would be left to a CPU by chance, and on another kind of device than that which
    the run began with: its answers are others, and stand under another key.
    """
    device = _chosen_device(settings, has_gpu)
    if settings.runs_on and not device.startswith(settings.runs_on):
        raise ConfigError(
            f"annotator.device: expected {settings.runs_on} on this node as where the run began, got {device}; set "
            f"annotator.device=cpu, or give each worker a GPU that torch sees (annotator.gpus)"
        )
    return device


def _chosen_device(settings: AnnotatorSettings, has_gpu: bool) -> str:
    weights = weight_bytes(locate_model(settings.model))
    if not settings.device and not has_gpu and weights > LARGE:
        raise ConfigError(
            f"annotator.model: {weights / 1e9:.0f} GB of weights and no GPU for them; set annotator.gpus=1 where there "
            "is one, or annotator.device=cpu to wait for a CPU"
        )
    return settings.device or (CUDA if has_gpu else CPU)


def has_gpu() -> bool:
    """Whether torch sees a GPU here. It is only imported where there is a driver for one."""
    if not any(map(os.path.exists, DRIVERS)):
        return False
    import torch

    return torch.cuda.is_available()


def weight_bytes(folder: Path) -> int:
    """Return the size of all safetensors in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
