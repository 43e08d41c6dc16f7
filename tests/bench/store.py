"""Benchmark a run from store to store: requests, seconds, and the share of time with a request under way.

    python -m tests.bench store

15, 150 and 1,500 small videos with a part each, on moto, which answers every request 20 ms later. Then a run with
nothing to do, and `ola status`. moto answers in Python on the same cores, so seconds are an upper bound.

With other jobs on the two cores:

| videos | requests a part-step | seconds | a request under way | with nothing to do | `ola status` |
|---|---|---|---|---|---|
| 15 | 5.2 | | | 33 requests | 21 requests |
| 150 | 3.9 | 93 | 59 % of the time | 56 | 29 |
| 1,500 | 4.1 | 1,149 | 64 % | 277 | 118 |

The last two columns grow with block files, of which 1,500 parts have 92.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos
from tests.media import numbered
from tests.object_store import Watched, client, forget, watched
from tests.runs import ola, talking

SIZES = (15, 150, 1500)
STEPS = 4  # ingest, split, extract, transcribe
DELAY = 0.02  # seconds added to each request
BUCKET = "small-videos"
SETTINGS = ("--set", "videos_per_part=1", "--set", "extract.frames.cap=2")


class Late:
    """A WSGI application that answers DELAY later than another, and adds up the time in which a request is open."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        """Pass everything on to `app`."""
        self.app, self.lock = app, threading.Lock()
        self.open, self.began, self.busy = 0, 0.0, 0.0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        self._count(1)
        try:
            time.sleep(DELAY)
            return list(self.app(environ, start))
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self.lock:
            now = time.monotonic()
            self.busy += now - self.began if self.open else 0.0
            self.began, self.open = now, self.open + change


def put_videos(folder: Path, prefix: str, count: int) -> None:
    """So many videos of two seconds with subtitles in the bucket; their sizes differ, or they would be compared."""
    video = talking(folder, "one", numbered("short.mp4", 50), 2)
    picture, words = video.read_bytes(), video.with_suffix(".srt").read_bytes()
    for n in range(count):
        free = struct.pack(">I4s", 8 + n, b"free") + bytes(n)  # a box that players pass over
        client().put_object(Bucket=BUCKET, Key=f"{prefix}/v{n:04d}.mp4", Body=picture + free)
        client().put_object(Bucket=BUCKET, Key=f"{prefix}/v{n:04d}.srt", Body=words)


def commands(uri: str, name: str) -> dict[str, tuple[str, ...]]:
    """The commands that are measured, one after the other."""
    root = f"{uri}/{name}-out"
    return {
        "run": ("run", f"{uri}/{name}", "--root", root, *SETTINGS),
        "idle run": ("run", "--root", root),
        "status": ("status", root),
    }


def measure(videos: Videos) -> Iterator[Figure]:
    """Rows for each number of videos: requests of each command, seconds of the run and the share that waits."""
    with watched(BUCKET) as (uri, app):
        for count in SIZES:
            put_videos(videos.folder / f"small-{count}", str(count), count)
            for name, command in commands(uri, str(count)).items():
                yield from _figures(count, name, *_measured(command, app))


def _measured(command: tuple[str, ...], app: Watched) -> tuple[int, float, float]:
    """Requests, seconds, and seconds in which a request was open. Raises RuntimeError where the command fails."""
    forget()  # as a new process would begin
    app.app, inner = Late(app.app), app.app
    app.requests.clear()
    began = time.monotonic()
    said = ola(*command)
    seconds, late, app.app = time.monotonic() - began, app.app, inner
    if said.code:
        raise RuntimeError(f"{command}: {said.err}")
    return len(app.requests), seconds, late.busy


def _figures(count: int, name: str, requests: int, seconds: float, busy: float) -> Iterator[Figure]:
    what, none = f"{name}, {count:,} small videos", "absolute; 20 ms added to each request"
    if name == "run":
        each = requests / (count * STEPS)
        yield Figure("store", what, none, "requests a part-step", [each], target=Target("≤", 6, "requests"))
    else:
        yield Figure("store", what, none, "requests", [requests], target=Target("≤", 40, "requests"))
    yield Figure("store", what, none, "s", [seconds])
    yield Figure("store", f"{what}: share of the time with a request under way", none, "%", [100 * busy / seconds])
