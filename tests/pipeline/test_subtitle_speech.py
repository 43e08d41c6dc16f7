"""Spoken and unspoken parts of subtitles: parts that must be removed, and parts that must stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.media.clean_text import clean_text
from pipeline.media.subtitle_credits import is_credit
from pipeline.media.subtitle_speech import blank_unspoken, close_gaps, find_labels, find_unspoken
from pipeline.media.subtitles import parse_cues
from pipeline.media.text_encoding import decode_text
from tests.runs import srt

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"


def told(text: str) -> tuple[str, list[tuple[str, str]]]:
    """What is spoken, and what else there is."""
    found = find_unspoken(text)
    return close_gaps(blank_unspoken(text, found)), [(cut.kind, cut.text) for cut in found if cut.kind]


@pytest.mark.parametrize(
    ("text", "spoken", "apart"),
    [
        ("♪ la la la ♪", "", [("song", "♪ la la la ♪")]),
        ("♪ la la la\n- Stop singing!", "Stop singing!", [("song", "♪ la la la")]),
        ("Happy birthday to you ♪", "", [("song", "Happy birthday to you ♪")]),
        ("# la la la #", "", [("song", "# la la la #")]),
        ("♪♪", "", []),
        ("[Music]", "", [("sound", "[Music]")]),
        ("[\u00a0__\u00a0] you", "you", []),
        ("(door slams) JOHN: Who is there?", "Who is there?", [("sound", "(door slams)"), ("speaker", "JOHN")]),
        ("Hello (sighs), friend", "Hello, friend", [("sound", "(sighs)")]),
        ("(laughs) (sobbing)\nOK.", "OK.", [("sound", "(laughs)"), ("sound", "(sobbing)")]),
        (
            "(dramatic music swells\nas the crowd cheers)",
            "",
            [("sound", "(dramatic music swells as the crowd cheers)")],
        ),
        ("(DOOR SLAMS)\nWho's there?", "Who's there?", [("sound", "(DOOR SLAMS)")]),
        ("(in Spanish) Hola", "Hola", [("sound", "(in Spanish)")]),
        ("*sighs* Fine.", "Fine.", [("sound", "*sighs*")]),
        ("(lacht) Ja.", "Ja.", [("sound", "(lacht)")]),
        ("（笑）そうですね", "そうですね", [("sound", "（笑）")]),
        ("JOHN:", "", [("speaker", "JOHN")]),
        ("JOHN (whispering): Who?", "Who?", [("speaker", "JOHN"), ("sound", "(whispering)")]),
        ("- MR. SMITH: Good day.\n- Man 2: Hi.", "Good day. Hi.", [("speaker", "MR. SMITH"), ("speaker", "Man 2")]),
        (">> JOHN: Hi there", "Hi there", [("speaker", "JOHN")]),
        ("JOHN (V.O.): Hi", "Hi", [("speaker", "JOHN"), ("sound", "(V.O.)")]),
        ("(man) Hello", "Hello", [("speaker", "man")]),
        ("¶ la la ¶", "", [("song", "¶ la la ¶")]),
        ("Ask MR. SMITH: He knows", "Ask MR. SMITH: He knows", []),
        ("[Man] Hello", "Hello", [("speaker", "Man")]),
        ("Who is there? MARY: Me.", "Who is there? Me.", [("speaker", "MARY")]),
        ("- Two people speak\n- at the same time", "Two people speak at the same time", []),
        ("- Hello. - Hi.", "Hello. Hi.", []),
        ("Go!\nSubtitles by www.opensubtitles.org", "Go!", [("credit", "Subtitles by www.opensubtitles.org")]),
    ],
)
def test_what_is_not_spoken_is_kept_apart(text: str, spoken: str, apart: list[tuple[str, str]]) -> None:
    assert told(text) == (spoken, apart)


@pytest.mark.parametrize(
    "text",
    [
        "I (really) mean it",
        "I *really* mean it",
        "(I can't believe it.)",
        "(Or so) I thought",
        "(Nothing) matters",
        "the exit (door) is there",
        "The movie (2019) was good.",
        "call (555) 123-4567",
        "(a) first, (b) second",
        "(NASA) said so",
        "books (singles) moods",
        "他（真的）来了",
        "NASA: we have lift-off",
        "WARNING: Do not enter",
        "Remember: Never give up",
        "He said: Go home.",
        "JOHN: 5 of them",
        "The time is 10:30",
        "-5 degrees",
        "well-known -- he stopped",
        "#1 fan of # things",
        "Quoi ?",
        "Thanks for watching!",
        "👨‍👩‍👧‍👦",
    ],
)
def test_speech_stays_as_it_stands(text: str) -> None:
    assert told(text) == (text, [])


def test_a_name_that_often_stands_before_a_colon_is_a_speaker() -> None:
    often = ["Dr. Jones: Good day.", "- Dr. Jones: And you?", "Question: Why?", "Dr. Jones: well", "Question: Who?"]
    assert find_labels([*often, "Question: What?"]) == {"dr. jones"}
    said = [cue.text for cue in parse_cues(srt(*((float(n), n + 0.9, text) for n, text in enumerate(often))))]
    assert said == ["Good day.", "And you?", "Question: Why?", "well", "Question: Who?"]


CREDITS = """
Subtitles by explosiveskull|Synced and corrected by martythecrazy|Captioned by John Smith|SUBTITLES BY JOHN SMITH
Sync & corrections by honeybunny www.addic7ed.com|Transcribed by ESO. Translated by Anna|English subtitles: Mary Jones
Untertitel von Stephanie Geiges|Untertitelung des ZDF, 2020|Untertitel im Auftrag des ZDF für funk, 2017
Sous-titrage Société Radio-Canada|Sous-titrage ST' 501|Sous-titres réalisés par la communauté d'Amara.org
Subtítulos por la comunidad de Amara.org|Legendas pela comunidade Amara.org|Sottotitoli a cura di QTSS
Ondertiteling: Jan Jansen|Tekstet av Nicolai Winther|Napisy stworzone przez społeczność Amara.org
Субтитры сделал DimaTorzok|Редактор субтитров А.Синецкая Корректор А.Егорова|字幕志愿者 杨茜茜|자막 제공: 홍길동
Translator: Joseph Geni Reviewer: Morton Bast|Subtitles by the Amara.org community|Support us and become VIP member
Captioned by the National Captioning Institute --www.ncicap.org--|Sync by n17t01 www.addic7ed.com
Advertise your product or brand here contact www.OpenSubtitles.org today|www.example.com|© 2019 BBC
"""
SPEECH = """
Subtitles by default are off|The subtitles by my friend are bad|Subtitles are important for everyone.
Translated by computers, the book is unreadable.|Translated by John Smith, the book became a hit.
Untertitel von Filmen lese ich nie.|Sous-titrage de films est mon métier.|Субтитры здесь плохие.|这个视频没有字幕
We trained on opensubtitles.org and it was noisy.|Visit www.example.com today for the whole story.
Translation: he is lying|Created by God|Los subtítulos de esta película son malos.|Captions help people.
"""


def listed(table: str) -> list[str]:
    return [text for line in table.strip().split("\n") for text in line.split("|")]


def test_credits_are_known_in_many_languages_and_speech_is_none() -> None:
    assert [text for text in listed(CREDITS) if not is_credit(text)] == []
    assert [text for text in listed(SPEECH) if is_credit(text)] == []
    assert not is_credit("corrected by Anna", whole=False)  # a line within a sentence


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\u202bשלום\u202c\u200f \u2067עולם\u2069", "שלום עולם"),
        ("zero\u200bwidth \u00adsoft\ufeff", "zerowidth soft"),
        ("Cafe\u0301", "Café"),
        ("with a \x00 nul and \x1b[31mred\x1b[0m\x1b]0;title\x07\x1b(B escape\x9d", "with a  nul and red escape"),
        ("x\u200dy\u200c a\ufe0f\u034f", "xy a"),
        ("\u200cمی\u200c\u200cخواهم\u200c", "می\u200cخواهم"),
        ("caf\ufffd", "caf"),
    ],
)
def test_marks_that_nobody_sees_go(text: str, seen: str) -> None:
    assert clean_text(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "👨‍👩‍👧‍👦 and 👩🏽‍🚀",
        "❤️‍🔥 1️⃣ ☎️",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "می\u200cخواهم",  # Persian
        "क\u094d\u200dष क\u094d\u200d",  # Hindi
        "র\u200d\u09cdয",  # Bengali
        "葛\U000e0100",  # a variant of an ideograph
    ],
)
def test_marks_that_writing_needs_stay(text: str) -> None:
    assert clean_text(text) == text


def test_an_escaped_line_end_is_one_and_drawings_are_no_text() -> None:
    cues = srt(
        (0.5, 3, r"{\an8}<b>Top</b>\Nand\hbelow&lrm;"), (4, 5, r"{\p1}m 0 0 l 1 1{\p0}"), (6, 7, r"{\pos(1,2)}here")
    )
    assert [cue.text for cue in parse_cues(cues)] == ["Top and below", "here"]


ASS = r"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,not shown
Dialogue: 1,0:00:05.00,0:00:08.50,Default,,0,0,0,,{\p1}m 0 0 l 1 1{\p0}{a note}later, {\k20}ka{\k20}ra
Dialogue: 0,0:00:01.00,0:00:04.00,Default,Anna,0,0,0,,{\pos(1,2)}Hello, world\Nsecond\hline
Dialogue: 1,0:00:01.00,0:00:04.00,Default,Anna,0,0,0,,{\pos(1,2)}Hello, world\Nsecond\hline
Dialogue: 0,broken
Dialogue: 0,0:00:09.00,0:00:10.00,Default,,0,0,0,,{\p1}m 0 0 l 100 100
"""


def test_ass_has_times_lines_and_speakers_and_no_drawings() -> None:
    for text in (ASS, ASS.replace("\n", "\r\n"), "\ufeff" + ASS):
        first, second = parse_cues(text)
        assert (first.start, first.end, first.text, first.speaker) == (1, 4, "Hello, world second line", "Anna")
        assert (second.start, second.end, second.text) == (5, 8.5, "later, kara")


def test_a_voice_of_webvtt_is_the_speaker() -> None:
    (cue,) = parse_cues("WEBVTT\n\n00:01.000 --> 00:02.000\n<v.loud Roger Bingham>Hello <i>there</i>\n")
    assert (cue.text, cue.speaker, cue.original) == ("Hello there", "Roger Bingham", "")


def test_words_with_times_keep_them_where_something_between_them_goes() -> None:
    (cue,) = parse_cues(
        "WEBVTT\n\n00:01.000 --> 00:03.000\n>> Oh<00:00:01.500><c> (laughs)</c><00:00:02.000><c> dear.</c>\n"
    )
    assert (cue.text, cue.unspoken, cue.timed) == ("Oh dear.", (("sound", "(laughs)"),), True)
    assert [(word.text, word.start, word.end) for word in cue.words] == [("Oh", 1, 1.5), ("dear.", 2, 3)]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            srt((1, 2, "Grüße aus Köln, größer und schöner")).encode().replace(b"aus", b"a\xffus"),
            "Grüße aus Köln, größer und schöner",
        ),
        (srt((1, 2, "plain words")).encode().replace(b"plain", b"pl\xffain\0"), "plain words"),
        (b"\0" + srt((1, 2, "plain words")).encode() + b"\0" * 500, "plain words"),
        (srt((1, 2, "字幕です")).encode("utf-16-le"), "字幕です"),
        (srt((1, 2, "caf\xe9 noir")).encode("cp1252"), "café noir"),
        (b"\xef\xbb\xbf" + srt((1, 2, "plain \x80words")).encode("latin-1"), "plain words"),
    ],
)
def test_a_stray_byte_costs_itself(data: bytes, text: str) -> None:
    assert [cue.text for cue in parse_cues(decode_text(data))] == [text]


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no files in {CASES}")
def test_files_as_they_were_found() -> None:
    spoken = {
        path.name: [cue.text for cue in parse_cues(decode_text(path.read_bytes())) if cue.words]
        for path in CASES.iterdir()
        if path.suffix in (".srt", ".ass")
    }
    assert spoken.pop("ghost.srt") == ["Thanks for watching!"] * 6
    assert spoken == {
        "sdh.srt": ["Hello there my friend", "Two people speak at the same time", "Who is there?"],
        "bidi.srt": ["שלום עולם זה מבחן", "مرحبا بالعالم هذا اختبار"],
        "marks.srt": ["Top words on two lines", "with a nul and red escape", "zerowidth soft"],
        "subtitles.ass": ["Hello, world Second line"],
    }
