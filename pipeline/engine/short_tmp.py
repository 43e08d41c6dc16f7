"""Replace a long TMPDIR by a short link, because Ray and torch create Unix sockets, whose paths have at most 107 bytes.

The files stay in the same folder; all processes of a user use the same link.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from pipeline.errors import ConfigError

# bytes: of 107, the longest socket takes 90: a folder of ours, one for Ray's session, and `sockets/plasma_store`
LONGEST = 17
PLACES = ("/tmp", "/dev/shm", "/var/tmp")  # where a short link may lie


def shorten_tmpdir() -> None:
    """Set TMPDIR of this process and its children to a short link to the same folder. Raises ConfigError."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) <= LONGEST:
        return
    name = f"ola-{hashlib.sha256(f'{os.getuid()} {folder}'.encode()).hexdigest()[:6]}"
    link = next((link for place in PLACES if _points_to(link := Path(place, name), folder)), None)
    if link is None:
        raise ConfigError(
            f"TMPDIR: {folder} is too long for the names of sockets, and no link to it can be made in "
            f"{', '.join(PLACES)}; name a folder of at most {LONGEST} bytes"
        )
    os.environ["TMPDIR"] = tempfile.tempdir = str(link)


def _points_to(link: Path, folder: str) -> bool:
    """Return whether the link points to the folder; creates the link if it does not exist."""
    try:
        link.symlink_to(folder)
    except FileExistsError:
        pass
    except OSError:
        return False
    try:
        return link.lstat().st_uid == os.getuid() and os.readlink(link) == folder
    except OSError:
        return False
