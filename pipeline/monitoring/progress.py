"""Show live progress, read from the ledger's commits and from local journals, for any engine.

In a terminal this is a table in place; elsewhere (logs, `ray job submit`) a line after each change.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import duckdb
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from manifests import retries, storage
from manifests.journal import LineSum, count_finished, journal_path, notes_path
from manifests.ledger import Counts, Manifest, one_line
from manifests.schema import hints
from pipeline.annotation.annotator import ModelStep
from pipeline.engine import lane_states
from pipeline.monitoring.outlook import MachineUse, Outlook, StepState
from pipeline.plan import Plan

POLL_SECONDS = 0.5  # seconds between updates in a terminal; each makes one listing per step
T = TypeVar("T")
LINE_SECONDS = 10.0  # seconds between lines elsewhere, so that a night's log stays readable
WINDOW = 60.0  # seconds over which tokens/s are averaged, since answers come in batches


COUNTS = ("prompt_tokens", "read_tokens", "answer_tokens")
"""Of a step that asks a model: prompt positions, prompt positions that were prefilled, and tokens generated."""


def keeps_tokens(record: type) -> bool:
    """Return whether records of this type hold token counts."""
    return not {"asked", "prompt_tokens"}.isdisjoint(hints(record))


def sum_tokens(connection: duckdb.DuckDBPyConnection, rows: str) -> dict[str, int]:
    """Sum `COUNTS` over the rows of a step. rows: name of its view. Rows that share a model call count once.

    Counts that rows of older versions lack are 0.
    """
    columns = dict(connection.sql(f"SELECT column_name, column_type FROM (DESCRIBE {rows})").fetchall())
    answers, value = f"SELECT * FROM {rows} WHERE status = 'ok'", "{0}"
    if "asked" in columns:
        notes = ", note_calls" if "note_calls" in columns else ""
        answers, value = f"SELECT DISTINCT clip, asked{notes} FROM ({answers})", "asked.{0}"
        value += " + coalesce(list_sum([c.{0} FOR c IN note_calls]), 0)" if notes else ""
    held = [name for name in COUNTS if name in (columns.get("asked") or columns)]
    sums = ", ".join(f"sum({value.format(name)})" for name in held)
    found = connection.sql(f"SELECT {sums} FROM ({answers})").fetchall()[0] if held else ()
    return dict.fromkeys(COUNTS, 0) | {name: int(total or 0) for name, total in zip(held, found, strict=True)}


class OpenPart:
    """An open part: the number of inputs done, and the tokens generated so far."""

    def __init__(self, journal: Path, asks: bool) -> None:
        """asks: whether the step writes notes about answers."""
        self.done, self.tokens, self.asks = count_finished(journal), LineSum(notes_path(journal), answer_tokens), asks

    def look(self) -> int:
        """Read new lines and return the number of inputs done."""
        done = self.done.total()
        if self.asks and self.done.offset:  # the notes exist only after the journal
            self.tokens.total()
        return done


def answer_tokens(line: bytes) -> int:
    """Return the answer's tokens from a line of a step's notes; 0 for a line about something else."""
    with suppress(ValueError, KeyError, TypeError):
        _name, facts = json.loads(line)
        return int(facts["answer_tokens"])
    return 0


class Tally:
    """The growing counts of one step. Each part's footer and each line of a journal is read once.

    asks: whether the step asks a model. Then the tokens of its answers are counted, in parts that were open at the
    first look.
    """

    def __init__(self, manifest: Manifest, asks: bool = False) -> None:
        """Start with empty counts."""
        self.manifest, self.asks = manifest, asks
        self.total, self.parts = Counts(), set[int]()
        self.open_parts: dict[int, OpenPart] = {}
        self.moving = 0  # inputs done in open parts, at the last look
        self.written = 0  # tokens in parts committed since the first look
        self.looks: deque[tuple[float, int]] = deque()

    def look(self, parts: Sequence[int]) -> int:
        """Count the parts committed since the last look; return the number of inputs done in open parts."""
        for part, counts in self.manifest.more_counts(self.parts).items():
            if isinstance(counts, Counts):  # the run reports damage at its end
                self.total.add(counts)
            self.parts.add(part)
            self._close_part(part)
        waiting = [part for part in parts if part not in self.parts] if storage.is_local(self.manifest.root) else []
        done = sum(self._find_open_part(part).look() for part in waiting)
        self.moving = done
        if self.asks:
            self.looks.append((time.monotonic(), self.tokens))
            while self.looks[-1][0] - self.looks[0][0] > WINDOW:
                self.looks.popleft()
        return done

    @property
    def tokens(self) -> int:
        """Return the tokens generated until the last look."""
        return self.written + sum(open_part.tokens.sum for open_part in self.open_parts.values())

    @property
    def rate(self) -> float:
        """Return the tokens per second over the last minute."""
        if len(self.looks) < 2:
            return 0.0
        (began, before), (ended, after) = self.looks[0], self.looks[-1]
        return (after - before) / (ended - began)

    def _find_open_part(self, part: int) -> OpenPart:
        if part not in self.open_parts:
            journal = journal_path(self.manifest.root, self.manifest.path(part, "journal"))
            self.open_parts[part] = OpenPart(journal, self.asks)
        return self.open_parts[part]

    def _close_part(self, part: int) -> None:
        """Count the tokens of a committed part from its rows: its notes are deleted with the journal."""
        open_part = self.open_parts.pop(part, None)
        if self.asks and self.looks:
            self.written += max(open_part.tokens.sum if open_part else 0, self._read_tokens(part))

    def _read_tokens(self, part: int) -> int:
        if not keeps_tokens(self.manifest.record):
            return 0
        with duckdb.connect() as connection:
            connection.register("part", self.manifest.read(part))
            return sum_tokens(connection, "part")["answer_tokens"]


class Progress:
    """Shows a run's progress until its block ends."""

    def __init__(self, plan: Plan, console: Console, has_lanes: bool = False) -> None:
        """console: a terminal gets a table, anything else lines. has_lanes: whether the run is on a cluster."""
        self.tallies = [Tally(planned.manifest, isinstance(planned.step, ModelStep)) for planned in plan.steps]
        self.asks = any(tally.asks for tally in self.tallies)
        self.sources, self.console = Tally(plan.sources), console
        self.root, self.has_lanes = plan.root, has_lanes
        self.sources_parts: list[int] = []
        self.stop, self.started, self.last = threading.Event(), time.monotonic(), ""
        self.outlook, self.machine = Outlook(), MachineUse()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        """Start the thread that shows the progress."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show the final state and end the thread."""
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        """Show the progress until the run ends. A closed terminal or log ends only this thread."""
        with suppress(OSError, SystemExit):  # rich raises SystemExit for a closed pipe
            if self.console.is_terminal:
                self._show_table()
            else:
                self._show_lines()

    def _show_table(self) -> None:
        shown = Group()
        with Live(shown, console=self.console, auto_refresh=False) as live:
            ended = False
            while not ended:
                ended = self.stop.wait(POLL_SECONDS)
                shown, error = self._try_to_look(self._tables, shown)
                live.update(shown if error is None else Group(shown, Text(error)), refresh=True)

    def _show_lines(self) -> None:
        if self.asks:  # tokens of earlier runs do not count
            self._try_to_look(self._line, "")
        while not self.stop.wait(LINE_SECONDS):
            line, error = self._try_to_look(self._line, "")
            outlook = self._outlook_line()
            self._print("\n".join([line, *self._lanes()]) if error is None else error, outlook)

    def _try_to_look(self, look: Callable[[], T], otherwise: T) -> tuple[T, str | None]:
        """Return the result of `look`; if it raises, return `otherwise` and the error in one line."""
        try:
            return look(), None
        except Exception as error:  # noqa: BLE001  the run itself reports such errors
            return otherwise, f"progress unknown for now: {one_line(error)}"

    def _parts(self) -> list[int]:
        self.sources_parts = sorted(self.sources.manifest.committed())
        return self.sources_parts

    def _line(self) -> str:
        parts = self._parts()
        moving = [tally.look(parts) for tally in self.tallies]
        steps = [f"{t.manifest.name} {t.total.inputs + more}" for t, more in zip(self.tallies, moving, strict=True)]
        done = sum(len(tally.parts) for tally in self.tallies)
        return f"{done}/{len(parts) * len(self.tallies)} parts · records: {', '.join(steps)}"

    def _outlook_line(self) -> str:
        """Return when the run will end, what is lost, and how busy this machine is, as of the last look.

        On a cluster this machine is the driver's, which says little about the others.
        """
        states = [
            StepState(t.manifest.name, len(t.parts), t.total.inputs, t.moving, dict(t.total.reasons))
            for t in self.tallies
        ]
        use = f"driver's machine: {self.machine.line()}" if self.has_lanes else self.machine.line()
        return " · ".join(filter(None, (self.outlook.look(states, len(self.sources_parts)), use)))

    def _print(self, text: str, outlook: str = "") -> None:
        """Print a line, if it differs from the last one, with the current tokens per second and the outlook."""
        if text == self.last:
            return
        written = ", ".join(f"{t.manifest.name} {t.rate:.0f}" for t in self.tallies if t.rate)
        rates = f" · tokens/s: {written}" if written else ""
        at = f"[{time.monotonic() - self.started:6.0f} s]"
        outlook = f" · {outlook}" if outlook else ""
        self.console.print(f"{at} {text}{rates}{outlook}", markup=False, highlight=False, soft_wrap=True)
        self.last = text

    def _tables(self) -> Group:
        table = self._table()
        outlook = self._outlook_line()
        lines = [*self._lanes(), outlook]
        return Group(table, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def _lanes(self) -> list[str]:
        """Return the states of the lanes with their ends, and the number of retries of store requests, if any."""
        states = lane_states.read(self.root) if self.has_lanes else []
        ends = self.outlook.lane_ends([state.steps for state in states], len(self.sources_parts))
        lanes = [", ".join(filter(None, (str(state), end))) for state, end in zip(states, ends, strict=True)]
        return lanes + ([str(retries.tally)] if retries.tally.number else [])

    def _table(self) -> Table:
        parts = self._parts()
        table = Table(box=None, pad_edge=False)
        tokens = ("tokens", "tokens/s") if self.asks else ()
        for column in ("step", "parts", "records", "ok", "dropped", "failed", "a minute", *tokens):
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
                *((f"{tally.tokens:,}", f"{tally.rate:.0f}") if tally.tokens else ()),
            )
        return table
