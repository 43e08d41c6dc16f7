"""OryxViT, the vision tower: encode pictures at their own sizes to patch features.

In: batches of pictures (n, 3, h, w). Out: patch features (n, gh, gw, D), one per 16x16 pixels. The linear layers run on
all patches of a call as one long row; attention is within each picture. SigLIP blocks without class token, final norm
or pooling (paper, 3.1).

Legend: n pictures of one size, N patches of a call, L patches of a picture, gh x gw its grid, D width, h heads, d width
of a head.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipAttention, SiglipEncoderLayer

from ola.segments import Segments, attend_segments, has_kernel

# Bounds the memory of one pass: at 7B sizes the widest activation of 16k patches has 140 MB in bfloat16. A CPU is 25 %
# faster if a pass fits in its cache.
PATCHES_PER_PASS = {"cuda": 16_384, "cpu": 2_048}


class PictureAttention(SiglipAttention):
    """SigLIP's attention over a row of several pictures, within each picture."""

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, attention_mask: None = None, *, runs: Sequence[tuple[int, int]],
        segments: Segments, **_: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        """Compute attention for hidden_states (1, N, D).

        runs: (number of pictures, patches of each), in row order. segments: the same for a kernel of variable lengths.
        """
        qkv_Nhd = [
            proj(hidden_states[0]).unflatten(1, (self.num_heads, -1))
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        ]
        if qkv_Nhd[0].is_cuda and has_kernel(qkv_Nhd[0]):
            q_Nhd, k_Nhd, v_Nhd = qkv_Nhd
            return self.out_proj(attend_segments(q_Nhd, k_Nhd, v_Nhd, segments, None).flatten(1)[None]), None
        parts = zip(*(x_Nhd.split([n * length for n, length in runs]) for x_Nhd in qkv_Nhd), strict=True)
        out = [self._attend_within(n, *part) for (n, _length), part in zip(runs, parts, strict=True)]
        return self.out_proj(torch.cat(out)[None]), None

    def _attend_within(self, n: int, *qkv_Nhd: Tensor) -> Tensor:
        q, k, v = (x_Nhd.unflatten(0, (n, -1)).transpose(1, 2) for x_Nhd in qkv_Nhd)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1)


class OryxViT(nn.Module):
    """The vision tower. Input is uint8 RGB, or float in [-1, 1]; sides are zero-padded to multiples of the patch."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        width, self.patch = config.hidden_size, cast(int, config.patch_size)
        self.grid = cast(int, config.image_size) // self.patch
        self.patch_embed = nn.Conv2d(config.num_channels, width, self.patch, self.patch)
        self.pos_embed = nn.Parameter(torch.randn(1, self.grid**2, width) * width**-0.5)
        self.layers = nn.ModuleList(SiglipEncoderLayer(config) for _ in range(config.num_hidden_layers))
        for layer in self.layers:
            layer.self_attn = PictureAttention(config)

    def forward(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """Encode each batch (n, 3, h, w) to (n, gh, gw, D), in the given order; pictures of one size run together."""
        alike = [(str(batch.dtype), *batch.shape[-2:]) for batch in batches]
        order = sorted(range(len(batches)), key=alike.__getitem__)
        groups = itertools.groupby(order, key=alike.__getitem__)
        bounded = [part for _, group in groups for part in self._split_group(torch.cat([batches[i] for i in group]))]
        pictures = itertools.chain.from_iterable(self._blocks(map(self._patches, bounded)))
        features = {i: torch.stack(list(itertools.islice(pictures, len(batches[i])))) for i in order}
        return [features[i] for i in range(len(batches))]

    def _split_group(self, group_n3hw: Tensor) -> Sequence[Tensor]:
        height, width = group_n3hw.shape[-2:]
        parts: Sequence[Tensor] = group_n3hw.split(max(1, self._patches_per_pass() * self.patch**2 // (height * width)))
        return parts

    def _patches_per_pass(self) -> int:
        return PATCHES_PER_PASS.get(self.pos_embed.device.type, max(PATCHES_PER_PASS.values()))

    def _patches(self, pixels_n3hw: Tensor) -> Tensor:
        weight = self.patch_embed.weight
        x = pixels_n3hw.to(weight.device)
        x = x.to(weight.dtype) if x.is_floating_point() else (x.float() / 127.5 - 1).to(weight.dtype)
        height, width = x.shape[-2:]
        x_nDgg = self.patch_embed(F.pad(x, (0, -width % self.patch, 0, -height % self.patch)))
        patches: Tensor = x_nDgg.permute(0, 2, 3, 1) + self.positions(*x_nDgg.shape[-2:])
        return patches

    def positions(self, gh: int, gw: int) -> Tensor:
        """Return the table of positions, resized bilinearly to (gh, gw, D)."""
        table_1Dgg = self.pos_embed[0].unflatten(0, (self.grid, self.grid)).permute(2, 0, 1)[None]
        resized = F.interpolate(table_1Dgg.float(), (gh, gw), mode="bilinear", align_corners=False)
        return resized[0].permute(1, 2, 0).to(self.pos_embed.dtype)

    def _blocks(self, pictures: Iterable[Tensor]) -> Iterator[Tensor]:
        for some in _passes(pictures, self._patches_per_pass()):
            runs = [(len(x), x.shape[1] * x.shape[2]) for x in some]
            row_1ND = torch.cat([x.flatten(0, 2) for x in some])[None]
            lengths = [length for n, length in runs for _ in range(n)]
            segments = Segments.alone(lengths, causal=False, device=row_1ND.device)
            for layer in self.layers:
                row_1ND = layer(row_1ND, None, runs=runs, segments=segments)
            parts = row_1ND[0].split([n * length for n, length in runs])
            yield from (part.view(x.shape) for part, x in zip(parts, some, strict=True))


def _passes(pictures: Iterable[Tensor], room: int) -> Iterator[list[Tensor]]:
    """Group pictures into passes of up to `room` patches."""
    some: list[Tensor] = []
    for x_nggD in pictures:
        if some and sum(x[..., 0].numel() for x in (*some, x_nggD)) > room:
            yield some
            some = []
        some.append(x_nggD)
    if some:
        yield some
