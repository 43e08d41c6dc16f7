"""Errors of obstore as OSError of one line: those that may pass, and those that stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from manifests.retries import PassingFault

STATUS = re.compile(r"status code: (\d{3})")
PASSING = (408, 429)  # beside 5xx
FOREVER = (501, 505)  # the store does not know such a request
# of errors without a status: the connection, the time-out, a body that was cut, which may leave half an answer
NETWORK = ("HTTP error", "non-partial response", "Got invalid", "response body", "timed out")
# 400 where the body did not come in time; the answer that a multipart upload is complete was lost
CODES = ("RequestTimeout", "NoSuchUpload", "IncompleteBody")


@contextmanager
def errors(uri: str) -> Iterator[None]:
    """Turn obstore's errors into OSError of one line that names the URI. Raises PassingFault for what may pass."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError, InvalidPathError):
        raise
    except (BaseError, ValueError, FileNotFoundError) as error:
        raise _as_os_error(uri, error) from error


def _as_os_error(uri: str, error: BaseException) -> OSError:
    text = str(error)
    if is_passing(text):
        return PassingFault(f"{uri}: {_line(error)}")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(2, f"no such {'bucket' if 'NoSuchBucket' in text else 'object'}", uri)
    if "404 Not Found" in text:  # of a listing: an empty folder is no error, so the bucket is missing
        return FileNotFoundError(2, "no such bucket", uri)
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if denied or "403 Forbidden" in text or "401 Unauthorized" in text:  # of a listing, too
        return PermissionError(f"{uri}: {_line(error)}")
    return OSError(f"{uri}: {_line(error)}")


def is_passing(text: str) -> bool:
    """Tell from obstore's words whether a request that failed may succeed later."""
    head = text.partition("Debug source")[0]
    if any(code in head for code in CODES):
        return True
    if (match := STATUS.search(head)) is None:
        return any(words in head for words in NETWORK)
    status = int(match[1])
    return status in PASSING or (status >= 500 and status not in FOREVER)


def _line(error: BaseException) -> str:
    """The error without the dump of its sources; of the store's XML only the code."""
    text = str(error).partition("Debug source")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return " ".join([*re.split(r"<\?xml|<Error>", text)[0].split(), *([code[1]] if code else [])])[:500]
