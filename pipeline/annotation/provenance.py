"""Describe what answers: software, dtype and device. Rows and samples carry it, since answers may differ by it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pipeline.annotation.annotator_settings import CUDA, TORCH_ENGINES, AnnotatorSettings

SOFTWARE = {"torch": ("torch", "transformers"), "vllm": ("vllm", "torch", "transformers")}


def describe_annotator(settings: AnnotatorSettings, annotator: Any) -> str:
    """Return for example `torch 2.13.0, transformers 5.23.0, float32, cpu`; for other engines `module:factory`.

    annotator: an `Ola`, if it is of one of this project's engines.
    """
    if settings.engine not in TORCH_ENGINES:
        return settings.engine
    software = [f"{name} {import_module(name).__version__}" for name in SOFTWARE[settings.engine]]
    model = annotator.model
    return ", ".join([*software, str(model.dtype).removeprefix("torch."), _device_name(model.device)])


def _device_name(device: Any) -> str:
    if device.type != CUDA:
        return str(device.type)
    import torch

    return torch.cuda.get_device_name(device)
