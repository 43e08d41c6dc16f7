"""Model FLOPs utilisation (MFU) of a training step: model FLOPs per second divided by the device's peak."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ola.model import OlaForConditionalGeneration

# Dense bfloat16, in FLOP/s, from NVIDIA's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


def peak_flops(device: str) -> float | None:
    """Return the peak FLOP/s of a device, or None for CPUs and unknown GPUs."""
    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((speed for part, speed in PEAKS.items() if part in name), None)


def utilisation(
    model: OlaForConditionalGeneration, lengths: Sequence[int], tokens: int, seconds: float, device: str, ranks: int
) -> float | None:
    """Return the model FLOPs utilisation of a step, for the decoder only; None if the device's peak is unknown.

    Counted: 6 FLOPs per trained parameter and token, 4 per frozen one, and 6 * layers * width * length per token for
    causal attention; recomputed activations are not. lengths: of this rank's sequences; tokens: of all `ranks`.
    """
    speed = peak_flops(device)
    if speed is None:
        return None
    decoder = model.model
    passes = 6 if any(parameter.requires_grad for parameter in decoder.layers.parameters()) else 4
    width, layers = model.config.hidden_size, model.config.num_hidden_layers
    weights = sum(each.numel() * (6 if each.requires_grad else 4) for each in decoder.layers.parameters())
    attention = passes * layers * width * sum(length**2 for length in lengths) / max(1, sum(lengths))
    flops: float = tokens * (weights + attention)
    return flops / (seconds * speed * ranks)
