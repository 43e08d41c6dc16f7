"""Requests in a batch answer as each alone; media are encoded once; streams stop and end at the right places."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ola import batching, generation
from ola.decoding import Reply, TorchDecoder
from ola.generation import Ola
from ola.media_embeddings import Encodings
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import IMAGE, Picture, Prompt, Request, Sound, Visual, Wave
from tests.ola.mixed_requests import clip, mixed, picture, wave

CHOICES = [(0.0, 1.0), (0.7, 1.0), (1.0, 0.9), (1.5, 0.5)]
"""(temperature, top_p)"""


def tokens(ola: Ola, requests: Sequence[Request | Prompt]) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in ola.generate(requests)]


def embedded(model: OlaForConditionalGeneration, prompt: Prompt) -> Tensor:
    with torch.inference_mode():
        return model.splice(prompt, model.encode([prompt])[0])


def test_a_batch_answers_as_plain_generate_does_one_by_one(ola: Ola) -> None:
    answers = ola.generate(mixed())
    for request, answer in zip(mixed(), answers, strict=True):
        prompt = ola.processor.prompt(request)
        embeds = embedded(ola.model, prompt)[None]
        ids = ola.model.generate(  # type: ignore[misc]
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]), do_sample=False,
            max_new_tokens=request.max_new_tokens, eos_token_id=sorted(ola.end_ids), pad_token_id=0,
        )  # fmt: skip
        assert answer.tokens == tuple(ids[0].tolist())
        assert answer.prompt_tokens == prompt.length
    assert [len(answer.tokens) for answer in answers] == [request.max_new_tokens for request in mixed()]
    assert sum(len(set(answer.tokens)) for answer in answers) > 0.5 * sum(len(answer.tokens) for answer in answers)


def test_sampling_is_the_same_alone_and_in_any_batch(ola: Ola) -> None:
    asked = [
        replace(request, temperature=CHOICES[n % 4][0], top_p=CHOICES[n % 4][1], seed=n // 5)
        for n, request in enumerate(mixed())
    ]
    together = tokens(ola, asked)
    assert together == [tokens(ola, [request])[0] for request in asked]
    assert together[::-1] == tokens(ola, asked[::-1])
    assert together[2::3] == tokens(ola, asked[2::3])
    sampled = [n for n, request in enumerate(asked) if request.temperature]
    reseeded = tokens(ola, [replace(request, seed=99) for request in asked])
    assert all((together[n] != reseeded[n]) == (n in sampled) for n in range(len(asked)))


def test_a_small_budget_and_small_windows_change_no_answer(ola: Ola, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tokens(ola, mixed())
    monkeypatch.setattr(generation, "WINDOW_TOKENS", 700)
    monkeypatch.setattr(batching, "PASS_TOKENS", 300)
    assert tokens(Ola(ola.model, ola.processor, TorchDecoder(ola.model, token_budget=400)), mixed()) == expected


def test_three_questions_on_one_clip_encode_and_prepare_it_once(ola: Ola) -> None:
    prepared = []

    class Counting(OlaProcessor):
        def video(self, frames: Sequence[Picture], digest: str = "") -> Visual:
            prepared.append("video")
            return super().video(frames, digest)

        def sound(self, wave: Wave) -> Sound:
            prepared.append("sound")
            return super().sound(wave)

    ola.processor = Counting(ola.processor.tokenizer, ola.processor.config)
    frames, sound = clip(3), wave(2)
    asked = [
        Request(text, video=frames, sounds=[sound], max_new_tokens=9) for text in ("Who sings?", "Where?", "Why so?")
    ]
    first = ola.generate(asked)
    assert sorted(prepared) == ["sound", "video"]
    assert (ola.encodings.encoded, ola.encodings.hits) == (2, 4)
    took = ola.encodings.seconds
    assert sum(answer.seconds["encode"] for answer in first) == pytest.approx(took)
    again = ola.generate([replace(asked[1], video=[frame.copy() for frame in frames])])  # the same pixels elsewhere
    assert (ola.encodings.encoded, ola.encodings.hits) == (2, 6)
    assert again[0].tokens == first[1].tokens
    assert again[0].seconds["encode"] == 0
    assert len({answer.tokens for answer in first}) == 3


def test_the_least_recently_used_media_leave(ola: Ola) -> None:
    prompts = [ola.processor.prompt(Request("?", images=[picture(32, 32, seed)])) for seed in range(3)]
    with torch.inference_mode():
        sizes = [len(span) for prompt in prompts for span in ola.model.encode_visuals(prompt.visuals)]
        encodings = Encodings(ola.model, limit=2 * sizes[0] + 1)
        passed = []
        for which in (0, 1, 0, 2, 0, 1):
            spans, _seconds = encodings.embed([prompts[which]])
            passed.append(encodings.encoded)
            [alone] = ola.model.encode_visuals(prompts[which].visuals)
            torch.testing.assert_close(spans[prompts[which].visuals[0].digest], alone)
    assert passed == [1, 2, 2, 3, 3, 4]
    assert encodings.tokens == 2 * sizes[0]
    encodings = Encodings(ola.model, limit=sizes[0] - 1)
    with torch.inference_mode():
        encodings.embed(prompts)
    assert (encodings.tokens, encodings.encoded) == (0, 3)


class Watched(TorchDecoder):
    """Knows what it was asked for, what it gave and whether it was told to end."""

    asked = given = ended = 0

    def decode(self, replies: Iterable[Reply]) -> Generator[tuple[int, int], None, None]:
        replies = list(replies)
        self.asked += len(replies)
        try:
            for pair in super().decode(replies):
                self.given += 1
                yield pair
        finally:
            self.ended += 1


class OneByOne(TorchDecoder):
    """Takes a reply when it has decoded the one before."""

    continuous = True

    def decode(self, replies: Iterable[Reply]) -> Generator[tuple[int, int], None, None]:
        for number, reply in enumerate(replies):
            for _, token in super().decode([reply]):
                yield number, token


def test_a_continuous_decoder_takes_windows_while_it_decodes(ola: Ola, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [answer.tokens for answer in ola.generate(mixed())]
    monkeypatch.setattr(generation, "WINDOW_TOKENS", 1)
    ola.decoder, order = OneByOne(ola.model), list[str]()
    encode = ola.encodings.embed

    def embed(prompts: Sequence[Prompt]) -> Any:
        order.append("encode")
        return encode(prompts)

    monkeypatch.setattr(ola.encodings, "embed", embed)
    answers = ola.generate(mixed(), on_answer=lambda *_: order.append("answer"))
    assert [answer.tokens for answer in answers] == whole
    assert order == ["encode", "answer"] * len(whole)


def test_closing_a_stream_ends_the_decoding(ola: Ola) -> None:
    ola.decoder = watched = Watched(ola.model)
    stream = ola.stream(mixed()[1])
    assert watched.asked == 0
    assert next(stream)
    given = watched.given
    stream.close()
    assert (watched.given, watched.ended) == (given, 1)
    assert given < 10


def test_a_bad_request_is_named_before_any_is_encoded(ola: Ola) -> None:
    ola.decoder = watched = Watched(ola.model)
    good, bad = Request("?", images=[picture(32, 32)]), wave(1)
    for wrong, what in [
        (Request(" "), "request 2: .*asks nothing"),
        (replace(good, max_new_tokens=0), "request 2: max_new_tokens is 0"),
        (replace(good, temperature=-1), "request 2: temperature is -1"),
        (replace(good, top_p=0), "request 2: top_p is 0"),
        (replace(good, sounds=[replace(bad, samples=bad.samples * np.nan)]), "request 2: "),
        (replace(good, max_new_tokens=5000), "request 2: .*5000 for the answer"),
    ]:
        with pytest.raises(ValueError, match=what):
            ola.generate([good, good, wrong, good])
        with pytest.raises(ValueError, match=what.replace("2", "0", 1)):
            ola.stream(wrong)
    assert (ola.encodings.encoded, watched.asked) == (0, 0)


def test_no_request_no_answer(ola: Ola) -> None:
    assert ola.generate([]) == []


def test_prompts_and_media_made_ready_answer_the_same(ola: Ola) -> None:
    request = replace(mixed()[9], max_new_tokens=1024)  # what a prompt gets
    ola.end_ids |= set(tokens(ola, [mixed()[9]])[0][15:])
    [expected] = ola.generate([request])
    processor = ola.processor
    assert isinstance(request.video, list)
    ready = replace(request, video=processor.video(request.video), sounds=[processor.sound(wave(3, seed=3))])
    assert tokens(ola, [processor.prompt(request), ready]) == [expected.tokens] * 2
    assert ola.encodings.encoded == 2


def test_what_was_thinned_is_said(ola: Ola) -> None:
    [answer] = ola.generate([Request("?", video=clip(70), max_new_tokens=1)])
    assert answer.notes[0] == "70 frames -> 64"


def test_from_a_folder(ola: Ola, tmp_path: Path) -> None:
    ola.model.save_pretrained(tmp_path)
    ola.processor.save_pretrained(tmp_path)
    loaded = Ola.from_pretrained(tmp_path)
    assert tokens(loaded, mixed()[:5]) == tokens(ola, mixed()[:5])
    assert Ola.from_pretrained(tmp_path, dtype=torch.bfloat16).generate(mixed()[3:4])[0].tokens


ODD = [
    Request("What?", images=[Image.new("RGB", (1, 1), "red")]),
    Request("What?", images=[Image.new("CMYK", (20_000, 10))]),
    Request("What?", images=[Image.new("P", (50, 70))]),
    Request("What?", video=[picture(10, 2000)]),
    Request("What?", sounds=[Wave(np.zeros((2, 800), np.int16), 8_000)]),
    Request("What?", sounds=[Wave(np.sin(np.arange(44_100 * 3, dtype=np.float64)), 44_100)]),
    Request("What?", sounds=[wave(1200)]),
]


@pytest.mark.parametrize("request_", ODD, ids=["1x1", "20000x10", "palette", "a frame", "0.1 s", "44.1 kHz", "20 min"])
def test_odd_media_are_answered(ola: Ola, request_: Request) -> None:
    [answer] = ola.generate([replace(request_, max_new_tokens=3)])
    assert len(answer.tokens) == 3
    assert answer.prompt_tokens <= ola.processor.config.tokenizer_model_max_length
    assert bool(answer.notes) == (len(request_.sounds) == 1 and answer.prompt_tokens > 2000)


def test_a_prompt_made_by_hand_is_checked_too(ola: Ola) -> None:
    with pytest.raises(ValueError, match=r"request 1: .* 1 image or video placeholders but there are 0"):
        ola.generate([Request("Why?"), Prompt(torch.tensor([1, IMAGE, 2]))])


def test_words_are_weighed_as_the_first_token_is(ola: Ola) -> None:
    requests = mixed()
    shares = ola.choose(requests, ("yes", "no"))
    assert all(abs(sum(share) - 1) < 1e-9 for share in shares)
    assert len(set(shares)) == len(shares)
    for request, share in zip(requests, shares, strict=True):
        [alone] = ola.choose([request], ("no", "yes"))
        assert alone[::-1] == pytest.approx(share, abs=1e-4)
    asked = ola.processor.prompt(requests[0])
    logits = ola.model([asked]).logits[0, -1].detach()
    ids = [[ola.processor.tokenizer.encode(form)[0] for form in (word, word.capitalize())] for word in ("yes", "no")]
    weights = [sum(float(logits[token].exp()) for token in set(forms)) for forms in ids]
    assert shares[0][0] == pytest.approx(weights[0] / sum(weights), rel=1e-3)


def test_words_that_begin_alike_cannot_be_told_apart(ola: Ola) -> None:
    with pytest.raises(ValueError, match="yes and yellow begin with the same token"):
        ola.choose([Request("Why?")], ("yes", "yellow"))


def test_whole_answers_are_told_as_they_end(ola: Ola) -> None:
    told: dict[int, str] = {}
    answers = ola.generate(mixed(), on_answer=lambda index, answer: told.update({index: answer.text}))
    assert told == {index: answer.text for index, answer in enumerate(answers)}
