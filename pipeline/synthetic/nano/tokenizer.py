"""Build nano's tokenizer from the world's vocabulary and the prompts, without training.

Each word is a token at any position, and so is each fixed passage of a prompt. Other text is encoded as bytes
(byte-level BPE like Qwen2's, without merges), so any text can be encoded and decoded. Two things are lost: a space at
the start of a text or a line, since words carry a space, and the random digits in the marks of `annotator.fence_text`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from pipeline.annotation.text_rules import KINDS, LETTERS, SOUND_KINDS
from pipeline.prompts import prompt
from pipeline.synthetic.world import captions
from pipeline.synthetic.world.questions import CORNERS, FORMS, ORDINALS
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS, MOTIONS, NOUNS, NUMBERS, SHAPES, SIZES, SOUNDS, VOICE
from stages.text_metrics import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
SYSTEM = "You are a helpful assistant."
LINES = ("\n", "\n\n")
COUNT = 3  # questions in an answer to `ask`
FENCED = ("subtitles", "question", "right answer", "given answer", "answer")  # names that `fence_text` is called with
FENCE_DIGITS = r" [0-9a-f]{12}\]"  # random digits in the marks of `fence_text`
CAPTION_WORDS = "a an and then while says is the heard seen words"  # connecting words of captions
LOOKUP_WORDS = "part of with sound colour shape size motion number noun always unknown"
ROLES = "system user assistant"
SILENCE_WORDS = "nobody speaks"
MAX_TOKENS = 2048  # context length

SPACE = "Ġ"  # a space in byte-level BPE


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer of ola-nano. Bytes have the first ids, then words, then passages."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *word_tokens()]
    core = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(vocabulary)}, merges=[], ignore_merges=True))
    core.normalizer = normalizers.Replace(Regex(FENCE_DIGITS), "]")
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    # Remove the space that encoding adds at the start of a text and of a line.
    spaces = [decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence([decoders.ByteLevel(), *spaces])
    core.add_special_tokens(list(SPECIAL))
    core.add_tokens([AddedToken(text, normalized=False) for text in (*LINES, *prompt_passages(), *question_headings())])
    core.add_tokens([AddedToken(text, normalized=True) for text in fence_marks()])
    kind: Any = PreTrainedTokenizerFast
    special = {"eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    complete: PreTrainedTokenizerFast = kind(
        tokenizer_object=core, model_max_length=MAX_TOKENS, clean_up_tokenization_spaces=False, **special
    )
    return complete


def list_words() -> list[str]:
    """Return all words of the world, its questions and its captions, with upper case where a sentence starts."""
    world = (*COLOURS, *SHAPES, *MOTIONS, MEETS, *SIZES, *NUMBERS, *NOUNS, *SOUNDS, VOICE)
    question_texts = [re.sub(r"\{\w+\}", " ", text) for _, text in FORMS.values()]
    lower = " ".join(
        (
            *world,
            *ORDINALS,
            *CORNERS,
            CAPTION_WORDS,
            LOOKUP_WORDS,
            ROLES,
            SILENCE_WORDS,
            "yes no something meet",
            *question_texts,
        )
    )
    first_words = [text.split()[0] for text in (*question_texts, captions.NOTHING, "A", "An", "Yes", "No")]
    return list(dict.fromkeys((*words(lower), *words(captions.NOTHING), *first_words, *LETTERS)))


def word_tokens() -> list[str]:
    """Return the tokens of words with a space before them, and two tokens for the start of a remark in brackets."""
    return [*(f"{SPACE}{word}" for word in list_words()), f"{SPACE}[", SILENCE_WORDS.split(maxsplit=1)[0]]


def prompt_passages() -> list[str]:
    """Return the fixed passages of the prompts between placeholders; each is a token."""
    names = sorted(
        file.name.removesuffix(".md") for file in files("pipeline.prompts").iterdir() if file.name[0].islower()
    )
    filled = (Template(prompt(name)).safe_substitute(count=COUNT) for name in names)
    parts = (part.strip() for text in (SYSTEM, *filled) for part in re.split(r"\$\w+", text))
    return [part for part in dict.fromkeys(parts) if len(part) > 1]


def question_headings() -> Iterator[str]:
    """Yield the headings of questions and answers: `Q1 (speech):` and `A1:`."""
    for n in range(1, COUNT + 1):
        yield from (f"Q{n} ({kind}):" for kind in dict.fromkeys((*KINDS, *SOUND_KINDS)))
        yield f"A{n}:"


def fence_marks() -> Iterator[str]:
    """Return the marks that `fence_text` puts around a text, without digits."""
    return (f"[{side} {name}]" for name in FENCED for side in ("begin", "end"))
