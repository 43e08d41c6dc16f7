"""The kinds of text in the frames of a clip, from planted lines, and their scores."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.inspection.screen_text import score_text
from pipeline.inspection.text_kinds import classify_lines, group_rows
from pipeline.inspection.text_reader import TextLine

SAID = ("We went down to the river", "and the boats were gone", "Nobody had seen them leave", "before the storm began")


def line(text: str, x: float = 0.5, y: float = 0.9, height: float = 0.06, width: float | None = None) -> TextLine:
    """A line around a middle, as wide as its letters by default."""
    wide = 0.35 * height * len(text) if width is None else width
    return TextLine(text, 0.95, (x - wide / 2, y - height / 2, x + wide / 2, y + height / 2))


def left(text: str, x: float, y: float, height: float = 0.06) -> TextLine:
    """A line that begins at x."""
    return line(text, x + 0.35 * height * len(text) / 2, y, height)


def kinds(*frames: Sequence[TextLine]) -> list[list[str]]:
    return classify_lines(frames)


@pytest.mark.parametrize("height", [0.04, 0.06, 0.09])
@pytest.mark.parametrize("y", [0.08, 0.9])
def test_text_that_changes_in_its_place_is_a_subtitle(height: float, y: float) -> None:
    frames = [[line(text, y=y, height=height)] for text in SAID]
    assert kinds(*frames, []) == [["subtitle"]] * 4 + [[]]


def test_subtitles_of_one_and_two_lines_and_from_a_common_left_edge() -> None:
    two = [line(SAID[0], y=0.85), line(SAID[1], y=0.92)]
    assert kinds(two, [], [line(SAID[2], y=0.92)]) == [["subtitle", "subtitle"], [], ["subtitle"]]
    assert kinds(*[[left(text, 0.1, 0.8)] for text in SAID]) == [["subtitle"]] * 4


def test_pieces_of_a_line_are_one_row() -> None:
    pieces = [left("Hehad", 0.3, 0.9), left("then leisure", 0.43, 0.9), left("far", 0.9, 0.9), left("up", 0.3, 0.2)]
    assert [row.text for row in group_rows(pieces)] == ["hehadthenleisure", "up", "far"]
    frames = [[left(text[:8], 0.3, 0.9), left(text[9:], 0.48, 0.9)] for text in SAID]
    assert kinds(*frames) == [["subtitle", "subtitle"]] * 4


def test_a_single_subtitle_comes_and_goes() -> None:
    shown = [line(SAID[0])]
    assert kinds([], [], shown, [], []) == [[], [], ["subtitle"], [], []]
    assert kinds([], [], [line(SAID[0], x=0.4)], [], []) == [[], [], ["scene"], [], []], "not in the middle"
    assert kinds(*[shown] * 5) == [["logo"]] * 5, "a line that never goes is none"


def test_scene_text_is_no_subtitle() -> None:
    sign = [[left("BAKERY", 0.2 + 0.1 * n, 0.8)] for n in range(4)]
    assert kinds(*sign) == [["scene"]] * 4, "it moves"
    leaving = [[left(text, 0.0, 0.8)] for text in ("BAKERY OPEN", "KERY OPEN", "OPEN")]
    assert kinds(*leaving) == [["scene"]] * 3, "it is cut off by the edge"
    titles = [[line(text, y=0.5)] for text in SAID]
    assert kinds(*titles) == [["scene"]] * 4, "titles stand in the middle"
    misread = [[line(text, y=0.8)] for text in ("Grand Hotel", "Grand Hote1", "GrandHotel")]
    assert kinds(*misread) == [["logo"]] * 3, "one text, read with errors"


def test_a_logo_stands_still() -> None:
    frames = [[left("NEWS 24", 0.8, 0.06), line(text)] for text in SAID]
    assert kinds(*frames) == [["logo", "subtitle"]] * 4
    large = [[line("NEWS 24", y=0.5, height=0.3, width=0.8)]] * 4
    assert kinds(*large) == [["scene"]] * 4
    assert kinds(*[[left("NEWS 24", 0.8, 0.06)]] * 2, [], [], []) == [["scene"]] * 2 + [[]] * 3, "in too few frames"


def test_slides_are_lines_below_each_other() -> None:
    first = [left(text, 0.1, 0.2 + 0.15 * n) for n, text in enumerate(SAID)]
    second = [left(text[::-1], 0.1, 0.2 + 0.15 * n) for n, text in enumerate(SAID)]
    assert kinds(first, first, second, second) == [["slide"] * 4] * 4
    spoken = [[*first, line(text, y=0.93)] for text in ("So this is the plan", "and these are its parts")]
    assert kinds(*spoken) == [[*["slide"] * 4, "subtitle"]] * 2


def test_no_text_at_all() -> None:
    assert kinds([], []) == [[], []]
    scores = score_text({0.5: [], 1.5: []})
    assert scores == {
        "text_area": 0.0, "subtitles": 0.0, "logos": 0.0, "slides": 0.0, "scene_text": 0.0,
        "text_times": (0.5, 1.5), "screen_text": (),
    }  # fmt: skip


def test_scores_are_shares_of_frames_and_area() -> None:
    said = [line(text, height=0.05, width=0.4) for text in SAID[:2]]
    scores = score_text({0.5: [said[0]], 1.5: [said[1], line("SALE", x=0.2, y=0.4, height=0.1, width=0.2)], 2.5: []})
    assert scores["text_area"] == pytest.approx((0.02 + 0.04 + 0) / 3)
    shares = [scores[name] for name in ("subtitles", "scene_text", "logos", "slides")]
    assert shares == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert [(each.time, each.kind, each.text) for each in scores["screen_text"]] == [
        (0.5, "subtitle", SAID[0]), (1.5, "subtitle", SAID[1]), (1.5, "scene", "SALE")
    ]  # fmt: skip
    first = scores["screen_text"][0]
    assert (first.left, first.top, first.right, first.bottom) == pytest.approx((0.3, 0.875, 0.7, 0.925))
