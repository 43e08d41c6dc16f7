"""From token ids to sentences: no half characters, and the same sentences for any split of the text."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ola.speech.detokenise import Detokeniser
from ola.speech.sentences import SentenceFinder, SpokenText

# Cut where there is | by a finder without a minimum.
CASES = [
    "Pi is 3.14. |It costs $1,000.50 today. |Version 2.0.1 is out.",
    "Hi. |Dr. Smith and Mrs. Jones met at 5 p.m. on Monday. |They like 'Dr. Who.' |I don't.",
    "Some authors, e.g. J. K. Rowling, i.e. a writer, left the U.S. in Dec. 2001. |She did.",
    "Fruit, nuts, etc. are fine. |Smith et al. Agree with that.",
    "What?! |No way... |I mean it!!! |Wait… what? |Well... maybe. |Then he left.",
    'He said "Stop." |Then he left. |"Really?" he asked. |"Yes!" |(It was late.) |So he went.',
    "She said “Go.” |He (the boss) said ‘no.’ |End.",
    "See https://example.com/a.b?c=d.e! |Next open main.py. |Then ask me@example.com, or a.b.c for it.",
    "Use Node.js or .NET here. |The file is .bashrc? |Yes.",
    "1. Buy milk. |Not eggs.\n|2. Go.\n|10. Home 1. |Then 12. |Done",
    "**1.** One.\n|- 2. Two.\n|> 3. Three.",
    "**Note:** it is **bold.** |_So it is._ |Good.",
    "See No. 5, Fig. 2 and pp. 3 to 4. |No. |I do not.",
    "I don't. |You can't! |it's ok? |yes.",
    "Line one\n|line two\r\n|\n\nline three",
    "Hello . . . |World. |- Yes. |– No.",
    "今天天气很好。|我们去公园吧！|你去吗？！|真的？？？|好；|走。",
    "“真的吗？”|他问。|「好的。」|『走吧！』|（完。）|她说……然后走了。",
    '他说"好。"|然后离开。|"是吗？"|我问。|"好。|走。"|完。',
    'A 5" disk\n|很好。|"是的。"|No 5" disk. |"Yes."',
    "第一行\n|第二行。 |第三行。\n|第四行！\n|\n第五行",
    "圆周率是3.14。|价格是1,000元，很贵。|他说：好。",
    "我用Python 3.12写代码.|很好用!|你呢?Node.js也行。|1.打开文件。|用 e.g.这个。",
    "Hello世界。|This is 好的. |OK!|我们走吧。|Dr. 王来了。|我是Dr. Wang.",
    "日本語です。|そうですか？|はい！",
    "안녕하세요. |반갑습니다!|네.",
    "",
    "   \n\n  ",
]


def sentences(pieces: list[str], finder: SentenceFinder | None = None) -> list[str]:
    finder = finder or SentenceFinder()
    return [found for piece in pieces for found in finder.push(piece)] + finder.flush()


def without_minimum() -> SentenceFinder:
    return SentenceFinder(min_chars=1)


def cut(text: str, seed: int) -> list[str]:
    draw = random.Random(seed)
    places = sorted(draw.choices(range(len(text) + 1), k=draw.randint(0, len(text))))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize("case", CASES)
def test_hard_cases(case: str) -> None:
    text = case.replace("|", "")
    expected = case.split("|") if case else []
    assert sentences([text], without_minimum()) == expected
    assert sentences(list(text), without_minimum()) == expected
    for seed in range(20):
        assert sentences(cut(text, seed), without_minimum()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi. How are you? I am fine, thank you.", ["Hi. How are you? ", "I am fine, thank you."]),
        ("Sure! Ok. Then let us begin. Yes.", ["Sure! ", "Ok. Then let us begin. ", "Yes."]),
        ("好。走。我们去公园吧。你去吗？", ["好。", "走。我们去公园吧。", "你去吗？"]),
        ("\n\nTitle\n- one\n- two\n- three\n", ["\n\nTitle\n", "- one\n- two\n- three\n"]),
        ('他说"好。"然后离开。"是吗？"我问。', ['他说"好。"', '然后离开。"是吗？"', "我问。"]),
    ],
)
def test_short_ones_join_the_next_but_the_first_comes_soon(text: str, expected: list[str]) -> None:
    assert sentences([text]) == sentences(list(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two, three four five sixes", ["one two, ", "three four five ", "sixes"]),  # at a comma, else a space
        ("a, bcdefghijklmnopqrstuv", ["a, bcdefghijklmnopqr", "stuv"]),  # else where it is: "a, " is too short
        ("costs 1,000,000,000,000 of it", ["costs ", "1,000,000,000,000 ", "of it"]),
        ("一二三，四五六七八九", ["一二三，", "四五六七八九"]),
        ("一二三四五六七八九十", ["一二三四五六七", "八九十"]),  # a wide character counts as three
    ],
)
def test_long_ones_are_cut_where_one_pauses(text: str, expected: list[str]) -> None:
    assert sentences(list(text), SentenceFinder(min_chars=4, max_chars=20, first_min_chars=4)) == expected


def test_a_sentence_is_given_as_soon_as_it_is_known() -> None:
    finder = without_minimum()
    assert finder.push("今天很好。") == []  # a closing quote could follow
    assert finder.push("明") == ["今天很好。"]
    assert finder.push("天\n") == ["明天\n"]
    assert finder.push("It is 3.") == []
    assert finder.push(" ") == []
    assert finder.push("W") == ["It is 3. "]
    assert finder.flush() == ["W"]
    assert finder.flush() == []


@pytest.mark.parametrize("limits", [(0, 9, 1), (5, 9, 0), (5, 5, 5)])
def test_limits_that_contradict(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="need 1 <="):
        SentenceFinder(*limits)


TEXT = st.text(st.sampled_from("aI. .,!?…1\n\"'()“”*。！，；」一é😀\r\u2028") | st.characters(), max_size=80)


@given(TEXT, st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 20))
@example('他说"好。"走', 0, 1, 20)
def test_any_text_in_any_pieces(text: str, seed: int, least: int, more: int) -> None:
    def found(pieces: list[str]) -> list[str]:
        return sentences(pieces, SentenceFinder(least, least + more, 1))

    whole = found([text])
    assert "".join(whole) == text
    assert all(whole)
    assert all(len(sentence) <= least + more for sentence in whole)
    assert found(list(text)) == whole
    assert found(cut(text, seed)) == whole


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("# A title\nSome **bold**, *slanted* and `code`.\n", "A title. Some bold, slanted and code."),
        ("See [the page](https://x.org/a_(b)) and ![a cat](cat.png).", "See the page and a cat."),
        ("- one\n* two\n  + three\n1. four\n> five!\n", "one. two. three. 1. four. five!"),
        ("***both*** and __under__, ~~gone~~", "both and under, gone"),
        ("这是**重点**，*斜体*文字。", "这是重点，斜体文字。"),
        ("snake_case, 2 * 3, 2*3*4 and 2**8 stay", "snake_case, 2 * 3, 2*3*4 and 2**8 stay"),
        ("**what a cut parted", "what a cut parted"),
        ("parted by a cut** and _so on", "parted by a cut and so on"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b. 1 2"),
        ("---\n", ""),
        ("...\n", ""),
        ("", ""),
    ],
)
def test_what_is_said(written: str, said: str) -> None:
    assert SpokenText()(written) == said


def test_code_is_not_said_over_several_sentences() -> None:
    text = "Look at this:\n```python\nx = 1. # One.\n\nprint(x)\n```\nThat was it. ~~~\na. B\n~~~ Bye."
    for finder in (SentenceFinder(), without_minimum(), SentenceFinder(1, 400)):
        spoken = SpokenText()
        said = [words for sentence in sentences([text], finder) if (words := spoken(sentence))]
        assert " ".join(" ".join(said).split()) == "Look at this: That was it. Bye."


def byte_level_bpe() -> PreTrainedTokenizerFast:
    """Every byte, the merges of a few words, and two special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    tokenizer.train_from_iterator(["the cat 你好世界 你们 😀😃👍🏽 naïve café"] * 4, trainer)
    bpe = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    bpe.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return bpe


BPE = byte_level_bpe()


def decoded(ids: list[int]) -> str:
    return str(BPE.decode(ids, skip_special_tokens=True))


def check_stream(ids: list[int]) -> None:
    detokeniser = Detokeniser(BPE)
    for _ in range(2):
        so_far = ""
        for count, token in enumerate(ids, start=1):
            so_far += detokeniser.push(token)
            assert so_far == decoded(ids[:count]).removesuffix("\ufffd")  # all that is final, and at once
        assert so_far + detokeniser.flush() == decoded(ids)


@given(st.text(st.sampled_from("the cat你好世界😀👍🏽é\ufffd\n ") | st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    assume("<|" not in text)
    ids = BPE(text)["input_ids"]
    assert decoded(ids) == text
    check_stream(ids)


@given(st.lists(st.integers(0, len(BPE) - 1), max_size=60))
def test_any_ids_give_what_decoding_them_at_once_gives(ids: list[int]) -> None:
    check_stream(ids)


@pytest.mark.parametrize("data", [b"\xff" * 50, b"\xf0\x9f\x98" * 20 + b"\x80", b"\xe4\xbdA", "😀".encode() * 20])
def test_broken_bytes(data: bytes) -> None:
    # The 256 bytes, in the order in which byte-level BPEs name them.
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    name = {byte: chr(byte) for byte in plain}
    name |= {byte: chr(256 + place) for place, byte in enumerate(sorted(set(range(256)) - set(plain)))}
    ids = [BPE.get_vocab()[name[byte]] for byte in data]
    assert decoded(ids) == data.decode(errors="replace")
    check_stream(ids)
    end = BPE.get_vocab()["<|im_end|>"]
    check_stream([token for one in ids for token in (one, *[end] * 9)])  # which say nothing


def test_a_long_answer_is_not_decoded_again_and_again() -> None:
    class Counting:
        decoded = 0

        def decode(self, ids: list[int], **options: Any) -> object:
            self.decoded += len(ids)
            return BPE.decode(ids, **options)

    counting = Counting()
    detokeniser = Detokeniser(counting)  # type: ignore[arg-type]
    for token in BPE("你好 the cat " * 500)["input_ids"] + [0] * 1000:
        detokeniser.push(token)
    assert counting.decoded < 15 * 4000
