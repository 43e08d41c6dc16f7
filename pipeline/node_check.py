"""Check before a run that every node of a cluster sees the root and the inputs, and has the same packages.

In: the root and the first inputs. A file of a random name is written to a local root; a small task on each node looks
for it, and for the inputs. Out: nothing, or the ConfigError that names the node and what it lacks.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from manifests import storage
from pipeline.cluster import Say, say_on_stderr
from pipeline.errors import ConfigError

TOKEN = ".seen-by-all-nodes-"  # the file that nodes look for, then something random
FIRST = 3  # inputs that are looked for: all of them may be millions
SOON, PATIENCE = 5.0, 60.0  # seconds until it is said that nodes are waited for; until those left are gone on without
# decide what rows hold and how they are stored; `ola-pipeline` may be absent where the code comes with the job
PACKAGES = ("ola-pipeline", "ray", "pyarrow", "duckdb", "pydantic", "numpy", "av", "torch", "transformers")


@dataclass(frozen=True)
class NodeView:
    """What a node sees: its address, the paths that it lacks, and versions of Python and of packages."""

    address: str
    lacks: tuple[str, ...]
    versions: Mapping[str, str]


def look(address: str, paths: Sequence[str]) -> NodeView:
    """Return what this machine sees; runs on each node."""
    return NodeView(address, tuple(path for path in paths if not os.path.exists(path)), versions())


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed here, without those of builds (`+cpu`)."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]
    return found


def check_nodes(root: str, inputs: Sequence[str], say: Say = say_on_stderr) -> None:
    """Raise ConfigError unless every node that can work sees what this process sees, and has its packages."""
    files = [storage.normal(name) for name in inputs if storage.is_local(name)]
    files = [name for name in files if os.path.exists(name)][:FIRST]
    with _token_file(root) as token:
        check_views(views_of_nodes([*token, *files], say), root, token)


@contextmanager
def _token_file(root: str) -> Iterator[list[str]]:
    """The path of a new file in a local root while the block lasts; none for a store. Folders made for it go as well.

    Raises ConfigError where the root cannot be written.
    """
    if not storage.is_local(root):
        yield []
        return
    folder = Path(storage.normal(root))
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / f"{TOKEN}{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise ConfigError(f"--root {root}: {error.strerror}") from error
    try:
        yield [str(path)]
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else writes there by now
            for each in made:
                each.rmdir()


def check_views(views: Sequence[NodeView], root: str, token: Sequence[str]) -> None:
    """Raise ConfigError for the first node that lacks the root's file or an input, or has other versions."""
    for view in views:
        if set(view.lacks) & set(token):
            raise ConfigError(
                f"--root {root}: expected a folder that all nodes share, and node {view.address} does not see it; "
                "name a shared folder (NFS, Lustre) or a store (s3://…, gs://…)"
            )
        if view.lacks:
            raise ConfigError(
                f"inputs: {view.lacks[0]} is on this machine, and node {view.address} does not see it; "
                "put the inputs into a folder that all nodes share, or into a store (s3://…, gs://…)"
            )
    _check_versions(views, versions())


def _check_versions(views: Sequence[NodeView], here: Mapping[str, str]) -> None:
    for view in views:
        for name, expected in here.items():
            found = view.versions.get(name)
            if found != expected and not (found is None and name == "ola-pipeline"):
                raise ConfigError(
                    f"packages: expected {name} {expected} on every node, got {found or 'none'} on node "
                    f"{view.address}; install requirements.lock on all nodes and here"
                )


def views_of_nodes(
    paths: Sequence[str], say: Say = say_on_stderr, run: Callable[..., NodeView] = look
) -> list[NodeView]:
    """Return what each node that is alive and has CPUs or GPUs sees. Waits PATIENCE seconds, and says so.

    Raises ConfigError where no node answers, or one cannot run our code.
    """
    import ray

    calls = _calls(paths, run)
    done, left = ray.wait(list(calls), num_returns=len(calls), timeout=SOON) if calls else ([], [])
    if left:
        say(f"waiting up to {PATIENCE:.0f} s for {len(left)} of {len(calls)} nodes: {_named(calls, left)}")
        done, left = ray.wait(list(calls), num_returns=len(calls), timeout=PATIENCE - SOON)
    if left:
        say(f"going on without a look at {len(left)} nodes that do not answer: {_named(calls, left)}")
    views = [view for call in done if (view := _view(call, calls[call])) is not None]
    if calls and not views:
        raise ConfigError(f"cluster: none of its {len(calls)} nodes ran a small task within {PATIENCE:.0f} s; see them "
                          "with `ray status`")  # fmt: skip
    return views


def _calls(paths: Sequence[str], run: Callable[..., NodeView]) -> dict[Any, str]:
    """Start the task on each node. Returns the nodes' addresses by call."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, calls = ray.remote(run), dict[Any, str]()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        works = node["Resources"].get("CPU", 0) or node["Resources"].get("GPU", 0)  # many heads have neither
        if node["Alive"] and works:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            calls[options.remote(node["NodeManagerAddress"], list(paths))] = node["NodeManagerAddress"]
    return calls


def _view(call: Any, address: str) -> NodeView | None:
    """Return a node's answer; None for a node that was lost meanwhile. Raises ConfigError where it lacks our code."""
    import ray

    try:
        view: NodeView = ray.get(call)
    except (ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError, ray.exceptions.TaskUnschedulableError):
        return None
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"packages: node {address} cannot run our code ({lines[-1].strip()}); install this package and "
            "requirements.lock there, or submit with `ray job submit --working-dir .`"
        ) from error
    return view


def _named(calls: Mapping[Any, str], left: Sequence[Any]) -> str:
    return ", ".join(sorted(calls[call] for call in left)[:5])
