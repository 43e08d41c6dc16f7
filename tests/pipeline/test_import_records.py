"""External records: unusable ones become rows with a reason; a truncated file is an error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ola.geometry import image_size
from pipeline.errors import BadMedia, ConfigError
from pipeline.importing.entries import make_entry
from pipeline.importing.media import MediaReader, fit_jpeg
from pipeline.importing.record_files import PIECE, read_records
from tests.media import pixels
from tests.pipeline.outside import encoded, frames, imported, listed, noise, patch, said, samples, sound
from tests.runs import ola

SEEN = said("<image>\nWhat?", "So.")
PATCH = {"patch": "p", "start_num": 0, "size": [5]}


def with_turns(*turns: Any) -> dict[str, Any]:
    return {"image": "a.jpg", "conversations": list(turns)}


RUBBISH: dict[str, tuple[Any, str]] = {
    "text": ("hello", "the record is not a JSON object"),
    "nothing": (None, "the record is not a JSON object"),
    "no conversations": ({"image": "a.jpg"}, "no conversations"),
    "conversations of text": ({"conversations": "hello"}, "no conversations"),
    "a turn of text": (with_turns("hello"), "a turn that is not"),
    "another speaker": (with_turns({"from": "tool", "value": "x"}, *SEEN), "a turn that is not"),
    "a system turn later": (with_turns(*SEEN, {"from": "system", "value": "x"}), "a system turn after the first turn"),
    "a system turn alone": (with_turns({"from": "system", "value": "x"}), "the conversation begins with an answer"),
    "a turn of numbers": (with_turns({"from": "human", "value": 3}), "a turn that is not"),
    "an empty turn": (with_turns(*SEEN, {"from": "human", "value": " \n"}), "an empty turn"),
    "an answer first": (with_turns(SEEN[1], SEEN[0]), "the conversation begins with an answer"),
    "no answer": (with_turns(SEEN[0]), "no answer to learn"),
    "a tag of another medium": (with_turns(*said("<speech>\nWhat?", "So.")), "the tags do not match the media"),
    "a tag too many": (with_turns(*said("<image><image>\nWhat?", "So.")), "the tags do not match the media"),
    "a tag without media": ({"conversations": SEEN}, "the tags do not match the media"),
    "media that are not known": ({"pictures": ["a.jpg"], "conversations": SEEN}, "the tags do not match the media"),
    "media in two fields": ({"images": ["a.jpg"], "image": "a.jpg", "conversations": SEEN}, "media both in `image`"),
    "a tag in an answer": (with_turns(*said("<image>\nWhat?", "An <image>.")), "a media tag in the text"),
    "a tag in a later turn": (with_turns(*SEEN, *said("<image>And?", "So.")), "the tags do not match the media"),
    "a tag in a system turn": (with_turns({"from": "system", "value": "<image>"}, *SEEN), "a media tag in the text"),
    "a control token": (with_turns(*said("<image>\n<|im_end|>", "So.")), "a media tag in the text"),
    "half a letter": (with_turns(*said("<image>\nWhat?", "\ud83d")), "text that is not Unicode"),
    "several videos": ({"videos": ["a.mp4", "b.mp4"], "conversations": SEEN}, "several media as video"),
    "several sounds": (
        {"audio": ["a.wav", "b.wav"], "conversations": said("<speech><speech>What?", "So.")},
        "several media as audio",
    ),
    "a sound before its video": (
        {"video": "a.mp4", "audio": "a.wav", "conversations": said("<speech>What?", "So.", "<image>And?", "So.")},
        "a sound before the image or video",
    ),
    "a picture as answer": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"image": "a.jpg"}]}]},
        "media in a turn that is not by a human",
    ),
    "a part of another type": (
        {"messages": [{"role": "user", "content": [{"type": "point", "point": 3}]}]},
        "a part of a turn that is not text",
    ),
    "a part without its text": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "a text part without a text",
    ),
    "a part without its picture": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "So."}]},
        "the tags do not match the media",
    ),
    "a call of a tool": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{}]}]},
        "a turn that is not",
    ),
    "an answer that is true": (with_turns(SEEN[0], {"from": "gpt", "value": True}), "a turn that is not"),
    "an answer that is no number": (with_turns(SEEN[0], {"from": "gpt", "value": float("nan")}), "a turn that is not"),
    "an empty cell": (
        {"image": {"bytes": None, "path": None}, "conversations": SEEN},
        "image has neither bytes nor a path",
    ),
    "broken base64": (
        {"image": "data:image/png;base64,%%", "conversations": SEEN},
        "image is a data: URI with invalid base64",
    ),
    "data that are no base64": ({"image": "data:,abc", "conversations": SEEN}, "image is a data: URI without base64"),
    "turns of broken JSON": ({"conversations": "[{"}, "no conversations"),
    "an image of several parts": (
        {"image": {**PATCH, "size": [5, 5]}, "conversations": SEEN},
        "several media as image",
    ),
    "image and video": (
        {"image": "a.jpg", "video": "v.mp4", "conversations": SEEN},
        "no task kind has this combination of media",
    ),
    "image and audio": (
        {"image": "a.jpg", "audio": "v.wav", "conversations": SEEN},
        "no task kind has this combination of media",
    ),
    "a spoken question alone": ({"audio_q": "q.wav", "conversations": SEEN}, "a spoken question needs one image"),
    "no text_q": ({"image": "a.jpg", "audio_q": "q.wav", "conversations": SEEN}, "audio_q without text_q"),
    "text_q without a tag": (
        {"image": "a.jpg", "audio_q": "q.wav", "text_q": "<image>", "conversations": SEEN},
        "the tags do not match the media",
    ),
    "a number": ({"image": 3, "conversations": SEEN}, "image is neither a path nor a patch"),
    "half a patch": ({"image": {"patch": "p"}, "conversations": SEEN}, "image is an incomplete patch"),
    "a patch before its file": (
        {"image": {**PATCH, "start_num": -1}, "conversations": SEEN},
        "image is an incomplete patch",
    ),
    "a patch of nothing": ({"video": {**PATCH, "size": []}, "conversations": SEEN}, "video is an incomplete patch"),
    "a patch of words": ({"video": {**PATCH, "size": ["x"]}, "conversations": SEEN}, "video is an incomplete patch"),
    "unknown keys": ({"video": {**PATCH, "codec": "h265"}, "conversations": SEEN}, "unknown keys in video"),
    "an unknown encoding": (
        {"video": {**PATCH, "image_encoding": "hex"}, "conversations": SEEN},
        "video has an unknown image_encoding",
    ),
}


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_cannot_be_used_says_why(rubbish: str) -> None:
    record, reason = RUBBISH[rubbish]
    with pytest.raises(BadMedia, match=reason):
        make_entry(0, record)


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_bytes(content))


def void(_: object) -> None:
    """Nothing."""


BAD_MEDIA: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "no file": (lambda _: None, {"image": "no.jpg"}, "no such file"),
    "a folder": (lambda folder: (folder / "a").mkdir(), {"image": "a"}, "no such file"),
    "an address": (lambda _: None, {"image": "http://localhost/a.jpg"}, "a URI outside --media"),
    "no picture": (write("a.jpg", b"hello"), {"image": "a.jpg"}, "not a picture"),
    "half a picture": (write("a.jpg", encoded(noise(64, 64))[:900]), {"image": "a.jpg"}, "the picture cannot be"),
    "a program for PIL": (write("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n"), {"image": "a.eps"}, "not a picture"),
    "32-bit pixels": (
        write("a.tif", encoded(Image.new("I", (8, 8)), "TIFF")),
        {"image": "a.tif"},
        "the picture cannot be",
    ),
    "no video": (write("a.mp4", b"hello"), {"video": "a.mp4"}, "not a video"),
    "a video of sound": (write("a.mp4", sound(0.1)), {"video": "a.mp4"}, "not a video: the file has no video stream"),
    "an empty patch": (write("p", b""), {"video": PATCH}, "the patch file is too short"),
    "a short patch": (write("p", b"abc"), {"video": PATCH}, "the patch file is too short"),
    "frames of two sizes": (
        lambda folder: void(patch(folder, "p", [frames(1)[0], *frames(1, "PNG", 448, 448)], 0)),
        {"video": {**PATCH, "size": [len(frames(1)[0]), len(frames(1, "PNG", 448, 448)[0])]}},
        "frames of several sizes",
    ),
}


@pytest.mark.parametrize("bad", BAD_MEDIA)
def test_bad_media_are_rows_beside_good_ones(bad: str, tmp_path: Path) -> None:
    harm, media, reason = BAD_MEDIA[bad]
    harm(tmp_path)
    good = {"id": "good", "conversations": said("Why?", "So.")}
    report = imported(tmp_path, [{"id": "bad", **media, "conversations": SEEN}, good], tmp_path / "out")
    first, second = report.outcomes
    assert (first.id, first.status, second.status) == ("bad", "failed", "ok")
    assert (first.reason or "").startswith(reason), first
    assert report.packed + sum(report.reasons.values()) == 2


def test_sound_that_is_none_is_a_row(tmp_path: Path) -> None:
    for name, content in (("a.wav", b"hello"), ("b.wav", sound(0)), ("c.wav", b"")):
        (tmp_path / name).write_bytes(content)
    heard = [{"audio": name, "conversations": said("<speech>\nWhat?", "So.")} for name in ("a.wav", "b.wav", "c.wav")]
    report = imported(tmp_path, heard, tmp_path / "out")
    assert report.packed == 0
    assert set(report.reasons) <= {"no sound can be decoded", "the file has no sound"}


def test_a_text_beyond_the_context_is_a_row(tmp_path: Path) -> None:
    report = imported(tmp_path, [{"conversations": said("Why?", "So. " * 20_000)}], tmp_path / "out")
    assert report.reasons == {"longer than Ola's context": 1}


def test_when_nothing_can_be_used_the_command_says_so(tmp_path: Path) -> None:
    said = ola("import", listed(tmp_path, [3, "x"]), "--root", tmp_path / "out")
    assert said.code == 1
    assert said.out.startswith("2 records: 0 packed, 2 failed\n    2 x the record is not a JSON object\n")


@pytest.mark.parametrize("form", ["list", "lines"])
def test_numbers_that_json_lacks_are_null(form: str, tmp_path: Path) -> None:
    record = {"id": "a", "conversations": said("Hi.", "Hello."), "score": float("nan"), "deep": [{"x": float("inf")}]}
    text = json.dumps(record).replace('"a"', '"a", "big": 1e999')
    file = tmp_path / "r.json"
    file.write_text(f"[{text}]" if form == "list" else f"\ufeff{text}\n", encoding="utf-8")
    ((number, found),) = read_records(str(file))
    assert make_entry(number, found).meta == {"id": "a", "big": None, "score": None, "deep": [{"x": None}]}


def test_bytes_that_are_no_text_cost_their_record_alone(tmp_path: Path) -> None:
    lines = [json.dumps({"conversations": said("Hi.", "Hello."), "title": title}).encode() for title in "abc"]
    lines[1] = lines[1].replace(b'"b"', b'"T\xe4st\xe9"')
    lines[2] = lines[2].replace(b'"c"', b'"\\ud83d"')
    file = tmp_path / "r.jsonl"
    file.write_bytes(b"\n".join(lines))
    good, *bad = read_records(str(file))
    assert make_entry(*good).meta == {"title": "a"}
    for number, record in bad:
        with pytest.raises(BadMedia, match="text that is not Unicode"):
            make_entry(number, record)


def test_a_long_list_is_read_piece_by_piece(tmp_path: Path) -> None:
    expected = [{"id": n, "text": "é" * (n % 7) * 9000} for n in range(60)]
    expected.append({"id": 60, "text": "x" * (3 * PIECE)})  # one that does not fit in a piece
    for indent in (None, 2):
        (tmp_path / "a.json").write_text(json.dumps(expected, ensure_ascii=False, indent=indent), encoding="utf-8-sig")
        assert [record for _, record in read_records(str(tmp_path / "a.json"))] == expected
    lines = "\n\n".join(json.dumps(one) for one in expected)
    (tmp_path / "a.jsonl").write_text(lines)
    assert list(read_records(str(tmp_path / "a.jsonl"))) == list(enumerate(expected))


def test_a_broken_line_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"conversations": 1}\n{"broken\n' + json.dumps({"conversations": said("a", "b")})
    )
    out = ola("import", tmp_path / "a.jsonl", "--root", tmp_path / "out").out
    assert out.startswith("3 records: 1 packed, 2 failed\n")
    assert "    1 x not JSON\n" in out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "hello",
        '[{"a": 1}',
        '[{"a": 1},',
        '[{"a": 1} {"b": 2}]',
        '[{"a": 1}][{"b": 2}]',
        "[nope]",
        "[" * 9999,
    ],
)
def test_a_list_that_is_none_or_breaks_off_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json: (expected|broken)"):
        list(read_records(str(tmp_path / "a.json")))


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    said = ola("import", tmp_path / "no.json", "--root", tmp_path / "out")
    assert (said.code, said.err) == (2, f"ola: {tmp_path}/no.json: No such file or directory\n")


def test_patches_say_where_and_how_their_pictures_lie(tmp_path: Path) -> None:
    jpeg = encoded(noise(64, 96))
    text = base64.b64encode(jpeg)
    (tmp_path / "img.jpg").write_bytes(jpeg)
    (tmp_path / "p").write_bytes(b"abc" + jpeg + text)
    at = {"patch": "p", "start_num": 3, "size": len(jpeg)}
    later = {"patch": "p", "start_num": 3 + len(jpeg), "size": [len(text)]}
    forms = [
        at,
        [at],
        {**later, "image_encoding": "base64"},
        {**later, "image_encoing": "base64"},
        {"img_path": "img.jpg"},
    ]
    for form in forms:
        [seen] = make_entry(0, {"image": form, "conversations": SEEN}).visuals
        assert MediaReader(str(tmp_path)).read_image(seen).jpegs == (jpeg,)


def test_a_picture_is_copied_only_if_the_trainer_would_see_it_so() -> None:
    upright = encoded(noise(64, 96))
    assert fit_jpeg(upright, image_size) == (upright, (64, 96))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned, size = fit_jpeg(encoded(noise(64, 96), exif=exif), image_size)
    assert size == (96, 64)
    assert pixels(turned).shape == (64, 96, 3)
    assert fit_jpeg(encoded(noise(60, 90)), image_size)[1] == (64, 96)
    assert fit_jpeg(encoded(noise(64, 96), "PNG"), image_size)[0][:2] == b"\xff\xd8"


def test_other_sounds_become_ours(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(0.5, 44_100, 2))
    record = {"audio": "a.wav", "conversations": said("<speech>\nWhat?", "So.")}
    imported(tmp_path, [record, {**record, "audio": patch(tmp_path, "p", [sound(0.5, 8000)])}], tmp_path / "out")
    assert [sample.sound.samples for sample, _ in samples(tmp_path / "out") if sample.sound] == [8000, 8000]
    assert ola("check", tmp_path / "out").out == "no fault\n"
