"""Live progress, read off the ledger: whatever engine works, and wherever, this sees what it has committed.

In a terminal a table that stays in place; elsewhere (logs, `ray job submit`) a plain line whenever something moved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from manifests import storage
from manifests.journal import finished, journal_path
from manifests.ledger import Counts, Manifest
from pipeline.plan import Plan

GLANCE = 0.5  # seconds between looks in a terminal: a listing a step
PLAIN = 10.0  # seconds between lines elsewhere: a night's log stays readable


class Tally:
    """Counts of one step as they grow: each part's footer is read once."""

    def __init__(self, manifest: Manifest) -> None:
        """Nothing is counted yet."""
        self.manifest = manifest
        self.total, self.parts = Counts(), set[int]()

    def look(self, parts: Sequence[int]) -> int:
        """Count what was committed since the last look; returns the inputs done in parts still in flight."""
        for part in set(self.manifest.committed()) - self.parts:
            self.total.add(self.manifest.counts(part))
            self.parts.add(part)
        if not storage.is_local(self.manifest.root):
            return 0
        waiting = (part for part in parts if part not in self.parts)
        return sum(finished(journal_path(self.manifest.root, self.manifest.path(p, "journal"))) for p in waiting)


class Progress:
    """Shows a run while its block lasts."""

    def __init__(self, plan: Plan, console: Console) -> None:
        """console: where to; whether it is a terminal decides the form."""
        self.tallies = [Tally(planned.manifest) for planned in plan.steps]
        self.sources, self.console = Tally(plan.sources), console
        self.stop, self.started, self.last = threading.Event(), time.monotonic(), ""
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        """Begin to show."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show the last state and end."""
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        if not self.console.is_terminal:
            while not self.stop.wait(PLAIN):
                self._line()
            return
        with Live(self._table(), console=self.console, refresh_per_second=4) as live:
            while not self.stop.wait(GLANCE):
                live.update(self._table())
            live.update(self._table())

    def _parts(self) -> list[int]:
        return sorted(self.sources.manifest.committed())

    def _line(self) -> None:
        parts = self._parts()
        moving = [tally.look(parts) for tally in self.tallies]
        steps = [f"{t.manifest.name} {t.total.inputs + more}" for t, more in zip(self.tallies, moving, strict=True)]
        done = sum(len(tally.parts) for tally in self.tallies)
        text = f"{done}/{len(parts) * len(self.tallies)} parts · records: {', '.join(steps)}"
        if text != self.last:
            self.console.print(f"[{time.monotonic() - self.started:6.0f} s] {text}", markup=False, highlight=False)
            self.last = text

    def _table(self) -> Table:
        parts = self._parts()
        table = Table(box=None, pad_edge=False)
        for column in ("step", "parts", "records", "ok", "dropped", "failed", "a minute"):
            table.add_column(column, justify="left" if column == "step" else "right")
        minutes = max(time.monotonic() - self.started, 1) / 60
        for tally in self.tallies:
            moving = tally.look(parts)
            total = tally.total
            table.add_row(
                tally.manifest.name,
                f"{len(tally.parts)}/{len(parts)}",
                str(total.inputs + moving),
                str(total.ok),
                str(total.dropped),
                f"[red]{total.failed}[/]" if total.failed else "0",
                f"{(total.inputs + moving) / minutes:.0f}",
            )
        return table
