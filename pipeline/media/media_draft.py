"""The draft of a part's tar. It stays while its part is open, and the next attempt on this machine goes on in it.

Each draft has a name, which stands in the references to it: `<folder>/part-000012.tar.draft.<name>`. Its file is
`<tar>.draft.<boot>.<name>.<holder>`, where the holder is one attempt at the part. The file lies beside the journal.

Two attempts never write into one file, nor does a reference of one mean bytes of the other:

- An attempt holds a shared lock of the kernel on its file while it lives. Each write of its sandbox takes one as well.
- Another attempt takes the file over only under the exclusive lock: the first has ended, and no write is under way.
- It renames the file. A sandbox that outlives its worker by a moment finds no file under the name it knows, looks again
  once it has the lock (see `MediaTar`), and writes nothing.
- An attempt that can take over no draft begins one of another name. The references of the two differ.

Bytes are with the kernel before the journal names them, so a kill leaves them whole. A crash of the machine may not:
the file is named after the boot, and an earlier boot's is not taken over.
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

MARK = ".draft."  # before the names; `storage.remove_drafts` looks for `.draft-`
STALE = 86400.0  # seconds: an unheld draft in the temporary folder that nobody has written for so long is deleted


@contextmanager
def part_draft(uri: str, base: Path, inputs: Sequence[str], outcomes: dict[str, Outcome]) -> Iterator[MediaTar]:
    """Open the tar of a part, with the media of the outcomes that an earlier attempt left; the others are forgotten.

    uri: of the tar that the part will have; base: path that drafts of this part begin with; inputs: of the part, in
    order; outcomes: by input, from which those are removed whose media are not there. The draft is deleted when the
    block ends, and kept when it raises.
    """
    media, held = _taken_over(uri, base, outcomes) or _begun(uri, base)
    try:
        kept = intact(inputs, outcomes, media, os.fstat(held).st_size)
        for name in [name for name, outcome in outcomes.items() if name not in kept and is_draft(outcome, uri)]:
            del outcomes[name]
        yield media
        Path(media.path).unlink(missing_ok=True)
        remove_unheld(base.parent.glob(f"{base.name}{MARK}*"))
    finally:
        os.close(held)


def follow_places(root: str, places: Mapping[str, str], outcomes: dict[str, Outcome]) -> None:
    """Let outcomes refer to the tar that a killed attempt put in place. places: its name by that of its draft."""
    for draft, place in places.items():
        if storage.exists(storage.join(root, place)):
            outcomes.update({name: relocate_media(outcome, draft, place) for name, outcome in outcomes.items()})


def is_draft(outcome: Outcome, uri: str) -> bool:
    """Whether media of the outcome lie in a draft of the tar `uri`: a tar that is done has a digest in its name."""
    return any(media.uri.startswith(uri) for media in media_of(outcome))


def intact(inputs: Sequence[str], outcomes: Mapping[str, Outcome], media: MediaTar, length: int) -> set[str]:
    """Return the inputs whose media are in a draft of `length` bytes as in a run that was not killed.

    These are the first inputs, up to one without an outcome or with media elsewhere than after those before it. So
    the tar is the same, byte for byte, however often the part was begun. The tar's size is set to their end.
    """
    kept: set[str] = set()
    for name in inputs:
        outcome = outcomes.get(name)
        end = None if outcome is None else _end(outcome, media)
        if end is None or end > length:
            break
        kept.add(name)
        media.size = end
    return kept


def _end(outcome: Outcome, tar: MediaTar) -> int | None:
    """Return where the outcome's media in the draft end if they follow on its size; None if they lie elsewhere."""
    end = tar.size
    for media in media_of(outcome):
        if media.uri == tar.uri and media.offset != end + BLOCK:
            return None
        if media.uri == tar.uri:
            end += BLOCK + padded(media.size)
        elif media.uri.startswith(tar.uri.rpartition(MARK)[0]):  # in another draft
            return None
    return end


def _begun(uri: str, base: Path) -> tuple[MediaTar, int]:
    """Create an empty draft. Returns its tar and the file that holds its lock."""
    base.parent.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    path = _path(base, name)
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # less the umask: it becomes the tar
    with suppress(OSError):  # a file system without locks: nobody can take the draft over
        fcntl.flock(held, fcntl.LOCK_SH)
    return MediaTar(f"{uri}{MARK}{name}", str(path)), held


def _taken_over(uri: str, base: Path, outcomes: Mapping[str, Outcome]) -> tuple[MediaTar, int] | None:
    """Take over the draft of an attempt that has ended: of several, the one that most media lie in."""
    begin = f"{uri}{MARK}"
    named = Counter(m.uri for outcome in outcomes.values() for m in media_of(outcome) if m.uri.startswith(begin))
    for found, _ in named.most_common():
        name = found.removeprefix(begin)
        for path in base.parent.glob(f"{base.name}{MARK}{_boot()}.{name}.*"):
            mine = _path(base, name)
            if (held := _renamed(path, mine)) is not None:
                return MediaTar(found, str(mine)), held
    return None


def _renamed(path: Path, mine: Path) -> int | None:
    """Rename a draft that nobody holds. Returns the file that holds its lock, or None where somebody holds it."""
    with suppress(OSError):
        held = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(held), os.stat(path)):
                raise FileNotFoundError(path)  # somebody was faster
            os.rename(path, mine)
            fcntl.flock(held, fcntl.LOCK_SH)
        except OSError:
            os.close(held)
            raise
        return held
    return None


def _path(base: Path, name: str) -> Path:
    return base.with_name(f"{base.name}{MARK}{_boot()}.{name}.{uuid.uuid4().hex}")


@cache
def _boot() -> str:
    """Return a name of this boot of this machine: within it, all see the same bytes and the same locks."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else "unknown"


def remove_unheld(paths: Iterator[Path], age: float = 0.0) -> None:
    """Delete drafts that no attempt holds, and that nobody has written for `age` seconds."""
    for path in paths:
        with suppress(OSError):  # somebody holds it, or was faster
            held = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(held).st_mtime >= age:
                    path.unlink()
            finally:
                os.close(held)


def remove_left_drafts(root: str) -> None:
    """Delete the drafts below a local root that no attempt will take over: the journal is gone, or another boot's."""
    if not storage.is_local(root):
        return
    found = Path(storage.normal(root)).glob(f"*/*.tar{MARK}*")
    remove_unheld(path for path in found if not _is_wanted(path))


def _is_wanted(path: Path) -> bool:
    begin, _, names = path.name.partition(f".tar{MARK}")
    return path.with_name(f"{begin}.journal").exists() and names.startswith(f"{_boot()}.")


def remove_stale_drafts(folder: Path) -> None:
    """Delete the drafts that killed runs left in the temporary folder."""
    remove_unheld(folder.glob(f"*{MARK}*"), STALE)
