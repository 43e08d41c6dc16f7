"""The report of `ola remove`: what is removed, what is alike, and which checkpoints have learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from pipeline.cli.tables import result_table
from pipeline.duplicates.lookup import AlikeVideo
from pipeline.removal.targets import Targets
from pipeline.removal.trainings import LearnedPhase

ALIKE = ("uri", "relation", "in the video", "in the file", "file")


@dataclass(frozen=True)
class RemovalReport:
    """What a removal does, before it is done.

    alike: videos that are alike to the files of --like. sets: shard sets that are deleted. learned: phases of the
    trainings `trained` that have learned from these videos or from ones removed before.
    """

    targets: Targets
    alike: Sequence[AlikeVideo]
    sets: Sequence[str]
    learned: Sequence[LearnedPhase]
    trained: Sequence[str]

    @property
    def removed(self) -> list[tuple[str, str, int]]:
        """Return video, uri and part of each source that is removed."""
        return [(self.targets.ids[each.source.uri], each.source.uri, each.part) for each in self.targets.registered]

    def alike_videos(self, stays: bool) -> list[AlikeVideo]:
        """Return the alike videos that stay, or those that are removed."""
        return [each for each in self.alike if (each.video not in self.targets.videos) == stays]

    def facts(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "removed": [dict(zip(("video", "uri", "part"), row, strict=True)) for row in self.removed],
            "alike": [asdict(each) for each in self.alike_videos(stays=False)],
            "stays": [asdict(each) for each in self.alike_videos(stays=True)],
            "deleted_sets": list(self.sets),
            "trainings": list(self.trained),
            "learned": [asdict(each) for each in self.learned],
        }


def print_report(report: RemovalReport) -> None:
    """Print what is removed and what is alike, then the shard sets and the checkpoints."""
    console = Console()
    if report.removed:
        console.print(result_table(("video", "uri", "part"), report.removed))
    else:
        console.print("no video is to be removed")
    for text, stays in (("alike:", False), ("alike in sound alone, and kept; name them to remove them too:", True)):
        if found := report.alike_videos(stays):
            console.print(text)
            console.print(result_table(ALIKE, [_alike_row(each) for each in found]))
    for folder in report.sets:
        console.print(f"{folder} is deleted: whoever reads it must stop", markup=False, highlight=False)
    if report.trained:
        _print_learned(console, report.learned)


def _alike_row(each: AlikeVideo) -> tuple[str, str, str, str, str]:
    inside, outside = _span(each.start_ms, each.end_ms), _span(each.file_start_ms, each.file_end_ms)
    return each.uri, each.relation, inside, outside, each.file


def _span(start_ms: int, end_ms: int) -> str:
    return "-".join(f"{ms // 60_000}:{ms / 1000 % 60:04.1f}" for ms in (start_ms, end_ms))


def _print_learned(console: Console, learned: Sequence[LearnedPhase]) -> None:
    """Print the checkpoints that have learned from the videos."""
    rows = [
        (checkpoint, phase.tasks, "" if phase.first_step is None else phase.first_step, phase.start or "")
        for phase in learned
        for checkpoint in phase.checkpoints
    ]
    if not rows:
        console.print("no checkpoint of these trainings has learned from them")
        return
    console.print(f"{len(rows)} checkpoints have learned from them, and stay:", highlight=False)
    console.print(result_table(("checkpoint", "tasks read", "first at step", "started from"), rows))
