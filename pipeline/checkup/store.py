"""The place of a root: whether it can be listed, read and written, keeps conditional writes, and agrees on the time.

A few small objects of a random name are written for it and deleted again.
"""

from __future__ import annotations

import fcntl
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests import object_store, storage
from pipeline.checkup.finding import Finding, good, low, missing

PROBE = ".checkup-"  # before the random part of a name
SKEW, REFUSED = 300.0, 900.0  # seconds between two clocks: where a warning is due; where S3 refuses requests
ADVICE = "check the credentials and endpoint of the environment (AWS_PROFILE, AWS_ENDPOINT_URL, …) and their rights"
UNGUARDED = (
    "the store does not keep conditional writes (If-None-Match): two runs at this root may destroy each other's work",
    "let one run at a time work here, or take a store that has them (S3, Google Cloud Storage, Azure, MinIO)",
)


def store_findings(root: str) -> Iterator[Finding]:
    """Yield what the place of a root allows."""
    if not root:
        return
    if storage.is_local(root):
        yield folder_finding(storage.normal(root))
    elif object_store.holds(root):
        yield from object_store_findings(root)
    else:
        yield from _listed(root)


def folder_finding(root: str) -> Finding:
    """Return whether a local root, or the folder that it will be made in, can be written and locked."""
    folder = next(each for each in (Path(root), *Path(root).parents) if each.exists())
    try:
        with tempfile.NamedTemporaryFile(prefix=PROBE, dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return missing("root", f"{folder} cannot be written and locked ({error.strerror})", "name another --root")
    return good("root", f"{folder} can be written and locked")


def object_store_findings(root: str) -> Iterator[Finding]:
    """Yield whether an object store can be listed, written and read, keeps conditions, and agrees on the time."""
    yield from _listed(root)
    uri = _new_probe(root)
    try:
        before = time.time()
        storage.write_bytes(uri, b"probe")
        after = time.time()
        yield good("store: write", f"{storage.normal(root)} can be written")
    except OSError as error:
        yield _failed("store: write", error)
        return
    try:
        yield from _written_findings(uri, before, after)
    finally:
        with suppress(OSError):
            storage.remove(uri)


def _failed(name: str, error: OSError) -> Finding:
    skewed = "TooSkewed" in str(error)
    return missing(name, str(error), "set this machine's clock (NTP)" if skewed else ADVICE)


def _listed(root: str) -> Iterator[Finding]:
    try:
        found = len(storage.folders(root))
        yield good("store: list", f"{storage.normal(root)} has {found} folders")
    except OSError as error:
        yield _failed("store: list", error)


def _written_findings(uri: str, before: float, after: float) -> Iterator[Finding]:
    """Yield what a store does with an object that was just written, between two times of this machine."""
    try:
        came = storage.read_bytes(uri) == b"probe"
        yield good("store: read", "what was written is read") if came else missing("store: read", "other bytes", ADVICE)
        yield clock_finding(object_store.modified(uri), before, after)
    except OSError as error:
        yield _failed("store: read", error)
    name = "store: conditional writes"
    try:
        yield good(name, "they are kept") if _keeps_conditions(uri) else missing(name, *UNGUARDED)
    except OSError as error:
        yield missing(name, str(error), UNGUARDED[1])


def clock_finding(stored: float, before: float, after: float) -> Finding:
    """Return whether a store's time of a write is that of this machine, between `before` and `after` (seconds)."""
    skew = max(before - stored - 1, stored - after, 0.0)  # the store's time is cut to whole seconds
    found = f"this machine's clock and the store's are {skew:.0f} s apart"
    advice = f"set this machine's clock (NTP): S3 refuses requests at {REFUSED / 60:.0f} minutes"
    if skew <= SKEW:
        return good("clock", found)
    return (low if skew < REFUSED else missing)("clock", found, advice)


def _keeps_conditions(uri: str) -> bool:
    """Whether a store refuses to create an object that is there already. Raises OSError."""
    return not object_store.create(uri, b"another")


def conditions_warning(root: str) -> str:
    """Return why the store of a root cannot keep two runs apart; "" where it can, or the root is not in such a store.

    Up to five requests. What fails otherwise is left to the requests of the run itself.
    """
    with suppress(OSError):
        if object_store.holds(root):
            with _probe(root) as uri:
                return "" if _keeps_conditions(uri) else f"--root {root}: {UNGUARDED[0]}; {UNGUARDED[1]}"
    return ""


def _new_probe(root: str) -> str:
    return storage.join(storage.normal(root), f"{PROBE}{uuid.uuid4().hex}")


@contextmanager
def _probe(root: str) -> Iterator[str]:
    uri = _new_probe(root)
    storage.write_bytes(uri, b"probe")
    try:
        yield uri
    finally:
        storage.remove(uri)
