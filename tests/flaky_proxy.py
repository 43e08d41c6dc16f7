"""A proxy before a store that injects failures by a seed: 503s, resets, silence, truncated bodies."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.object_store import client, forget, watched

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


@dataclass
class Weather:
    """How often the store fails, as shares of all requests; `gone`: every request gets a 503.

    asked: requests so far. faults: how often it failed, by kind.
    """

    busy: float = 0.0
    reset: float = 0.0
    lost: float = 0.0  # the store does what it was asked, but the answer does not come
    cut: float = 0.0  # of the answers to GET
    silent: float = 0.0  # no answer comes, and the connection stays open
    stalled: float = 0.0  # of the answers to GET: half of the body comes, and the connection stays open
    gone: bool = False
    left: int | None = None  # requests until it is gone; None: it stays
    random: random.Random = field(default_factory=lambda: random.Random(7))
    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def fault(self, method: str) -> str:
        """What happens to a request; "" if nothing does."""
        with self.lock:
            drawn, self.asked = self.random.random(), self.asked + 1
            self.gone = self.gone or self.asked == self.left
            kinds = {"busy": 1.0 if self.gone else self.busy, "reset": self.reset, "lost": self.lost}
            kinds["silent"] = self.silent
            kinds |= {"cut": self.cut, "stalled": self.stalled} if method == "GET" else {}
            for kind, share in kinds.items():
                if (drawn := drawn - share) < 0:
                    self.faults[kind] += 1
                    return kind
            return ""

    def clear(self) -> None:
        """The store answers as it should again."""
        self.busy = self.reset = self.lost = self.cut = self.silent = self.stalled = 0.0
        self.gone, self.left, self.asked = False, None, 0
        self.faults.clear()


class Proxy(BaseHTTPRequestHandler):
    """Passes a request on, or fails it."""

    protocol_version = "HTTP/1.1"
    server: ProxyServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def pass_on(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.weather.fault(self.command)
        if fault == "busy":
            self.answer(503, [], b"" if self.command == "HEAD" else SLOW_DOWN, len(SLOW_DOWN))
        elif fault == "reset":
            self.reset()
        elif fault == "silent":
            self.server.closing.wait()
        else:
            response, data = self.asked(body)
            if fault == "lost":
                self.reset()
            else:
                kept = data[: len(data) // 2] if fault in ("cut", "stalled") else data
                size = int(response.headers.get("Content-Length") or len(data))
                self.answer(response.status, response.getheaders(), kept, size)
                if fault == "stalled":
                    self.wfile.flush()
                    self.server.closing.wait()
                self.close_connection = self.close_connection or fault in ("cut", "stalled")

    def asked(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        """What the store answers."""
        store = HTTPConnection("127.0.0.1", self.server.port)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                store.putheader(name, value)
            store.endheaders(body)
            response = store.getresponse()
            return response, response.read()
        finally:
            store.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, size: int) -> None:
        """Answer with this body, which claims to have `size` bytes."""
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Cut the connection as a router does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815  http.server's names


class ProxyServer(ThreadingHTTPServer):
    """The proxy before the store at `port`."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Listen at a port of its own."""
        super().__init__(("127.0.0.1", 0), Proxy)
        self.port, self.weather, self.closing = port, Weather(), threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A connection that was cut is no news."""


@contextmanager
def flaky(name: str) -> Iterator[tuple[str, Weather]]:
    """The URI of an empty bucket behind a proxy, and the proxy's weather, which is fair at first."""
    with watched(name) as (uri, _), pytest.MonkeyPatch.context() as patch:
        proxy = ProxyServer(int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_address[1]}")
        forget()
        try:
            yield uri, proxy.weather
        finally:
            forget()
            proxy.closing.set()
            proxy.shutdown()
            proxy.server_close()
            thread.join()


def objects(bucket: str, prefix: str) -> dict[str, bytes]:
    """The bytes of all objects below a prefix, by their names below it."""
    store = client()
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key.removeprefix(prefix): store.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
