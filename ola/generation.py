"""Answer many requests at once.

    requests ─ processor ─► prompts ─ longest first, in windows ─► encoders, one call per medium ─► decoder ─► text

All requests are prepared before the first is encoded, so that an invalid request raises at once. Then they are encoded
and decoded in windows of `WINDOW_TOKENS`, which limit the embeddings in memory; those of recent media are cached.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ola.batching import runs
from ola.decoding import Decoder, Reply, TorchDecoder
from ola.media_embeddings import Encodings
from ola.model import OlaForConditionalGeneration
from ola.prefixes import Prefix, order_by_prefix
from ola.processor import OlaProcessor
from ola.prompt import Answer, Picture, Prompt, Request, Sound, Visual, Wave
from ola.speech.detokenise import Detokeniser
from ola.splicing import placeholder_positions, placeholders
from ola.stop_strings import StopStrings

# Twice a decoder's batch, so that few batches are filled in part; 0.9 GB of embeddings at 7B sizes in bfloat16.
WINDOW_TOKENS = 131_072
CACHE_TOKENS = 200_000
END_TOKENS = ("<|im_end|>", "<|endoftext|>")

Raw = TypeVar("Raw")
Medium = TypeVar("Medium", Visual, Sound)


class Ola:
    """Model, processor and decoder, which answer requests. `encodings` caches the embeddings of recent media."""

    def __init__(
        self,
        model: OlaForConditionalGeneration,
        processor: OlaProcessor,
        decoder: Decoder | None = None,
        cache_tokens: int = CACHE_TOKENS,
    ) -> None:
        """cache_tokens: limit of `encodings` in tokens; the default takes 1.4 GB at 7B sizes in bfloat16."""
        model.eval()
        self.model, self.processor = model, processor
        self.decoder = decoder or TorchDecoder(model)
        self.encodings = Encodings(model, cache_tokens)
        self.end_ids = _end_ids((model.config, model.generation_config), processor.tokenizer)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: torch.dtype | str = "auto", device: torch.device | str = "cpu"
    ) -> Ola:
        """Load model and processor from a folder. Raises BadCheckpoint, OSError or ValueError."""
        model = OlaForConditionalGeneration.from_pretrained(folder, dtype=dtype, device=device)
        return cls(model, OlaProcessor.from_pretrained(folder))

    def generate(
        self,
        requests: Sequence[Request | Prompt],
        on_text: Callable[[int, str], object] | None = None,
        on_answer: Callable[[int, Answer], object] | None = None,
    ) -> list[Answer]:
        """Answer requests, and return the answers in the order of the requests. A Prompt takes Request's defaults.

        on_text: called with (index of the request, next piece of its answer); returning False ends this answer with
        `cancel`. on_answer: called with (index, answer) once an answer is complete. Raises ValueError with the first
        invalid request, before any request is encoded.
        """
        running = self._prepared(requests)
        with closing(self._pieces(running)) as pieces:
            for request, piece in pieces:
                if piece and on_text is not None:
                    request.cancelled = on_text(request.index, piece) is False
                if request.ended and on_answer is not None:
                    on_answer(request.index, request.answer())
        return [request.answer() for request in running]

    def stream(self, request: Request | Prompt) -> Generator[str, None, None]:
        """Return a generator of the answer's text; closing it ends the decoding. Raises ValueError at once."""
        pieces = self._pieces(self._prepared([request]))
        return (piece for _one, piece in pieces if piece)

    def choose(self, requests: Sequence[Request | Prompt], words: Sequence[str]) -> list[tuple[float, ...]]:
        """Return for each request the probability of each word as the answer's first word; these sum to 1.

        A word is represented by its first token, in lower case and capitalised. Raises ValueError if two words begin
        with the same token, or for an invalid request.
        """
        running, shares = self._prepared(requests), {}
        columns, ids = _beginnings(self.processor.tokenizer, words)
        for window in self._windows(running):
            replies = self._replies(window)
            for reply in replies:
                reply.max_new_tokens = 1
            logits_BN = self.decoder.scores(replies, ids)
            share_BN = logits_BN.double().softmax(dim=-1).cpu()
            share_BW = share_BN @ (torch.tensor(columns)[:, None] == torch.arange(len(words))).double()
            shares.update({request.index: tuple(row) for request, row in zip(window, share_BW.tolist(), strict=True)})
        return [shares[request.index] for request in running]

    def _prepared(self, requests: Sequence[Request | Prompt]) -> list[_RunningRequest]:
        began, processor = time.perf_counter(), _PreparedOnce(self.processor)
        running = []
        for index, request in enumerate(requests):
            settings = request if isinstance(request, Request) else Request()
            try:
                _check(settings)
                prompt = request if isinstance(request, Prompt) else processor.prompt(request)
                placeholders(prompt)
            except (OSError, TypeError, ValueError) as wrong:
                raise ValueError(f"request {index}: {wrong}") from wrong
            running.append(_RunningRequest(index, prompt, settings, Detokeniser(processor.tokenizer), began))
        return running

    def _windows(self, running: Sequence[_RunningRequest]) -> Iterator[list[_RunningRequest]]:
        """Group the requests that are encoded together: those with the same first medium in a row, longest first."""
        begins = [
            next((medium.digest for medium in request.prompt.media), "") or f"{request.index}" for request in running
        ]
        order = [running[n] for n in order_by_prefix(begins, [request.prompt.length for request in running])]

        def fits(start: int, end: int) -> bool:
            return sum(request.prompt.length for request in order[start:end]) <= WINDOW_TOKENS

        return (order[some] for some in runs(len(order), fits))

    def _pieces(self, running: Sequence[_RunningRequest]) -> Generator[tuple[_RunningRequest, str], None, None]:
        """Yield after each token its request and the text that becomes final."""
        windows = self._windows(running)
        for group in [windows] if self.decoder.continuous else ([window] for window in windows):
            decoding: list[tuple[_RunningRequest, Reply]] = []
            with closing(self.decoder.decode(self._feed(group, decoding))) as tokens:
                for at, token in tokens:
                    request, reply = decoding[at]
                    yield request, request.push(token, reply)
                    reply.finished |= request.cancelled

    def _feed(
        self, windows: Iterable[Sequence[_RunningRequest]], decoding: list[tuple[_RunningRequest, Reply]]
    ) -> Iterator[Reply]:
        """Yield the replies of each window, which is encoded when its first reply is taken; add them to `decoding`."""
        for window in windows:
            for request, reply in zip(window, self._replies(window), strict=True):
                decoding.append((request, reply))
                yield reply

    @torch.inference_mode()
    def _replies(self, window: Sequence[_RunningRequest]) -> list[Reply]:
        """Encode the media that are not cached, and splice their embeddings into the prompts."""
        spans, seconds = self.encodings.embed([request.prompt for request in window])
        uses = Counter(medium.digest for request in window for medium in request.prompt.media)
        for request in window:
            request.seconds["encode"] = sum(
                (seconds.get(m.digest, 0.0) / uses[m.digest] for m in request.prompt.media), 0.0
            )
        return [
            request.reply(self._spliced(request.prompt, spans), self.end_ids, prefixes_of(request.prompt, spans))
            for request in window
        ]

    def _spliced(self, prompt: Prompt, spans: dict[str, Tensor]) -> Tensor:
        return self.model.splice(prompt, [spans[medium.digest] for medium in prompt.media])


class _RunningRequest:
    """A request that is being answered. began: start of the call, from which its times count."""

    def __init__(self, index: int, prompt: Prompt, settings: Request, detokeniser: Detokeniser, began: float) -> None:
        self.index, self.prompt, self.settings = index, prompt, settings
        self.detokeniser, self.until, self.began = detokeniser, StopStrings(settings.stop), began
        self.text: list[str] = []
        self.tokens: list[int] = []
        self.seconds: dict[str, float] = {}
        self.prompt_tokens = self.read_tokens = 0
        self.margin: float | None = None
        self.cancelled = self.ended = False
        self.finish: Literal["stop", "length", "cancel"] = "cancel"

    def reply(self, embeds: Tensor, end_ids: frozenset[int], prefixes: tuple[Prefix, ...]) -> Reply:
        self.prompt_tokens, request = len(embeds), self.settings
        settings = (request.max_new_tokens, request.temperature, request.top_p, request.seed)
        return Reply(embeds, *settings, end_ids, prefixes=prefixes)

    def push(self, token: int, reply: Reply) -> str:
        """Add a token; return the text that becomes final. A stop string ends the reply."""
        self.tokens.append(token)
        self.read_tokens = reply.read_tokens
        self.margin = reply.margin if math.isfinite(reply.margin) else None
        self.seconds["total"] = time.perf_counter() - self.began
        self.seconds.setdefault("first_token", self.seconds["total"])
        at_end = token in reply.end_ids
        text = "" if at_end else self.detokeniser.push(token)
        text += self.detokeniser.flush() if reply.finished else ""
        self.text.append(self.until.push(text, last=reply.finished))
        reply.finished |= self.until.stopped
        self.ended = reply.finished
        if self.ended:
            self.finish = "stop" if at_end or self.until.stopped else "length"
        return self.text[-1]

    def answer(self) -> Answer:
        text, tokens = "".join(self.text), tuple(self.tokens)
        counts = {"prompt_tokens": self.prompt_tokens, "read_tokens": self.read_tokens}
        facts = {"seconds": self.seconds, "notes": self.prompt.notes, "margin": self.margin}
        return Answer(text, tokens, self.finish, **counts, **facts)  # type: ignore[arg-type]


class _PreparedOnce(OlaProcessor):
    """Prepares each raw medium once, also if several requests contain the same object."""

    def __init__(self, processor: OlaProcessor) -> None:
        super().__init__(processor.tokenizer, processor.config)
        self.processor = processor
        self.prepared: dict[int, Any] = {}

    def image(self, picture: Picture) -> Visual:
        return self._once(picture, self.processor.image)

    def video(self, frames: Sequence[Picture], digest: str = "") -> Visual:
        return self._once(frames, lambda given: self.processor.video(given, digest))

    def sound(self, wave: Wave) -> Sound:
        return self._once(wave, self.processor.sound)

    def _once(self, raw: Raw, make: Callable[[Raw], Medium]) -> Medium:
        if id(raw) not in self.prepared:
            self.prepared[id(raw)] = make(raw)
        medium: Medium = self.prepared[id(raw)]
        return medium


def prefixes_of(prompt: Prompt, spans: Mapping[str, Tensor]) -> tuple[Prefix, ...]:
    """Return the beginnings of a prompt that end with a medium. spans: embeddings by the digest of the medium."""
    content, found, start, length = hashlib.sha256(), list[Prefix](), 0, 0
    for place, medium in zip(placeholder_positions(prompt.input_ids), prompt.media, strict=True):
        if not medium.digest:
            break
        content.update(f"{prompt.input_ids[start:place].tolist()} {medium.digest}".encode())
        length += place - start + len(spans[medium.digest])
        start = place + 1
        found.append(Prefix(content.hexdigest(), length))
    return tuple(found)


def _check(settings: Request) -> None:
    if settings.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {settings.max_new_tokens}; an answer has at least one token")
    if not settings.temperature >= 0:
        raise ValueError(f"temperature is {settings.temperature}; give 0 for the likeliest token, or more to sample")
    if not 0 < settings.top_p <= 1:
        raise ValueError(f"top_p is {settings.top_p}; give a share of the probability above 0, at most 1")


def _beginnings(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return, for each token that begins a word, the number of the word and the id of the token. Raises ValueError."""
    begins = [
        {int(tokenizer.encode(form, add_special_tokens=False)[0]) for form in (word.lower(), word.capitalize())}
        for word in words
    ]
    pairs = [(number, token) for number, tokens in enumerate(begins) for token in sorted(tokens)]
    if len({token for _, token in pairs}) < len(pairs):
        raise ValueError(f"{' and '.join(words)} begin with the same token: choose other words")
    return [number for number, _ in pairs], [token for _, token in pairs]


def _end_ids(configs: Iterable[Any], tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the end tokens of the model's configurations, and `END_TOKENS` that are in the vocabulary."""
    vocabulary = tokenizer.get_vocab()
    candidates = [vocabulary.get(name) for name in END_TOKENS]
    for config in configs:
        ids = getattr(config, "eos_token_id", None)
        candidates += ids if isinstance(ids, list) else [ids]
    return frozenset(token_id for token_id in candidates if token_id is not None)
