"""Data sets of the Hub (`hf://datasets/owner/name`), listed and read in place from a simulated Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem
from huggingface_hub.hf_file_system import HfFileSystemFile

from pipeline.config import load
from pipeline.errors import ConfigError, RunError
from pipeline.run import run
from tests.containers import done, footage, of_files, tar, videos
from tests.runs import rows

ROOT = "datasets/owner/name"
FRAMES = ["steps=[ingest,split,extract]"]


class Hub:
    """Files of one data set, and what is asked of them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = {f"{ROOT}/{name}": data for name, data in files.items()}
        self.ranges: list[tuple[str, int]] = []

    def tree(self, filesystem: HfFileSystem, path: str, recursive: bool = False, **_: Any) -> list[dict[str, Any]]:
        """Answer `HfFileSystem._ls_tree`, and fill its cache as that does."""
        found = []
        for folder in [path, *sorted({_folder(name) for name in self.files if name.startswith(f"{path}/")} - {path})]:
            held = [_file(name, data) for name, data in self.files.items() if _folder(name) == folder]
            below = {name[: name.index("/", len(folder) + 1)] for name in self.files if _is_deeper(name, folder)}
            held += [{"name": name, "size": 0, "type": "directory"} for name in sorted(below)]
            filesystem.dircache[folder] = held
            found += held if recursive or folder == path else []
        return found

    def fetch(self, file: HfFileSystemFile, start: int, end: int) -> bytes:
        """Answer a range request."""
        self.ranges.append((file.path, end - start))
        return self.files[file.path][start:end]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _is_deeper(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/") and "/" in name[len(folder) + 1 :]


def _file(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "size": len(data), "type": "file", "blob_id": "0", "lfs": None, "last_commit": None}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    films = [data for name, data in videos().items() if name.endswith(".mp4")]
    pq.write_table(pa.table({"mp4": films[:2]}), tmp_path / "a.parquet")
    held = tar(tmp_path / "b.tar", [("2.mp4", films[2]), ("2.txt", b"the third")])
    made = Hub({"README.md": b"# a data set", "data/a.parquet": (tmp_path / "a.parquet").read_bytes(),
                "data/b.tar": held.read_bytes()})  # fmt: skip
    monkeypatch.setattr(HfFileSystem, "_repo_and_revision_exist", lambda *_: (True, None))
    monkeypatch.setattr(HfFileSystem, "_ls_tree", lambda *of, **named: made.tree(*of, **named))  # noqa: PLW0108  else not bound
    monkeypatch.setattr(HfFileSystemFile, "_fetch_range", lambda *of: made.fetch(*of))  # noqa: PLW0108  likewise
    yield made
    HfFileSystem.clear_instance_cache()


@pytest.mark.parametrize("named", [f"hf://{ROOT}", f"hf://{ROOT}/data/*"])
def test_a_data_set_of_the_hub_is_read_in_place(named: str, hub: Hub, tmp_path: Path) -> None:
    root = done(tmp_path / "root", named, sets=FRAMES)
    assert footage(root) == footage(of_files()) != {}
    uris = ["data/a.parquet#0", "data/a.parquet#1", "data/b.tar#2.mp4"]
    assert rows(root, "SELECT uri FROM ingest ORDER BY uri") == [(f"hf://{ROOT}/{uri}",) for uri in uris]
    assert rows(root, "SELECT meta->>'caption' FROM ingest WHERE uri LIKE '%tar%'") == [("the third",)]
    assert {path for path, _ in hub.ranges} <= {f"{ROOT}/data/a.parquet", f"{ROOT}/data/b.tar", f"{ROOT}/README.md"}


def test_errors_of_the_hub_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(name: str) -> Any:
        return load(None, ["isolate=false", "store_patience=0"], {"inputs": [name]})

    monkeypatch.setattr(HfFileSystem, "_repo_and_revision_exist", lambda *_: (False, None))
    with pytest.raises((ConfigError, RunError), match="hf://datasets/owner/none") as nothing:
        run(config("hf://datasets/owner/none"), str(tmp_path / "root"))

    def away(*_: Any) -> None:
        raise httpx2.ConnectError("[Errno -2] Name or service not known")

    HfFileSystem.clear_instance_cache()
    monkeypatch.setattr(HfFileSystem, "_repo_and_revision_exist", away)
    with pytest.raises(RunError, match=r"hf://.*Name or service not known") as cut:
        run(config(f"hf://{ROOT}"), str(tmp_path / "root"))
    assert "\n" not in str(nothing.value) + str(cut.value)
    assert not (tmp_path / "root" / "run.yaml").exists()
