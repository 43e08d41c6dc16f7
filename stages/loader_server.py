"""Preloaded by the server that the loader's processes begin from: signals to the whole group are for the trainer.

`timeout` and schedulers send SIGTERM to every process of a group. The trainer saves a checkpoint then, for which the
loader's processes must live until it ends; they end with it.
"""

from __future__ import annotations

import signal

for number in (signal.SIGTERM, signal.SIGHUP):  # nobody but that server imports this module
    signal.signal(number, signal.SIG_IGN)
