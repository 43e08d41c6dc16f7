"""Tell subtitles, logos and slides from other text by where the lines of some frames stand, and how they change.

In: the lines of each frame, in the order of the frames. Out: the kind of each line.

    subtitle   in the upper or lower part of the picture; the text changes from frame to frame, its place does not
    logo       one or two small lines that stand still in most frames: a logo, a watermark, a channel's or person's name
    slide      several lines below each other with a common edge or axis, which stand still or fill the picture
    scene      all other text: on things in the picture, titles, credits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pipeline.inspection.text_reader import Box, TextLine

KINDS = ("subtitle", "logo", "slide", "scene")

SAME_TEXT = 0.7  # similarity from which two texts are one, read twice
SAME_PLACE = 0.5  # overlap (intersection over union) of the boxes of one line in two frames
UPPER, LOWER = 0.28, 0.62  # a subtitle's middle is above or below these, in shares of the height
CENTRED, ALIGNED = 0.1, 0.025  # how far the middles, or the left edges, of one subtitle's texts may differ
LONE_CENTRED = 0.03  # distance from the middle of the picture of a text that nothing but its place makes a subtitle
LONE_LOWER = 0.75
LONE_LETTERS = 8
EDGE = 0.01  # a line that ends at the edge of the frame is cut off: a thing that moves
LEVEL = 1.2  # heights by which the lines of subtitles may differ from frame to frame: of one line or of two
SIZE = 1.35  # ratio of the heights of lines of one typeface
MOST = 0.5  # of the frames: a logo stands in more of them
FEWEST = 3  # frames in which a logo stands
SMALL = 0.04  # area of a logo, or of a name in the lower third
SLIDE_LINES, SLIDE_AREA = 3, 0.05


@dataclass(frozen=True)
class Row:
    """Lines of a frame that stand beside each other. members: their numbers in the frame."""

    members: tuple[int, ...]
    text: str
    box: Box

    @property
    def middle(self) -> tuple[float, float]:
        """Return the middle of the box: across, down."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def height(self) -> float:
        """Return the height of the box."""
        return self.box[3] - self.box[1]

    @property
    def is_cut(self) -> bool:
        """Return whether the row ends at the left or right edge of the frame."""
        return self.box[0] < EDGE or self.box[2] > 1 - EDGE


def classify_lines(frames: Sequence[Sequence[TextLine]]) -> list[list[str]]:
    """Return the kind of each line of each frame."""
    rows = [group_rows(lines) for lines in frames]
    kinds = [["scene"] * len(lines) for lines in frames]
    for n, of_frame in enumerate(rows):
        others = [other for m, other in enumerate(rows) if m != n]
        slide = {id(row) for row in _find_slide(of_frame, others)}
        for row in of_frame:
            kind = _classify_row(row, others, id(row) in slide)
            for member in row.members:
                kinds[n][member] = kind
    return kinds


def group_rows(lines: Sequence[TextLine]) -> list[Row]:
    """Join lines that stand beside each other: the detector parts a line where words are far from each other."""
    rows: list[list[int]] = []
    for n in sorted(range(len(lines)), key=lambda n: lines[n].box[0]):
        row = next((row for row in rows if _continues(lines[row[-1]].box, lines[n].box)), None)
        if row is None:
            rows.append([n])
        else:
            row.append(n)
    return [_make_row(lines, row) for row in rows]


def _continues(before: Box, after: Box) -> bool:
    """Return whether a box stands right of another one on the same level, within two heights."""
    low, high = max(before[1], after[1]), min(before[3], after[3])
    heights = sorted((before[3] - before[1], after[3] - after[1]))
    return high - low > 0.5 * heights[0] and heights[1] < 2 * heights[0] and after[0] - before[2] < 2 * heights[1]


def _make_row(lines: Sequence[TextLine], members: Sequence[int]) -> Row:
    boxes = [lines[n].box for n in members]
    left, top, right, bottom = zip(*boxes, strict=True)
    return Row(tuple(members), letters(" ".join(lines[n].text for n in members)),
               (min(left), min(top), max(right), max(bottom)))  # fmt: skip


def letters(text: str) -> str:
    """Return the letters and digits of a text in lower case: readers lose spaces and punctuation."""
    return "".join(filter(str.isalnum, text.lower()))


def _classify_row(row: Row, others: Sequence[Sequence[Row]], is_slide: bool) -> str:
    standing = 1 + sum(any(_is_same(row, each) for each in other) for other in others)
    stands = standing >= FEWEST and standing > MOST * (len(others) + 1)
    if is_slide:
        return "slide"
    if _is_subtitle(row, others, stands):
        return "subtitle"
    left, top, right, bottom = row.box
    return "logo" if stands and (right - left) * (bottom - top) < SMALL else "scene"


def _is_same(row: Row, other: Row) -> bool:
    """Return whether a row stands in another frame: same place, same text."""
    return _overlap(row.box, other.box) >= SAME_PLACE and _is_same_text(row.text, other.text)


def _is_same_text(text: str, other: str) -> bool:
    """Return whether one text was read twice, or a part of it."""
    shorter, longer = sorted((text, other), key=len)
    return shorter in longer or SequenceMatcher(None, text, other, autojunk=False).ratio() >= SAME_TEXT


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over the union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _is_subtitle(row: Row, others: Sequence[Sequence[Row]], stands: bool) -> bool:
    """Return whether a row is in a subtitle's place, and what stands there in another frame has another text."""
    if row.is_cut or stands or UPPER < row.middle[1] < LOWER:
        return False
    if any(_takes_turns(row, each) for other in others for each in other):
        return True
    is_lone = abs(row.middle[0] - 0.5) <= LONE_CENTRED and row.middle[1] >= LONE_LOWER
    return is_lone and len(row.text) >= LONE_LETTERS and _appears(row, others)


def _takes_turns(row: Row, other: Row) -> bool:
    """Return whether two rows of different frames are texts of one subtitle."""
    heights = sorted((row.height, other.height))
    is_level = abs(row.middle[1] - other.middle[1]) <= LEVEL * heights[1] and heights[1] <= SIZE * heights[0]
    if other.is_cut or not is_level or _is_same_text(row.text, other.text):
        return False
    is_centred = abs(row.middle[0] - other.middle[0]) <= ALIGNED and abs(row.middle[0] - 0.5) <= CENTRED
    return is_centred or abs(row.box[0] - other.box[0]) <= ALIGNED


def _appears(row: Row, others: Sequence[Sequence[Row]]) -> bool:
    """Return whether nothing stands on the level of the row in most other frames: subtitles come and go."""
    empty = sum(not any(abs(each.middle[1] - row.middle[1]) <= row.height for each in other) for other in others)
    return empty > MOST * len(others)


def _find_slide(rows: Sequence[Row], others: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of a frame that belong to a slide."""
    aligned = max((_aligned(rows, row) for row in rows), key=len, default=[])
    area = sum((row.box[2] - row.box[0]) * row.height for row in rows)
    if len(aligned) < SLIDE_LINES or area < SLIDE_AREA:
        return []
    standing = [row for row in aligned if any(_is_same(row, each) for other in others for each in other)]
    if len(standing) < SLIDE_LINES and area < 2 * SLIDE_AREA:
        return []
    lowest = max(row.box[3] for row in aligned)
    return [row for row in rows if row.box[3] <= lowest]  # a subtitle may stand below


def _aligned(rows: Sequence[Row], first: Row) -> list[Row]:
    """Return the rows with the left edge or the axis of one row, itself included."""
    return [row for row in rows if abs(row.box[0] - first.box[0]) <= ALIGNED
            or abs(row.middle[0] - first.middle[0]) <= ALIGNED]  # fmt: skip
