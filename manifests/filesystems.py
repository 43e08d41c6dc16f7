"""The forms of a URI, and the file system of pyarrow or fsspec that holds it."""

from __future__ import annotations

import os
from functools import cache

import pyarrow as pa
from pyarrow import fs as pafs


def is_local(uri: str) -> bool:
    """Whether `uri` is a path on this machine (with or without `file://`)."""
    return "://" not in uri or uri.startswith("file://")


def normal(uri: str | os.PathLike[str]) -> str:
    """`uri` in the form used everywhere: absolute path for local files, no trailing slash."""
    text = os.fspath(uri)
    if is_local(text):
        return os.path.abspath(os.path.expanduser(text.removeprefix("file://")))
    return text.rstrip("/")


def join(uri: str, *names: str) -> str:
    """`uri` with path components added."""
    return "/".join([uri.rstrip("/"), *names])


def s3_endpoint() -> str | None:
    """The endpoint that the environment names instead of Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def s3_region(bucket: str) -> str:
    """The region of a bucket: what the environment says, else what Amazon says. Raises OSError."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if named or s3_endpoint():  # another endpoint has no regions: asking Amazon would be wrong
        return named or "us-east-1"
    return str(pafs.resolve_s3_region(bucket))


@cache
def _remote(scheme: str, bucket: str) -> pafs.FileSystem:
    if scheme == "s3" and s3_endpoint():
        # asking for the bucket's region, as from_uri does, would go to AWS whatever the endpoint
        return pafs.S3FileSystem(endpoint_override=s3_endpoint(), region=s3_region(bucket))
    try:
        return pafs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except pa.ArrowInvalid:
        import fsspec

        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme)))


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system that holds `uri`, and the path within it.

    Credentials, region and endpoint of object stores come from where their own tools take them (`AWS_PROFILE`,
    `AWS_ENDPOINT_URL`, ...).
    """
    if is_local(uri):
        return pafs.LocalFileSystem(), normal(uri)
    scheme, _, path = uri.partition("://")  # not urlsplit: keys may hold ? and #
    return _remote(scheme, path.split("/", 1)[0]), path


def store_of(uri: str) -> str:
    """What fails and answers as one: the bucket or server of a URI."""
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{path.partition('/')[0]}"


def forget() -> None:
    """Forget all connections: the environment names other stores now."""
    _remote.cache_clear()
