"""What can go wrong, as one tree. The library raises these; the command line prints their one line.

OlaError
├── ConfigError       a setting, a plan or an input list is wrong: nothing has run
├── RunError          the run cannot go on (a step's weights are missing, somebody else works on this root)
│   └── OpenFailed    a step's `open()` raised; carries the original traceback
├── Unavailable       what may pass (a store that fails, a file replaced meanwhile): no row, the part stays open
│   └── Killed        a step's process was killed by the machine or by somebody
├── SetAside          a part cannot go on in this run; it stays open, and all other parts go on
├── BadMedia          this file cannot be used: becomes a `failed` row with this reason
└── StepFault         a step did not answer for its batch; the worker turns it into rows
    ├── Raised        it raised
    ├── Died          its process died
    └── OverLimit     it took longer or more memory than its limit, and was killed
"""

from __future__ import annotations


class OlaError(Exception):
    """Anything of ours that a user should read as one line."""


class ConfigError(OlaError):
    """A setting, a plan or an input list is wrong; nothing has run."""


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


class Unavailable(OlaError):
    """A file or store cannot be used now, and may be usable later: no row is written, and the part stays open."""


class Killed(Unavailable):
    """A step's process got SIGKILL below its memory limit, and not from us: the record is not to blame.

    opening: whether the step's `open` was running.
    """

    def __init__(self, message: str, opening: bool = False) -> None:
        """Keep both."""
        super().__init__(message)
        self.opening = opening


class SetAside(OlaError):
    """A part cannot go on in this run. It stays open; `detail` is a traceback, or empty."""

    def __init__(self, part: int, step: str, reason: str, detail: str = "") -> None:
        """Keep all in `args`, so that the error survives being pickled."""
        super().__init__(part, step, reason, detail)
        self.part, self.step, self.reason, self.detail = part, step, reason, detail

    def __str__(self) -> str:
        """The one line."""
        return f"part {self.part} is set aside at '{self.step}': {self.reason}"


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


class Raised(StepFault):
    """The step raised; its process lives on."""


class Died(StepFault):
    """The step's process died."""


class OverLimit(StepFault):
    """The step took too long or too much memory, and was killed."""
