"""Files appear, move and change while runs are killed at any write; nothing is lost or duplicated.

A state machine: after each run that comes to its end, the root is what a fresh run on the same input would have made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from manifests import blocks, storage
from pipeline.config import load
from pipeline.run import Options, run
from stages.catalogue import current
from stages.shards import ShardReader
from tests.killing import Killed, errors_as_rows, killed_at
from tests.media import pattern, store
from tests.object_store import bucket
from tests.runs import ola, rows, srt

FILMS = 5
NAMES = [f"{folder}{letter}.mp4" for folder in ("", "sub/") for letter in "abcd"]
LARGEST = 5  # files at once
SETS = ["isolate=false", "extract.frames.cap=2", "videos_per_part=2", "pack.shard_mb=1", "pack.val=0.3"]


@cache
def film(number: int) -> bytes:
    """A video of two seconds and a bit."""
    return pattern(f"moment{number}.mp4", 2.2 + number / 10, size="64x64").read_bytes()


def words(number: int) -> bytes:
    """What is said in it."""
    return srt((0.2, 1.8, f"these are the words of film {number}")).encode()


def samples(root: str) -> dict[str, str]:
    """Digests of the samples in the current sets, by stage, split and key. Shards have no gaps in their numbers.

    Which sample lies in which shard follows from when its video was added; its bytes do not.
    """
    found = {}
    for stage, folder in current(root).items():
        tars = [entry.path for entry in storage.listing(storage.join(root, folder)) if entry.path.endswith(".tar")]
        for split in ("train", "val"):
            names = sorted(name for name in tars if name.startswith(split))
            assert names == [f"{split}-{number:06d}.tar" for number in range(len(names))]
        for name in tars:
            for sample in ShardReader(memoryview(storage.read_bytes(storage.join(root, folder, name)))):
                content = b"".join(bytes(member) for member in sample.members.values())
                found[f"{stage}/{name.split('-')[0]}/{sample.key}"] = hashlib.sha256(content).hexdigest()
    return found


def work(place: str, root: str, retry: bool = False) -> None:
    """A run over all that lies in a place."""
    with errors_as_rows():
        run(load(None, SETS, {"inputs": [place]}), root, Options(retry=retry))


class Moments(RuleBasedStateMachine):
    """What a model of the files is: the number of the film in each, or -1 for rubbish. Of a film there is one copy."""

    place: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = storage.join(self.place, tempfile.mktemp(prefix="", dir=""))
        self.videos, self.root = storage.join(self.folder, "in"), storage.join(self.folder, "out")
        self.files: dict[str, int] = {}
        self.copies: dict[str, str] = {}
        self.settled = False

    def put(self, name: str, number: int, with_words: bool = True) -> None:
        storage.write_bytes(storage.join(self.videos, name), film(number) if number >= 0 else b"rubbish" * 100)
        beside = storage.join(self.videos, name.replace(".mp4", ".srt"))
        if with_words and number >= 0:
            storage.write_bytes(beside, words(number))
        else:
            storage.remove(beside)
        self.settled = False

    def take(self, name: str) -> None:
        for suffix in (".mp4", ".srt"):
            storage.remove(storage.join(self.videos, name.replace(".mp4", suffix)))

    @property
    def free(self) -> list[str]:
        return [name for name in NAMES if name not in self.files]

    @property
    def originals(self) -> list[str]:
        """Files of which a copy can be made: there is none yet, and their words tell which one is the owner."""
        copied = {*self.copies, *self.copies.values()}
        return [name for name in sorted(self.files) if name not in copied and self.files[name] >= 0]

    @initialize()
    def begin(self) -> None:
        for number in range(2):
            self.files[NAMES[number]] = number
            self.put(NAMES[number], number)

    def unused(self) -> list[int]:
        return [number for number in range(-1, FILMS) if number not in self.files.values() or number == -1]

    @rule(data=st.data())
    def add_or_replace(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(NAMES if len(self.files) < LARGEST else sorted(self.files)))
        self.forget_copies_of(name)
        self.files.pop(name, None)
        self.files[name] = data.draw(st.sampled_from(self.unused()))
        self.put(name, self.files[name])

    def forget_copies_of(self, name: str) -> None:
        """A copy whose original goes is an original: it gets words of its own."""
        self.copies.pop(name, None)
        for copy in [copy for copy, of in self.copies.items() if of == name]:
            del self.copies[copy]
            self.put(copy, self.files[copy])

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        name, to = data.draw(st.sampled_from(sorted(self.files))), data.draw(st.sampled_from(self.free))
        self.files[to] = self.files.pop(name)
        self.copies = {to if c == name else c: to if o == name else o for c, o in self.copies.items()}
        for suffix in (".mp4", ".srt"):
            uri = storage.join(self.videos, name.replace(".mp4", suffix))
            if storage.exists(uri):
                target = storage.join(self.videos, to.replace(".mp4", suffix))
                shutil.copy2(uri, self.made(target)) if storage.is_local(uri) else storage.write_bytes(
                    target, storage.read_bytes(uri)
                )
        self.take(name)
        self.settled = False

    def made(self, path: str) -> str:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return path

    @precondition(lambda self: self.originals and len(self.files) < LARGEST)
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        name, to = data.draw(st.sampled_from(self.originals)), data.draw(st.sampled_from(self.free))
        self.files[to], self.copies[to] = self.files[name], name
        self.put(to, self.files[name], with_words=False)

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        uri = storage.join(self.videos, data.draw(st.sampled_from(sorted(self.files))))
        storage.write_bytes(uri, storage.read_bytes(uri))
        self.settled = False

    @precondition(lambda self: not self.settled)  # there is something to do
    @rule(moment=st.integers(1, 30), after=st.booleans(), retry=st.booleans())
    def killed(self, moment: int, after: bool, retry: bool) -> None:
        with killed_at(moment, after):
            try:
                work(self.videos, self.root, retry)
            except Killed:
                self.settled = False

    @precondition(lambda self: not self.settled)
    @rule(retry=st.booleans())
    def runs_to_its_end(self, retry: bool) -> None:
        work(self.videos, self.root, retry)
        self.settled = True
        said = json.loads(ola("status", self.root, "--json").out)
        assert said["faults"] == []
        for step in said["steps"]:
            assert step["inputs"] == step["ok"] + step["dropped"] + step["failed"]
        for view, column in (("ingest", "id"), ("split", "id"), ("extract", "id"), ("pack", "id"), ("source", "id")):
            twice = rows(
                self.root, f"SELECT {column} FROM {view} WHERE {column} IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
            )
            assert twice == [], view
        assert samples(self.root) == self.fresh()
        if current(self.root):
            assert ola("check", self.root).out == "no fault\n"

    def fresh(self) -> Mapping[str, str]:
        """The samples of a fresh run on what is there now."""
        root = storage.join(
            self.folder, "fresh-" + hashlib.sha256(repr(sorted(self.facts())).encode()).hexdigest()[:12]
        )
        if not storage.exists(storage.join(root, "run.yaml")):
            work(self.videos, root)
        return samples(root)

    def facts(self) -> list[tuple[str, int]]:
        there = {entry.path for entry in storage.listing(self.videos, recursive=True)}
        assert there >= self.files.keys()
        worded = [(name, -2) for name in there if name.endswith(".srt")]
        return [*self.files.items(), *worded]

    def teardown(self) -> None:
        """The last word of every history."""
        if not self.settled:
            self.runs_to_its_end(retry=False)

    @precondition(lambda self: self.settled)
    @invariant()
    def nothing_half_written_is_left(self) -> None:
        left = [e.path for e in storage.listing(self.root, recursive=True) if e.path.endswith((".journal", ".tmp"))]
        assert left == []


@pytest.fixture(autouse=True)
def _blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that these few parts are compacted, too."""
    monkeypatch.setattr(blocks, "BLOCK", 2)


def check(place: str, examples: int, steps: int) -> None:
    machine = type("MomentsThere", (Moments,), {"place": place})
    calm = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a step takes up to a second: there is no time to look for a shorter way to a fault
    )
    run_state_machine_as_test(machine, settings=calm)


def test_on_disk() -> None:
    check(tempfile.mkdtemp(dir=store()), examples=6, steps=20)


def test_in_an_object_store() -> None:
    with bucket("moments") as uri:
        check(uri, examples=1, steps=20)
