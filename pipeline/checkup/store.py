"""Check that a root's store can be listed, read and written, honours conditional writes, and has the right time.

The checks write a few small objects with random names and delete them.
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

PROBE = ".checkup-"  # start of an object's random name
SKEW, REFUSED = 300.0, 900.0  # seconds between two clocks: for a warning; for S3 to refuse requests
ADVICE = "check the credentials and endpoint of the environment (AWS_PROFILE, AWS_ENDPOINT_URL, …) and their rights"
UNGUARDED = (
    "the store does not keep conditional writes (If-None-Match): two runs at this root may destroy each other's work",
    "let one run at a time work here, or take a store that has them (S3, Google Cloud Storage, Azure, MinIO)",
)


def store_findings(root: str) -> Iterator[Finding]:
    """Check a root, local or in a store, and yield the findings."""
    if not root:
        return
    if storage.is_local(root):
        yield folder_finding(storage.normal(root))
    elif object_store.holds(root):
        yield from object_store_findings(root)
    else:
        yield from _listing_findings(root)


def folder_finding(root: str) -> Finding:
    """Check that a local root, or the folder in which it will be made, can be written and locked."""
    folder = next(each for each in (Path(root), *Path(root).parents) if each.exists())
    try:
        with tempfile.NamedTemporaryFile(prefix=PROBE, dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return missing("root", f"{folder} cannot be written and locked ({error.strerror})", "name another --root")
    return good("root", f"{folder} can be written and locked")


def object_store_findings(root: str) -> Iterator[Finding]:
    """Check listing, writing, reading, conditional writes and the clock of an object store; yield the findings."""
    yield from _listing_findings(root)
    uri = _new_probe(root)
    try:
        before = time.time()
        storage.write_bytes(uri, b"probe")
        after = time.time()
        yield good("store: write", f"{storage.normal(root)} can be written")
    except OSError as error:
        yield _failure_finding("store: write", error)
        return
    try:
        yield from _written_findings(uri, before, after)
    finally:
        with suppress(OSError):
            storage.remove(uri)


def _failure_finding(name: str, error: OSError) -> Finding:
    skewed = "TooSkewed" in str(error)
    return missing(name, str(error), "set this machine's clock (NTP)" if skewed else ADVICE)


def _listing_findings(root: str) -> Iterator[Finding]:
    try:
        found = len(storage.folders(root))
        yield good("store: list", f"{storage.normal(root)} has {found} folders")
    except OSError as error:
        yield _failure_finding("store: list", error)


def _written_findings(uri: str, before: float, after: float) -> Iterator[Finding]:
    """Check reading, conditional writes and the clock with an object written between two times; yield the findings."""
    try:
        came = storage.read_bytes(uri) == b"probe"
        yield good("store: read", "what was written is read") if came else missing("store: read", "other bytes", ADVICE)
        yield clock_finding(object_store.modified(uri), before, after)
    except OSError as error:
        yield _failure_finding("store: read", error)
    name = "store: conditional writes"
    try:
        yield good(name, "they are kept") if _keeps_conditions(uri) else missing(name, *UNGUARDED)
    except OSError as error:
        yield missing(name, str(error), UNGUARDED[1])


def clock_finding(stored: float, before: float, after: float) -> Finding:
    """Check that a store's time of a write lies between this machine's times `before` and `after` (seconds)."""
    skew = max(before - stored - 1, stored - after, 0.0)  # the store's time is truncated to whole seconds
    found = f"this machine's clock and the store's are {skew:.0f} s apart"
    advice = f"set this machine's clock (NTP): S3 refuses requests at {REFUSED / 60:.0f} minutes"
    if skew <= SKEW:
        return good("clock", found)
    return (low if skew < REFUSED else missing)("clock", found, advice)


def _keeps_conditions(uri: str) -> bool:
    """Return whether a store refuses to create an existing object. Raises OSError."""
    return not object_store.create(uri, b"another")


def conditions_warning(root: str) -> str:
    """Return a warning if the root's store cannot lock a root against a second run; "" if it can, or for other roots.

    Makes up to five requests. Other errors are ignored here, since the run's own requests report them.
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
