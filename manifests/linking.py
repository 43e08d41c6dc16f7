"""One file at two places without its bytes being moved: a hard link on disk, a copy within the store elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

from manifests import object_store, storage

# of a file system without hard links, of two file systems, or of a file that has as many links as it may
UNLINKABLE = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def link(source: str, target: str) -> None:
    """Make the file at `source` appear at `target` as well, in the place of one that is there.

    Raises OSError, FileNotFoundError where there is no source.
    """
    if storage.is_local(source):
        _link(storage.normal(source), storage.normal(target))
    elif object_store.holds(source) and object_store.holds(target):
        object_store.copy(source, target)
    else:
        with tempfile.TemporaryDirectory() as folder, storage.draft(target) as path:
            shutil.copyfile(storage.fetch(source, folder), path)


def _link(source: str, target: str) -> None:
    with storage.draft(target) as path:
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno not in UNLINKABLE:
                raise
            shutil.copyfile(source, path)
