"""Build nano's tokenizer from the world's vocabulary and the prompts. Its tokens are listed, not trained.

A word is one token, wherever it stands; so is each fixed passage of a prompt, however long. All else is spelled in
bytes (byte-level BPE as Qwen2's, without merges), so that every text has tokens and comes back as it was, but for two
things: a space at the beginning of a text or a line is lost, since words bring their own, and so are the digits that
`annotator.fenced` puts into its marks, which would be noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from pipeline.annotation.text_rules import KINDS, LETTERS
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
COUNT = 3  # questions that `ask` asks for
FENCED = ("subtitles", "question", "right answer", "given answer", "answer")  # what `fenced` names
FENCE_DIGITS = r" [0-9a-f]{12}\]"  # of its marks
CAPTION_WORDS = "a an and then while says is the heard seen words"  # what captions and names of sounds are joined with
LOOKUP_WORDS = "part of with sound colour shape size motion number noun always unknown"
ROLES = "system user assistant"
SILENCE_WORDS = "nobody speaks"
MAX_TOKENS = 2048  # tokens that the model reads

SPACE = "Ġ"  # as byte-level BPE writes a space


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of ola-nano: the same at every call. Bytes have the first ids, then words, then passages."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    listed = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *word_tokens()]
    made = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(listed)}, merges=[], ignore_merges=True))
    made.normalizer = normalizers.Replace(Regex(FENCE_DIGITS), "]")
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    # A text and a line begin with a space that was never there.
    dropped = [decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence([decoders.ByteLevel(), *dropped])
    made.add_special_tokens(list(SPECIAL))
    made.add_tokens([AddedToken(text, normalized=False) for text in (*LINES, *prompt_passages(), *question_headings())])
    made.add_tokens([AddedToken(text, normalized=True) for text in fence_marks()])
    kind: Any = PreTrainedTokenizerFast
    special = {"eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    complete: PreTrainedTokenizerFast = kind(
        tokenizer_object=made, model_max_length=MAX_TOKENS, clean_up_tokenization_spaces=False, **special
    )
    return complete


def list_words() -> list[str]:
    """Every word of the world and of what is asked about it, as it is written."""
    world = (*COLOURS, *SHAPES, *MOTIONS, MEETS, *SIZES, *NUMBERS, *NOUNS, *SOUNDS, VOICE)
    asked = [re.sub(r"\{\w+\}", " ", text) for _, text in FORMS.values()]
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
            *asked,
        )
    )
    begins = [text.split()[0] for text in (*asked, captions.NOTHING, "A", "An", "Yes", "No")]
    return list(dict.fromkeys((*words(lower), *words(captions.NOTHING), *begins, *LETTERS)))


def word_tokens() -> list[str]:
    """What is one token within a text: words after a space, and the two that begin a remark in brackets."""
    return [*(f"{SPACE}{word}" for word in list_words()), f"{SPACE}[", SILENCE_WORDS.split(maxsplit=1)[0]]


def prompt_passages() -> list[str]:
    """The prompts' own text between what is filled in: a token each."""
    names = sorted(
        file.name.removesuffix(".md") for file in files("pipeline.prompts").iterdir() if file.name[0].islower()
    )
    filled = (Template(prompt(name)).safe_substitute(count=COUNT) for name in names)
    parts = (part.strip() for text in (SYSTEM, *filled) for part in re.split(r"\$\w+", text))
    return [part for part in dict.fromkeys(parts) if len(part) > 1]


def question_headings() -> Iterator[str]:
    """What stands before questions and answers: `Q1 (speech):` and `A1:`."""
    for n in range(1, COUNT + 1):
        yield from (f"Q{n} ({kind}):" for kind in KINDS)
        yield f"A{n}:"


def fence_marks() -> Iterator[str]:
    """What `fenced` puts around a text, without its digits."""
    return (f"[{side} {name}]" for name in FENCED for side in ("begin", "end"))
