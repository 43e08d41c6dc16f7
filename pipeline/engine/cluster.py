"""Join a running Ray cluster: find its port, present a token, and report each failure in one line.

Ray itself waits for minutes, without a message, for an address where nothing answers.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.engine.signals import restore_handlers
from pipeline.errors import ConfigError

PORT_PATIENCE = 10.0  # seconds for something to listen at the address: the head of a new cluster may still start
ANSWER_PATIENCE = 12.0  # seconds for it to answer as Ray does, once something listens
CLIENT = "ray://"
GCS_PORT, CLIENT_PORT = 6379, 10001  # where an address names none
NAMES_NO_HOST = ("auto", "local")  # Ray looks on this machine
ASKS_TOKEN = (
    "expected the cluster's token, got none or another one; do `ray get-auth-token` on its head and set RAY_AUTH_TOKEN "
    "(or RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token), with RAY_AUTH_MODE=token or unset"
)
Say = Callable[[str], object]


def say_on_stderr(line: str) -> None:
    """Write a line on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def join_cluster(address: str, say: Say = say_on_stderr, **options: Any) -> None:
    """Connect this process to the cluster at `address`. options: for `ray.init`.

    Raises ConfigError in one line within half a minute: nobody answers, another token, other versions.
    """
    import ray

    key = f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") == address else f"ray_address={address}"
    if address not in NAMES_NO_HOST:
        _wait_for_port(address, key, say)
    _use_token(key)
    if "://" not in address and address not in NAMES_NO_HOST:
        _wait_for_answer(address, key)
    try:
        with restore_handlers(), silence_stderr():
            ray.init(address=address, **options)
    except Exception as error:
        raise ConfigError(f"{key}: {_reason(error)}") from error


def host_and_port(address: str) -> tuple[str, int]:
    """Return the host and port of `host:port`, `[::1]:port` or `ray://host:port`. Raises ValueError."""
    place = address.removeprefix(CLIENT)
    host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, port = place, str(CLIENT_PORT if address.startswith(CLIENT) else GCS_PORT)
    if not host or "/" in place:
        raise ValueError(address)
    return host.strip("[]"), int(port)


def _wait_for_port(address: str, key: str, say: Say) -> None:
    try:
        place = host_and_port(address)
    except ValueError:
        raise ConfigError(f"{key}: expected host:port, ray://host:port or auto; name the head of a cluster") from None
    end, announced = time.monotonic() + PORT_PATIENCE, False
    while (fault := _port_fault(place, max(0.1, min(5.0, end - time.monotonic())))) is not None:
        if time.monotonic() >= end:
            raise ConfigError(
                f"{key}: expected a Ray cluster, got no answer for {PORT_PATIENCE:.0f} s ({fault}); start one there "
                "with `ray start --head`, name another, or leave it out to run on this machine"
            )
        if not announced:
            announced = True
            say(f"waiting up to {PORT_PATIENCE:.0f} s for a Ray cluster at {address}")
        time.sleep(min(0.5, PORT_PATIENCE))


def _port_fault(place: tuple[str, int], patience: float) -> str | None:
    """Return why nothing listens at a host and port; None if something does."""
    try:
        socket.create_connection(place, patience).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _use_token(key: str) -> None:
    """Turn on Ray's token authentication if a token is found where `ray start` looks. RAY_AUTH_MODE takes precedence.

    `ray.init` looks for a token only at the address `auto`. Raises ConfigError if RAY_AUTH_MODE requires a token and
    none is found: Ray would end the process without a message.
    """
    try:
        from ray._private.authentication import authentication_token_setup as setup
    except ImportError:  # a version of Ray that has no tokens
        return
    try:
        with silence_stderr():
            setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
            setup.ensure_token_if_auth_enabled(create_token_if_missing=False)
    except Exception as error:
        raise ConfigError(f"{key}: {_reason(error)}") from error


def _wait_for_answer(address: str, key: str) -> None:
    """Request the cluster's id. Raises ConfigError if the cluster refuses, or if another service answers."""
    import ray._raylet as raylet

    client = getattr(raylet, "GcsClient", None)
    if client is None:  # it is not of Ray's public interface
        return
    faults: list[Exception | None] = []

    def ask() -> None:
        try:
            client(address=address)
            faults.append(None)
        except Exception as error:  # noqa: BLE001  told by the thread that waits
            faults.append(error)

    with silence_stderr():
        thread = threading.Thread(target=ask, daemon=True, name="ask the cluster")
        thread.start()
        thread.join(ANSWER_PATIENCE)
    if not faults:
        raise ConfigError(
            f"{key}: something listens there and does not answer as Ray does for {ANSWER_PATIENCE:.0f} s; name the "
            "port of the head (`ray start --head --port`), or ray://HOST:10001 for Ray Client"
        )
    if (fault := faults[0]) is not None:
        raise ConfigError(f"{key}: {_reason(fault)}") from fault


def _reason(error: BaseException) -> str:
    """Return what Ray's error means, in one line."""
    text, cause = str(error), error.__cause__ or error.__context__
    while cause is not None:
        text, cause = f"{text}\n{cause}", cause.__cause__ or cause.__context__
    if "AuthToken" in text or "authentication token" in text.lower():
        return ASKS_TOKEN
    if "ersion mismatch" in text or "ersions do not match" in text or "is running Python" in text:
        return f"{' '.join(str(error).split())}; install the cluster's versions of Python and Ray here"
    return f"the cluster cannot be joined: {' '.join(str(error).split())[:300]}"


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard standard error during the block, with the output of C++ and Ray's logger. Exceptions are not affected."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    logger, level = logging.getLogger("ray"), logging.getLogger("ray").level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
