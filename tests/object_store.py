"""An S3 of our own on this machine, for as long as a test needs it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from manifests import block_cache, filesystems, known_parts, object_store, retries

Answer = tuple[int, bytes]  # status and body of an answer given in the store's place


class Watched:
    """A WSGI application that notes the requests to another, and may answer some of them itself."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        """Pass everything on to `app`."""
        self.app = app
        self.requests: list[str] = []
        self.before: Callable[[str], Answer | None] = lambda _: None  # an answer of its own: the store is not asked
        self.short = 0  # bytes that are missing at the end of each body that is read
        self.after: Callable[[str], Answer | None] = lambda _: None  # the store does it, but its answer is lost

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{query}"
        self.requests.append(request)
        if (answer := self.before(request)) is not None:
            return _answer(answer, start)
        if self._is_cut(environ):
            return _answer((400, b"IncompleteBody"), start)
        if (answer := self.after(request)) is not None:
            list(self.app(environ, lambda *_: None))
            return _answer(answer, start)
        body = self.app(environ, start)
        return [b"".join(body)[: -self.short]] if self.short and environ["REQUEST_METHOD"] == "GET" else body

    def _is_cut(self, environ: dict[str, Any]) -> bool:
        """S3 refuses a body that ends before its Content-Length; moto stores what came."""
        if not environ.get("CONTENT_LENGTH"):  # in chunks, whose end is told
            return False
        size = int(environ["CONTENT_LENGTH"])
        body = environ["wsgi.input"].read(size)
        environ["wsgi.input"] = io.BytesIO(body)
        return len(body) < size


def _answer(answer: Answer, start: Callable[..., Any]) -> Iterable[bytes]:
    status, body = answer
    start(f"{status} TEST", [("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """The URI of an empty bucket; the environment says where the store is."""
    with watched(name) as (uri, _):
        yield uri


@contextmanager
def watched(name: str) -> Iterator[tuple[str, Watched]]:
    """The URI of an empty bucket, and what notes the requests to its store."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    app = Watched(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(key, "test")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            client().create_bucket(Bucket=name)
            forget()  # S3 may be known by another endpoint
            yield f"s3://{name}", app
    finally:
        forget()
        server.shutdown()
        thread.join()


def forget() -> None:
    """Forget the connections to a store."""
    filesystems.forget()
    known_parts.forget()
    block_cache.forget()
    object_store.forget()
    retries.health.clear()


def client() -> Any:
    """boto3's, for the store of the environment."""
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
