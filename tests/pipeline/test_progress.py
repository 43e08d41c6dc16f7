"""Live progress of a run, and of the tokens that a model writes meanwhile."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from manifests.journal import Journal, journal_path
from manifests.ledger import Counts, Damaged, Manifest
from manifests.records import Caption, ModelCall, Outcome, Source
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.monitoring import progress
from pipeline.monitoring.outlook import MachineUse, Outlook, StepState, remaining_text
from pipeline.monitoring.progress import Progress, Tally
from pipeline.plan import Plan, build_plan
from pipeline.steps.caption import Captioning
from pipeline.steps.extract import Extract
from pipeline.steps.ingest import Ingest
from pipeline.steps.split import Split
from tests.media import numbered
from tests.runs import talking

ENGINE = AnnotatorSettings(engine="tests.pipeline.scripted:sensible")


@pytest.fixture
def made(tmp_path: Path) -> Plan:
    """A run of two parts in which nothing is done yet."""
    captioning = Captioning()
    captioning.annotator = ENGINE
    found = build_plan(str(tmp_path), [Ingest(), Split(), Extract(), captioning])
    for part in range(2):
        sources = [Outcome(f"s{part}", "ok", 0.0, (Source(id=f"s{part}", uri="a.mp4", bytes=1),))]
        found.sources.commit(part, [f"s{part}"], sources)
    return found


def asked(tokens: int, answer: str = "a dog") -> ModelCall:
    return ModelCall(prompt="p", answer=answer, finish="stop", prompt_tokens=900, answer_tokens=tokens, latency=1.0)


def caption(clip: str, view: str, said: ModelCall) -> Caption:
    return Caption(id=f"{clip}-{view}", clip=clip, footage=clip, view=view, text=said.answer, asked=said)


@pytest.fixture
def journal(made: Plan) -> Iterator[Journal]:
    """Of the captions of part 0, under way."""
    manifest = made.find_step("caption").manifest
    one = Journal(journal_path(made.root, manifest.path(0, "journal")), Caption, "s", "l")
    one.start(["clip"])
    yield one
    one.close(delete=True)


def note(journal: Journal, name: str, said: ModelCall, end: str = "\n") -> None:
    with open(journal.notes, "a", encoding="utf-8") as file:
        file.write(json.dumps([name, asdict(said)]) + end)


def test_answers_count_when_they_are_whole_and_once(made: Plan, journal: Journal) -> None:
    tally = Tally(made.find_step("caption").manifest, asks=True)
    note(journal, "before", asked(7))
    tally.look([0, 1])
    assert (tally.tokens, tally.rate) == (7, 0)
    note(journal, "first", asked(30))
    note(journal, "second", asked(50), end="")
    time.sleep(0.05)
    tally.look([0, 1])
    assert tally.tokens == 37
    first, last = tally.looks[0], tally.looks[-1]
    assert tally.rate == pytest.approx(30 / (last[0] - first[0]))  # not what was there at the first look
    with open(journal.notes, "a", encoding="utf-8") as file:
        file.write("\n")
    tally.look([0, 1])
    assert tally.tokens == 87


def test_what_a_commit_hides_is_read_off_its_rows(made: Plan, journal: Journal) -> None:
    manifest = made.find_step("caption").manifest
    tally = Tally(manifest, asks=True)
    tally.look([0, 1])
    note(journal, "image", asked(30))
    tally.look([0, 1])
    note(journal, "video", asked(50))
    records = (caption("clip", "image", asked(30)), caption("clip", "video", asked(50, "two dogs")))
    manifest.commit(0, ["clip"], [Outcome("clip", "ok", 1.0, records)])
    journal.close(delete=True)
    tally.look([0, 1])
    assert (tally.tokens, tally.total.ok) == (80, 1)
    tally.look([0, 1])
    assert tally.tokens == 80
    again = Tally(manifest, asks=True)
    again.look([0, 1])
    assert again.tokens == 0  # of another run


def shown(made: Plan, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system=None, width=120)
    watching = Progress(made, console)
    for tally in watching.tallies:
        tally.look([0, 1])
    caption_step = watching.tallies[-1]
    if caption_step.asks:
        caption_step.looks.appendleft((caption_step.looks[0][0] - 2.0, 0))
    if terminal:
        console.print(watching._table())
    else:
        watching._print(watching._line())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_the_table_has_columns_for_tokens_where_a_step_asks(made: Plan, journal: Journal) -> None:
    note(journal, "image", asked(1400))
    lines = [line.split() for line in shown(made, terminal=True).splitlines()]
    assert lines[0][-4:] == ["a", "minute", "tokens", "tokens/s"]
    assert lines[-1][0] == "caption"
    assert lines[-1][-2] == "1,400"
    assert 600 < float(lines[-1][-1]) <= 700
    silent = Plan(made.root, made.sources, made.steps[:3])
    assert "tokens" not in shown(silent, terminal=True)


def test_lines_say_it_too(made: Plan, journal: Journal) -> None:
    assert "tokens" not in shown(made, terminal=False)
    note(journal, "image", asked(1400))
    line = shown(made, terminal=False)
    assert "0/8 parts · records: ingest 0, split 0, extract 0, caption 0 · tokens/s: caption " in line
    assert 600 < float(line.split()[-1]) <= 700


WATCHED = """
import sys
from pipeline.monitoring import progress
from pipeline.cli import main
progress.POLL_SECONDS = 0.02
main()
"""


def in_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Exit code of `ola`, and what a terminal of 100 x 30 got from it."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        text = bytearray()
        try:
            while data := os.read(mine, 65536):
                text += data
        except OSError:  # how Linux says that the last writer is gone
            pass
        finally:
            os.close(mine)
    return process.returncode, text.decode()


def test_a_terminal_shows_an_annotated_run_to_its_end(tmp_path: Path) -> None:
    """Screening stores probabilities in its notes, the other steps answers."""
    videos = tmp_path / "videos"
    talking(videos, "film", numbered("numbers.mp4", 200), 8)
    settings = [f"annotator.engine={ENGINE.engine}", "isolate=false"]
    words = [word for setting in settings for word in ("--set", setting)]
    code, text = in_a_terminal("run", videos, "--root", tmp_path / "root", *words)
    assert code == 0, text
    assert not [fault for fault in ("Traceback", "Exception", "progress unknown") if fault in text]
    assert re.search(r"verify +1/1 +\d+ +\d+", text)
    assert text.count("screen") > 10, "the table was not drawn again and again"


def test_what_cannot_be_read_is_a_line_until_it_can(made: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    more_counts = Manifest.more_counts

    def full(self: Manifest, seen: object) -> dict[int, Counts | Damaged]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(Manifest, "more_counts", full)
    file = console.file
    assert isinstance(file, io.StringIO)
    with Progress(made, console):
        while "No space left" not in file.getvalue():
            time.sleep(0.01)
        monkeypatch.setattr(Manifest, "more_counts", more_counts)
        while "0/2" not in file.getvalue():
            time.sleep(0.01)
    last = file.getvalue().rpartition("step")[2]
    assert "0/2" in last
    assert "progress unknown for now" not in last


def test_a_terminal_that_is_gone_ends_the_showing_and_not_the_run(made: Plan) -> None:
    mine, its = pty.openpty()
    file = open(its, "w", encoding="utf-8")  # noqa: SIM115  closing it raises
    os.close(mine)
    with Progress(made, Console(file=file, force_terminal=True, width=120)) as nowhere:
        nowhere.thread.join(10)
        assert not nowhere.thread.is_alive()
    with suppress(OSError):
        file.close()


def state(done: int, parts: int = 2, **lost: int) -> list[StepState]:
    return [StepState("split", parts, done, 0, {name.replace("_", " "): count for name, count in lost.items()})]


def test_the_end_follows_from_the_rate_of_the_last_minutes() -> None:
    seconds = iter((0.0, 2.0, 60.0, 400.0))
    outlook = Outlook(lambda: next(seconds))
    assert outlook.look(state(100), 10) == ""
    assert outlook.look(state(110), 10) == "", "too early for a rate"
    assert outlook.look(state(400, 4), 10) == "about 2 min left"  # 600 of 1,000 are left, at 5 a second
    assert outlook.look(state(1000, 10), 10) == ""


def test_lanes_that_end_apart_have_an_end_each() -> None:
    seconds = iter((0.0, 60.0))
    outlook = Outlook(lambda: next(seconds))
    for done in ((10, 10), (310, 16)):
        outlook.look([StepState(name, 2, n, 0, {}) for name, n in zip(("split", "ask"), done, strict=True)], 6)
    assert outlook.lane_ends([("split",), ("ask",)], 6) == ["about 2 min left", "about 5 min left"]
    assert outlook.lane_ends([("split", "ask"), ("ask",)], 6) == ["", ""], "both end with ask"
    assert outlook.lane_ends([("split", "ask")], 6) == [""], "one lane ends as the run does"


def test_a_step_without_a_part_leaves_the_end_open() -> None:
    seconds = iter((0.0, 60.0))
    outlook = Outlook(lambda: next(seconds))
    outlook.look(state(0, 0), 10)
    assert outlook.look(state(0, 0), 10) == "end not known yet"


def test_the_loss_that_grows_fastest_is_named_with_its_share() -> None:
    seconds = iter((0.0, 60.0))
    outlook = Outlook(lambda: next(seconds))
    outlook.look(state(100, old_reason=50, duplicate_of_0123456789abcdef0123=1), 2)
    line = outlook.look(state(200, old_reason=55, duplicate_of_0123456789abcdef0124=10), 2)
    assert line == "most lost now: split, duplicate of …, 10 (10%)"


@pytest.mark.parametrize(("seconds", "text"), [(3, "10 s"), (44, "40 s"), (600, "10 min"), (9000, "2.5 h")])
def test_what_is_left_has_one_unit(seconds: float, text: str) -> None:
    assert remaining_text(seconds) == text


def test_the_table_stays_within_80_columns(made: Plan) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
    watching = Progress(made, console)
    console.print(watching._tables())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1 + 4 + 1
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].startswith("CPU ")
    assert Progress(made, console, has_lanes=True)._outlook_line().startswith("driver's machine: CPU ")


def test_the_use_of_gpus_is_what_their_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 90\necho 50\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert MachineUse().line().endswith(" % · GPU 70 %")
    driver.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert "GPU" not in MachineUse().line()
