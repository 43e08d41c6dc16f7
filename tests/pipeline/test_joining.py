"""Joining a cluster: each fault is one line within half a minute, before anything is written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.checkup import nodes
from pipeline.checkup.cluster import inspect_node_with_gpus
from pipeline.checkup.gpu import cuda_view
from pipeline.checkup.nodes import NodeView, check_nodes, check_views, versions, views_of_nodes
from pipeline.engine import cluster
from pipeline.engine.cluster import host_and_port, join_cluster
from pipeline.engine.engines import RayEngine
from pipeline.errors import ConfigError
from tests.media import pattern
from tests.runs import status, talking
from tests.test_project import ROOT

PORTS = (21300, 21399)  # of the workers of the cluster that a test starts; Ray's own choice is not among 10002-19999


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def ola_run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`ola run --engine ray` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "run", *map(str, arguments), "--engine", "ray"],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_an_address_where_nobody_listens_is_one_line(tmp_path: Path) -> None:
    address, began = f"127.0.0.1:{free_port()}", time.monotonic()
    (tmp_path / "video.mp4").touch()
    done = ola_run(tmp_path / "video.mp4", "--root", tmp_path / "root", RAY_ADDRESS=address)
    assert time.monotonic() - began < 30
    waits, fault = done.stderr.splitlines()
    assert waits == f"waiting up to 10 s for a Ray cluster at {address}"
    assert fault.startswith(
        f"ola: RAY_ADDRESS={address}: expected a Ray cluster, got no answer for 10 s (Connection re"
    )
    assert done.returncode == 2
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("address", ["ray://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_port_that_opens_late_is_waited_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PORT_PATIENCE", 5.0)
    place, said = ("127.0.0.1", free_port()), list[str]()
    opened: list[socket.socket] = []
    timer = threading.Timer(0.7, lambda: opened.append(socket.create_server(place)))
    timer.start()
    cluster._wait_for_port(address.format(place[1]), "ray_address", said.append)
    timer.join()
    assert said == [f"waiting up to 5 s for a Ray cluster at {address.format(place[1])}"]
    opened[0].close()


def test_what_listens_and_is_no_ray_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_PATIENCE", 1.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match="something listens there and does not answer as Ray does for 1 s"):
            join_cluster(address)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.0.0.1:6379", ("10.0.0.1", 6379)),
        ("head", ("head", 6379)),
        ("ray://head", ("head", 10001)),
        ("ray://head:50005", ("head", 50005)),
        ("[::1]:6379", ("::1", 6379)),
        ("[::1]", ("::1", 6379)),
    ],
)
def test_hosts_and_ports(address: str, place: tuple[str, int]) -> None:
    assert host_and_port(address) == place


@pytest.mark.parametrize("address", ["http://head:8265", "head:port", ":6379", ""])
def test_an_address_of_no_form_is_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match=r"ray_address=.*: expected host:port, ray://host:port or auto"):
        join_cluster(address)


def test_reasons_of_ray_are_one_line() -> None:
    error = RuntimeError("Version mismatch: The cluster was started with:\n  Ray: 2.50\nThis process:\n  Ray: 2.60\n")
    assert cluster._reason(error) == (
        "Version mismatch: The cluster was started with: Ray: 2.50 This process: Ray: 2.60; "
        "install the cluster's versions of Python and Ray here"
    )
    assert cluster._reason(ConnectionError("a\nb")) == "the cluster cannot be joined: a b"


def test_a_root_that_a_node_does_not_see_is_one_line() -> None:
    good, token = NodeView("10.0.0.1", (), versions()), "/x/.seen"
    blind = NodeView("10.0.0.2", (token, "/videos/a.mp4"), versions())
    check_views([good], "/x", [token])
    with pytest.raises(ConfigError) as caught:
        check_views([good, blind], "/x", [token])
    assert str(caught.value) == (
        "--root /x: expected a folder that all nodes share, and node 10.0.0.2 does not see it; "
        "name a shared folder (NFS, Lustre) or a store (s3://…, gs://…)"
    )
    with pytest.raises(ConfigError, match=r"^inputs: /videos/a\.mp4 is on this machine, and node 10\.0\.0\.2 does not"):
        check_views([NodeView("10.0.0.2", ("/videos/a.mp4",), versions())], "/x", [token])


@pytest.mark.parametrize(("name", "version"), [("Python", "3.9"), ("ray", "1.0"), ("torch", None)])
def test_other_packages_on_a_node_are_one_line(name: str, version: str | None) -> None:
    there = {key: value for key, value in {**versions(), name: version}.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        check_views([NodeView("10.0.0.2", (), there)], "s3://x", [])
    here = versions()[name]
    assert str(caught.value) == (
        f"packages: expected {name} {here} on every node, got {version or 'none'} on node 10.0.0.2; "
        "install requirements.lock on all nodes and here"
    )


def test_doctor_asks_the_torch_of_a_node(ray_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (view,) = views_of_nodes([], run=inspect_node_with_gpus)
    assert (view.cuda, view.gpus) == (cuda_view(), 0.0)
    assert view.seen is not None
    assert view.seen.cards or view.seen.words


def blind(address: str, paths: list[str]) -> NodeView:
    return NodeView(address, tuple(paths), versions())


def test_nodes_look_for_a_file_of_the_driver(ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, root = tmp_path / "video.mp4", tmp_path / "new" / "root"
    video.touch()
    (view,) = views_of_nodes([str(video), str(tmp_path / "absent")])
    assert view.lacks == (str(tmp_path / "absent"),)
    RayEngine().check(str(root), [str(video), "s3://bucket/video.mp4"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    monkeypatch.setattr(nodes, "views_of_nodes", lambda paths, say: views_of_nodes(paths, say, blind))
    with pytest.raises(ConfigError, match=r"^--root .*old: expected a folder that all nodes share"):
        check_nodes(str(tmp_path / "old"), [str(video)])
    with pytest.raises(ConfigError, match=rf"^inputs: {video} is on this machine"):
        check_nodes("s3://bucket/root", [str(video)])
    assert list((tmp_path / "old").iterdir()) == []


@contextmanager
def head(home: Path, port: int) -> Iterator[None]:
    """A cluster of one node, as `ray start --head` makes it, whose token lies in `home`."""
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("7e57" * 16)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        flags = {
            "port": port, "temp-dir": folder, "num-cpus": 2, "object-store-memory": 80_000_000,
            "include-dashboard": "false", "min-worker-port": PORTS[0], "max-worker-port": PORTS[1],
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
             *(f"--{name}={value}" for name, value in flags.items())],
            env={**os.environ, "HOME": str(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for each in family:
                each.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_joined_with_it_and_is_one_line_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    home, stranger = tmp_path / "home", tmp_path / "stranger"
    stranger.mkdir()
    film = talking(tmp_path / "videos", "film", pattern("joining.mp4", 5, size="320x240"), 5)
    facts = {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # a Ray of this process sets it
    with head(home, port):
        done = ola_run(film, "--root", tmp_path / "root", HOME=str(home), **facts)
        assert done.returncode == 0, done.stderr
        assert status(tmp_path / "root")["ingest"]["ok"] == 1
        began = time.monotonic()
        refused = ola_run(film, "--root", tmp_path / "other", HOME=str(stranger), **facts)
    assert time.monotonic() - began < 30
    assert refused.returncode == 2
    line = refused.stderr.splitlines()[-1]
    assert line.startswith(
        f"ola: RAY_ADDRESS=127.0.0.1:{port}: expected the cluster's token, got none or another one; "
    )
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "other").exists()
