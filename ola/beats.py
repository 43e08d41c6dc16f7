"""BEATs, the encoder of sounds that are not speech (arXiv 2212.09058), as Ola uses it.

In: normalised filter banks (n, frames, bins). Out: (n, frames // 16 * 8, D): one vector per 16x16 patch, the eight
bands of each step in sequence. Always computes in float32. Padding is not masked, so silence is encoded, too. There is
no dropout and no layer drop, since Ola keeps this tower frozen.

Legend: n chunks, L patches, D width, h heads, d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ola.config import BeatsConfig
from ola.cuda_settings import exact_convolutions

# Bounds the memory of one pass: each chunk has two float32 tables of 12 x 1496 x 1496.
CHUNKS_PER_PASS = 8
BUCKETS_PER_GATE = 4  # each of the two gates is the sum of four of the linear's eight outputs


class Beats(nn.Module):
    """Patch embedding, convolutional positions, and post-norm blocks that share one relative position table."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embed = nn.Conv2d(1, config.embed_dim, patch, patch, bias=False)
        self.patch_norm = nn.LayerNorm(config.embed_dim)
        self.patch_proj = nn.Linear(config.embed_dim, width)
        self.pos_conv = nn.Conv1d(
            width, width, config.conv_pos, padding=config.conv_pos // 2, groups=config.conv_pos_groups
        )
        self.norm = nn.LayerNorm(width)
        self.relative_attention_bias = RelativePositions(config)
        self.layers = nn.ModuleList(BeatsLayer(config) for _ in range(config.num_hidden_layers))
        # The classifier of the 527 AudioSet classes: not used by Ola, kept so that checkpoints stay complete.
        self.predictor = nn.Linear(width, config.num_classes)

    def forward(self, fbank_nTF: Tensor) -> Tensor:
        """Encode (n, frames, bins) to (n, L, D) in float32, CHUNKS_PER_PASS chunks at a time."""
        device = fbank_nTF.device.type
        # Devices such as `meta` have no autocast to switch off.
        has_autocast = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if has_autocast else nullcontext(), exact_convolutions():
            return torch.cat([self._encode_chunks(some) for some in fbank_nTF.float().split(CHUNKS_PER_PASS)])

    def _encode_chunks(self, fbank_nTF: Tensor) -> Tensor:
        x_nLD = self.add_positions(self.embed_patches(fbank_nTF))
        bias_1hLL = self.relative_attention_bias(x_nLD.shape[1])
        for layer in self.layers:
            x_nLD = layer(x_nLD, bias_1hLL)
        return x_nLD

    def embed_patches(self, fbank_nTF: Tensor) -> Tensor:
        """Embed (n, frames, bins) as normalised patches (n, L, embed_dim)."""
        x_nLD: Tensor = self.patch_norm(self.patch_embed(fbank_nTF[:, None]).flatten(2).transpose(1, 2))
        return x_nLD

    def add_positions(self, x_nLD: Tensor) -> Tensor:
        """Project (n, L, embed_dim) to (n, L, D) and add the convolutional position embedding."""
        x_nLD = self.patch_proj(x_nLD)
        length = x_nLD.shape[1]
        around = self.pos_conv(x_nLD.transpose(1, 2))[..., :length].transpose(1, 2)
        add_positions: Tensor = self.norm(x_nLD + F.gelu(around))
        return add_positions

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follow the model's device but keep float32, as in the original, when the model is cast."""

        def keep_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_float32, recurse)


class BeatsLayer(nn.Module):
    """Gated attention and a feed-forward, each added to a scaled residual before the norm (DeepNorm)."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.residual_scale = (2 * config.num_hidden_layers) ** 0.25
        self.self_attn = GatedAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x_nLD: Tensor, bias_1hLL: Tensor) -> Tensor:
        x_nLD = self.self_attn_layer_norm(x_nLD * self.residual_scale + self.self_attn(x_nLD, bias_1hLL))
        out: Tensor = self.final_layer_norm(x_nLD * self.residual_scale + self.fc2(F.gelu(self.fc1(x_nLD))))
        return out


class GatedAttention(nn.Module):
    """Attention with a relative position bias that is scaled by a gate per query."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // self.heads, 2 * BUCKETS_PER_GATE)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x_nLD: Tensor, bias_1hLL: Tensor) -> Tensor:
        q, k, v = (
            proj(x_nLD).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out_nhLd = F.scaled_dot_product_attention(q, k, v, attn_mask=self._gate(q) * bias_1hLL)
        out: Tensor = self.out_proj(out_nhLd.transpose(1, 2).flatten(2))
        return out

    def _gate(self, q_nhLd: Tensor) -> Tensor:
        gates = self.grep_linear(q_nhLd).unflatten(-1, (2, BUCKETS_PER_GATE)).sum(-1).sigmoid()
        update_nhL1, reset_nhL1 = gates.chunk(2, dim=-1)
        gate: Tensor = update_nhL1 * (reset_nhL1 * self.grep_a - 1) + 2
        return gate


class RelativePositions(nn.Embedding):
    """A learned bias per head and distance bucket; buckets are exact for near, logarithmic for far distances (T5)."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__(config.num_buckets, config.num_attention_heads)
        self.max_distance = config.max_distance

    def forward(self, length: int) -> Tensor:  # type: ignore[override]
        """Return the bias between `length` patches: (1, h, L, L)."""
        at = torch.arange(length, device=self.weight.device)
        bias_LLh = super().forward(self.buckets(at[None, :] - at[:, None]))
        return bias_LLh.permute(2, 0, 1)[None]

    def buckets(self, distance: Tensor) -> Tensor:
        """Return the bucket of each distance (key - query); half of the buckets are for each direction."""
        half = self.num_embeddings // 2
        exact = half // 2
        far = distance.abs().clamp(min=1).float()
        logarithmic = exact + (torch.log(far / exact) / math.log(self.max_distance / exact) * (half - exact)).long()
        near = torch.where(distance.abs() < exact, distance.abs(), logarithmic.clamp(max=half - 1))
        return near + half * (distance > 0)
