"""The draft of a part's tar. It stays while its part is open, and the next attempt on this machine continues it.

References into a draft have the uri `<folder>/part-000012.tar.draft.<name>`. The file of the draft lies beside the
journal and is called `<tar>.draft.<boot>.<name>.<attempt>`.

Two attempts never write into one file, and a reference of one attempt never means bytes of another:

- An attempt holds a shared kernel lock on its file while it lives. Each write of its sandbox takes one as well.
- Another attempt takes the file over under the exclusive lock: then the first has ended, and no write is under way.
- It renames the file. A sandbox that outlives its worker finds no file under the old name once it has the lock (see
  `MediaTar`), and writes nothing.
- An attempt that finds no draft to take over creates one with another name, so that references of the two differ.

The kernel has the bytes before the journal names them, so a kill loses none. A crash of the machine may lose some: the
file is named after the boot, and a draft of an earlier boot is not taken over.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from manifests import storage
from manifests.records import Outcome
from pipeline.media.media_store import MediaTar, media_of, relocate_media
from stages.tar_format import BLOCK, padded

MARK = ".draft."  # precedes a draft's name; `storage.remove_drafts` deletes `.draft-`
STALE = 86400.0  # seconds since the last write, after which an unlocked draft in the temporary folder is deleted


@contextmanager
def part_draft(uri: str, base: Path, inputs: Sequence[str], outcomes: dict[str, Outcome]) -> Iterator[MediaTar]:
    """Open the tar of a part with the media that an earlier attempt left, and remove outcomes without media.

    uri: of the tar that the part will have; base: path that drafts of this part begin with; inputs: of the part, in
    order; outcomes: by input, from which those without media are removed. The draft is deleted when the block ends, and
    kept when it raises.
    """
    media, lock_file = _take_over_draft(uri, base, outcomes) or _create_draft(uri, base)
    try:
        kept = intact_inputs(inputs, outcomes, media, os.fstat(lock_file).st_size)
        for name in [name for name, outcome in outcomes.items() if name not in kept and refers_to_draft(outcome, uri)]:
            del outcomes[name]
        yield media
        Path(media.path).unlink(missing_ok=True)
        remove_unlocked(base.parent.glob(f"{base.name}{MARK}*"))
    finally:
        os.close(lock_file)


def follow_placed_tars(root: str, places: Mapping[str, str], outcomes: dict[str, Outcome]) -> None:
    """Point outcomes at the tar that a killed attempt has placed. places: the name of the tar by that of its draft."""
    for draft, place in places.items():
        if storage.exists(storage.join(root, place)):
            outcomes.update({name: relocate_media(outcome, draft, place) for name, outcome in outcomes.items()})


def refers_to_draft(outcome: Outcome, uri: str) -> bool:
    """Return whether media of the outcome lie in a draft of the tar `uri`; a finished tar has a digest in its name."""
    return any(media.uri.startswith(uri) for media in media_of(outcome))


def intact_inputs(inputs: Sequence[str], outcomes: Mapping[str, Outcome], media: MediaTar, length: int) -> set[str]:
    """Return the inputs whose media are in a draft of `length` bytes exactly as in an uninterrupted run.

    These are the first inputs, up to the first one without an outcome or whose media do not directly follow the media
    before. So the tar is the same, byte for byte, however often the part was interrupted. The tar's size is set to the
    end of their media.
    """
    kept: set[str] = set()
    for name in inputs:
        outcome = outcomes.get(name)
        end = None if outcome is None else _media_end(outcome, media)
        if end is None or end > length:
            break
        kept.add(name)
        media.size = end
    return kept


def _media_end(outcome: Outcome, tar: MediaTar) -> int | None:
    """Return where the outcome's media in the draft end; None unless they start at the draft's size."""
    end = tar.size
    for media in media_of(outcome):
        if media.uri == tar.uri and media.offset != end + BLOCK:
            return None
        if media.uri == tar.uri:
            end += BLOCK + padded(media.size)
        elif media.uri.startswith(tar.uri.rpartition(MARK)[0]):  # in another draft
            return None
    return end


def _create_draft(uri: str, base: Path) -> tuple[MediaTar, int]:
    """Create an empty draft. Returns its tar and the open file that holds its lock."""
    base.parent.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    path = _draft_path(base, name)
    lock_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # with the umask: the draft becomes the tar
    with suppress(OSError):  # a file system without locks: no attempt takes the draft over
        fcntl.flock(lock_file, fcntl.LOCK_SH)
    return MediaTar(f"{uri}{MARK}{name}", str(path)), lock_file


def _take_over_draft(uri: str, base: Path, outcomes: Mapping[str, Outcome]) -> tuple[MediaTar, int] | None:
    """Take over the draft of an attempt that has ended: of several drafts, the one with most media."""
    begin = f"{uri}{MARK}"
    named = Counter(m.uri for outcome in outcomes.values() for m in media_of(outcome) if m.uri.startswith(begin))
    for found, _ in named.most_common():
        name = found.removeprefix(begin)
        for path in base.parent.glob(f"{base.name}{MARK}{_boot()}.{name}.*"):
            new_path = _draft_path(base, name)
            if (lock_file := _claim_draft(path, new_path)) is not None:
                return MediaTar(found, str(new_path)), lock_file
    return None


def _claim_draft(path: Path, new_path: Path) -> int | None:
    """Rename a draft. Returns the open file that holds its lock, or None where another attempt holds the lock."""
    with suppress(OSError):
        lock_file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock_file), os.stat(path)):
                raise FileNotFoundError(path)  # another attempt was faster
            os.rename(path, new_path)
            fcntl.flock(lock_file, fcntl.LOCK_SH)
        except OSError:
            os.close(lock_file)
            raise
        return lock_file
    return None


def _draft_path(base: Path, name: str) -> Path:
    return base.with_name(f"{base.name}{MARK}{_boot()}.{name}.{uuid.uuid4().hex}")


@cache
def _boot() -> str:
    """Return the id of this boot of this machine; processes of one boot share files and locks."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else "unknown"


def remove_unlocked(paths: Iterator[Path], age: float = 0.0) -> None:
    """Delete drafts that no attempt holds and that were not written for `age` seconds."""
    for path in paths:
        with suppress(OSError):  # locked, or taken over
            lock_file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(lock_file).st_mtime >= age:
                    path.unlink()
            finally:
                os.close(lock_file)


def remove_orphaned_drafts(root: str) -> None:
    """Delete the drafts below a local root whose journal is gone, or that are from another boot."""
    if not storage.is_local(root):
        return
    found = Path(storage.normal(root)).glob(f"*/*.tar{MARK}*")
    remove_unlocked(path for path in found if not _is_resumable(path))


def _is_resumable(path: Path) -> bool:
    begin, _, names = path.name.partition(f".tar{MARK}")
    return path.with_name(f"{begin}.journal").exists() and names.startswith(f"{_boot()}.")


def remove_stale_drafts(folder: Path) -> None:
    """Delete the drafts that killed runs left in the temporary folder."""
    remove_unlocked(folder.glob(f"*{MARK}*"), STALE)
