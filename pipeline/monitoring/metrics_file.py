"""Write the file of `ola run --metrics FILE` in Prometheus' text format, for node_exporter's textfile collector."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from manifests import drafts
from pipeline.errors import ConfigError
from pipeline.monitoring.metrics import VALUES, errors_logged

INTERVAL = 5.0  # seconds between writes: Prometheus seldom scrapes more often


class MetricsFile:
    """Writes the metrics of this process to a file at intervals until its block ends, and once at the end."""

    def __init__(self, path: Path | None) -> None:
        """path: of the file; None to write none."""
        self.path, self.stop = path, threading.Event()
        self.thread = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self) -> MetricsFile:
        """Start with all counters at 0. Raises ConfigError if the file cannot be written."""
        if self.path is None:
            return self
        VALUES.clear()
        try:
            self.write(self.path)
        except OSError as error:
            raise ConfigError(
                f"--metrics: expected a file that can be written, got {self.path} ({error.strerror}); "
                "make its folder, or name another"
            ) from error
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the last values."""
        if self.path is not None:
            self.stop.set()
            self.thread.join()

    def _keep_writing(self) -> None:
        ended = False
        while not ended:
            ended = self.stop.wait(INTERVAL)
            self._try_to_write()

    @errors_logged
    def _try_to_write(self) -> None:
        """Write the file; log the first error, since a full disk must not end the run."""
        if self.path is not None:
            self.write(self.path)

    def write(self, path: Path) -> None:
        """Replace the file atomically. Raises OSError."""
        draft = Path(drafts.name(str(path)))
        try:
            draft.write_text(VALUES.text(), encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
