"""Run a command, and print its wall seconds and the peak of its resident memory: `python -m tests.bench.peak CMD…`.

A process of its own: a child's peak counts from the memory of the parent it was forked from, so the parent must be
small. The command's own output goes to stderr.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time


def main() -> None:
    """Seconds, and megabytes (1e6) of the command's largest process, as JSON; the command's exit code is ours."""
    started = time.perf_counter()
    code = subprocess.run(sys.argv[1:], stdout=sys.stderr, check=False).returncode
    seconds = time.perf_counter() - started
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"seconds": seconds, "megabytes": kilobytes * 1024 / 1e6}))
    sys.exit(code)


if __name__ == "__main__":
    main()
