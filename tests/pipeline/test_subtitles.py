"""Real-world subtitle files: cues, words, times and encodings."""

from __future__ import annotations

import pytest

from pipeline.errors import BadMedia
from pipeline.media import subtitles
from pipeline.media.subtitles import Cue, cut_segment, extract_text_stream, parse_cues
from pipeline.media.text_encoding import decode_text
from tests.media import X264, made, written
from tests.runs import srt


def told(text: str) -> list[tuple[float, float, str]]:
    return [(cue.start, cue.end, cue.text) for cue in parse_cues(text)]


SRT = (
    "1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:03,000 --> 00:00:04,500\n<i>Two</i>\n2001\n\n"
    "3\n00:00:05,000 --> 00:00:04,000\nbackwards\n\n"
    '4\n01:00:06,000 --> 01:00:07,000\n{\\an8}Top: <font color="red">3</font> < 4 &amp; 5 > 2\n'
)
SRT_CUES = [(1, 2, "One"), (3, 4.5, "Two 2001"), (3606, 3607, "Top: 3 < 4 & 5 > 2")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_srt_with_and_without_empty_lines_between_cues(newline: str) -> None:
    assert told(SRT.replace("\n", newline)) == SRT_CUES


VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE this is a note,
00:00 and still is

REGION
id:fred

first
00:00:01.000 --> 00:00:03.000 align:start position:0%
<v Roger>Hello &amp; <c.yellow>welcome</c> &lt;b&gt;

00:04.000 --> 00:06.000
Oh<00:00:04.500><c> my</c><00:00:05.000><c> dear</c>
"""


def test_vtt_with_notes_styles_settings_tags_entities_and_word_times() -> None:
    hello, dear = parse_cues(VTT)
    assert (hello.start, hello.end, hello.text, hello.timed) == (1, 3, "Hello & welcome <b>", False)
    assert (dear.text, dear.timed) == ("Oh my dear", True)
    assert [(word.text, word.start, word.end) for word in dear.words] == [
        ("Oh", 4, 4.5),
        ("my", 4.5, 5),
        ("dear", 5, 6),
    ]


AUTOMATIC = """WEBVTT

00:00:01.000 --> 00:00:03.000 align:start position:0%
 
hello<00:00:01.500><c> world</c>

00:00:03.000 --> 00:00:03.010
hello world
 

00:00:03.010 --> 00:00:05.000
hello world
this<00:00:03.500><c> is</c>

00:00:05.000 --> 00:00:05.010
this is
"""  # noqa: W293  the lines of one space are how such files come


def test_automatic_captions_say_each_line_once() -> None:
    assert told(AUTOMATIC) == [(1, 3, "hello world"), (3.01, 5, "this is")]


def test_people_may_repeat_themselves() -> None:
    cues = [(1.0, 2.0, "No."), (2.0, 3.0, "No."), (3.0, 4.0, "No.")]
    assert told(srt(*cues)) == cues


@pytest.mark.parametrize("text", ["", "\n\n", "garbage \0\ufffd", "1\n00:00:01,000 --> 00:00:02,000\n\n", "WEBVTT\n"])
def test_nothing_to_say(text: str) -> None:
    assert parse_cues(text) == []


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Café déjà vu — naïve"),
        ("utf-8-sig", "Café déjà vu"),
        ("utf-16", "Café déjà vu"),
        ("utf-16-le", "plain words"),
        ("utf-16-be", "plain words"),
        ("latin-1", "Café déjà vu, señor à la garçon"),
        ("cp1252", "Wo ist der Schlüssel? “Überall”, größer!"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
        ("cp1251", "Привет, как дела? Это субтитры."),
        ("shift_jis", "こんにちは、世界。これは字幕です。"),
        ("gb18030", "你好,世界。这是字幕文件。"),
        ("euc-kr", "안녕하세요 세계 자막입니다"),
    ],
)
def test_encodings(encoding: str, text: str) -> None:
    assert [cue.text for cue in parse_cues(decode_text(srt((1, 2, text)).encode(encoding)))] == [text]


def cue(text: str, start: float = 0.0, end: float = 4.0) -> Cue:
    (made_of,) = parse_cues(srt((start, end, text)))
    return made_of


def test_a_cue_across_a_border_is_shared_word_by_word() -> None:
    said = cue("one two three four five six")
    pieces = [cut_segment(said, start, start + 1.0) for start in (0.0, 1.0, 2.0, 3.0)]
    assert " ".join(piece.text for piece in pieces if piece) == said.text
    for piece in filter(None, pieces):
        assert 0 <= piece.start < piece.end <= 1
        assert all(piece.start <= word.start < word.end <= piece.end for word in piece.words)
    assert cut_segment(said, 4.0, 5.0) is None


def test_a_whole_cue_keeps_its_own_times_on_the_clips_clock() -> None:
    said = cut_segment(cue("well said", 10.25, 12.5), 10.0, 20.0)
    assert said is not None
    assert (said.start, said.end, said.text) == (0.25, 2.5, "well said")


def test_scripts_without_spaces_are_cut_between_signs_and_keep_their_spacing() -> None:
    said = cue("你好，世界。用Python写")
    pieces = [cut_segment(said, start, start + 2.0) for start in (0.0, 2.0)]
    assert [piece and piece.text for piece in pieces] == ["你好，世界。用", "Python写"]


def test_overlapping_cues_stay_apart() -> None:
    text = srt((1, 4, "the one"), (2, 3, "the other"))
    said = [cut_segment(made_of, 0, 10) for made_of in parse_cues(text)]
    assert [(piece.start, piece.end, piece.text) for piece in said if piece] == [(1, 4, "the one"), (2, 3, "the other")]


@pytest.mark.parametrize(("name", "codec"), [("talk.mp4", "mov_text"), ("talk.mkv", "srt"), ("talk.webm", "webvtt")])
def test_text_streams(name: str, codec: str) -> None:
    film = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=4")
    words = written("words.srt", srt((1.5, 3, "What is said")))
    video = ("-c:v", "libvpx-vp9", "-deadline", "realtime") if name.endswith("webm") else X264
    path = made(name, *film, "-i", words, "-map", "0", "-map", "1", *video, "-c:s", codec)
    assert told(extract_text_stream(str(path), 0)) == [(1.5, 3, "What is said")]
    with pytest.raises(BadMedia, match="text stream 1 cannot be read"):
        extract_text_stream(str(path), 1)


def test_a_file_too_large_for_subtitles_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = written("words.srt", srt((1.5, 3, "What is said")))
    monkeypatch.setattr(subtitles, "LARGEST_COMPANION", 10)
    with pytest.raises(BadMedia, match="too large for subtitles"):
        subtitles.read_subtitles(str(huge))
