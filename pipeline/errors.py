"""What can go wrong, as one tree. The library raises these; the command line prints their one line.

OlaError
├── ConfigError       a setting, a plan or an input list is wrong: nothing has run
│   └── NeedsUnmet    the machine or the cluster lacks what the run's steps need
├── RunError          the run cannot go on (a step's weights are missing, somebody else works on this root)
│   ├── OpenFailed    a step's `open()` raised; carries the original traceback
│   ├── StaysOpen     a store stayed away: parts stay open
│   └── PartsSetAside the run came to its end without some parts, which stay open
├── SetAside          one part cannot go on; the others do
├── Unavailable       what may pass (a store that fails, a file replaced meanwhile): no row, the part stays open
├── BadMedia          this file cannot be used: becomes a `failed` row with this reason
└── StepFault         a step did not answer for its batch; the worker turns it into rows
    ├── Raised        it raised
    ├── Died          its process died
    │   └── DeviceLost    its GPU does not answer this process any more; a new one may have better luck
    ├── Killed        its process was killed from outside: by the machine, not by what it did
    └── OverLimit     it took longer or more memory than its limit, and was killed
"""

from __future__ import annotations

from collections.abc import Sequence


class OlaError(Exception):
    """Anything of ours that a user should read as one line."""


class ConfigError(OlaError):
    """A setting, a plan or an input list is wrong; nothing has run."""


class NeedsUnmet(ConfigError):
    """The machine or the cluster lacks what the run's steps need; a line for each thing. Nothing has run."""


class RunError(OlaError):
    """The run cannot go on; what is committed stays."""


class OpenFailed(RunError):
    """A step could not open (weights missing, wrong version); `detail` is the original traceback."""

    def __init__(self, message: str, detail: str = "") -> None:
        """Keep both parts in `args`, so that the error survives being pickled by Ray."""
        super().__init__(message, detail)
        self.detail = detail

    def __str__(self) -> str:
        """The one line."""
        return str(self.args[0])


class StaysOpen(RunError):
    """A store stayed away for as long as requests are made again: what is not committed stays open."""


class SetAside(OlaError):
    """A part cannot go on in this run: it stays open, and the others go on. `detail` is a traceback, or empty.

    by_gpu: whether the worker's GPU is to blame.
    """

    def __init__(self, part: int, step: str, reason: str, detail: str = "", by_gpu: bool = False) -> None:
        """Keep all in `args`, so that it survives being pickled."""
        super().__init__(part, step, reason, detail, by_gpu)
        self.part, self.step, self.reason, self.detail, self.by_gpu = part, step, reason, detail, by_gpu

    def __str__(self) -> str:
        """The one line."""
        return f"part {self.part} at step '{self.step}': {self.reason}"


def set_aside_lines(aside: Sequence[SetAside]) -> list[str]:
    """A line for each part that was set aside; parts of one step with the same reason have the same line."""
    groups: dict[tuple[str, str], list[int]] = {}
    for fault in aside:
        groups.setdefault((fault.step, fault.reason), []).append(fault.part)
    lines = []
    for fault in aside:
        parts = groups[fault.step, fault.reason]
        shared = f"parts {', '.join(map(str, sorted(parts)))} at step '{fault.step}': {fault.reason}"
        lines.append(shared if len(parts) > 1 else str(fault))
    return lines


class PartsSetAside(RunError):
    """The run did all but some parts, which stay open: the next run tries them again."""

    def __init__(self, lines: Sequence[str]) -> None:
        """lines: what each part is, and why it was set aside; equal parts of it may share a line, see `lines_of`."""
        super().__init__(lines)
        self.lines = list(dict.fromkeys(lines))
        self.number = len(lines)

    def __str__(self) -> str:
        """A line for each, below one that counts them."""
        many = f"{self.number} part{'s' * (self.number != 1)} set aside and still open; run again to try again"
        return "\n".join([many, *(f"  {line}" for line in self.lines)])


class Unavailable(OlaError):
    """A file or store cannot be used now, and may be usable later: no row is written, and the part stays open."""


class GpuBroken(Unavailable):
    """A GPU failed for one record after the other: the part stays open, and the worker may be of no use."""


class BadMedia(OlaError):
    """A file, or what a model made of it, cannot be used. `str()` is the row's reason; `detail` tells all."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        """Keep the reason for the row and the detail for `ola why`."""
        super().__init__(reason)
        self.detail = detail


class StepFault(OlaError):
    """A step did not answer for its batch. `reason` is short and groups well; `detail` tells all."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        """Keep the reason for the row and the detail for `ola why`."""
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class StepRaised(StepFault):
    """The step raised; its process lives on."""


class ProcessDied(StepFault):
    """The step's process died."""


class DeviceLost(ProcessDied):
    """The GPU answers this process no more, whatever it is asked: the process was ended."""


class ProcessKilled(StepFault):
    """The step's process got a SIGKILL that was not ours: the kernel was out of memory, or somebody killed it.

    opening: whether that was while its `open` ran.
    """

    opening = False


class OverLimit(StepFault):
    """The step took too long or too much memory, and was killed."""
