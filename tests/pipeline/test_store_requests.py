"""How many requests to an object store a run takes, one with nothing to do, and `ola status`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.monitoring import progress
from pipeline.state import lease
from tests.bench import store
from tests.object_store import forget, watched
from tests.runs import ola

VIDEOS = 15
MOST = {"run": 6 * VIDEOS * store.STEPS, "idle run": 40, "status": 40}


def test_a_run_asks_the_store_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        progress, "LINE_SECONDS", 600.0
    )  # its looks, and the lease's beats, depend on how long it takes
    taken = {}
    with watched(store.BUCKET) as (uri, app):
        store.put_videos(tmp_path, "in", VIDEOS)
        for name, command in store.commands(uri, "in").items():
            forget()  # as a new process would begin
            app.requests.clear()
            said = ola(*command, *(("--set", "isolate=false") if command[0] == "run" else ()))
            assert said.code == 0, said
            taken[name] = sum(lease.LOCK not in request for request in app.requests)
    assert {name: count for name, count in taken.items() if count > MOST[name]} == {}, taken
