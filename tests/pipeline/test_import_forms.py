"""Records in the forms of others: each becomes what its normal form becomes, and what was mended is counted by kind."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RunError
from pipeline.importing.external import entry_of
from pipeline.importing.imported import Report, Wanted, bring
from pipeline.pack.check import check_run
from tests.pipeline.outside import encoded, imported, listed, noise, said, samples, sound
from tests.runs import ola

Record = Mapping[str, Any]
USER, ASSISTANT = ["role user", "role assistant"], "role assistant"
MESSAGES = ["turns in `messages`", *USER]
TAGLESS = "picture without a tag: put before the first question"
RED = said("<image>\nWhat?", "Red")
TWO = said("<image>\n<image>\nCompare.", "Red, blue")
SYSTEM = {"from": "system", "value": "Be brief."}


def chat(*turns: Any, **fields: Any) -> dict[str, Any]:
    """`messages` in which a user and an assistant take turns."""
    roles = ("user", "assistant")
    return {**fields, "messages": [{"role": roles[n % 2], "content": content} for n, content in enumerate(turns)]}


def part(kind: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({} if value is None else {kind: value}), **more}


# name -> a record, its normal form, and what was mended
FORMS: dict[str, tuple[Record, Record, Sequence[str]]] = {
    "sharegpt": (
        {
            "video": "v",
            "conversations": [{"from": "user", "value": "<video>\nWhat?"}, {"from": "assistant", "value": "So."}],
        },
        {"video": "v", "conversations": said("<image>\nWhat?", "So.")},
        [*USER, "tag <video>"],
    ),
    "llamafactory": (
        {**chat("<video>What?", "So.", videos=["v"]), "system": "Be brief."},
        {"video": "v", "conversations": [SYSTEM, *said("<image>\nWhat?", "So.")]},
        ["turns in `messages`", "system text beside the turns", *USER, "tag <video>"],
    ),
    "a system turn": (
        {"image": "a.png", "messages": [{"role": "system", "content": "Be brief."}, *chat("<image>Hm?", "So.")["messages"]]},
        {"image": "a.png", "conversations": [SYSTEM, *said("<image>\nHm?", "So.")]},
        MESSAGES,
    ),
    "an empty system turn": (
        {"image": "a.png", "conversations": [{"from": "system", "value": ""}, *RED], "system": ""},
        {"image": "a.png", "conversations": RED},
        [],
    ),
    "several images": (
        chat("<image><image>Compare.", "Red, blue", images=["a.png", "b.png"]),
        {"image": ["a.png", "b.png"], "conversations": TWO},
        MESSAGES,
    ),
    "images in two turns": (
        chat("What is <image>?", "Red", "<image>And this?", "Blue", images=["a.png", "b.png"]),
        {"image": ["a.png", "b.png"], "conversations": said("<image>\nWhat is ?", "Red", "<image>\nAnd this?", "Blue")},
        MESSAGES,
    ),
    "sounds": (
        chat("<audio>What?", "A dog.", audios=["c.wav"]),
        {"audio": "c.wav", "conversations": said("<speech>\nWhat?", "A dog.")},
        [*MESSAGES, "tag <audio>"],
    ),
    "video and sound": (
        chat("<video><audio>What?", "A dog.", videos=["v"], audios=["c.wav"]),
        {"video": "v", "audio": "c.wav", "conversations": said("<speech><image>\nWhat?", "A dog.")},
        [*MESSAGES, "tag <video>", "tag <audio>"],
    ),
    "parts of Qwen": (
        chat([part("image", "a.png"), part("image", "b.png"), part("text", "Compare.")], [part("text", "Red, blue")]),
        {"image": ["a.png", "b.png"], "conversations": TWO},
        [*MESSAGES, "turn in parts"],
    ),
    "parts without types": (
        chat([{"image": "a.png"}, {"text": "What?"}], [{"text": "Red"}]),
        {"image": "a.png", "conversations": RED},
        [*MESSAGES, "turn in parts"],
    ),
    "parts of OpenAI": (
        chat([part("text", "What?"), part("image_url", {"url": "a.png", "detail": "low"})], "Red"),
        {"image": "a.png", "conversations": RED},
        [*MESSAGES, "turn in parts"],
    ),
    "parts of OpenAI's responses": (
        chat([part("input_image", image_url="a.png"), {"type": "input_text", "text": "What?"}], "Red"),
        {"image": "a.png", "conversations": RED},
        [*MESSAGES, "turn in parts"],
    ),
    "parts beside images": (
        chat([part("text", "What?"), part("image")], "Red", images=["a.png"]),
        {"image": "a.png", "conversations": RED},
        [*MESSAGES, "turn in parts"],
    ),
    "a video and its sound in parts": (
        chat([part("video", "file://v"), part("audio", "c.wav"), part("text", "What?")], "A dog."),
        {"video": "v", "audio": "c.wav", "conversations": said("<speech><image>\nWhat?", "A dog.")},
        [*MESSAGES, "turn in parts"],
    ),
    "no tag": (
        {"image": "a.png", "conversations": said("What?", "Red")},
        {"image": "a.png", "conversations": RED},
        [TAGLESS],
    ),
    "two without a tag": (
        {"image": ["a.png", "b.png"], "conversations": said("Compare.", "Red, blue")},
        {"image": ["a.png", "b.png"], "conversations": TWO},
        [TAGLESS],
    ),
    "one tag for two": (
        {"image": ["a.png", "b.png"], "conversations": said("Hello", "Hi", "<image>Compare.", "Red, blue")},
        {"image": ["a.png", "b.png"], "conversations": said("Hello", "Hi", "<image>\n<image>\nCompare.", "Red, blue")},
        [TAGLESS],
    ),
    "a video without a tag": (
        {"video": "v", "conversations": said("What?", "So.")},
        {"video": "v", "conversations": said("<image>\nWhat?", "So.")},
        ["video without a tag: put before the first question"],
    ),
    "a number": (
        {"image": "a.png", "conversations": [RED[0], {"from": "gpt", "value": 4}]},
        {"image": "a.png", "conversations": said("<image>\nWhat?", "4")},
        ["number as answer"],
    ),
    "words that look like tags": (
        chat("Is <video> HTML?", "Yes, <video> is."),
        {"conversations": said("Is <video> HTML?", "Yes, <video> is.")},
        MESSAGES,
    ),
    "a word beside a tag": (
        {"video": "v", "conversations": said("<image>\nIs <video> HTML?", "Yes.")},
        {"video": "v", "conversations": said("<image>\nIs <video> HTML?", "Yes.")},
        [],
    ),
    "turns as text": (
        {"image": "a.png", "conversations": json.dumps(RED)},
        {"image": "a.png", "conversations": RED},
        [],
    ),
    "pairs of texts": (
        {"images": ["a.png"], "texts": [{"user": "What?", "assistant": "Red", "source": "x"}]},
        {"image": "a.png", "conversations": RED},
        ["turns in `texts`", *USER, TAGLESS],
    ),
    "an instruction": (
        {"instruction": "Add.", "input": "1 2", "output": "3", "history": [["Hello", "Hi"]], "system": "Be brief."},
        {"conversations": [SYSTEM, *said("Hello", "Hi", "Add.\n1 2", "3")]},
        ["turns in `instruction`", "system text beside the turns", *USER],
    ),
    "a question": (
        {"image": "a.png", "question": "What?", "answer": "Red"},
        {"image": "a.png", "conversations": RED},
        ["turns in `question`", *USER, TAGLESS],
    ),
}


def with_media(folder: Path) -> dict[str, bytes]:
    """Two pictures of different sizes, a sound, and a video, in a folder; their bytes by name."""
    film = base64.b64decode("")  # the video is a patch of frames: no encoder is needed
    media = {
        "a.png": encoded(noise(64, 64, 1), "PNG"),
        "b.png": encoded(noise(90, 40, 2), "PNG"),
        "c.wav": sound(0.5),
        "v": film,
    }
    for name, content in media.items():
        (folder / name).write_bytes(content)
    return media


@pytest.mark.parametrize("form", FORMS)
def test_a_record_becomes_what_its_normal_form_becomes(form: str) -> None:
    record, normal, mends = FORMS[form]
    extra = {"id": "x", "licence": "CC-BY"}
    entry, expected = entry_of(3, {**record, **extra}), entry_of(3, {**normal, **extra})
    assert entry.mends == tuple(mends)
    assert entry.turns == expected.turns
    assert (entry.kind, entry.seen, entry.heard, dict(entry.meta)) == (
        expected.kind,
        expected.seen,
        expected.heard,
        extra,
    )
