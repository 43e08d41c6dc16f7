"""Make containers of small videos, and run the pipeline over them."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

from manifests import object_file
from manifests.records import Media
from pipeline.config import load
from pipeline.media.media_store import MediaReader
from pipeline.run import run
from tests.killing import errors_as_rows
from tests.media import pattern, store
from tests.runs import rows, srt, status

SECONDS = (2, 3, 4)


def videos() -> dict[str, bytes]:
    """Three videos with what a downloader wrote beside them, by name."""
    found = {}
    for number, seconds in enumerate(SECONDS):
        stem = f"00000000{number}"
        found[f"{stem}.mp4"] = pattern(f"held-{seconds}.mp4", seconds).read_bytes()
        found[f"{stem}.json"] = json.dumps({"license": "CC-BY", "of": {"number": number}}).encode()
        found[f"{stem}.txt"] = f"pattern {number}\n".encode()
        found[f"{stem}.srt"] = srt((0.2, 2.5, f"Words of number {number} are these")).encode()
    return found


def tar(path: Path, members: Iterable[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT, mode: str = "w") -> Path:
    """A tar of these members in this order."""
    with tarfile.open(path, mode, format=form) as file:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def loose(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The same as files of a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def done(root: Path, *inputs: Path | str, sets: Iterable[str] = ()) -> Path:
    """A run over these inputs, in this process."""
    with errors_as_rows():
        run(load(None, ["isolate=false", *sets], {"inputs": [str(one) for one in inputs]}), str(root))
    status(root)
    return root


def range_sizes(patch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each range that is read of objects from now on."""
    sizes, read_range = list[int](), object_file.read_range

    def counted(uri: str, start: int, end: int, stamp: str) -> bytes:
        sizes.append(end - start)
        return read_range(uri, start, end, stamp)

    patch.setattr("manifests.object_file.read_range", counted)
    return sizes


def footage(root: Path) -> dict[str, tuple[bytes, bytes]]:
    """Bytes of the frames and of the sound of each clip."""
    read = MediaReader(str(root))
    found = rows(root, "SELECT clip, frames, sound FROM extract WHERE status = 'ok' ORDER BY clip")
    return {clip: (bytes(read(Media(**frames))), bytes(read(Media(**sound)))) for clip, frames, sound in found}


@cache
def of_files() -> Path:
    """Root of a run over the same videos and what lies beside them as loose files."""
    folder = Path(tempfile.mkdtemp(dir=store()))
    return done(folder / "root", loose(folder / "in", videos()))
