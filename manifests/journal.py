"""What a worker writes before and after each record of a part, so that nothing finished is done twice.

Lines of JSON, appended: `{"session", "life", "node"}` when a worker begins the part, then for each batch
`{"session", "life", "start": [ids]}`, and `{"done": outcome}` for each of its inputs. A session is one life of the
driver, a life one of a worker. What a life has in flight is its last `start` without what is `done`. A record that was
in flight when its worker vanished while the driver lived on may have killed it: `deaths` counts those workers. If the
driver itself was killed, nobody is blamed. A torn last line is a record that was not finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manifests import storage
from manifests.records import Outcome
from manifests.schema import from_rows

DONE = b'{"done": '  # how a line begins that holds an outcome


def journal_path(root: str, path: str) -> Path:
    """Where the journal at `path` below the root lies: beside the part, or on this machine for object stores.

    On another machine a part of an object-store root that was in flight begins anew: blame does not depend on the
    journal there, since the worker watches its step's process itself.
    """
    if storage.is_local(root):
        return Path(storage.normal(root), path)
    return Path(tempfile.gettempdir(), "ola-journals", hashlib.sha256(root.encode()).hexdigest()[:16], path)


class Journal:
    """The journal of one part of one step; closed and deleted when the part is committed."""

    def __init__(self, path: Path, record: type, session: str, life: str) -> None:
        """Open the journal at `path` for records of type `record`, and read what earlier workers left."""
        self.path, self.record, self.session, self.life = path, record, session, life
        self.outcomes: dict[str, Outcome] = {}
        self.flights: dict[str, set[str]] = {}  # by life, in the order in which they came
        self.nodes: dict[str, str] = {}
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
                flight.discard(outcome.input)
        elif line["session"] == self.session:
            self.busy |= {life for life, flight in self.flights.items() if flight and life != line["life"]}
            self.flights[line["life"]] = set(line.get("start", ()))
            self.nodes[line["life"]] = line.get("node", self.nodes.get(line["life"], ""))

    def deaths(self, name: str) -> int:
        """How many workers of this session vanished while this input was in flight."""
        return sum(name in flight for flight in self.flights.values())

    def vanished(self) -> int:
        """How many other workers of this session began the part and vanished while nothing was in flight."""
        lives = self.flights.items()
        return sum(not flight and life not in self.busy and life != self.life for life, flight in lives)

    def forgive(self, lost: Callable[[str], bool]) -> None:
        """Forget the workers whose node is lost: they died with it, and not of a record."""
        for life, node in self.nodes.items():
            if node and lost(node):
                self.flights.pop(life, None)

    def _outcome(self, facts: dict[str, Any]) -> Outcome:
        return Outcome(**{**facts, "records": tuple(from_rows(self.record, facts["records"]))})

    def begin(self, node: str = "") -> None:
        """This worker takes the part up; `node`: where it lives, or empty if that cannot be lost alone."""
        self._write({"session": self.session, "life": self.life, "node": node})

    def start(self, inputs: Sequence[str]) -> None:
        """These inputs are in flight from now on."""
        self._write({"session": self.session, "life": self.life, "start": list(inputs)})

    def done(self, outcome: Outcome) -> None:
        """This input has its outcome."""
        self.outcomes[outcome.input] = outcome
        self._write({"done": asdict(outcome)})

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


def notes_path(journal: Path) -> Path:
    """Where a step's notes lie: beside the journal."""
    return journal.with_name(f"{journal.name}-notes")


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
