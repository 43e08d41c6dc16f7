"""An S3 of our own on this machine, for as long as a test needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manifests import storage


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """The URI of an empty bucket; the environment says where the store is."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(key, "test")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            client().create_bucket(Bucket=name)
            storage._remote.cache_clear()  # it may know S3 by another endpoint
            yield f"s3://{name}"
    finally:
        storage._remote.cache_clear()
        server.stop()


def client() -> Any:
    """boto3's, for the store of the environment."""
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
