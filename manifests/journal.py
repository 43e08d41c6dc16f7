"""The journal of a part: a worker writes to it before and after each record, so that no finished record runs twice.

Its lines are JSON:

    {"session", "life", "node", "start": [ids]}   these inputs are running now; a life begins with an empty list
    {"done": outcome}                             the outcome of one input
    {"left": life}                                the worker writes to another step's journal until its next `start`
    {"draft", "place"}                            from here on, references to `draft` mean `place`: media are moved

A session is one process of the driver; a life is one process of a worker on a node. The running inputs are those of the
last `start` without a `done`; with `"in_order": true`, only the first of these. A running record may have killed its
worker if the worker vanished while the driver went on: `deaths` counts these workers. If the driver was killed or a
node was lost, no record is blamed. An incomplete last line is ignored: its record was not finished.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manifests import storage
from manifests.records import Outcome
from manifests.schema import from_rows

NOTES = "-notes"  # suffix to a journal's name: the file of the step's own notes
DONE = b'{"done": '  # start of a line that holds an outcome


def journal_path(root: str, path: str) -> Path:
    """Return the local path of a journal. path: below the root. For object stores see `manifests.shared_journal`."""
    return Path(storage.normal(root), path)


class Journal:
    """The journal of one part of one step; deleted once the part is committed."""

    def __init__(
        self,
        path: Path,
        record: type,
        session: str,
        life: str,
        node: str = "",
        is_lost: Callable[[str], bool] = lambda node: False,
    ) -> None:
        """Open the journal at `path` for records of type `record`, and read the lines of earlier workers.

        node: the worker's node. is_lost: tells whether a node was lost together with its workers.
        """
        self.path, self.record, self.session, self.life = path, record, session, life
        self.node, self.is_lost = node, is_lost
        self.nodes: dict[str, str] = {}
        self.committed = False  # set by the worker once the part is committed
        self.outcomes: dict[str, Outcome] = {}
        self.places: dict[str, str] = {}  # final path of each draft of media
        self.flights: dict[str, dict[str, None]] = {}  # inputs in flight by life; the inner dict is an ordered set
        self.in_order: set[str] = set()  # lives whose step answers for its inputs one after the other
        self.busy: set[str] = set()  # lives that ended with an input in flight
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        for line, end in _read_lines(path):
            self._replay(line)
            whole = end
        self.file = open(path, "ab")  # noqa: SIM115  held until the part is committed
        self.file.truncate(whole)

    def _replay(self, line: dict[str, Any]) -> None:
        if "done" in line:
            outcome = self._parse_outcome(line["done"])
            self.outcomes[outcome.input] = outcome
            for flight in self.flights.values():
                flight.pop(outcome.input, None)
        elif "draft" in line:
            self.places[line["draft"]] = line["place"]
        elif "left" in line:
            self.flights.pop(line["left"], None)
        elif line["session"] == self.session:
            self.busy |= {life for life, flight in self.flights.items() if flight and life != line["life"]}
            self.flights[line["life"]] = dict.fromkeys(line["start"])
            (self.in_order.add if line.get("in_order") else self.in_order.discard)(line["life"])
            self.nodes[line["life"]] = line.get("node", "")

    def deaths(self, name: str) -> int:
        """Count the workers of this session that vanished with this input in flight, without those of lost nodes."""
        return sum(name in self._suspects(life) and not self.is_lost(self.nodes[life]) for life in self.flights)

    def _suspects(self, life: str) -> list[str]:
        """Return the inputs that a life may have been working on when it vanished."""
        flight = list(self.flights[life])
        return flight[:1] if life in self.in_order else flight

    def idle_deaths(self) -> int:
        """Count the other workers of this session that vanished with no input in flight, without those of lost nodes.

        A worker that died with a record in flight does not count either, even if a later worker has finished that
        record.
        """
        idle = [life for life, flight in self.flights.items() if not flight and life not in {*self.busy, self.life}]
        return sum(not self.is_lost(self.nodes[life]) for life in idle)

    def _parse_outcome(self, facts: dict[str, Any]) -> Outcome:
        return Outcome(**{**facts, "records": tuple(from_rows(self.record, facts["records"]))})

    def start(self, inputs: Sequence[str], in_order: bool = False) -> None:
        """Write that these inputs are in flight. in_order: the step answers for them one after the other."""
        line = {"session": self.session, "life": self.life, "node": self.node, "start": list(inputs)}
        self._write({**line, "in_order": True} if in_order else line)

    def leave(self) -> None:
        """Write that this worker switches to another journal: until its next `start` no record here is blamed."""
        self._write({"left": self.life})

    def done(self, outcome: Outcome) -> None:
        """Write the outcome of an input."""
        self.outcomes[outcome.input] = outcome
        self._write({"done": asdict(outcome)})

    def record_place(self, draft: str, place: str) -> None:
        """Write that a draft of media is about to be moved to `place`: references to `draft` then mean `place`."""
        self._write({"draft": draft, "place": place})

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self.file.flush()

    def close(self, delete: bool) -> None:
        """Close the file. delete: also delete it, for a committed part."""
        self.file.close()
        if delete:
            self.path.unlink(missing_ok=True)
            Path(self.notes).unlink(missing_ok=True)

    @property
    def notes(self) -> str:
        """Return the path of the file for the step's own notes, which is deleted together with the journal."""
        return str(notes_path(self.path))


def write_journal(path: Path, record: type, outcomes: Sequence[Outcome]) -> None:
    """Write a journal that holds only these outcomes; an existing one is replaced."""
    fresh = path.with_name(f"{path.name}{storage.DRAFT}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    journal = Journal(fresh, record, session="", life="")
    for outcome in outcomes:
        journal.done(outcome)
    journal.close(delete=False)
    os.replace(fresh, path)


def notes_path(journal: Path) -> Path:
    """Return the path of a step's notes, beside the journal."""
    return journal.with_name(f"{journal.name}{NOTES}")


def _read_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the complete lines of a journal, each with the offset of its end."""
    if not path.exists():
        return
    end = 0
    for raw in path.read_bytes().splitlines(keepends=True):
        end += len(raw)
        if not raw.endswith(b"\n"):
            return
        try:
            yield json.loads(raw), end
        except ValueError:  # torn by a power cut: later lines are not trusted either
            return


class LineSum:
    """A running sum over the lines of a file that another process appends to. Each complete line is read once."""

    def __init__(self, path: Path, worth: Callable[[bytes], int]) -> None:
        """worth: the value of a line, newline included."""
        self.path, self.worth = path, worth
        self.offset = self.sum = 0

    def total(self) -> int:
        """Return the current sum; the last sum if the file is gone. A rewritten file is summed from its beginning."""
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            if file.seek(0, os.SEEK_END) < self.offset:
                self.offset = self.sum = 0
            file.seek(self.offset)
            for line in file:
                if line.endswith(b"\n"):
                    self.offset, self.sum = self.offset + len(line), self.sum + self.worth(line)
        return self.sum


def count_finished(path: Path) -> LineSum:
    """Count the inputs with an outcome in the journal of an open part, for live progress."""
    return LineSum(path, lambda line: line.startswith(DONE))
