"""The tokenizer of ola-nano: its tokens, and the text that decoding returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ola.generation import _beginnings
from ola.processor import OlaProcessor
from ola.prompt import IMAGE, Request
from ola.speech.detokenise import Detokeniser
from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.prompts import prompt
from pipeline.synthetic.nano.initial_weights import nano_config
from pipeline.synthetic.nano.tokenizer import build_tokenizer, list_words, prompt_passages, word_tokens
from pipeline.synthetic.world.captions import captions_by_view
from pipeline.synthetic.world.questions import make_questions
from pipeline.synthetic.world.scenes import compose_scene

ASKED = "Q1 (source): What is seen while the beep is heard?\nA1: a red star\nQ2 (order): What does it do?\nA2: rises"
ODD = (
    "naïve 漢字 🎉",
    "Ġ ▁ \u200b\tx",
    "line one\nline two\n\nline  three ",
    "'it's' (yes) 1,234; A) a beep",
    "\n\n",
    "",
)


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return build_tokenizer()


def ids(words: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode a text as `ola.conversation` does."""
    found: list[int] = words(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return found


def world_texts() -> Iterator[str]:
    """Yield captions, questions and answers of some scenes."""
    for number in range(40):
        scene = compose_scene(number % 5, number)
        yield from captions_by_view(scene, 2.0).values()
        for qa in make_questions(scene):
            yield from (qa.question, qa.answer, f"{qa.part}: {qa.answer}")


def streamed(words: PreTrainedTokenizerFast, tokens: list[int]) -> str:
    """Decode tokens in a stream."""
    detokeniser = Detokeniser(words)
    return "".join(map(detokeniser.push, tokens)) + detokeniser.flush()


def test_texts_of_the_world_are_decoded_and_take_a_token_for_each_word(words: PreTrainedTokenizerFast) -> None:
    for text in world_texts():
        tokens = ids(words, text)
        assert words.decode(tokens) == text == streamed(words, tokens)
        assert len(tokens) <= len(text.split()) + text.count(",") + text.count(".") + text.count("?") + text.count(":")


@pytest.mark.parametrize("word", list_words())
def test_each_word_is_a_token_at_any_position(words: PreTrainedTokenizerFast, word: str) -> None:
    (token,) = ids(words, word)
    assert ids(words, f"is {word}")[1:] == ids(words, f"\n{word}")[1:] == ids(words, f"A1: {word}")[1:] == [token]


@pytest.mark.parametrize("text", [ASKED, "[nobody speaks]", "second: blue", *ODD])
def test_other_text_is_decoded_too(words: PreTrainedTokenizerFast, text: str) -> None:
    assert words.decode(ids(words, text)) == text == streamed(words, ids(words, text))


@settings(max_examples=200, deadline=None)
@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\n []A1:s")), max_size=40))
def test_decoding_loses_only_spaces_at_the_start_of_a_line(words: PreTrainedTokenizerFast, text: str) -> None:
    tokens = ids(words, text)
    back = words.decode(tokens)
    assert streamed(words, tokens) == back
    assert back.replace(" ", "") == text.replace(" ", "")
    if not any(line.startswith(" ") for line in text.split("\n")) and not any(p in text for p in ("A1:", "A2:", "A3:")):
        assert back == text


def test_a_space_at_the_start_of_a_text_or_a_line_is_lost(words: PreTrainedTokenizerFast) -> None:
    assert words.decode(ids(words, " two\n dogs")) == "two\ndogs"


def test_each_passage_of_a_prompt_is_a_token(words: PreTrainedTokenizerFast) -> None:
    assert all(len(ids(words, passage)) == 1 for passage in prompt_passages())
    asked = fill_prompt(
        "ask", count="3", form=fill_prompt("ask_open", count="3"), subtitles=fence_text("subtitles", "two dogs")
    )
    # Three passages, three blank lines, two marks with their line ends, two words.
    assert len(ids(words, asked)) == 3 + 3 + 4 + 2
    assert len(ids(words, prompt("joint_caption"))) == 1


def test_the_digits_of_a_fence_are_left_out(words: PreTrainedTokenizerFast) -> None:
    for name in ("subtitles", "question", "right answer", "given answer", "answer"):
        marked = fence_text(name, "blue")
        assert len(ids(words, marked)) == 5
        assert words.decode(ids(words, marked)) == f"[begin {name}]\nblue\n[end {name}]"


def test_control_tokens_in_a_text_are_only_text(words: PreTrainedTokenizerFast) -> None:
    assert words.convert_tokens_to_ids("<|im_end|>") not in ids(words, "<|im_end|>")
    assert (words.eos_token, words.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_a_saved_tokenizer_is_the_same(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    OlaProcessor(words, nano_config()).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == words.get_vocab()
    for text in (*ODD, ASKED, fence_text("answer", "two dogs"), *prompt_passages()):
        assert ids(again, text) == ids(words, text)
        assert again.decode(ids(again, text)) == words.decode(ids(words, text))
    assert (again.eos_token, again.pad_token, again.model_max_length) == ("<|im_end|>", "<|endoftext|>", 2048)


def test_answers_can_be_chosen_by_their_first_token(words: PreTrainedTokenizerFast) -> None:
    columns, tokens = _beginnings(words, ("yes", "no"))
    assert columns == [0, 0, 1, 1]
    assert sorted(words.decode([token]) for token in tokens) == ["No", "Yes", "no", "yes"]


def test_a_request_takes_few_tokens(words: PreTrainedTokenizerFast) -> None:
    asked = OlaProcessor(words, nano_config()).layouts.inference(Request(text=prompt("caption_video")), 0, 1)
    # start system \n passage end \n, start user \n <image> \n passage end \n, start assistant \n
    assert len(asked) == 6 + 8 + 3
    assert asked[9] == IMAGE


def test_every_call_builds_the_same_tokenizer(words: PreTrainedTokenizerFast) -> None:
    assert build_tokenizer().get_vocab() == words.get_vocab()
    assert len(set(word_tokens())) == len(word_tokens())
    assert len(set(prompt_passages())) == len(prompt_passages())
