"""Classify sounds with BEATs' own AudioSet head: scores of 527 classes for each window of a sound.

In: a released checkpoint that was finetuned on AudioSet (`BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt`), and
16 kHz mono. Out: a score of 0..1 for each window of 0.96 s, every 0.48 s, and class. The head was trained on the mean
of its outputs over 10 s; here the mean is over the patches of a window, while the encoder reads 9.6 s at once.

Shapes: S samples, T frames, F bins, L patches, D width, C classes, W windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ola.beats import Beats
from ola.checkpoint import BadCheckpoint, PickledTensor, Stored, load_pickled
from ola.config import BeatsConfig
from ola.cuda_settings import expand_segments
from ola.features import FRAME, HOP, fbank
from ola.weights import BEATS, BEATS_SIZES, expected_shapes, read_tensor, released_name, set_tensor, shape_faults

STEP = 16 * HOP  # samples of a column of patches: 0.16 s
WINDOW, WINDOW_HOP = 6, 3  # columns: 0.96 s every 0.48 s
AT_ONCE = 60  # columns that the encoder reads at once: 9.6 s, about the length that it was trained on


@dataclass(frozen=True)
class SoundTagger:
    """BEATs with its head. classes: the AudioSet id of each class, such as `/m/09x0r` for speech."""

    beats: Beats
    classes: tuple[str, ...]

    @torch.inference_mode()
    def score(self, samples: np.ndarray) -> np.ndarray:
        """Score 16 kHz mono (S,), one window long at least: float32 (W, C)."""
        scores: np.ndarray = window_means(self.logits(samples)).sigmoid().float().cpu().numpy()
        return scores

    @torch.inference_mode()
    def logits(self, samples: np.ndarray) -> Tensor:
        """Return the head's outputs (L, C), the mean of the eight bands of each column of 0.16 s."""
        padded = torch.from_numpy(pad_to_columns(samples))
        columns = len(padded) // STEP
        parts = [(first, min(first + AT_ONCE, columns)) for first in range(0, columns, AT_ONCE)]
        return torch.cat([self._classify(padded[first * STEP : last * STEP + FRAME - HOP]) for first, last in parts])

    def _classify(self, samples: Tensor) -> Tensor:
        head = self.beats.predictor
        fbank_TF = fbank(samples[None])[0].to(head.weight.device)
        logits_LC: Tensor = head(self.beats(fbank_TF[None])[0])
        bands = fbank_TF.shape[1] // self.beats.patch_embed.kernel_size[1]
        columns_LC: Tensor = logits_LC.unflatten(0, (-1, bands)).mean(dim=1)
        return columns_LC


def pad_to_columns(samples: np.ndarray) -> np.ndarray:
    """Pad (S,) with silence to whole columns; the last frame of a column reaches beyond it."""
    columns = -(-len(samples) // STEP)
    return np.pad(np.asarray(samples, np.float32), (0, columns * STEP + FRAME - HOP - len(samples)))


def window_means(logits_LC: Tensor) -> Tensor:
    """Average the columns of each window: (L, C) to (W, C)."""
    means_1CW: Tensor = F.avg_pool1d(logits_LC.T[None], WINDOW, WINDOW_HOP)
    return means_1CW[0].T


def load_tagger(file: Path, device: torch.device | str = "cpu") -> SoundTagger:
    """Load a finetuned BEATs checkpoint. Raises BadCheckpoint for another file."""
    contents = load_pickled(file)
    if not {"cfg", "model", "label_dict"} <= contents.keys():
        got = ", ".join(map(str, contents)) or "none"
        raise BadCheckpoint(f"{file}: expected keys cfg, model, label_dict of a BEATs finetuned on AudioSet, got {got}")
    sizes = {ours: contents["cfg"][theirs] for ours, theirs in BEATS_SIZES.items() if theirs in contents["cfg"]}
    beats = _fill(BeatsConfig(**sizes), contents["model"], file, device)
    return SoundTagger(beats, _class_ids(contents["label_dict"], beats.predictor.out_features, file))


def _fill(config: BeatsConfig, tensors: Mapping[str, Tensor], file: Path, device: torch.device | str) -> Beats:
    stored: dict[str, Stored] = {BEATS + name: PickledTensor(tensor) for name, tensor in tensors.items()}
    with torch.device("meta"):
        beats = Beats(config)
    sources = {name: released_name(f"speech_encoder.beats.{name}") for name, _ in beats.named_parameters()}
    if faults := shape_faults(dict(expected_shapes(beats, sources)), stored):
        got = f"{len(faults)} that do not fit, as {'; '.join(faults[:2])}"
        raise BadCheckpoint(f"{file}: expected the tensors of a BEATs with its head, got {got}")
    expand_segments(device)
    for name, parameter in list(beats.named_parameters()):
        buffer = torch.empty(parameter.shape, dtype=torch.float32, device=device)
        read_tensor(name, sources[name], stored, buffer, 0, buffer.shape)
        set_tensor(beats, name, buffer)
    return beats.eval()


def _class_ids(labels: Mapping[Any, str], count: int, file: Path) -> tuple[str, ...]:
    """Return the class ids by position. labels: `label_dict` of the checkpoint, position to id."""
    by_position = {int(position): str(name) for position, name in labels.items()}
    if sorted(by_position) != list(range(count)):
        raise BadCheckpoint(f"{file}: expected a label for each of {count} classes, got {len(by_position)}")
    return tuple(by_position[position] for position in range(count))
