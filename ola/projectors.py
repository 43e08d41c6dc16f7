"""Project the features of the encoders to embeddings for the language model (paper, 3.1).

In: patch features of a picture, or frames of the audio encoders. Out: embeddings (tokens, C) of one medium, with begin,
end and newline vectors. Local-global attention pooling makes one token of 2x2 patches; ten audio frames (0.2 s) make
one token.

Legend: T pictures or frames, gh x gw their grid, k the pooling window, D the encoder's width, C the decoder's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ola.config import OlaConfig


def _border_vector(width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(width) * width**-0.5)


class LocalGlobalPooling(nn.Module):
    """Pool each k x k window by a weighted mean per channel; a cell's weight depends on the cell and the window's mean.

    stride: 1 changes nothing, 2 is Ola's, 4 gives shorter sequences.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.predictor = nn.ModuleList([nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width)])

    def forward(self, x_TggC: Tensor) -> Tensor:
        """Pool (T, gh, gw, C) to (T, gh / k, gw / k, C). Raises ValueError unless k divides the grid."""
        k = self.stride
        if x_TggC.shape[1] % k or x_TggC.shape[2] % k:
            raise ValueError(f"a grid of {x_TggC.shape[1]}x{x_TggC.shape[2]} patches cannot be pooled {k}x{k}")
        if k == 1:
            return x_TggC
        cells_TggkC = x_TggC.unflatten(2, (-1, k)).unflatten(1, (-1, k)).transpose(2, 3).flatten(3, 4)
        pooled: Tensor = (cells_TggkC * self._scores(cells_TggkC).softmax(dim=-2)).sum(dim=-2)
        return pooled

    def _scores(self, cells_TggkC: Tensor) -> Tensor:
        # The first linear over [cell, mean] is split, so that a window's mean is multiplied once and not k*k times.
        first, gelu, last = self.predictor
        on_cell, on_mean = first.get_parameter("weight").chunk(2, dim=1)
        of_mean = F.linear(cells_TggkC.mean(dim=-2, keepdim=True), on_mean, first.get_parameter("bias"))
        scores: Tensor = last(gelu(F.linear(cells_TggkC, on_cell) + of_mean))
        return scores


class VisualProjector(nn.Module):
    """Linear, pooling, GELU, linear; each row ends with a newline vector."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.proj1 = nn.Linear(config.vision.hidden_size, width)
        self.pooler = LocalGlobalPooling(width, config.pool)
        self.proj2 = nn.Linear(width, width)
        self.image_newline, self.image_begin = _border_vector(width), _border_vector(width)
        self.image_end, self.image_sep = _border_vector(width), _border_vector(width)

    def image(self, views: Sequence[Tensor]) -> Tensor:
        """Project an image's views (1, gh, gw, D), low before high, to [begin, rows, sep, rows, end]."""
        rows = [self._rows(view)[0] for view in views]
        parted = [part for row in rows for part in (self.image_sep[None], row)][1:]
        return torch.cat([self.image_begin[None], *parted, self.image_end[None]])

    def video(self, frames_TggD: Tensor) -> Tensor:
        """Project frames (T, gh, gw, D) to [begin, (rows, sep) x T, end]."""
        rows_TNC = self._rows(frames_TggD)
        rows_TNC = torch.cat([rows_TNC, self.image_sep.expand(len(rows_TNC), 1, -1)], dim=1)
        return torch.cat([self.image_begin[None], rows_TNC.flatten(0, 1), self.image_end[None]])

    def _rows(self, x_TggD: Tensor) -> Tensor:
        x_TggC = self.proj2(F.gelu(self.pooler(self.proj1(x_TggD))))
        newline = self.image_newline.expand(*x_TggC.shape[:2], 1, -1)
        return torch.cat([x_TggC, newline], dim=2).flatten(1, 2)


class SpeechProjector(nn.Module):
    """Frame stacking, linear, ReLU, linear; each chunk ends with a newline vector."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.stack = config.speech_encoder_ds_rate
        frame = config.whisper.d_model + config.beats.hidden_size
        self.linear1 = nn.Linear(frame * self.stack, config.speech_projector_size)
        self.linear2 = nn.Linear(config.speech_projector_size, config.hidden_size)
        width = config.hidden_size
        self.speech_newline, self.speech_begin, self.speech_end = (
            _border_vector(width),
            _border_vector(width),
            _border_vector(width),
        )

    def forward(self, x_nTD: Tensor) -> Tensor:
        """Project a sound's chunks (n, T, D) to (2 + n * (T // stack + 1), C); an incomplete stack is dropped."""
        stacked = x_nTD[:, : x_nTD.shape[1] // self.stack * self.stack].unflatten(1, (-1, self.stack)).flatten(2)
        x_nTC = self.linear2(F.relu(self.linear1(stacked)))
        x_nTC = torch.cat([x_nTC, self.speech_newline.expand(len(x_nTC), 1, -1)], dim=1)
        return torch.cat([self.speech_begin[None], x_nTC.flatten(0, 1), self.speech_end[None]])
