"""Objects in S3, Google Cloud Storage and Azure through `obstore`: all requests to them.

A request that fails in a way that may pass is made again, see `manifests.retries`; its last error is StoreAway.

An object is seen whole or not at all. A small one is one PUT. A large one is a multipart upload, which obstore aborts
when reading or sending fails. Each call runs in native code: an exception that a signal handler raises (Ctrl-C) waits
until the call has ended, so it cannot cut a write.
Errors are OSError with one line. FileNotFoundError: there is no such object.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import from_url

from manifests import snapshot
from manifests.credentials import s3_credentials
from manifests.filesystems import s3_endpoint, s3_region, store_of
from manifests.retries import PassingFault, patience, repeated
from manifests.store_errors import errors

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta, PutResult, UpdateVersion
    from obstore.store import BackoffConfig, ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "abfs", "abfss")
SMALL = 8 << 20  # bytes: up to here an object is one PUT
PARTS = 9000  # of a multipart upload; stores allow 10,000
AT_ONCE = 4  # parts of one upload in flight: SMALL bytes each lie in memory
# Of a call that makes many requests: one that fails does not begin it anew. All others are `repeated`.
SECONDS = 60.0
SILENCE = 60  # seconds without a byte, after which a store that answers no more is asked again
T = TypeVar("T")


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


def _retries(seconds: float) -> RetryConfig:
    longest = timedelta(seconds=15)
    waits: BackoffConfig = {"init_backoff": timedelta(milliseconds=200), "max_backoff": longest, "base": 2}
    return {"max_retries": 12 if seconds else 0, "backoff": waits, "retry_timeout": timedelta(seconds=seconds)}


@cache
def _store(scheme: str, bucket: str, seconds: float = 0.0) -> ObjectStore:
    """seconds: that the store makes each request again itself."""
    config = _retries(seconds)
    client: ClientConfig = {"timeout": "1h", "read_timeout": f"{SILENCE}s", "connect_timeout": "10s"}
    if scheme != "s3":
        return from_url(f"{scheme}://{bucket}", client_options=client, retry_config=config)
    options: dict[str, Any] = {"region": s3_region(bucket), **s3_credentials()}
    if endpoint := s3_endpoint():
        options["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    return from_url(f"s3://{bucket}", client_options=client, retry_config=config, **options)


def forget() -> None:
    """Forget all connections: the environment names other stores now."""
    _store.cache_clear()


def ask(uri: str, request: Callable[[ObjectStore, str], T]) -> T:
    """Make one request for an object: `request` gets store and key. Raises OSError, or StoreAway."""
    store, key = located(uri)

    def once() -> T:
        with errors(uri):
            return request(store, key)

    return repeated(store_of(uri), once)


def _change(uri: str, request: Callable[[ObjectStore, str], T]) -> T:
    """Make a request that writes or deletes an object."""
    try:
        return ask(uri, request)
    finally:
        snapshot.forget(uri)


def located(uri: str, retries: bool = False) -> tuple[ObjectStore, str]:
    """Store and key. Raises OSError for a key that cannot be asked for.

    retries: whether the store makes each request again itself, for calls that make many.
    """
    scheme, _, path = uri.partition("://")  # not urlsplit: keys may hold ? and #
    bucket, _, key = path.rstrip("/").partition("/")
    if key and (fault := fault_of(key)):
        raise OSError(f"{uri}: {fault}")
    with errors(uri):
        return _store(scheme, bucket, min(SECONDS, patience() * 60) if retries else 0.0), key


def fault_of(key: str) -> str:
    """Why an object of this key cannot be read by its URI; "" if it can be."""
    names = key.split("/")
    if "" in names:
        return "the key holds an empty folder name (//): rename the object"
    if {".", ".."} & set(names):
        return "the key holds a folder named . or ..: rename the object"
    return ""


def look(uri: str) -> Entry | None:
    """Size and ETag of an object, by one HEAD; None where there is none."""
    _, key = located(uri)
    if not key:  # stores answer a HEAD of the bucket as if it were an object
        return None
    try:
        return entry_of(ask(uri, obstore.head), key)
    except FileNotFoundError:
        return None


def modified(uri: str) -> float:
    """When an object was written, by the store's clock: seconds since 1970. Raises OSError."""
    return ask(uri, obstore.head)["last_modified"].timestamp()


def entry_of(meta: ObjectMeta, path: str) -> Entry:
    """An object as a listing shows it."""
    return Entry(path, meta["size"], meta["e_tag"] or "")


def read(uri: str) -> bytes:
    """All bytes of an object. Raises OSError where fewer come than the store said."""
    return _read(uri)[0]


def _read(uri: str) -> tuple[bytes, ObjectMeta]:
    def whole(store: ObjectStore, key: str) -> tuple[bytes, ObjectMeta]:
        result = obstore.get(store, key)
        return _whole(uri, result), result.meta

    return ask(uri, whole)


def _whole(uri: str, result: GetResult) -> bytes:
    data = bytes(result.bytes())
    check_length(uri, len(data), result.meta["size"])
    return data


def read_if_there(uri: str) -> bytes | None:
    """All bytes of an object; None where there is none."""
    with suppress(FileNotFoundError):
        return read(uri)
    return None


def read_up_to(uri: str, limit: int) -> bytes | None:
    """All bytes of an object of at most `limit` bytes; None for a larger one, of which nothing is read."""

    def whole(store: ObjectStore, key: str) -> bytes | None:
        result = obstore.get(store, key)
        return None if result.meta["size"] > limit else _whole(uri, result)

    return ask(uri, whole)


def check_length(uri: str, got: int, size: int) -> None:
    """Raise PassingFault where fewer or more bytes came than there are."""
    if got != size:
        raise PassingFault(f"{uri}: {got} bytes came of {size}")


def write(uri: str, data: bytes) -> None:
    """Write an object of few bytes by one PUT."""
    _change(uri, lambda store, key: obstore.put(store, key, data, use_multipart=False))


def upload(path: str, uri: str) -> None:
    """Write a local file as an object: one PUT, or a multipart upload that holds 32 MB of it in memory at a time."""
    size = os.path.getsize(path)
    if size <= SMALL:
        write(uri, Path(path).read_bytes())
        return
    chunk = max(SMALL, -(-size // PARTS))
    several, _ = located(uri, retries=True)
    _change(
        uri,
        lambda _, key: obstore.put(
            several, key, Path(path), use_multipart=True, chunk_size=chunk, max_concurrency=AT_ONCE
        ),
    )


def create(uri: str, data: bytes) -> bool:
    """Write an object by one PUT only if there is none. Return whether the object has these bytes now.

    A PUT that succeeded but whose answer was lost is sent again and finds its own object there. So an object that is
    there counts as written if it holds the same bytes.
    """
    return create_version(uri, data) is not None


def create_version(uri: str, data: bytes) -> UpdateVersion | None:
    """Do what `create` does. Return the version of the object; None where the object has other bytes."""
    try:
        return _version(_change(uri, lambda store, key: obstore.put(store, key, data, mode="create")))
    except (AlreadyExistsError, PreconditionError):
        return _same(uri, data)


def _same(uri: str, data: bytes) -> UpdateVersion | None:
    """The version of an object if it holds these bytes; None where it does not, or there is none."""
    found = read_version(uri)
    return found[1] if found is not None and found[0] == data else None


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
        data, meta = _read(uri)
        return data, _version(meta)
    return None


def replace(uri: str, data: bytes, version: UpdateVersion) -> UpdateVersion | None:
    """Write an object only if it still has this version. Return its new version; None where it was changed or removed.

    As with `create`, an object that holds these bytes already counts as written.
    """
    try:
        return _version(_change(uri, lambda store, key: obstore.put(store, key, data, mode=version)))
    except (PreconditionError, AlreadyExistsError, FileNotFoundError):
        return _same(uri, data)


def copy(source: str, target: str) -> None:
    """Copy an object within its bucket; the store moves the bytes."""
    _, copied = located(target)
    ask(source, lambda store, key: obstore.copy(store, key, copied))
    snapshot.forget(target)


def remove(uri: str) -> None:
    """Delete an object; it is no error if there is none."""
    with suppress(FileNotFoundError):
        _change(uri, obstore.delete)
