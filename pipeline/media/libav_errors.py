"""Translate libav's errors into messages that name the fault of the file.

For a damaged file libav returns whatever its decoder returned: names of unrelated operating system errors
(`PermissionError` for -1), or numbers without a name.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import BadMedia, Unavailable

# Without EIO, which demuxers return for a truncated file, and ENOMEM, which decoders return for an absurd size.
PASSING = frozenset({errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT})


@contextmanager
def translate_libav_errors() -> Iterator[None]:
    """Raise BadMedia for faults of a file that libav finds, and Unavailable for faults of the machine or its disk."""
    import av.error

    try:
        yield
    except av.error.FFmpegError as error:
        raise as_pipeline_error(error) from error
    except UnicodeDecodeError as error:
        raise BadMedia("damaged: a text in its header cannot be read", str(error)) from error


def as_pipeline_error(error: Exception) -> BadMedia | Unavailable:
    """Return the BadMedia or Unavailable that an `av.error.FFmpegError` stands for."""
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
    """Return whether an `av.error.FFmpegError` of a decoder is about its input."""
    return getattr(error, "errno", None) not in PASSING
