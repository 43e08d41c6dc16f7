"""Lock a root for one run at a time: by a kernel lock on a local root, by a renewed lease object in a store.

The object `<root>/.lock` names its holder, which rewrites it every BEAT seconds. A run that finds another run's object
watches it for PATIENCE seconds of its own clock, so clocks need not agree. If the object does not change, its holder
counts as dead, and the watcher takes the object by a conditional write, which only one run can win. A holder on the
same machine whose process has ended counts as dead at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests import drafts, object_store, storage
from manifests.retries import StoreUnreachable
from pipeline.errors import ConfigError, RunError
from pipeline.media.media_draft import remove_orphaned_drafts

if TYPE_CHECKING:
    from obstore import UpdateVersion

LOCK = ".lock"
BEAT = 10.0  # seconds between the holder's writes: 360 requests an hour
PATIENCE = 90.0  # seconds without a change until a holder counts as dead: a beat and a hung request (60 s)
POLL_SECONDS = 3.0  # seconds between two reads of another run's object


@contextmanager
def exclusive_run(root: str) -> Iterator[None]:
    """Lock the root for this process until the block or the process ends. Raises RunError if another run holds it.

    In a store, another run takes the root if this process was suspended for longer than PATIENCE: the main thread is
    then interrupted as by Ctrl-C, and the block ends with RunError. Roots on other file systems (hdfs://, fsspec) are
    not locked. Drafts of killed runs are removed at the start.
    """
    hold = _hold_kernel_lock if storage.is_local(root) else _hold_lease if object_store.holds(root) else _no_lock
    with hold(root):
        storage.remove_drafts(root)
        remove_orphaned_drafts(root)
        yield


@contextmanager
def _no_lock(root: str) -> Iterator[None]:
    yield


@contextmanager
def _hold_kernel_lock(root: str) -> Iterator[None]:
    import fcntl

    folder = Path(storage.normal(root))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a+")  # noqa: SIM115  held until the end of the block
    except OSError as error:
        raise ConfigError(f"--root {root}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise RunError(f"another run is at work at {root} (process {lock.read().strip() or '?'})") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@dataclass(frozen=True)
class LeaseHolder:
    """The process that holds a root. space: scope of its process id, see `drafts.process_space`."""

    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    space: str = field(default_factory=drafts.process_space)
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    beat: int = 0

    def stored(self) -> bytes:
        """Return the bytes of the lease object."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(data: bytes) -> LeaseHolder:
        """Parse the holder from the object's bytes. Raises ValueError, KeyError or TypeError."""
        return LeaseHolder(**json.loads(data))

    def is_dead(self) -> bool:
        """Return whether the holder's process is known to have ended; False if this cannot be known."""
        begun = datetime.fromisoformat(self.since).timestamp()
        return self.space == drafts.process_space() and not drafts.is_alive(self.process, begun)


@contextmanager
def _hold_lease(root: str) -> Iterator[None]:
    lease = Lease(root)
    try:
        lease.take()
    except StoreUnreachable:
        raise
    except OSError as error:
        raise ConfigError(f"--root {root}: {error}") from error
    with _interrupt_main_thread_on_loss(lease):
        try:
            yield
        except KeyboardInterrupt:
            lease.check()
            raise
        finally:
            lease.release()
        lease.check()


@contextmanager
def _interrupt_main_thread_on_loss(lease: Lease) -> Iterator[None]:
    """Let a lost lease interrupt the main thread until the block ends, even if Ctrl-C is ignored (`nohup`)."""
    main = threading.main_thread()
    if threading.current_thread() is not main or main.ident is None:
        yield  # only the main thread can be interrupted; in another thread the block raises RunError at its end
        return
    before, thread = signal.signal(signal.SIGUSR1, signal.default_int_handler), main.ident
    lease.on_loss = lambda: signal.pthread_kill(thread, signal.SIGUSR1)
    try:
        yield
    finally:
        lease.on_loss = lambda: None
        signal.signal(signal.SIGUSR1, before or signal.SIG_DFL)


class Lease:
    """The object that names the holder of a root in a store, and the thread that renews the object."""

    def __init__(self, root: str) -> None:
        """Make no request yet."""
        self.root, self.uri, self.holder = root, storage.join(root, LOCK), LeaseHolder()
        self.version: UpdateVersion = {}
        self.lost = False
        self.on_loss: Any = lambda: None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")

    def take(self) -> None:
        """Lock the root. Raises RunError if another run holds it, OSError if the store does not answer."""
        while not storage.create(self.uri, self.holder.stored()):
            if self._take_from_dead():
                break
        else:
            self.version = self._own_version()
        self._thread.start()

    def _own_version(self) -> UpdateVersion:
        found = object_store.read_version(self.uri)
        if found is None or found[0] != self.holder.stored():
            raise RunError(f"another run took {self.root} at the same moment: wait for it, or end it")
        return found[1]

    def _take_from_dead(self) -> bool:
        """Take the object of a dead holder; return False if the object is gone. Raises RunError for a live holder."""
        found = object_store.read_version(self.uri)
        if found is None:
            return False
        data, version = found
        if not _is_dead(data) and not self._is_unchanged(version):
            return False
        new_version = object_store.replace(self.uri, self.holder.stored(), version)
        if new_version is None:
            raise RunError(f"another run took {self.root} at the same moment: wait for it, or end it")
        self.version = new_version
        return True

    def _is_unchanged(self, version: UpdateVersion) -> bool:
        """Return whether the object exists unchanged for PATIENCE seconds. Raises RunError if it changes."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            found = object_store.read_version(self.uri)
            if found is None:
                return False
            if found[1] != version:
                raise RunError(
                    f"another run is at work at {self.root} ({_describe_holder(found[0])}): wait for it, or end it"
                )
        return True

    def _renew(self) -> None:
        while not self._ended.wait(BEAT):
            following = replace(self.holder, beat=self.holder.beat + 1)
            with suppress(OSError):  # the store does not answer: the next beat shows whether the root was taken
                version = object_store.replace(self.uri, following.stored(), self.version)
                if version is None and not self._ended.is_set():
                    self.lost = True
                    self.on_loss()
                if version is None:
                    return
                self.holder, self.version = following, version

    def check(self) -> None:
        """Raise RunError if another run has taken the root."""
        if self.lost:
            raise RunError(f"{self.root}: another run has taken this root, since this run wrote no beat for "
                           f"{PATIENCE:.0f} s; what is committed stays")  # fmt: skip

    def release(self) -> None:
        """Stop renewing, and delete the object if it is still this run's."""
        self._ended.set()
        self._thread.join(timeout=POLL_SECONDS)
        with suppress(OSError):  # the run has succeeded: the next run waits for PATIENCE
            found = object_store.read_version(self.uri)
            if found is not None and not self.lost and _id_of(found[0]) == self.holder.id:
                storage.remove(self.uri)


def _is_dead(data: bytes) -> bool:
    with suppress(ValueError, TypeError):
        return LeaseHolder.parse(data).is_dead()
    return False


def _id_of(data: bytes) -> str | None:
    with suppress(ValueError, TypeError):
        return LeaseHolder.parse(data).id
    return None


def _describe_holder(data: bytes) -> str:
    with suppress(ValueError, TypeError):
        holder = LeaseHolder.parse(data)
        return f"process {holder.process} on {holder.host}, since {holder.since}"
    return "its lock names nobody"
