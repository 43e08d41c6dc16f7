"""Normalise URIs, and open the pyarrow or fsspec file system that a URI names."""

from __future__ import annotations

import os
from functools import cache

import pyarrow as pa
from pyarrow import fs as pafs


def is_local(uri: str) -> bool:
    """Return whether `uri` is a local path (with or without `file://`)."""
    return "://" not in uri or uri.startswith("file://")


def normal(uri: str | os.PathLike[str]) -> str:
    """Return `uri` in normal form: an absolute path for local files, no trailing slash."""
    text = os.fspath(uri)
    if is_local(text):
        return os.path.abspath(os.path.expanduser(text.removeprefix("file://")))
    return text.rstrip("/")


def join(uri: str, *names: str) -> str:
    """Append path components to `uri`."""
    return "/".join([uri.rstrip("/"), *names])


def s3_endpoint() -> str | None:
    """Return the S3 endpoint that the environment names; None for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def s3_region(bucket: str) -> str:
    """Return a bucket's region: from the environment, else from Amazon. Raises OSError."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if named or s3_endpoint():  # buckets at another endpoint are unknown to Amazon
        return named or "us-east-1"
    return str(pafs.resolve_s3_region(bucket))


@cache
def _remote(scheme: str, bucket: str) -> pafs.FileSystem:
    if scheme == "s3" and s3_endpoint():
        # `from_uri` would ask AWS for the bucket's region even with another endpoint
        return pafs.S3FileSystem(endpoint_override=s3_endpoint(), region=s3_region(bucket))
    try:
        return pafs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except pa.ArrowInvalid:
        import fsspec

        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme)))


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system that holds `uri`, and the path within it.

    Credentials, region and endpoint of object stores come from the usual environment variables (`AWS_PROFILE`,
    `AWS_ENDPOINT_URL`, ...).
    """
    if is_local(uri):
        return pafs.LocalFileSystem(), normal(uri)
    scheme, _, path = uri.partition("://")  # not urlsplit: keys may hold ? and #
    return _remote(scheme, path.split("/", 1)[0]), path


def store_of(uri: str) -> str:
    """Return the bucket or server of a URI: the unit for which failures and retries are counted."""
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{path.partition('/')[0]}"


def forget() -> None:
    """Close all connections, for example after the environment names other stores."""
    _remote.cache_clear()
