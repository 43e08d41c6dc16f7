"""Make a file appear at a second path without transferring its bytes: a hard link, or a copy within the store."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

from manifests import object_store, storage

# no hard links on this file system, paths on two file systems, or the maximum number of links
UNLINKABLE = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def link(source: str, target: str) -> None:
    """Link or copy the file at `source` to `target`; an existing target is replaced.

    Raises OSError, or FileNotFoundError if the source does not exist.
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
