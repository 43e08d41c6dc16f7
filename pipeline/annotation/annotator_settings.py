"""Settings of the annotating model, and the choice of its device."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, model_validator

from ola import locate_model
from pipeline import step
from pipeline.annotation.model_digest import digest_of
from pipeline.errors import ConfigError

TORCH_ENGINES = (
    "torch",
    "vllm",
)  # engines that load weights with torch; the needs of a `module:factory` are unknown
CPU, CUDA = "cpu", "cuda"
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvmap", "/dev/kfd")  # torch may see a GPU where one of these exists
LARGE = 4e9  # bytes of weights: a CPU would take minutes a clip, which is hardly intended
# Of a GPU's memory, for vLLM's weights and cache. The encoders, their activations and the cached embeddings of recent
# media take some 9 GB at the released sizes in bfloat16.
VLLM_SHARE = 0.8


class AnnotatorSettings(step.Settings):
    """Settings of the model that annotates.

    `vllm` takes `VLLM_SHARE` of a GPU's memory; the encoders need the rest. Where workers share a GPU, its cache has a
    reckoned size. At its first start it writes the decoder below $XDG_CACHE_HOME/ola (else ~/.cache/ola), once for each
    model: 15 GB of the released one.
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
    batch_invariant: bool = False
    """With vLLM: answers do not depend on the batch, which is slower; NVIDIA GPUs of compute capability 9.0 and up."""
    digest: str = ""
    """Digest of the weights; `ola run` computes it."""
    runs_on: str = ""
    """Kind of device that answers; `ola run` sets it."""

    @model_validator(mode="after")
    def _check_engine(self) -> AnnotatorSettings:
        if self.batch_invariant and (self.engine != "vllm" or self.device == CPU):
            raise ValueError("expected batch_invariant only with engine=vllm on a GPU; leave it out")
        return self

    def resolve(self, gpus: float | None = None) -> AnnotatorSettings:
        """Return the settings with the digest of the weights and the kind of device.

        gpus: that a worker on Ray takes; None: the run is in this process. Raises ConfigError without weights.
        """
        if not self.model:
            return self.model_copy(update={"digest": "", "runs_on": ""})
        return self.model_copy(update={"digest": digest_of(self.model), "runs_on": self._kind_of_device(gpus)})

    @property
    def share(self) -> float:
        """GPUs that a worker on Ray takes."""
        if self.gpus is not None:
            return self.gpus
        is_large = bool(self.model) and self.device == "" and weight_bytes(locate_model(self.model)) > LARGE
        return float(is_large or self.device.startswith(CUDA))

    def _kind_of_device(self, gpus: float | None) -> str:
        """Return `cuda` or `cpu`; "" for an external engine, which chooses by itself."""
        if self.engine not in TORCH_ENGINES:
            return ""
        if self.device:
            return self.device.partition(":")[0]
        return CUDA if (has_gpu() if gpus is None else gpus > 0) else CPU


def choose_device(settings: AnnotatorSettings, has_gpu: bool) -> str:
    """Return the device for the weights.

    Raises ConfigError where large weights would go to a CPU by default, or where the kind of device differs from that
    at the beginning of the run: its answers differ, and have another key.
    """
    device = _default_device(settings, has_gpu)
    if settings.runs_on and not device.startswith(settings.runs_on):
        raise ConfigError(
            f"annotator.device: expected {settings.runs_on} on this node as where the run began, got {device}; set "
            f"annotator.device=cpu, or give each worker a GPU that torch sees (annotator.gpus)"
        )
    return device


def _default_device(settings: AnnotatorSettings, has_gpu: bool) -> str:
    weights = weight_bytes(locate_model(settings.model))
    if not settings.device and not has_gpu and weights > LARGE:
        raise ConfigError(
            f"annotator.model: expected a GPU for {weights / 1e9:.0f} GB of weights, got none; set annotator.gpus=1 on "
            "a machine with a GPU, or annotator.device=cpu for a slow run on the CPU"
        )
    return settings.device or (CUDA if has_gpu else CPU)


def has_gpu() -> bool:
    """Return whether torch sees a GPU here. torch is imported only where there is a driver."""
    if not any(map(os.path.exists, DRIVERS)):
        return False
    import torch

    return torch.cuda.is_available()


def weight_bytes(folder: Path) -> int:
    """Return the size of all safetensors in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
