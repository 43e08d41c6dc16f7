"""Objects in S3, Google Cloud Storage and Azure through `obstore`: requests, their retries and their errors.

An object is seen whole or not at all. A small one is one PUT. A large one is a multipart upload, which obstore aborts
when reading or sending fails. Each call runs in native code: an exception that a signal handler raises (Ctrl-C) waits
until the call has ended, so it cannot cut a write.

Errors are OSError with one line. FileNotFoundError: there is no such object.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from manifests.credentials import s3_credentials
from manifests.filesystems import s3_endpoint, s3_region

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta, PutResult, UpdateVersion
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "abfs", "abfss")
SMALL = 8 << 20  # bytes: up to here an object is one PUT
PARTS = 9000  # of a multipart upload; stores allow 10,000
AT_ONCE = 4  # parts of one upload in flight: SMALL bytes each lie in memory
CHUNK = 8 << 20  # bytes of a download in memory; larger blocks gain nothing over a network
# Server errors and cut connections are tried again for two minutes. Waits are drawn at random up to `base` times the
# one before, so they grow slowly: with 2, fifteen retries were over after 7 s.
RETRIES: RetryConfig = {
    "max_retries": 1000,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=15), "base": 3},
    "retry_timeout": timedelta(minutes=2),
}


@dataclass(frozen=True)
class Entry:
    """A file in a listing: its path below the folder that was asked for, its size in bytes, its stamp, its fault.

    stamp: ETag, or modification time in ns: it changes when the file is written again; empty where there is neither.
    fault: why the object cannot be read under its name ("" if it can be).
    """

    path: str
    size: int
    stamp: str = ""
    fault: str = ""


def holds(uri: str) -> bool:
    """Whether `uri` names an object of a store that this module reads."""
    return uri.partition("://")[0] in SCHEMES


@cache
def _store(scheme: str, bucket: str) -> ObjectStore:
    client: ClientConfig = {"timeout": "1h", "read_timeout": "60s", "connect_timeout": "10s"}
    if scheme != "s3":
        return from_url(f"{scheme}://{bucket}", client_options=client, retry_config=RETRIES)
    options: dict[str, Any] = {"region": s3_region(bucket), **s3_credentials()}
    if endpoint := s3_endpoint():
        options["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    return from_url(f"s3://{bucket}", client_options=client, retry_config=RETRIES, **options)


def forget() -> None:
    """Forget all connections: the environment names other stores now."""
    _store.cache_clear()


def located(uri: str) -> tuple[ObjectStore, str]:
    """Store and key. Raises OSError for a key that cannot be asked for."""
    scheme, _, path = uri.partition("://")  # not urlsplit: keys may hold ? and #
    bucket, _, key = path.rstrip("/").partition("/")
    if key and (fault := fault_of(key)):
        raise OSError(f"{uri}: {fault}")
    with errors(uri):
        return _store(scheme, bucket), key


def fault_of(key: str) -> str:
    """Why an object of this key cannot be read by its URI; "" if it can be."""
    names = key.split("/")
    if "" in names:
        return "the key holds an empty folder name (//): rename the object"
    if {".", ".."} & set(names):
        return "the key holds a folder named . or ..: rename the object"
    return ""


@contextmanager
def errors(uri: str) -> Iterator[None]:
    """Turn obstore's errors into OSError of one line that names the URI."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError, InvalidPathError):
        raise
    except FileNotFoundError as error:
        missing = "bucket" if "NoSuchBucket" in str(error) else "object"
        raise FileNotFoundError(2, f"no such {missing}", uri) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(f"{uri}: {_line(error)}") from error
    except (BaseError, ValueError) as error:
        if "404 Not Found" in str(error):  # of a listing: an empty folder is no error, so the bucket is missing
            raise FileNotFoundError(2, "no such bucket", uri) from error
        if "403 Forbidden" in str(error) or "401 Unauthorized" in str(error):  # of a listing, too
            raise PermissionError(f"{uri}: {_line(error)}") from error
        raise OSError(f"{uri}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """The error without the dump of its sources; of the store's XML only the code."""
    text = str(error).partition("Debug source")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return " ".join([*re.split(r"<\?xml|<Error>", text)[0].split(), *([code[1]] if code else [])])[:500]


def look(uri: str) -> Entry | None:
    """Size and ETag of an object, by one HEAD; None where there is none."""
    store, key = located(uri)
    if not key:  # stores answer a HEAD of the bucket as if it were an object
        return None
    try:
        with errors(uri):
            return entry_of(obstore.head(store, key), key)
    except FileNotFoundError:
        return None


def entry_of(meta: ObjectMeta, path: str) -> Entry:
    """An object as a listing shows it."""
    return Entry(path, meta["size"], meta["e_tag"] or "")


def read(uri: str) -> bytes:
    """All bytes of an object. Raises OSError where fewer come than the store said."""
    return _body(uri, _get(uri))


def _get(uri: str) -> GetResult:
    store, key = located(uri)
    with errors(uri):
        return obstore.get(store, key)


def _body(uri: str, result: GetResult) -> bytes:
    with errors(uri):
        data = bytes(result.bytes())
    _check_length(uri, len(data), result.meta["size"])
    return data


def _check_length(uri: str, got: int, size: int) -> None:
    if got != size:
        raise OSError(f"{uri}: {got} bytes came of {size}")


def download(uri: str, path: str) -> str:
    """Copy an object to a local file and return its ETag. Raises OSError where fewer bytes come than the store said."""
    result = _get(uri)
    with errors(uri), open(path, "wb") as sink:
        for chunk in result.stream(min_chunk_size=CHUNK):
            sink.write(chunk)
    _check_length(uri, os.path.getsize(path), result.meta["size"])
    return result.meta["e_tag"] or ""


def write(uri: str, data: bytes) -> None:
    """Write an object of few bytes by one PUT."""
    store, key = located(uri)
    with errors(uri):
        obstore.put(store, key, data, use_multipart=False)


def upload(path: str, uri: str) -> None:
    """Write a local file as an object: one PUT, or a multipart upload that holds 32 MB of it in memory at a time."""
    store, key = located(uri)
    size = os.path.getsize(path)
    if size <= SMALL:
        write(uri, Path(path).read_bytes())
        return
    chunk = max(SMALL, -(-size // PARTS))
    with errors(uri):
        obstore.put(store, key, Path(path), use_multipart=True, chunk_size=chunk, max_concurrency=AT_ONCE)


def create(uri: str, data: bytes) -> bool:
    """Write an object by one PUT only if there is none. Return whether the object has these bytes now.

    A PUT that succeeded but whose answer was lost is sent again and finds its own object there. So an object that is
    there counts as written if it holds the same bytes.
    """
    store, key = located(uri)
    try:
        with errors(uri):
            obstore.put(store, key, data, mode="create")
            return True
    except (AlreadyExistsError, PreconditionError):
        return _same(uri, data) is not None


def _same(uri: str, data: bytes) -> UpdateVersion | None:
    """The version of an object if it holds these bytes; None where it does not, or there is none."""
    with suppress(FileNotFoundError):
        result = _get(uri)
        if result.meta["size"] == len(data) and _body(uri, result) == data:
            return _version(result.meta)
    return None


def _version(meta: ObjectMeta | PutResult) -> UpdateVersion:
    version: UpdateVersion = {}
    if meta["e_tag"] is not None:
        version["e_tag"] = meta["e_tag"]
    if meta["version"] is not None:
        version["version"] = meta["version"]
    return version


def read_version(uri: str) -> tuple[bytes, UpdateVersion] | None:
    """An object's bytes and its version, for `replace`; None where there is no object."""
    with suppress(FileNotFoundError):
        result = _get(uri)
        return _body(uri, result), _version(result.meta)
    return None


def replace(uri: str, data: bytes, version: UpdateVersion) -> UpdateVersion | None:
    """Write an object only if it still has this version. Return its new version; None where it was changed or removed.

    As with `create`, an object that holds these bytes already counts as written.
    """
    store, key = located(uri)
    try:
        with errors(uri):
            return _version(obstore.put(store, key, data, mode=version))
    except (PreconditionError, AlreadyExistsError, FileNotFoundError):
        return _same(uri, data)


def copy(source: str, target: str) -> None:
    """Copy an object within its bucket; the store moves the bytes."""
    (store, key), (_, copied) = located(source), located(target)
    with errors(source):
        obstore.copy(store, key, copied)


def remove(uri: str) -> None:
    """Delete an object; it is no error if there is none."""
    store, key = located(uri)
    with suppress(FileNotFoundError), errors(uri):
        obstore.delete(store, key)


def read_range(uri: str, start: int, end: int, stamp: str) -> bytes:
    """Bytes from `start` up to `end`, by one request. Raises OSError once the object has another ETag than `stamp`."""
    store, key = located(uri)
    options: GetOptions = {"range": (start, end)}
    if stamp:
        options["if_match"] = stamp
    try:
        with errors(uri):
            data = bytes(obstore.get(store, key, options=options).bytes())
    except PreconditionError as error:
        raise OSError(f"{uri}: replaced while it was read") from error
    _check_length(uri, len(data), end - start)
    return data
