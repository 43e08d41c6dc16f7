"""The error classes. The library raises these errors; the command line prints each as one line.

OlaError
├── ConfigError       a setting, a plan or an input list is wrong: no step has run
│   └── NeedsUnmet    the machine or the cluster lacks what the run's steps need
├── RunError          the run cannot go on (a step's weights are missing, another run holds the root)
│   ├── OpenFailed    a step's `open()` raised; carries the original traceback
│   ├── StaysOpen     a store is down: parts stay open
│   └── PartsSetAside the run has finished except for some parts, which stay open
├── SetAside          one part cannot go on; the others do
├── Unavailable       a temporary failure (a store, a file replaced meanwhile): no row, the part stays open
├── BadMedia          a file is unusable: becomes a `failed` row with this reason
└── StepFault         a step gave no answer for its batch; the worker makes rows of the fault
├── StepRaised    the step raised
├── ProcessDied   the step's process died
│   └── DeviceLost    the GPU stopped answering the process; a new process may succeed
├── ProcessKilled the step's process got a SIGKILL from outside, not because of its own work
└── OverLimit     the step exceeded its time or memory limit and was killed
"""

from __future__ import annotations

from collections.abc import Sequence


class OlaError(Exception):
    """Base class of errors that the command line prints as one line."""


class ConfigError(OlaError):
    """A setting, a plan or an input list is wrong; no step has run."""


class NeedsUnmet(ConfigError):
    """The machine or the cluster lacks requirements of the run's steps, one per line. No step has run."""


class RunError(OlaError):
    """The run cannot go on; committed parts are kept."""


class OpenFailed(RunError):
    """A step's `open()` raised (weights missing, wrong version). detail: the original traceback."""

    def __init__(self, message: str, detail: str = "") -> None:
        """Keep both values in `args`, so that Ray can pickle the error."""
        super().__init__(message, detail)
        self.detail = detail

    def __str__(self) -> str:
        """Return the line to print."""
        return str(self.args[0])


class StaysOpen(RunError):
    """A store did not answer within the time for retries: parts that are not committed stay open."""


class SetAside(OlaError):
    """A part cannot go on in this run and stays open; other parts go on. detail: a traceback, or empty.

    by_gpu: whether the worker's GPU is to blame.
    """

    def __init__(self, part: int, step: str, reason: str, detail: str = "", by_gpu: bool = False) -> None:
        """Keep all values in `args`, so that the error can be pickled."""
        super().__init__(part, step, reason, detail, by_gpu)
        self.part, self.step, self.reason, self.detail, self.by_gpu = part, step, reason, detail, by_gpu

    def __str__(self) -> str:
        """Return the line to print."""
        return f"part {self.part} at step '{self.step}': {self.reason}"


def set_aside_lines(aside: Sequence[SetAside]) -> list[str]:
    """Return the lines about parts that were set aside; parts with the same step and reason share a line."""
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
    """The run finished except for some parts, which stay open: the next run tries them again."""

    def __init__(self, lines: Sequence[str]) -> None:
        """lines: the parts and why they were set aside, see `set_aside_lines`."""
        super().__init__(lines)
        self.lines = list(dict.fromkeys(lines))
        self.number = len(lines)

    def __str__(self) -> str:
        """Return a line with the number of parts, then the lines."""
        many = f"{self.number} part{'s' * (self.number != 1)} set aside and still open; run again to try again"
        return "\n".join([many, *(f"  {line}" for line in self.lines)])


class Unavailable(OlaError):
    """A file or store is temporarily unavailable: no row is written, and the part stays open."""


class GpuBroken(Unavailable):
    """A GPU failed for several records in a row: the part stays open, and the worker may be unusable."""


class BadMedia(OlaError):
    """A file, or a model's answer about it, is unusable. `str()` is the reason in the row. detail: the full message."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        """Keep the reason for the row and the detail for `ola why`."""
        super().__init__(reason)
        self.detail = detail


class StepFault(OlaError):
    """A step gave no answer for its batch. reason: short, the same for equal faults. detail: the full message."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        """Keep the reason for the row and the detail for `ola why`."""
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class StepRaised(StepFault):
    """The step raised; its process is still running."""


class ProcessDied(StepFault):
    """The step's process died."""


class DeviceLost(ProcessDied):
    """The GPU no longer answers the step's process, which was therefore ended."""


class ProcessKilled(StepFault):
    """The step's process got a SIGKILL from outside: from the kernel (out of memory) or from a user.

    opening: whether the step's `open` was running.
    """

    opening = False


class OverLimit(StepFault):
    """The step exceeded its time or memory limit and was killed."""
