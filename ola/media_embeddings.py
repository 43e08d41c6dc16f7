"""Cache of media embeddings, so that media shared by several prompts are encoded once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ola.batching import runs
from ola.model import OlaForConditionalGeneration
from ola.prompt import Prompt, Sound, Visual

# Of sound that is encoded in one call: the frames of all its chunks are held in float32, 14 MB a chunk at 7B sizes.
SOUND_CHUNKS = 64


class Encodings:
    """An LRU cache of media embeddings, of at most `limit` tokens.

    encoded: number of media encoded. hits: number of cache hits. seconds: time of the encoders. tokens: cached
    embeddings.
    """

    def __init__(self, model: OlaForConditionalGeneration, limit: int) -> None:
        self.model, self.limit = model, limit
        self.encoded = self.hits = self.tokens = 0
        self.seconds = 0.0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def embed(self, prompts: Sequence[Prompt]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return by digest the embeddings (tokens, C) of the prompts' media, and the seconds of newly encoded media."""
        media_of_all = [medium for prompt in prompts for medium in prompt.media]
        media = {medium.digest: medium for medium in media_of_all}
        found = {digest: self._kept[digest] for digest in media if digest in self._kept}
        encoded, seconds = self._encode([medium for digest, medium in media.items() if digest not in found])
        self.encoded += len(encoded)
        self.hits += len(media_of_all) - len(encoded)
        self._keep(found | encoded)
        return found | encoded, seconds

    def _encode(self, media: Sequence[Visual | Sound]) -> tuple[dict[str, Tensor], dict[str, float]]:
        began = time.perf_counter()
        visuals = [medium for medium in media if isinstance(medium, Visual)]
        sounds = [medium for medium in media if isinstance(medium, Sound)]
        digests = [medium.digest for medium in visuals] + [medium.digest for medium in sounds]
        spans = self.model.encode_visuals(visuals)
        for some in _sound_groups(sounds):
            spans += self.model.encode_sounds(some)
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        took, total = time.perf_counter() - began, sum(map(len, spans))
        self.seconds += took
        shares = {digest: took * len(span) / total for digest, span in zip(digests, spans, strict=True)}
        return dict(zip(digests, spans, strict=True)), shares

    def _keep(self, spans: dict[str, Tensor]) -> None:
        for digest, span in spans.items():
            self.tokens += 0 if digest in self._kept else len(span)
            self._kept[digest] = span
            self._kept.move_to_end(digest)
        while self.tokens > self.limit:
            self.tokens -= len(self._kept.popitem(last=False)[1])


def _sound_groups(sounds: Sequence[Sound]) -> Iterator[Sequence[Sound]]:
    """Cut sounds into groups of at most SOUND_CHUNKS chunks; a longer sound is alone."""

    def fits(start: int, end: int) -> bool:
        return sum(len(sound.mel) for sound in sounds[start:end]) <= SOUND_CHUNKS

    return (sounds[some] for some in runs(len(sounds), fits))
