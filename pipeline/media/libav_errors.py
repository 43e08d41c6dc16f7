"""libav's errors in words that say what is wrong with the file.

libav answers a damaged file with whatever its decoder returns: names of operating system errors (`PermissionError` for
-1) and numbers without a name. None of these is what it says.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import BadMedia, Unavailable

# EIO and ENOMEM are not among them: demuxers give the one for a file cut off, decoders the other for an absurd size.
PASSING = frozenset({errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT})


@contextmanager
def damage_named() -> Iterator[None]:
    """Raise BadMedia for what libav finds wrong with a file; Unavailable for what the machine or its disk lacked."""
    import av.error

    try:
        yield
    except av.error.FFmpegError as error:
        raise cause_of(error) from error
    except UnicodeDecodeError as error:
        raise BadMedia("damaged: a text in its header cannot be read", str(error)) from error


def cause_of(error: Exception) -> BadMedia | Unavailable:
    """What an error of libav says of the file. error: an `av.error.FFmpegError`."""
    import av.error

    detail = " ".join(str(error).split())
    if getattr(error, "errno", None) in PASSING:
        return Unavailable(f"a file cannot be read now: {detail}")
    if isinstance(error, av.error.EOFError):
        return BadMedia("damaged: it ends too early", detail)
    if isinstance(error, (av.error.DecoderNotFoundError, av.error.PatchWelcomeError)):
        return BadMedia("in a form that libav cannot decode", detail)
    return BadMedia("damaged: its data cannot be read", detail)


def is_damage(error: Exception) -> bool:
    """Whether an `av.error.FFmpegError` of a decoder is about what it was given."""
    return getattr(error, "errno", None) not in PASSING
