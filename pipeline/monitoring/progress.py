"""Live progress, read off the ledger: whatever engine works, and wherever, this sees what it has committed.

In a terminal a table that stays in place; elsewhere (logs, `ray job submit`) a plain line whenever something moved.
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
from manifests.journal import Growing, finished, journal_path, notes_path
from manifests.ledger import Counts, Manifest, one_line
from manifests.schema import hints
from pipeline.annotation.annotator import ModelStep
from pipeline.engine import lane_states
from pipeline.plan import Plan

GLANCE = 0.5  # seconds between looks in a terminal: a listing a step
T = TypeVar("T")
PLAIN = 10.0  # seconds between lines elsewhere: a night's log stays readable
WINDOW = 60.0  # seconds that tokens/s are of: answers come in waves of a batch


COUNTS = ("prompt_tokens", "read_tokens", "answer_tokens")
"""Of a step that asks a model: positions of its prompts, those that the model had to read, and tokens written."""


def keeps_tokens(record: type) -> bool:
    """Whether records of this type tell how many tokens their answers took."""
    return not {"asked", "prompt_tokens"}.isdisjoint(hints(record))


def asked_tokens(connection: duckdb.DuckDBPyConnection, rows: str) -> dict[str, int]:
    """Sum `COUNTS` over the rows of a step, a view of that name. Several rows may be of one answer.

    Counts that the rows of an older version lack are 0.
    """
    columns = dict(connection.sql(f"SELECT column_name, column_type FROM (DESCRIBE {rows})").fetchall())
    answers, inner = f"SELECT * FROM {rows} WHERE status = 'ok'", ""
    if "asked" in columns:
        answers, inner = f"SELECT DISTINCT clip, asked FROM ({answers})", "asked."
    held = [name for name in COUNTS if name in (columns.get("asked") or columns)]
    sums = ", ".join(f"sum({inner}{name})" for name in held)
    found = connection.sql(f"SELECT {sums} FROM ({answers})").fetchall()[0] if held else ()
    return dict.fromkeys(COUNTS, 0) | {name: int(total or 0) for name, total in zip(held, found, strict=True)}


class Flight:
    """A part under way: the inputs that are done, and the tokens of the answers that it has."""

    def __init__(self, journal: Path, asks: bool) -> None:
        """asks: whether its step notes answers."""
        self.done, self.tokens, self.asks = finished(journal), Growing(notes_path(journal), answer_tokens), asks

    def look(self) -> int:
        """The inputs done by now."""
        done = self.done.total()
        if self.asks and self.done.offset:  # the journal comes first
            self.tokens.total()
        return done


def answer_tokens(line: bytes) -> int:
    """Tokens of the answer in a line of a step's notes; 0 for a line that holds something else, as a probability."""
    with suppress(ValueError, KeyError, TypeError):
        _name, facts = json.loads(line)
        return int(facts["answer_tokens"])
    return 0


class Tally:
    """Counts of one step as they grow: each part's footer is read once, and each line of a journal.

    asks: whether the step asks a model; then the tokens of its answers are counted, in parts that are not committed
    at the first look.
    """

    def __init__(self, manifest: Manifest, asks: bool = False) -> None:
        """Nothing is counted yet."""
        self.manifest, self.asks = manifest, asks
        self.total, self.parts = Counts(), set[int]()
        self.flights: dict[int, Flight] = {}
        self.written = 0  # tokens, in parts that were committed since the first look
        self.looks: deque[tuple[float, int]] = deque()

    def look(self, parts: Sequence[int]) -> int:
        """Count what was committed since the last look; returns the inputs done in parts still in flight."""
        for part, counts in self.manifest.more_counts(self.parts).items():
            if isinstance(counts, Counts):  # the run names what is damaged in the end
                self.total.add(counts)
            self.parts.add(part)
            self._land(part)
        waiting = [part for part in parts if part not in self.parts] if storage.is_local(self.manifest.root) else []
        done = sum(self._flight(part).look() for part in waiting)
        if self.asks:
            self.looks.append((time.monotonic(), self.tokens))
            while self.looks[-1][0] - self.looks[0][0] > WINDOW:
                self.looks.popleft()
        return done

    @property
    def tokens(self) -> int:
        """Written by the model, as far as the last look saw."""
        return self.written + sum(flight.tokens.sum for flight in self.flights.values())

    @property
    def rate(self) -> float:
        """Tokens a second, over the last minute."""
        if len(self.looks) < 2:
            return 0.0
        (began, before), (ended, after) = self.looks[0], self.looks[-1]
        return (after - before) / (ended - began)

    def _flight(self, part: int) -> Flight:
        if part not in self.flights:
            journal = journal_path(self.manifest.root, self.manifest.path(part, "journal"))
            self.flights[part] = Flight(journal, self.asks)
        return self.flights[part]

    def _land(self, part: int) -> None:
        """Notes go with the journal when a part is committed; most of what the last look did not see is in its rows."""
        flight = self.flights.pop(part, None)
        if self.asks and self.looks:
            self.written += max(flight.tokens.sum if flight else 0, self._stored(part))

    def _stored(self, part: int) -> int:
        if not keeps_tokens(self.manifest.record):
            return 0
        with duckdb.connect() as connection:
            connection.register("part", self.manifest.read(part))
            return asked_tokens(connection, "part")["answer_tokens"]


class Progress:
    """Shows a run while its block lasts."""

    def __init__(self, plan: Plan, console: Console, has_lanes: bool = False) -> None:
        """console: where to; whether it is a terminal decides the form. has_lanes: whether the run is on a cluster."""
        self.tallies = [Tally(planned.manifest, isinstance(planned.step, ModelStep)) for planned in plan.steps]
        self.asks = any(tally.asks for tally in self.tallies)
        self.sources, self.console = Tally(plan.sources), console
        self.root, self.has_lanes = plan.root, has_lanes
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
        """Show until the run ends. A terminal or log that takes nothing more ends the showing, and not the run."""
        with suppress(OSError, SystemExit):  # rich ends a thread that writes into a closed pipe
            if self.console.is_terminal:
                self._show_table()
            else:
                self._show_lines()

    def _show_table(self) -> None:
        shown = Group()
        with Live(shown, console=self.console, auto_refresh=False) as live:
            ended = False
            while not ended:
                ended = self.stop.wait(GLANCE)
                shown, error = self._look(self._tables, shown)
                live.update(shown if error is None else Group(shown, Text(error)), refresh=True)

    def _show_lines(self) -> None:
        if self.asks:  # what is there already is not this run's
            self._look(self._line, "")
        while not self.stop.wait(PLAIN):
            line, error = self._look(self._line, "")
            self._print("\n".join([line, *self._lanes()]) if error is None else error)

    def _look(self, look: Callable[[], T], otherwise: T) -> tuple[T, str | None]:
        """What `look` sees of the run; or `otherwise`, and in one line why nothing can be seen now."""
        try:
            return look(), None
        except Exception as error:  # noqa: BLE001  a full disk or a damaged file is the run's to report; the next look may succeed
            return otherwise, f"progress unknown for now: {one_line(error)}"

    def _parts(self) -> list[int]:
        return sorted(self.sources.manifest.committed())

    def _line(self) -> str:
        parts = self._parts()
        moving = [tally.look(parts) for tally in self.tallies]
        steps = [f"{t.manifest.name} {t.total.inputs + more}" for t, more in zip(self.tallies, moving, strict=True)]
        done = sum(len(tally.parts) for tally in self.tallies)
        return f"{done}/{len(parts) * len(self.tallies)} parts · records: {', '.join(steps)}"

    def _print(self, text: str) -> None:
        """Print a line that says something new, with the tokens a second of now."""
        if text == self.last:
            return
        written = ", ".join(f"{t.manifest.name} {t.rate:.0f}" for t in self.tallies if t.rate)
        rates = f" · tokens/s: {written}" if written else ""
        at = f"[{time.monotonic() - self.started:6.0f} s]"
        self.console.print(f"{at} {text}{rates}", markup=False, highlight=False)
        self.last = text

    def _tables(self) -> Group:
        return Group(self._table(), *map(Text, self._lanes()))

    def _lanes(self) -> list[str]:
        """What the lanes do, and how often stores had to be asked again, if they had."""
        lanes = [str(lane) for lane in lane_states.read(self.root)] if self.has_lanes else []
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
