"""Ignore SIGTERM and SIGHUP in the fork server of the loader's processes, which preloads this module.

`timeout` and schedulers send SIGTERM to all processes of a group. The trainer then saves a checkpoint, during which the
loader's processes must live. They exit with the trainer.
"""

from __future__ import annotations

import signal

for number in (signal.SIGTERM, signal.SIGHUP):  # only the fork server imports this module
    signal.signal(number, signal.SIG_IGN)
