"""Answers end at stop strings, at end tokens and when they are cancelled; streamed pieces are the whole text."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ola.generation import Ola
from ola.stop_strings import StopStrings
from tests.ola.mixed_requests import decoded, mixed


def test_streamed_pieces_are_the_text(ola: Ola) -> None:
    asked = [replace(request, temperature=1.0, seed=3) for request in mixed()]
    pieces: list[list[str]] = [[] for _ in asked]
    answers = ola.generate(asked, lambda index, piece: pieces[index].append(piece))
    assert ["".join(some) for some in pieces] == [answer.text for answer in answers]
    assert all(len(some) > 1 for some in pieces)
    for request, answer in zip(asked, answers, strict=True):
        assert "".join(ola.stream(request)) == answer.text == decoded(ola, answer.tokens)
        assert 0 < answer.seconds["first_token"] <= answer.seconds["total"]


@pytest.mark.parametrize(("start", "size"), [(0, 1), (5, 1), (7, 4), (11, 9)])
def test_a_stop_string_ends_an_answer_wherever_tokens_are_cut(ola: Ola, start: int, size: int) -> None:
    request = mixed()[1]
    whole = ola.generate([request])[0]
    stop = whole.text[start : start + size]
    asked = replace(request, stop=["never said", stop])
    for answer in (ola.generate([asked])[0], ola.generate([*mixed(), asked])[-1]):
        assert answer.text == whole.text[: whole.text.index(stop)]
        assert answer.finish == "stop"
        assert answer.tokens == whole.tokens[: len(answer.tokens)]
        assert stop in decoded(ola, answer.tokens)
        assert stop not in decoded(ola, answer.tokens[:-1])
    assert "".join(ola.stream(asked)) == answer.text


def test_what_only_begins_a_stop_string_is_said(ola: Ola) -> None:
    request = mixed()[1]
    whole = ola.generate([request])[0]
    answer = ola.generate([replace(request, stop=[whole.text[-3:] + "!", ""])])[0]
    assert (answer.text, answer.finish) == (whole.text, "length")


def test_stop_strings_are_found_alike_however_the_text_is_cut() -> None:
    cases = [
        ("say abab, then abac and more", ["abac", "zz"], "say abab, then "),
        ("hello world, hello", ["world", "hello world!"], "hello "),
        ("one\n\nHuman: two", ["\nHuman:", "Human"], "one\n\n"),
        ("nothing here ab", ["abc"], "nothing here ab"),
    ]
    dice = random.Random(0)
    for text, stops, expected in cases:
        for _ in range(50):
            until, given, at = StopStrings(stops), "", 0
            while at < len(text):
                size = dice.randint(1, 6)
                given += until.push(text[at : at + size], last=at + size >= len(text))
                at += size
                assert expected.startswith(given)
            assert given == expected
            assert until.stopped == (expected != text)


def test_end_tokens_end_an_answer_and_are_no_text(ola: Ola) -> None:
    request = mixed()[1]
    whole = ola.generate([request])[0]
    last = next(n for n in range(6, 40) if whole.tokens[n] not in whole.tokens[:n])
    vocabulary = ola.processor.tokenizer.get_vocab()
    assert ola.end_ids >= {vocabulary["<|im_end|>"], vocabulary["<|endoftext|>"]}
    ola.end_ids |= {whole.tokens[last]}
    for answer in (ola.generate([request])[0], ola.generate([*mixed(), request])[-1]):
        assert answer.tokens == whole.tokens[: last + 1]
        assert answer.text == decoded(ola, whole.tokens[:last])
        assert answer.finish == "stop"


def test_end_tokens_come_from_the_configurations_too(ola: Ola, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ola.model.generation_config, "eos_token_id", [7, 8])
    monkeypatch.setattr(ola.model.config, "eos_token_id", 9)
    assert Ola(ola.model, ola.processor).end_ids >= {7, 8, 9}


def test_one_answer_can_be_cancelled(ola: Ola) -> None:
    whole = ola.generate(mixed())
    heard: list[str] = []

    def on_text(index: int, piece: str) -> bool:
        if index == 1:
            heard.append(piece)
        return index != 1 or len(heard) < 3

    answers = ola.generate(mixed(), on_text)
    assert answers[1].finish == "cancel"
    assert answers[1].text == "".join(heard) == whole[1].text[: len(answers[1].text)]
    assert 3 <= len(answers[1].tokens) < len(whole[1].tokens)
    assert answers[0].tokens == whole[0].tokens
