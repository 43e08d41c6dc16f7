"""Transcripts of every source get the same scores, a language, and separate unspoken text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from manifests.records import Drop, Outcome, Transcript
from manifests.schema import from_rows, to_table
from pipeline.media.hallucination import deflate_ratio, stock_share
from pipeline.media.subtitle_tracks import sidecar_language
from pipeline.media.text_language import is_mismatch, language_of
from tests.media import X264, made, written
from tests.pipeline.language_sentences import CHOSE, HELD_OUT, sentences
from tests.pipeline.test_transcribe import listener, sounding, transcribed, with_sidecars
from tests.runs import srt

STORY = (
    "The ship left the harbour before dawn, and nobody on the quay had noticed.",
    "By noon the wind had turned, so they stayed close to the rocky shore.",
    "Thanks for watching the children while I was away, she said to her sister.",
)


def of(folder: Path, *cues: str | tuple[float, float, str], name: str = "talk.srt", end_ms: int = 30_000) -> Transcript:
    """What is transcribed of a file with these cues, one a second."""
    timed = [cue if isinstance(cue, tuple) else (n + 0.05, n + 0.95, cue) for n, cue in enumerate(cues)]
    found = transcribed(with_sidecars(folder, (name, srt(*timed))), end_ms=end_ms)
    assert isinstance(found, Transcript), found
    return found


def flags(found: Transcript) -> set[str]:
    return {flag for segment in found.segments for flag in segment.flags}


@pytest.mark.parametrize(
    "cues",
    [
        ("Thanks for watching!",) * 6,
        ("Thanks for watching!", "Please subscribe to my channel.", "See you in the next video, bye bye!"),
        ("Thank you.", "you", "Thank you.", "Bye."),
        ("Vielen Dank fürs Zuschauen!", "Bis zum nächsten Mal!"),
        ("Merci d'avoir regardé cette vidéo !",),
        ("ご視聴ありがとうございました",) * 3,
        ("Спасибо за просмотр!", "Подписывайтесь на канал!"),
        ("I will go there again.",) * 6,
        ("... the ship is in the harbour and the ship is",) * 4,
    ],
)
def test_invented_speech_in_a_sidecar_is_flagged(tmp_path: Path, cues: Sequence[str]) -> None:
    found = of(tmp_path, *cues)
    assert found.flagged == 1.0
    assert all(segment.flags and segment.stock is not None for segment in found.segments)


@pytest.mark.parametrize(
    "cues",
    [
        STORY,
        ("Thank you.", STORY[0]),
        ("Okay.", "So, where were we?", "Okay."),
        ("Thanks for watching my dog.", "He can be a handful."),
        ("No.", "No.", "No, I said."),
        ("ประเทศไทยมีอากาศร้อนชื้นตลอดทั้งปีและมีฝนตกชุก",),
        ("हमारे गाँव में एक पुराना मंदिर है जिसे सब लोग देखने आते हैं", "वहाँ हर साल मेला लगता है और बच्चे झूला झूलते हैं"),
        ("今天我们来聊一聊海边的生活，你知道吗？", "每天早上，渔民们都会很早出发去打鱼。"),
        ((0.0, 20.0, "Yes."), (21.0, 21.3, "We must leave before they come back here.")),  # shown long, and short
    ],
)
def test_real_speech_in_a_sidecar_is_not(tmp_path: Path, cues: Sequence[str | tuple[float, float, str]]) -> None:
    found = of(tmp_path, *cues)
    assert (flags(found), found.flagged) == (set(), 0.0)


def test_streams_are_judged_too_and_drawings_in_them_are_no_text() -> None:
    events = "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    line = "Dialogue: 0,0:00:0{}.00,0:00:0{}.90,Default,,0,0,0,,{}\n"
    said = "".join(line.format(n, n, "Thanks for watching!") for n in range(3)) + line.format(3, 3, r"{\p1}m 0 0 l 1 1")
    style = "[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,20\n\n"
    words = written("words.ass", "[Script Info]\nScriptType: v4.00+\n\n" + style + events + said)
    film = made("ghost.mkv", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=4", "-i", words, *X264, "-c:s", "ass")
    found = transcribed(with_sidecars(film.parent, film=film))
    assert isinstance(found, Transcript)
    assert (found.origin, found.text) == ("embedded", " ".join(["Thanks for watching!"] * 3))
    assert (found.flagged, flags(found)) == (1.0, {"stock phrase", "repeated"})


def test_a_stock_phrase_counts_by_what_else_is_said() -> None:
    assert stock_share("Thanks for watching this video, bye!", alone=False) == 1.0
    assert stock_share("Untertitel von Stephanie Geiges", alone=False) == 1.0
    assert stock_share(STORY[2], alone=False) < 0.5
    assert [stock_share("Thank you.", alone=alone) for alone in (True, False)] == [1.0, 0.0]


def test_scripts_of_three_bytes_a_sign_are_no_loops() -> None:
    text = "हमारे गाँव में एक पुराना मंदिर है जिसे सब लोग देखने आते हैं और वहाँ हर साल मेला लगता है"
    assert deflate_ratio(text) < 1.5
    assert deflate_ratio(text * 4) > 2.4
    assert deflate_ratio("") == 0.0


def test_what_is_not_spoken_lies_beside_the_words(tmp_path: Path) -> None:
    cues = ("(door slams) JOHN: Who is there?", "[Music]", "♪ la la la ♪", "- Me.\n- And me.", "Subtitles by Anna")
    found = of(tmp_path, *cues)
    assert found.text == "Who is there? Me. And me."
    assert found.words == 6
    assert [(each.kind, each.text) for each in found.unspoken] == [
        ("sound", "(door slams)"),
        ("speaker", "JOHN"),
        ("sound", "[Music]"),
        ("song", "♪ la la la ♪"),
        ("credit", "Subtitles by Anna"),
    ]
    assert (found.unspoken[2].start, found.unspoken[2].end) == (1.05, 1.95)
    first, last = found.segments
    assert (first.speaker, first.original) == ("JOHN", "(door slams) JOHN: Who is there?")
    assert (last.speaker, last.original) == ("", "- Me. - And me.")
    table = to_table(Transcript, [Outcome(input="c", status="ok", seconds=0.1, records=(found,))])
    assert from_rows(Transcript, table.to_pylist()) == [found]


def test_a_clip_with_sounds_alone_goes_to_who_listens(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((1, 2, "[Music]"), (2, 3, "(applause)"))))
    found = transcribed(video)
    assert isinstance(found, Drop)
    assert found.reason == "nothing said"
    assert "no words but '[Music]; (applause)' in this clip" in str(found.detail)
    (answer,) = listener(tmp_path, "sidecar", "whisperx").run(sounding(tmp_path, video, 2))
    assert isinstance(answer, list)
    assert answer[0].origin == "whisperx"


GERMAN = ("Guten Abend, meine Damen und Herren.", "Das Wetter wird morgen leider nicht besser.")


@pytest.mark.parametrize(
    ("name", "cues", "language", "mismatch"),
    [
        ("talk.de.srt", GERMAN, "de", False),
        ("talk.ger.srt", GERMAN, "de", False),
        ("talk.en.srt", GERMAN, "de", True),
        ("talk.srt", GERMAN, "de", False),
        ("talk.en-GB.srt", STORY, "en", False),
        ("talk.en.srt", ("Hm.",), None, False),
        ("talk.pt-BR.srt", ("Boa noite, senhoras e senhores.", "Amanhã o tempo não vai melhorar."), "pt", False),
    ],
)
def test_the_language_of_the_text_beside_the_one_claimed(
    tmp_path: Path, name: str, cues: Sequence[str], language: str | None, mismatch: bool
) -> None:
    found = of(tmp_path, *cues, name=name)
    assert found.language == sidecar_language(name)
    assert found.text_language == language
    assert (found.text_language_probability is None) == (language is None)
    assert found.flags == (("language mismatch",) if mismatch else ())


@pytest.mark.parametrize("texts", [CHOSE, HELD_OUT])
def test_short_sentences_of_ten_languages(texts: Mapping[str, str]) -> None:
    """Of 300 sentences 297 and 299 are right, and none is taken for another language."""
    found = [(language, language_of(text)[0]) for language, text in sentences(texts)]
    assert len(found) == 300
    assert sum(language == detected for language, detected in found) >= 0.98 * len(found)
    assert sum(detected not in (language, None) for language, detected in found) <= 1


def test_kin_of_frequent_languages_are_still_found() -> None:
    others = {
        "bg": "Не знам къде е ключът за вратата.",
        "uk": "Собака гавкає всю ніч біля хати.",
        "ca": "Demà anirem a la muntanya amb cotxe.",
        "gl": "Mañá imos ao monte co coche.",
        "da": "Jeg ved ikke, hvor nøglen er henne.",
    }
    assert {language: language_of(text)[0] for language, text in others.items()} == {name: name for name in others}


def test_a_clip_of_few_words_has_the_language_of_its_file(tmp_path: Path) -> None:
    found = of(tmp_path, "Ja.", *GERMAN, end_ms=1000)
    assert (found.text, found.text_language) == ("Ja.", "de")


def test_languages_that_are_taken_for_each_other_are_no_mismatch() -> None:
    assert language_of("OK") == (None, None)
    danish = "Jeg kan ikke finde min taske, har du set den et sted?"
    assert not is_mismatch(danish, "no")
    assert is_mismatch(danish, "fr")
    assert not is_mismatch(danish, "isl")  # a tag that is not known


@pytest.mark.parametrize(
    ("name", "language"),
    [("talk.en.sdh.srt", "en"), ("talk.sdh.srt", None), ("talk.de.forced.ass", "de"), ("talk.cc.vtt", None)],
)
def test_words_for_kinds_of_subtitles_are_no_languages(name: str, language: str | None) -> None:
    assert sidecar_language(f"folder/{name}") == language


def test_an_srt_goes_before_the_ass_of_its_name(tmp_path: Path) -> None:
    styled = "[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,from the ass\n"
    video = with_sidecars(tmp_path, ("talk.ass", styled), ("talk.srt", srt((1, 2, "from the srt"))))
    found = transcribed(video)
    assert isinstance(found, Transcript)
    assert found.text == "from the srt"
    found = transcribed(with_sidecars(tmp_path, ("talk.ass", styled)))
    assert isinstance(found, Transcript)
    assert (found.origin, found.text) == ("sidecar", "from the ass")
