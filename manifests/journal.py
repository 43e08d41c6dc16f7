"""What a worker writes before and after each record of a part, so that nothing finished is done twice.

Lines of JSON, appended: `{"session", "life", "node", "start": [ids]}`, then `{"done": outcome}`. `{"left": life}` says
that a worker turns to the journal of another step, until it starts something here again. Before the media of
the part are put in place, `{"draft", "place"}` says what references to their draft are called from then on. A session
is one life of the driver, a life one of a worker on a node. A life begins with a `start` of nothing. What a life has
in flight is its last `start` without what is `done`; with `"in_order": true`, which says that the step answers for one
input after the other, only the first of these. A record that was in flight when its worker vanished while the driver
lived on may have killed it: `deaths` counts those workers. If the driver itself was killed, nobody is blamed; nor
where a node was lost. A torn last line is a record that was not finished.
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

NOTES = "-notes"  # after a journal's name: the file of the step's own notes
DONE = b'{"done": '  # how a line begins that holds an outcome


def journal_path(root: str, path: str) -> Path:
    """Where the journal at `path` below a local root lies. For object stores see `manifests.shared_journal`."""
    return Path(storage.normal(root), path)


class Journal:
    """The journal of one part of one step; closed and deleted when the part is committed."""

    def __init__(
        self,
        path: Path,
        record: type,
        session: str,
        life: str,
        node: str = "",
        is_lost: Callable[[str], bool] = lambda node: False,
    ) -> None:
        """Open the journal at `path` for records of type `record`, and read what earlier workers left.

        node: where this worker is; is_lost: whether a node is gone, and its workers with it.
        """
        self.path, self.record, self.session, self.life = path, record, session, life
        self.node, self.is_lost = node, is_lost
        self.nodes: dict[str, str] = {}
        self.committed = False  # whether its part is: set by the worker
        self.outcomes: dict[str, Outcome] = {}
        self.places: dict[str, str] = {}  # what drafts of media are called once they are in place
        self.flights: dict[str, dict[str, None]] = {}  # by life: a set that keeps its order
        self.in_order: set[str] = set()  # lives whose step answers for one input after the other
        self.busy: set[str] = set()  # lives that another followed while they had something in flight
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        for line, end in _lines(path):
            self._replay(line)
            whole = end
        self.file = open(path, "ab")  # noqa: SIM115  held until the part is committed
        self.file.truncate(whole)

    def _replay(self, line: dict[str, Any]) -> None:
        if "done" in line:
            outcome = self._outcome(line["done"])
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
        """How many workers of this session vanished while this input was in flight, but those of lost nodes."""
        return sum(name in self._suspects(life) and not self.is_lost(self.nodes[life]) for life in self.flights)

    def _suspects(self, life: str) -> list[str]:
        """Return the inputs that a life may have been at when it vanished."""
        flight = list(self.flights[life])
        return flight[:1] if life in self.in_order else flight

    def idle_deaths(self) -> int:
        """How many other workers of this session vanished with nothing in flight, but those of lost nodes.

        A worker that died over a record is not among them, also when a later worker has done that record.
        """
        idle = [life for life, flight in self.flights.items() if not flight and life not in {*self.busy, self.life}]
        return sum(not self.is_lost(self.nodes[life]) for life in idle)

    def _outcome(self, facts: dict[str, Any]) -> Outcome:
        return Outcome(**{**facts, "records": tuple(from_rows(self.record, facts["records"]))})

    def start(self, inputs: Sequence[str], in_order: bool = False) -> None:
        """Write that these inputs are in flight. in_order: the step answers for one after the other."""
        line = {"session": self.session, "life": self.life, "node": self.node, "start": list(inputs)}
        self._write({**line, "in_order": True} if in_order else line)

    def leave(self) -> None:
        """Write that this worker turns to another journal: until its next `start` it can die of nothing here."""
        self._write({"left": self.life})

    def done(self, outcome: Outcome) -> None:
        """This input has its outcome."""
        self.outcomes[outcome.input] = outcome
        self._write({"done": asdict(outcome)})

    def places_draft(self, draft: str, place: str) -> None:
        """Write that a draft of media is about to be put in place: references to `draft` are then to `place`."""
        self._write({"draft": draft, "place": place})

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self.file.flush()

    def close(self, delete: bool) -> None:
        """Close the file, and delete it once the part is committed."""
        self.file.close()
        if delete:
            self.path.unlink(missing_ok=True)
            Path(self.notes).unlink(missing_ok=True)

    @property
    def notes(self) -> str:
        """A file beside the journal, and as long-lived, for what the step itself writes down."""
        return str(notes_path(self.path))


def write_journal(path: Path, record: type, outcomes: Sequence[Outcome]) -> None:
    """Make a journal that holds these outcomes and nothing else, in the place of one that may be there."""
    fresh = path.with_name(f"{path.name}{storage.DRAFT}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    journal = Journal(fresh, record, session="", life="")
    for outcome in outcomes:
        journal.done(outcome)
    journal.close(delete=False)
    os.replace(fresh, path)


def notes_path(journal: Path) -> Path:
    """Where a step's notes lie: beside the journal."""
    return journal.with_name(f"{journal.name}{NOTES}")


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Whole lines of a journal, each with the offset of its end."""
    if not path.exists():
        return
    end = 0
    for raw in path.read_bytes().splitlines(keepends=True):
        end += len(raw)
        if not raw.endswith(b"\n"):
            return
        try:
            yield json.loads(raw), end
        except ValueError:  # torn by a power cut: what follows it is not trusted either
            return


class Growing:
    """What the lines of a file come to while somebody writes it: each is read once, and a torn one when it is whole."""

    def __init__(self, path: Path, worth: Callable[[bytes], int]) -> None:
        """worth: of a line, newline included."""
        self.path, self.worth = path, worth
        self.offset = self.sum = 0

    def total(self) -> int:
        """The sum by now; of a file that is gone the last one, and of one that began anew that of its lines."""
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            if file.seek(0, os.SEEK_END) < self.offset:
                self.offset = self.sum = 0
            file.seek(self.offset)
            for line in file:
                if line.endswith(b"\n"):
                    self.offset, self.sum = self.offset + len(line), self.sum + self.worth(line)
        return self.sum


def finished(path: Path) -> Growing:
    """How many inputs of a part in flight have their outcome: what live progress shows between commits."""
    return Growing(path, lambda line: line.startswith(DONE))
