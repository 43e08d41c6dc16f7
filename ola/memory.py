"""Reckon the peak memory of Ola from its sizes: weights, a decoding batch, the encoders. All results are bytes.

Counted are tensors, as attention kernels on a GPU leave them. What stands beside them is in no result: CUDA's context,
workspaces of kernels and graphs, and gaps of the allocator.

Legend: B rows, T positions of a pass, N patches or frames of a pass, C width of the decoder, I of its feed-forward, V
vocabulary, D width of an encoder, e bytes of a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import Qwen2ForCausalLM

from ola.batching import read_passes
from ola.config import OlaConfig

FLOAT32, FLOAT64 = 4, 8
ENCODERS = ("vision_tower", "visual_projector", "speech_encoder.whisper", "speech_encoder.beats", "speech_projector")
BUCKETS = 45  # bytes a pair of BEATs' positions while their distances become buckets
SAMPLER = 36  # bytes a logit in vLLM's sampler, by the peaks that others' logs of vLLM on H100 give
MARGIN = 0.05  # of a GPU's free memory, for kernels' workspaces, captured graphs and gaps of the allocator


@dataclass(frozen=True)
class DecodingBatch:
    """Prompts that are decoded together. lengths: their positions, longest first. new_tokens: at most.

    shared: positions that all of them begin with, which are read once. sampled: tokens are drawn with `top_p`.
    """

    lengths: Sequence[int]
    new_tokens: int
    shared: int = 0
    sampled: bool = False


def position_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return the bytes of keys and values per position over all layers: 57,344 at 7B sizes in bfloat16."""
    return int(2 * config.num_hidden_layers * config.num_key_value_heads * _head_width(config) * dtype.itemsize)


def weight_bytes(model: nn.Module) -> dict[str, int]:
    """Return the bytes of each part of a model on any device, `meta` too: the encoders, `model` and `lm_head`."""
    found = dict[str, int]()
    for name, parameter in model.named_parameters():
        part = next((part for part in ENCODERS if name.startswith(part)), name.partition(".")[0])
        found[part] = found.get(part, 0) + parameter.numel() * parameter.itemsize
    return found


def reckoned_weights(config: OlaConfig, dtype: torch.dtype) -> dict[str, int]:
    """Return the bytes of each part of a model of these sizes in `dtype`; BEATs is float32."""
    from ola.model import OlaForConditionalGeneration

    with torch.device("meta"):
        return weight_bytes(nn.Module.to(OlaForConditionalGeneration(config), dtype))


def decoding_bytes(config: Any, dtype: torch.dtype, batch: DecodingBatch) -> int:
    """Return the peak of decoding a batch by `TorchDecoder`, beyond the weights; embeddings of the prompts included."""
    item, position, layers = dtype.itemsize, position_bytes(config, dtype), config.num_hidden_layers
    rows, columns = len(batch.lengths), max(batch.lengths) + batch.new_tokens - 1
    embeds, cache = sum(batch.lengths) * config.hidden_size * item, rows * columns * position
    kept, peak = batch.shared * position, 0
    for number, (count, begun, length) in enumerate(_passes(batch)):
        read = count * (begun + length) * position
        joined = count * begun * position // layers  # a layer's prefix, until it is one tensor with what follows it
        before = cache if number else 0
        shared = kept if begun else 0
        within = read + joined + pass_bytes(config, dtype, count * length)
        after = read + cache + kept + count * length * config.hidden_size * item
        peak = max(peak, before + shared + within, after)
    leaving = 3 * cache // (4 * layers)  # a layer's copy without the rows that have ended
    return int(embeds + max(peak, cache + kept + max(leaving, logits_bytes(config, dtype, rows, batch.sampled))))


def pass_bytes(config: Any, dtype: torch.dtype, positions: int) -> int:
    """Return the peak of reading positions (rows times the longest) in one pass, without the keys and values it leaves.

    Four widths are the pass's input, the layer's input, the residual and what its norm gives; then the feed-forward's
    gate, its other half and their product, or what attention has before its kernel starts.
    """
    width, item = config.hidden_size, dtype.itemsize
    heads = 2 * config.num_key_value_heads * _head_width(config)
    feed_forward = (4 * width + 3 * config.intermediate_size) * item
    attention = (7 * width + 2 * heads) * item
    norm = 3 * width * (item + FLOAT32)
    return int(positions * max(feed_forward, attention, norm))


def logits_bytes(config: Any, dtype: torch.dtype, rows: int, sampled: bool = False) -> int:
    """Return the peak of choosing a token in each row, where the logits before are still there."""
    is_float = dtype == torch.float32
    made = FLOAT32 if is_float else 2 * FLOAT32
    drawn = 4 * FLOAT64 if sampled else 0
    return int(rows * config.vocab_size * (FLOAT32 + max(made, drawn)))


def visual_bytes(
    config: OlaConfig, dtype: torch.dtype, visuals: Sequence[tuple[int, int, int]], device: str = "cuda"
) -> int:
    """Return the peak of encoding visuals of (pictures, height, width) in one call, their embeddings included.

    On a CPU the pictures are copied once more; a GPU gets them pass by pass.
    """
    from ola.vision import PATCHES_PER_PASS

    item, patch, tower, room = (
        dtype.itemsize,
        cast(int, config.vision.patch_size),
        config.vision,
        PATCHES_PER_PASS[device],
    )
    sides = [(n, -(-height // patch) * -(-width // patch)) for n, height, width in visuals]
    counts = {each: sum(n for n, other in sides if other == each) for _, each in sides}
    total, part = sum(n * each for n, each in sides), max(min(n, max(1, room // e)) * e for e, n in counts.items())
    at_once = part if len(counts) == 1 else min(total, max(room, part))
    vector, pixels = tower.hidden_size * item, 3 * patch**2
    blocks = at_once * (2 * tower.intermediate_size * item + 4 * vector)
    table = (cast(int, tower.image_size) // patch) ** 2 * tower.hidden_size * FLOAT32 if item < FLOAT32 else 0
    loaded = max(part * pixels * 2 * FLOAT32, part * (pixels * item + vector) + table)
    copies = total * pixels if device == "cpu" else 0
    encoded = copies + (total - at_once) * vector + max(blocks, loaded)
    embeds = total // config.pool**2 * config.hidden_size * item
    largest = max(n * each for n, each in sides)
    return max(encoded, total * vector + embeds + 4 * largest * config.hidden_size * item)


def sound_bytes(config: OlaConfig, dtype: torch.dtype, chunks: int) -> int:
    """Return the peak of encoding this many chunks of sound in one call. BEATs computes in float32.

    Its attention has a table of L x L positions for each head and chunk.
    """
    from ola.beats import CHUNKS_PER_PASS

    whisper, beats, item, at_once = config.whisper, config.beats, dtype.itemsize, min(chunks, CHUNKS_PER_PASS)
    frames = whisper.max_source_positions
    length = (2 * frames - 2) // beats.patch_size * (beats.num_mel_bins // beats.patch_size)
    features = 2 * frames * chunks * (whisper.num_mel_bins * item + beats.num_mel_bins * FLOAT32)
    heard = chunks * frames * whisper.d_model * item
    speech = at_once * frames * (2 * whisper.encoder_ffn_dim + 4 * whisper.d_model) * item
    table, vectors = beats.num_attention_heads * length**2 * FLOAT32, at_once * length * FLOAT32
    attention = (at_once + 1) * table + 7 * vectors * beats.hidden_size
    feed_forward = table + vectors * (2 * beats.intermediate_size + 4 * beats.hidden_size)
    vector = length * beats.hidden_size * FLOAT32
    sound = (chunks - at_once) * vector + max(attention, feed_forward, BUCKETS * length**2)
    joined = chunks * 3 * vector  # of all passes: alone, as one tensor, and as long as Whisper's
    return features + heard + max(speech, sound, joined)


def working_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return what a GPU needs beside the weights and the cache: embeddings, one pass, and the encoders meanwhile.

    Of the most that `Ola` takes at a time: a window of the longest videos, a pass that goes on from long prefixes.
    """
    from ola.batching import PASS_TOKENS

    begun = 2 * PASS_TOKENS * position_bytes(config, dtype)
    encoding = encoding_bytes(config, dtype) if isinstance(config, OlaConfig) else 0
    return encoding + begun + pass_bytes(config, dtype, PASS_TOKENS)


def encoding_bytes(config: OlaConfig, dtype: torch.dtype) -> int:
    """Return what the encoders need beside their weights on a GPU: a window of the longest videos, the longest sound.

    Embeddings of the window and those that are kept for later requests are included.
    """
    from ola.generation import CACHE_TOKENS, WINDOW_TOKENS
    from ola.media_embeddings import SOUND_CHUNKS

    side = int(config.fits.video_max)
    cells = (side // config.cell) * (side // config.cell + 1) + 1
    videos = max(1, WINDOW_TOKENS // (config.max_frames * cells))
    peaks = [visual_bytes(config, dtype, [(config.max_frames, side, side)] * videos)]
    if config.has_speech:
        longest = config.tokenizer_model_max_length // config.speech_chunk_tokens
        peaks.append(sound_bytes(config, dtype, max(SOUND_CHUNKS, longest)))
    return max(peaks) + (CACHE_TOKENS + WINDOW_TOKENS) * config.hidden_size * dtype.itemsize


def engine_bytes(config: Any, dtype: torch.dtype, rows: int, positions: int) -> int:
    """Return what vLLM needs beside its weights and cache for passes of this many positions and rows to sample."""
    return pass_bytes(config, dtype, positions) + SAMPLER * rows * int(config.vocab_size)


def free_positions(model: Qwen2ForCausalLM) -> int | None:
    """Return how many cache positions fit in the free memory of the model's GPU beside all else; None on other devices.

    On a GPU that processes share, only the free part of this process's memory fraction counts.
    """
    if model.device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(model.device)
    left = torch.cuda.get_per_process_memory_fraction(model.device) * total - torch.cuda.memory_reserved(model.device)
    return positions_within(int(min(free, left)), model.config, model.dtype)


def positions_within(free: int, config: Any, dtype: torch.dtype) -> int:
    """Return how many cache positions fit in `free` bytes beside all else; 0 if that alone does not fit."""
    left = (1 - MARGIN) * free - working_bytes(config, dtype)
    return max(0, int(left // position_bytes(config, dtype)))


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _passes(batch: DecodingBatch) -> Iterator[tuple[int, int, int]]:
    """Yield (rows, positions they go on from, the longest rest) of each pass: with a shared prefix one row is first."""
    if batch.shared:
        yield 1, 0, batch.lengths[0]
    rests: Iterable[slice] = read_passes(batch.lengths[1 if batch.shared else 0 :], batch.shared)
    for rows in rests:
        some = batch.lengths[1 if batch.shared else 0 :][rows]
        yield len(some), batch.shared, some[0] - batch.shared
