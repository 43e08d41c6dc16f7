"""How much of a device's arithmetic a training step uses: model FLOPs by the usual count, against the data sheet."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ola.model import OlaForConditionalGeneration

# Dense bfloat16, in FLOP/s, from NVIDIA's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


def peak(device: str) -> float | None:
    """Of a device by its name; None where it is not known, as of CPUs."""
    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((speed for part, speed in PEAKS.items() if part in name), None)


def utilisation(
    model: OlaForConditionalGeneration, lengths: Sequence[int], tokens: int, seconds: float, device: str, ranks: int
) -> float | None:
    """Model FLOPs utilisation of a step, of the decoder alone.

    6 FLOPs a parameter and token (4 where the decoder is frozen), and causal attention's 6 * layers * width * length
    a token; recomputed activations do not count. lengths: of this rank's sequences; tokens: of all `ranks`.
    """
    speed = peak(device)
    if speed is None:
        return None
    decoder = model.model
    passes = 6 if any(parameter.requires_grad for parameter in decoder.layers.parameters()) else 4
    width, layers = model.config.hidden_size, model.config.num_hidden_layers
    weights = sum(parameter.numel() for parameter in decoder.layers.parameters())
    attention = passes * layers * width * sum(length**2 for length in lengths) / max(1, sum(lengths))
    done: float = tokens * (passes * weights + attention)
    return done / (seconds * speed * ranks)
