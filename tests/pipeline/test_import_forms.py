"""External record formats: each is read as its normal form, and repairs are counted by kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.errors import RunError
from pipeline.importing.entries import make_entry
from pipeline.importing.importer import ImportRequest, import_records
from pipeline.pack.check import check_run
from tests.pipeline.outside import brought, encoded, imported, listed, media_folder, noise, said, samples
from tests.runs import ola

Record = Mapping[str, Any]
USER = ["role user", "role assistant"]
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
        {
            "image": "a.png",
            "messages": [{"role": "system", "content": "Be brief."}, *chat("<image>Hm?", "So.")["messages"]],
        },
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
    "parts of Anthropic": (
        chat([part("image", source={"type": "url", "url": "a.png"}), part("text", "What?")], "Red"),
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
        ["`conversations` as JSON in a text"],
    ),
    "pairs of texts": (
        {"images": ["a.png"], "texts": [{"user": "What?", "assistant": "Red", "source": "x"}]},
        {"image": "a.png", "conversations": RED},
        ["turns in `texts`", TAGLESS],
    ),
    "an instruction": (
        {"instruction": "Add.", "input": "1 2", "output": "3", "history": [["Hello", "Hi"]], "system": "Be brief."},
        {"conversations": [SYSTEM, *said("Hello", "Hi", "Add.\n1 2", "3")]},
        ["turns in `instruction`", "system text beside the turns"],
    ),
    "a question": (
        {"image": "a.png", "question": "[1] What?", "answer": "Red", "conversations": []},
        {"image": "a.png", "conversations": said("<image>\n[1] What?", "Red")},
        ["turns in `question`", TAGLESS],
    ),
}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_folder(tmp_path_factory.mktemp("media"))


@pytest.mark.parametrize("form", FORMS)
def test_a_record_becomes_what_its_normal_form_becomes(form: str) -> None:
    record, normal, mended = FORMS[form]
    extra = {"id": "x", "licence": "CC-BY"}
    entry, expected = make_entry(3, {**record, **extra}), make_entry(3, {**normal, **extra})
    assert entry.mended == tuple(mended)
    assert entry.turns == expected.turns
    assert (entry.kind, entry.visuals, entry.sound, dict(entry.meta)) == (
        expected.kind,
        expected.visuals,
        expected.sound,
        extra,
    )


def test_samples_have_the_bytes_of_their_normal_forms(media: Path, tmp_path: Path) -> None:
    found = []
    for which in (0, 1):
        (tmp_path / str(which)).mkdir()
        records = [{"id": name, **(normal if which else record)} for name, (record, normal, _) in FORMS.items()]
        report, members = brought(media, records, tmp_path / str(which))
        assert report.packed == len(FORMS), report.reasons
        found.append(members)
    assert found[0] == found[1]
    assert any(set(members) == {"json", "jpgs"} for members in found[0])


def test_a_video_may_be_a_list_of_pictures(media: Path, tmp_path: Path) -> None:
    frames = [encoded(noise(320, 288, n)) for n in range(5)]
    for number, frame in enumerate(frames):
        (media / f"{number}.jpg").write_bytes(frame)
    names = [f"{number}.jpg" for number in range(5)]
    records = [
        chat([part("video", names), part("text", "What?")], "So."),
        {"video": {"patch": "p", "start_num": 0, "size": list(map(len, frames))}, **chat("<video>What?", "So.")},
        chat("<video><audio>What?", "So.", videos=[names], audios=["c.wav"]),
        chat([part("video", ["0.jpg", "a.png"]), part("text", "What?")], "So."),
    ]
    (media / "p").write_bytes(b"".join(frames))
    report = imported(media, records, tmp_path, frames=4)
    assert [outcome.reason for outcome in report.outcomes] == [None, None, None, "frames of several sizes"]
    assert list(check_run(str(tmp_path))) == []
    as_list, patched, heard = sorted((pair for pair in samples(tmp_path)), key=lambda pair: pair[0].clip[-9:])
    assert bytes(as_list[1].members["mjpg"]) == bytes(patched[1].members["mjpg"]) == bytes(heard[1].members["mjpg"])
    assert as_list[0].pictures == patched[0].pictures
    assert heard[0].pictures.ms == (62, 187, 312, 437)  # spread over the sound


def test_repairs_are_counted_and_written_beside_the_records(media: Path, tmp_path: Path) -> None:
    records = [FORMS["a number"][0], FORMS["no tag"][0], FORMS["two without a tag"][0], FORMS["several images"][1]]
    root, file = tmp_path / "out", listed(tmp_path, records)
    strict = ola("import", file, "--media", media, "--root", tmp_path / "strict", "--strict")
    assert (strict.code, strict.err) == (
        3,
        "ola: record 0 (): needs repair: number as answer (without --strict: repaired)\n",
    )
    done = ola("import", file, "--media", media, "--root", root, "--val-share", "0")
    [report] = root.glob("import-*.parquet")
    assert done.out.startswith(
        f"4 records: 4 packed, 0 failed\n3 records were repaired; `mended` in {report} says how\n"
        f"    2 x {TAGLESS}\n    1 x number as answer\n"
    )
    assert pq.read_table(report)["mended"].to_pylist() == [["number as answer"], [TAGLESS], [TAGLESS], []]
    assert ola("import", file, "--media", media, "--root", root, "--val-share", "0", "--strict").code == 3
    again = listed(tmp_path, [FORMS["several images"][1], FORMS["a number"][1]], "normal.json")
    assert ola("import", again, "--media", media, "--root", tmp_path / "normal", "--strict").code == 0


def test_a_strict_import_ends_at_the_first_record_to_mend(media: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"record 1 \(x\): needs repair: role user, role assistant"):
        import_records(
            ImportRequest(listed(tmp_path, [FORMS["a number"][1], {"id": "x", **FORMS["sharegpt"][0]}]), str(media)),
            str(tmp_path / "out"),
            strict=True,
        )
