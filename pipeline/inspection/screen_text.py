"""Score the text that was read in the frames of a clip: its area, its kinds, its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from manifests.inspection_records import ScreenText
from pipeline.inspection.text_kinds import classify_lines
from pipeline.inspection.text_reader import TextLine

# column of `Inspection`: the kind of line whose share of frames it holds
COLUMNS: Mapping[str, str] = {"subtitles": "subtitle", "logos": "logo", "slides": "slide", "scene_text": "scene"}


def score_text(frames: Mapping[float, Sequence[TextLine]]) -> dict[str, Any]:
    """Return the scores of `Inspection` for the lines of each frame, by the frame's time in seconds."""
    kinds = classify_lines(list(frames.values()))
    shares = {column: sum(kind in found for found in kinds) / len(frames) for column, kind in COLUMNS.items()}
    lines = [
        _record(time, kind, line)
        for (time, of_frame), found in zip(frames.items(), kinds, strict=True)
        for line, kind in zip(of_frame, found, strict=True)
    ]
    areas = [min(1.0, sum(line.area for line in of_frame)) for of_frame in frames.values()]
    return {
        "text_area": sum(areas) / len(areas),
        **shares,
        "text_times": tuple(frames),
        "screen_text": tuple(lines),
    }


def _record(time: float, kind: str, line: TextLine) -> ScreenText:
    left, top, right, bottom = (round(edge, 4) for edge in line.box)
    return ScreenText(
        time=time, kind=kind, text=line.text, score=round(line.score, 4), left=left, top=top, right=right, bottom=bottom
    )
