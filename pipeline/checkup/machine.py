"""Check this machine's limits: shared memory, open files, disk space.

The functions that judge values are pure; `machine_findings` passes them this machine's values.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from manifests import storage
from pipeline.annotation.model_digest import cache_folder
from pipeline.checkup.finding import Finding, good, low, missing, unneeded
from pipeline.config import Config
from pipeline.sources.scratch import RESERVE

SHM = Path("/dev/shm")
LEAST_SHM, ENOUGH_SHM = 64 << 20, 1 << 30  # bytes: default of a container; size of an object store that does not spill
LEAST_FILES, ENOUGH_FILES = 256, 1024  # open files per process: what DuckDB and PyAV open; the usual limit
RAY_FILES = 8192  # open files of a Ray process, which has a connection per actor
ROOM = 10e9  # free bytes: an hour of video makes about 150 MB of frames and sound


def machine_findings(config: Config, root: str, starts_ray: bool, decoder: int = 0) -> Iterator[Finding]:
    """Check this machine's limits for a run and yield the findings.

    starts_ray: whether the run starts Ray here. decoder: bytes that vLLM writes at its first start.
    """
    total = shutil.disk_usage(SHM).total if SHM.is_dir() else None
    yield shm_finding(total) if starts_ray else unneeded("/dev/shm")
    yield files_finding(*resource.getrlimit(resource.RLIMIT_NOFILE), ray=starts_ray)
    copies = any(not storage.is_local(uri) for uri in (root or ".", *config.inputs))
    if copies or starts_ray:
        temporary = tempfile.gettempdir()
        yield room_finding(
            "room in the temporary folder", temporary, free_at(temporary), RESERVE, "set TMPDIR to a larger disk"
        )
    if storage.is_local(root or "."):
        folder = storage.normal(root or ".")
        name = "room in the root" if root else "room in this folder"
        yield room_finding(name, folder, free_at(folder), RESERVE, "name a --root on a larger disk")
    if decoder:
        cache = str(cache_folder())
        yield room_finding("room in the cache folder for vLLM", cache, free_at(cache), decoder + RESERVE,
                           "set XDG_CACHE_HOME to a larger disk")  # fmt: skip


def shm_finding(total: int | None) -> Finding:
    """Check that /dev/shm is large enough for Ray. total: its size in bytes; None if it does not exist."""
    advice = "start the container with --shm-size=8g, or on Kubernetes mount an emptyDir with medium: Memory there"
    if total is None or total < LEAST_SHM:
        return missing("/dev/shm", "there is none" if total is None else f"{total / 1e6:.0f} MB for Ray", advice)
    found = f"{total / 1e9:.1f} GB for Ray's objects"
    return good("/dev/shm", found) if total >= ENOUGH_SHM else low("/dev/shm", f"{found} (then on disk)", advice)


def files_finding(soft: int, hard: int, ray: bool) -> Finding:
    """Check the limits on open files. soft, hard: -1 for unlimited; Ray raises its limit to the hard one."""
    limit = hard if ray else soft
    enough, least = (RAY_FILES, ENOUGH_FILES) if ray else (ENOUGH_FILES, LEAST_FILES)
    found = "no limit" if limit < 0 else f"up to {limit}"
    advice = f"`ulimit -n {max(enough, 65536)}` before the run (docker run --ulimit nofile=65536)"
    if limit < 0 or limit >= enough:
        return good("open files", found)
    return (low if limit >= least else missing)("open files", f"{found}, expected {enough}", advice)


def free_at(path: str) -> int:
    """Return the free bytes on the disk of a path, which need not exist."""
    folder = next(each for each in (Path(path), *Path(path).parents) if each.exists())
    return shutil.disk_usage(folder).free


def room_finding(name: str, path: str, free: int, least: float, advice: str) -> Finding:
    """Check that a disk has free space. least: bytes without which a run fails."""
    found = f"{free / 1e9:.1f} GB free at {path}"
    if free < least:
        return missing(name, f"{found}, expected {least / 1e9:.1f} GB", f"free some, or {advice}")
    return good(name, found) if free >= ROOM else low(name, found, f"free some, or {advice}")
