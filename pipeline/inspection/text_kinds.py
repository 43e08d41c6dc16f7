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

SAME_TEXT = 0.8  # similarity from which two texts are one, read twice
PART = 4, 0.4  # letters, and share of the letters, from which a text is a part of another one: a board that is cut off
SAME_PLACE = 0.5  # overlap (intersection over union) of the boxes of one line in two frames
UPPER, LOWER = 0.28, 0.62  # a subtitle's middle is above or below these, in shares of the height
CENTRED = 0.03  # distance of the middles of subtitles from the middle of the picture
ALIGNED = 0.02  # how far the left edges, or the middles, of texts on a common edge or axis differ
FEWEST_ALIGNED, LETTERS_ALIGNED = 3, 10  # texts, and mean of their letters, of a subtitle that is not in the middle
LONE_CENTRED, LONE_LOWER, LONE_LETTERS = 0.015, 0.75, 15  # of a text that nothing but its place makes a subtitle
EDGE = 0.01  # a line that ends at the edge of the frame is cut off: a thing that moves
LEVEL = 1.2  # heights by which the lines of subtitles may differ from frame to frame: of one line or of two
GAP = 0.8  # heights between parts of a line; both are shares, of the width and of the height
SIZE = 1.35  # ratio of the heights of lines of one typeface
MOST = 0.5  # of the frames: a logo stands in more of them
FEWEST = 3  # frames in which a logo stands
SMALL = 0.04  # area of a logo, or of a name in the lower third
SLIDE_LINES, SLIDE_AREA, SLIDE_GAP = 3, 0.05, 2.0  # rows, their area, and heights between them


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
        """Return whether the row ends at an edge of the frame."""
        return min(self.box[:2]) < EDGE or max(self.box[2:]) > 1 - EDGE


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
    """Return whether a box of about the same height stands close to the right of another one, on the same level."""
    heights = sorted((before[3] - before[1], after[3] - after[1]))
    is_level = abs(before[1] + before[3] - after[1] - after[3]) < heights[0] and heights[1] < SIZE * heights[0]
    return is_level and after[0] - before[2] < GAP * heights[1]


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
    is_part = len(shorter) >= max(PART[0], PART[1] * len(longer)) and shorter in longer
    return is_part or SequenceMatcher(None, text, other, autojunk=False).ratio() >= SAME_TEXT


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
    if stands or not _is_in_band(row) or _moves(row, others):
        return False
    turns = [each for other in others for each in other if _takes_turns(row, each)]
    if (_is_centred(row) and any(map(_is_centred, turns))) or _is_one_of_many(row, turns):
        return True
    is_lone = abs(row.middle[0] - 0.5) <= LONE_CENTRED and row.middle[1] >= LONE_LOWER
    return is_lone and len(row.text) >= LONE_LETTERS and _appears(row, others)


def _is_in_band(row: Row) -> bool:
    """Return whether a row is where subtitles stand, and whole."""
    return not row.is_cut and not UPPER < row.middle[1] < LOWER


def _moves(row: Row, others: Sequence[Sequence[Row]]) -> bool:
    """Return whether the row stands at another place in another frame."""
    same = (each for other in others for each in other if _is_same_text(row.text, each.text))
    return any(_overlap(row.box, each.box) < SAME_PLACE for each in same)


def _is_centred(row: Row) -> bool:
    return abs(row.middle[0] - 0.5) <= CENTRED


def _is_one_of_many(row: Row, turns: Sequence[Row]) -> bool:
    """Return whether a row and those that take turns with it are several texts in line."""
    texts = [row.text]
    for each in turns:
        if _is_aligned(row, each) and not any(_is_same_text(each.text, text) for text in texts):
            texts.append(each.text)
    return len(texts) >= FEWEST_ALIGNED and sum(map(len, texts)) >= LETTERS_ALIGNED * len(texts)


def _takes_turns(row: Row, other: Row) -> bool:
    """Return whether two rows of different frames stand on one level, in one size, and say something else."""
    heights = sorted((row.height, other.height))
    is_level = abs(row.middle[1] - other.middle[1]) <= LEVEL * heights[1] and heights[1] <= SIZE * heights[0]
    return is_level and _is_in_band(other) and not _is_same_text(row.text, other.text)


def _is_aligned(row: Row, other: Row) -> bool:
    """Return whether two rows have a common left edge or axis."""
    return min(abs(row.box[0] - other.box[0]), abs(row.middle[0] - other.middle[0])) <= ALIGNED


def _appears(row: Row, others: Sequence[Sequence[Row]]) -> bool:
    """Return whether nothing stands on the level of the row in most other frames: subtitles come and go."""
    empty = sum(not any(abs(each.middle[1] - row.middle[1]) <= row.height for each in other) for other in others)
    return empty > MOST * len(others)


def _find_slide(rows: Sequence[Row], others: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of a frame that belong to a slide."""
    block = max((_block_below(rows, row, edge) for row in rows for edge in (True, False)), key=len, default=[])
    area = sum((row.box[2] - row.box[0]) * row.height for row in block)
    if len(block) < SLIDE_LINES or area < SLIDE_AREA:
        return []
    standing = [row for row in block if any(_is_same(row, each) for other in others for each in other)]
    if len(standing) < SLIDE_LINES and area < 2 * SLIDE_AREA:
        return []
    lowest = max(row.box[3] for row in block)
    return [row for row in rows if row.box[3] <= lowest]  # a subtitle may stand below


def _block_below(rows: Sequence[Row], first: Row, by_edge: bool) -> list[Row]:
    """Return a row and those below it, each close to the one before, with a common left edge or else a common axis."""
    block = [first]
    for row in sorted(rows, key=lambda row: row.box[1]):
        apart = row.box[0] - first.box[0] if by_edge else row.middle[0] - first.middle[0]
        gap = row.box[1] - block[-1].box[3]
        if abs(apart) <= ALIGNED and row.middle[1] > block[-1].box[3] and gap <= SLIDE_GAP * first.height:
            block.append(row)
    return block
