"""Convert obstore's errors to OSError with one line, and tell temporary errors from permanent ones."""

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
PASSING = (408, 429)  # temporary, as are 5xx
FOREVER = (501, 505)  # permanent: the store does not support the request
# in errors without a status: a lost connection, a time-out, a truncated body
NETWORK = ("HTTP error", "non-partial response", "Got invalid", "response body", "timed out")
# error codes of a body that did not arrive in time (status 400), and of a lost answer to the end of a multipart upload
CODES = ("RequestTimeout", "NoSuchUpload", "IncompleteBody")


@contextmanager
def errors(uri: str) -> Iterator[None]:
    """Convert obstore's errors to OSError with one line that names the URI; temporary errors to PassingFault."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError, InvalidPathError):
        raise
    except (BaseError, ValueError, FileNotFoundError) as error:
        raise _as_os_error(uri, error) from error


def _as_os_error(uri: str, error: BaseException) -> OSError:
    text = str(error)
    if is_passing(text):
        return PassingFault(f"{uri}: {_error_line(error)}")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(2, f"no such {'bucket' if 'NoSuchBucket' in text else 'object'}", uri)
    if "404 Not Found" in text:  # from a listing: an empty folder is no error, so the bucket is missing
        return FileNotFoundError(2, "no such bucket", uri)
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if denied or "403 Forbidden" in text or "401 Unauthorized" in text:  # these texts come from listings
        return PermissionError(f"{uri}: {_error_line(error)}")
    return OSError(f"{uri}: {_error_line(error)}")


def is_passing(text: str) -> bool:
    """Return whether an error message of obstore means a temporary failure."""
    head = text.partition("Debug source")[0]
    if any(code in head for code in CODES):
        return True
    if (match := STATUS.search(head)) is None:
        return any(words in head for words in NETWORK)
    status = int(match[1])
    return status in PASSING or (status >= 500 and status not in FOREVER)


def _error_line(error: BaseException) -> str:
    """Return the error's message without the dump of its causes; of the store's XML only the code."""
    text = str(error).partition("Debug source")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return " ".join([*re.split(r"<\?xml|<Error>", text)[0].split(), *([code[1]] if code else [])])[:500]
