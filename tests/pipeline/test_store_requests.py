"""The number of store requests of a run, of a run with nothing to do, and of `ola status`."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests import blocks
from pipeline.monitoring import progress
from pipeline.state import lease
from tests.bench import store
from tests.object_store import forget, watched
from tests.runs import ola

VIDEOS = 15
MOST = {"run": 6 * VIDEOS * store.STEPS, "idle run": 40, "status": 40}


@pytest.mark.parametrize("a_block", [blocks.BLOCK, VIDEOS])
def test_a_run_asks_the_store_little(a_block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with compacted parts: one block file per step."""
    monkeypatch.setattr(blocks, "BLOCK", a_block)
    # looks of the progress, and beats of the lease, depend on how long a run takes
    monkeypatch.setattr(progress, "LINE_SECONDS", 600.0)
    taken = {}
    with watched(store.BUCKET) as (uri, app):
        store.put_videos(tmp_path, f"{a_block}", VIDEOS)
        for name, command in store.commands(uri, f"{a_block}").items():
            forget()  # as a new process would begin
            app.requests.clear()
            said = ola(*command, *(("--set", "isolate=false") if command[0] == "run" else ()))
            assert said.code == 0, said
            taken[name] = sum(lease.LOCK not in request for request in app.requests)
    most = MOST if a_block > VIDEOS else {**MOST, "idle run": 80, "status": 60}  # they grow with block files
    assert {name: count for name, count in taken.items() if count > most[name]} == {}, taken
