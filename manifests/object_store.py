"""All requests to objects in S3, Google Cloud Storage and Azure, through `obstore`.

Requests that fail for a temporary reason are retried, see `manifests.retries`; in the end they raise StoreUnreachable.

Writes are atomic. A small object is one PUT; a large object is a multipart upload, which obstore aborts if reading or
sending fails. Each call runs in native code: an exception from a signal handler (Ctrl-C) is raised only after the call
has ended, so it cannot interrupt a write.
Errors are OSError with a message of one line; FileNotFoundError if the object does not exist.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import from_url

from manifests import snapshot
from manifests.credentials import s3_credentials
from manifests.filesystems import s3_endpoint, s3_region, store_of
from manifests.retries import PassingFault, patience, retry
from manifests.store_errors import errors

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta, PutResult, UpdateVersion
    from obstore.store import BackoffConfig, ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "abfs", "abfss")
SMALL = 8 << 20  # largest object in bytes that is written by one PUT
PARTS = 9000  # most parts of a multipart upload; stores allow 10,000
AT_ONCE_DELETED = 1000  # objects: what S3 takes by one request
AT_ONCE = 4  # concurrent parts of one upload: each holds SMALL bytes in memory
# Retry time within obstore, for calls that make many requests: a failed request does not restart the call. All other
# calls are retried by `retry`.
SECONDS = 60.0
SILENCE = 60  # seconds without a byte after which a request is retried
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A file in a listing. path: below the listed folder. size: in bytes.

    stamp: the ETag, or the modification time in ns; changes when the file is rewritten; empty if there is neither.
    fault: why the object cannot be read by its name; "" if it can.
    """

    path: str
    size: int
    stamp: str = ""
    fault: str = ""


def holds(uri: str) -> bool:
    """Return whether `uri` has the scheme of a store that this module reads."""
    return uri.partition("://")[0] in SCHEMES


def _retries(seconds: float) -> RetryConfig:
    longest = timedelta(seconds=15)
    waits: BackoffConfig = {"init_backoff": timedelta(milliseconds=200), "max_backoff": longest, "base": 2}
    return {"max_retries": 12 if seconds else 0, "backoff": waits, "retry_timeout": timedelta(seconds=seconds)}


@cache
def _store(scheme: str, bucket: str, seconds: float = 0.0) -> ObjectStore:
    """Open a bucket. seconds: how long obstore itself retries each request."""
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
    """Close all connections, for example after the environment names other stores."""
    _store.cache_clear()


def ask(uri: str, request: Callable[[ObjectStore, str], T]) -> T:
    """Call `request` with the object's store and key, with retries. Raises OSError or StoreUnreachable."""
    store, key = locate(uri)

    def once() -> T:
        with errors(uri):
            return request(store, key)

    return retry(store_of(uri), once)


def _ask_to_change(uri: str, request: Callable[[ObjectStore, str], T]) -> T:
    """Call a request that writes or deletes the object, and drop its cached answers."""
    try:
        return ask(uri, request)
    finally:
        snapshot.forget(uri)


def locate(uri: str, retries: bool = False) -> tuple[ObjectStore, str]:
    """Return the store and the key of a URI. Raises OSError for an invalid key.

    retries: let obstore retry each request, for calls that make many requests.
    """
    scheme, _, path = uri.partition("://")  # not urlsplit: keys may hold ? and #
    bucket, _, key = path.rstrip("/").partition("/")
    if key and (fault := fault_of(key)):
        raise OSError(f"{uri}: {fault}")
    with errors(uri):
        return _store(scheme, bucket, min(SECONDS, patience() * 60) if retries else 0.0), key


def fault_of(key: str) -> str:
    """Return why an object with this key cannot be read by its URI; "" if it can."""
    names = key.split("/")
    if "" in names:
        return "the key has an empty folder name (//); rename the object"
    if {".", ".."} & set(names):
        return "the key has a folder named . or ..; rename the object"
    return ""


def stat(uri: str) -> Entry | None:
    """Return the size and ETag of an object, by one HEAD; None if it does not exist."""
    _, key = locate(uri)
    if not key:  # stores answer a HEAD of the bucket like that of an object
        return None
    try:
        return entry_of(ask(uri, obstore.head), key)
    except FileNotFoundError:
        return None


def modified(uri: str) -> float:
    """Return when an object was written, in seconds since 1970 by the store's clock. Raises OSError."""
    return ask(uri, obstore.head)["last_modified"].timestamp()


def entry_of(meta: ObjectMeta, path: str) -> Entry:
    """Convert obstore's metadata to an Entry."""
    return Entry(path, meta["size"], meta["e_tag"] or "")


def read(uri: str) -> bytes:
    """Read all bytes of an object. Raises OSError if fewer arrive than the store announced."""
    return _read(uri)[0]


def _read(uri: str) -> tuple[bytes, ObjectMeta]:
    def whole(store: ObjectStore, key: str) -> tuple[bytes, ObjectMeta]:
        result = obstore.get(store, key)
        return _read_body(uri, result), result.meta

    return ask(uri, whole)


def _read_body(uri: str, result: GetResult) -> bytes:
    data = bytes(result.bytes())
    check_length(uri, len(data), result.meta["size"])
    return data


def read_if_there(uri: str) -> bytes | None:
    """Read all bytes of an object; None if it does not exist."""
    with suppress(FileNotFoundError):
        return read(uri)
    return None


def read_up_to(uri: str, limit: int) -> bytes | None:
    """Read all bytes of an object of at most `limit` bytes; None for a larger object, which is not read."""

    def whole(store: ObjectStore, key: str) -> bytes | None:
        result = obstore.get(store, key)
        return None if result.meta["size"] > limit else _read_body(uri, result)

    return ask(uri, whole)


def check_length(uri: str, got: int, size: int) -> None:
    """Raise PassingFault unless the number of bytes received equals the object's size."""
    if got != size:
        raise PassingFault(f"{uri}: expected {size} bytes, got {got}")


def write(uri: str, data: bytes) -> None:
    """Write a small object by one PUT."""
    _ask_to_change(uri, lambda store, key: obstore.put(store, key, data, use_multipart=False))


def upload(path: str, uri: str) -> None:
    """Upload a local file: by one PUT, or by a multipart upload that holds 32 MB in memory at a time."""
    size = os.path.getsize(path)
    if size <= SMALL:
        write(uri, Path(path).read_bytes())
        return
    chunk = max(SMALL, -(-size // PARTS))
    several, _ = locate(uri, retries=True)
    _ask_to_change(
        uri,
        lambda _, key: obstore.put(
            several, key, Path(path), use_multipart=True, chunk_size=chunk, max_concurrency=AT_ONCE
        ),
    )


def create(uri: str, data: bytes) -> bool:
    """Create an object by one conditional PUT. Return whether the object now has these bytes.

    If the answer to a successful PUT is lost, the retry finds the object already there. So an existing object with the
    same bytes counts as written.
    """
    return create_version(uri, data) is not None


def create_version(uri: str, data: bytes) -> UpdateVersion | None:
    """Create an object like `create`. Return its version; None if the object exists with other bytes."""
    try:
        return _version(_ask_to_change(uri, lambda store, key: obstore.put(store, key, data, mode="create")))
    except (AlreadyExistsError, PreconditionError):
        return _version_if_equal(uri, data)


def _version_if_equal(uri: str, data: bytes) -> UpdateVersion | None:
    """Return the version of an object if it holds these bytes, else None."""
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
    """Read an object's bytes and its version, for `replace`; None if it does not exist."""
    with suppress(FileNotFoundError):
        data, meta = _read(uri)
        return data, _version(meta)
    return None


def replace(uri: str, data: bytes, version: UpdateVersion) -> UpdateVersion | None:
    """Write an object only if it still has this version. Return its new version; None if it was changed or deleted.

    As with `create`, an object that already holds these bytes counts as written.
    """
    try:
        return _version(_ask_to_change(uri, lambda store, key: obstore.put(store, key, data, mode=version)))
    except (PreconditionError, AlreadyExistsError, FileNotFoundError):
        return _version_if_equal(uri, data)


def copy(source: str, target: str) -> None:
    """Copy an object within its bucket, inside the store."""
    _, copied = locate(target)
    ask(source, lambda store, key: obstore.copy(store, key, copied))
    snapshot.forget(target)


def remove(uri: str) -> None:
    """Delete an object if it exists."""
    with suppress(FileNotFoundError):
        _ask_to_change(uri, obstore.delete)


def _delete(keys: Sequence[str], store: ObjectStore, _: str) -> None:
    obstore.delete(store, keys)


def remove_all(uris: Sequence[str]) -> None:
    """Delete objects of one bucket as far as they exist, up to AT_ONCE_DELETED by one request."""
    for start in range(0, len(uris), AT_ONCE_DELETED):
        some = uris[start : start + AT_ONCE_DELETED]
        try:
            ask(some[0], partial(_delete, [locate(uri)[1] for uri in some]))
        except FileNotFoundError:  # a store that deletes one after the other, and has deleted those before
            for uri in some:
                remove(uri)
        for uri in some:
            snapshot.forget(uri)
