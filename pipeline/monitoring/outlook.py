"""Say in a line when a run will end, which drops grow fastest, and how busy this machine is."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

WINDOW = 180.0  # seconds over which rates and growth are measured
LEAST = 5.0  # seconds between the first look and a rate that is worth saying
GPU_SECONDS = 10.0  # seconds between two questions to the driver, each of which starts a process
GPU_QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
Key = tuple[str, str]  # step and reason


@dataclass(frozen=True)
class StepState:
    """A step's state. parts, inputs: committed; moving: inputs done in open parts; lost: inputs by reason."""

    name: str
    parts: int
    inputs: int
    moving: int
    lost: Mapping[str, int]

    @property
    def done(self) -> int:
        """Return the number of inputs done."""
        return self.inputs + self.moving

    def left(self, parts: int) -> float | None:
        """Return the inputs to come, if all parts have as many as the committed ones; None before the first part."""
        return max(0.0, self.inputs / self.parts * parts - self.done) if self.parts else None


class Outlook:
    """Remembers the states of the last `WINDOW` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: returns seconds."""
        self.clock = clock
        self.looks: deque[tuple[float, Sequence[StepState]]] = deque()

    def look(self, states: Sequence[StepState], parts: int) -> str:
        """Remember the states of all steps, and return the line; "" if there is nothing to say. parts: of the run."""
        now = self.clock()
        if len(self.looks) > 1 and now - self.looks[-2][0] < LEAST:  # two looks a second are shown, but not all kept
            self.looks.pop()
        self.looks.append((now, states))
        while now - self.looks[0][0] > WINDOW:
            self.looks.popleft()
        return " · ".join(filter(None, (self._end(parts), self._growing_loss())))

    def _end(self, parts: int) -> str:
        """Return how long the slowest step takes for what is left; steps work beside each other."""
        return end_text(list(self._waits(parts).values()))

    def lane_ends(self, lanes: Sequence[Sequence[str]], parts: int) -> list[str]:
        """Return how long each lane takes for what is left, as of the last look; "" for all if they end together.

        lanes: names of the steps of each. A lane takes as long as its slowest step.
        """
        waits = self._waits(parts) if self.looks else {}
        ends = [end_text([waits[name] for name in lane if name in waits]) for lane in lanes]
        return ends if len(set(ends)) > 1 else [""] * len(ends)

    def _waits(self, parts: int) -> dict[str, float | None]:
        """Return the seconds that each step takes for what is left; None: not known; empty: too early for a rate."""
        (began, before), (now, states) = self.looks[0], self.looks[-1]
        if now - began < LEAST:
            return {}
        waits: dict[str, float | None] = {}
        for old, new in zip(before, states, strict=True):
            left, rate = new.left(parts), (new.done - old.done) / (now - began)
            is_known = left is not None and (not left or rate > 0)
            waits[new.name] = (left / rate if left else 0.0) if is_known and left is not None else None
        return waits

    def _growing_loss(self) -> str:
        """Return the reason by which most inputs were lost within the window, and their share of the step's inputs."""
        before, states = self.looks[0][1], self.looks[-1][1]
        growth: dict[Key, int] = {}
        share: dict[str, int] = {}
        for old, new in zip(before, states, strict=True):
            share[new.name] = new.done - old.done
            for reason, count in new.lost.items():
                key = (new.name, re.sub(r"\b[0-9a-f]{20}\b|\d+", "…", reason))
                growth[key] = growth.get(key, 0) + count - old.lost.get(reason, 0)
        if not growth or max(growth.values()) <= 0:
            return ""
        (step, reason), count = max(growth.items(), key=lambda pair: (pair[1], pair[0]))
        of = f" ({count / share[step]:.0%})" if share[step] >= count else ""
        return f"most lost now: {step}, {' '.join(reason.split())}, {count}{of}"


def end_text(waits: Sequence[float | None]) -> str:
    """Return when the last of some steps ends. waits: seconds of each, None if not known."""
    known = [each for each in waits if each is not None]
    if len(known) < len(waits):
        return "end not known yet"
    return f"about {remaining_text(max(known))} left" if any(known) else ""


def remaining_text(seconds: float) -> str:
    """Return a duration in one unit, so that it does not flicker: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class MachineUse:
    """How busy the CPUs and GPUs of this machine are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: returns seconds."""
        self.clock, self.asked, self.gpu = clock, float("-inf"), ""
        psutil.cpu_percent()  # the next call counts from here

    def line(self) -> str:
        """Return `CPU 87 % · GPU 93 %`; GPUs only where a driver tells."""
        if self.clock() - self.asked >= GPU_SECONDS:
            self.asked, self.gpu = self.clock(), self._read_gpu()
        return f"CPU {psutil.cpu_percent():.0f} %{self.gpu}"

    def _read_gpu(self) -> str:
        if shutil.which(GPU_QUERY[0]) is None:
            return ""
        with suppress(OSError, subprocess.SubprocessError, ValueError):
            done = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=2, check=True)
            shares = [float(line) for line in done.stdout.split()]
            return f" · GPU {sum(shares) / len(shares):.0f} %" if shares else ""
        return ""
