"""Check before a run that every node of a cluster sees the root and the inputs, and has the required packages and GPUs.

A file with a random name is written to a local root; a small task on each node looks for this file and for the first
inputs. A missing file, package or GPU raises a ConfigError that names the node.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from manifests import storage
from pipeline.checkup.card_memory import card_memories, room_fault
from pipeline.checkup.gpu import CudaView, TorchView, cuda_fault, cuda_view
from pipeline.checkup.needs import NOTHING, Needs
from pipeline.checkup.tools import OF_NODES, advice_for
from pipeline.checkup.upfront import raise_for
from pipeline.engine.cluster import Say, say_on_stderr
from pipeline.errors import ConfigError

TOKEN = ".seen-by-all-nodes-"  # start of the name of the file that nodes look for
FIRST = 3  # inputs that nodes look for: a run may have millions
SOON, PATIENCE = 5.0, 60.0  # seconds until a message about waiting for nodes; until the run goes on without them
# packages that affect rows and files; `ola-pipeline` may be missing if the code comes with the job
PACKAGES = ("ola-pipeline", "ray", "pyarrow", "duckdb", "pydantic", "numpy", "av", "torch", "transformers")


@dataclass(frozen=True)
class NodeView:
    """A node's report: its address, missing paths, and versions of Python and packages.

    tools: installed packages that only some runs need. cuda: the driver and the build of torch. gpus: the GPUs that Ray
    assigns there. seen: the GPUs that torch sees, if it was asked. memories: bytes of each GPU, as the driver says.
    """

    address: str
    lacks: tuple[str, ...]
    versions: Mapping[str, str]
    tools: tuple[str, ...] = OF_NODES
    cuda: CudaView | None = None
    gpus: float = 0.0
    seen: TorchView | None = None
    memories: tuple[int, ...] = ()


class Place(NamedTuple):
    """A node's address and the number of GPUs that Ray assigns there."""

    address: str
    gpus: float


def inspect_node(address: str, paths: Sequence[str]) -> NodeView:
    """Return this node's report; runs on each node."""
    lacks = tuple(path for path in paths if not os.path.exists(path))
    tools = tuple(name for name in OF_NODES if find_spec(name))
    return NodeView(address, lacks, versions(), tools, cuda_view(), memories=card_memories())


def versions() -> dict[str, str]:
    """Return the versions of Python and of installed packages, without build tags (`+cpu`)."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]
    return found


def check_nodes(root: str, inputs: Sequence[str], say: Say = say_on_stderr, needs: Needs = NOTHING) -> None:
    """Raise ConfigError unless every node with CPUs or GPUs sees the same paths and has the same packages.

    Raises NeedsUnmet if nodes lack requirements of the run's steps.
    """
    with token_file(root) as token:
        check_views(views_of_nodes([*token, *first_files(inputs)], say), root, token, needs)


def first_files(inputs: Sequence[str]) -> list[str]:
    """Return the first existing local inputs."""
    files = [storage.normal(name) for name in inputs if storage.is_local(name)]
    return [name for name in files if os.path.exists(name)][:FIRST]


@contextmanager
def token_file(root: str) -> Iterator[list[str]]:
    """Give the path of a new file in a local root, which exists until the block ends; no path for a store.

    Folders made for the file are deleted, too. Raises ConfigError if the root is not writable.
    """
    if not storage.is_local(root):
        yield []
        return
    folder = Path(storage.normal(root))
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
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
        with suppress(OSError):  # another process writes there
            for each in missing:
                each.rmdir()


def check_views(views: Sequence[NodeView], root: str, token: Sequence[str], needs: Needs = NOTHING) -> None:
    """Raise ConfigError for the first node that lacks the root's file or an input, or has other package versions.

    Raises NeedsUnmet with all requirements that nodes lack.
    """
    for line in [*_path_faults(views, root, token), *_version_faults(views, versions())]:
        raise ConfigError(line)
    raise_for(_need_faults(views, needs))


def find_node_faults(views: Sequence[NodeView], root: str, token: Sequence[str], needs: Needs) -> list[str]:
    """Return a line per fault of a node."""
    paths, packages = _path_faults(views, root, token), _version_faults(views, versions())
    return [*paths, *packages, *_need_faults(views, needs)]


def _path_faults(views: Sequence[NodeView], root: str, token: Sequence[str]) -> Iterator[str]:
    for view in views:
        if set(view.lacks) & set(token):
            yield (
                f"--root {root}: expected a folder that all nodes share, and node {view.address} does not see it; "
                "name a shared folder (NFS, Lustre) or a store (s3://…, gs://…)"
            )
        elif view.lacks:
            yield (
                f"inputs: {view.lacks[0]} is on this machine, and node {view.address} does not see it; "
                "put the inputs into a folder that all nodes share, or into a store (s3://…, gs://…)"
            )


def _version_faults(views: Sequence[NodeView], here: Mapping[str, str]) -> Iterator[str]:
    for view in views:
        for name, expected in here.items():
            found = view.versions.get(name)
            if found != expected and not (found is None and name == "ola-pipeline"):
                yield (
                    f"packages: expected {name} {expected} on every node, got {found or 'none'} on node "
                    f"{view.address}; install requirements.lock on all nodes and here"
                )


def _need_faults(views: Sequence[NodeView], needs: Needs) -> Iterator[str]:
    """Yield the missing requirements of nodes on which the steps may run: GPU nodes, if the steps take GPUs.

    A cluster without GPUs may still get GPU nodes, so this is no fault.
    """
    for view in views:
        if needs.gpus and not view.gpus:
            continue
        for key, name in needs.packages:
            if name in OF_NODES and name not in view.tools:
                yield f"{key}: expected {name} on node {view.address}, and it is not there; {advice_for(key, name)}"
        fault = cuda_fault(view.cuda) if view.cuda is not None and needs.gpu else None
        if fault is not None:
            yield f"{needs.gpu}: expected a GPU on node {view.address}, and {fault[0]}; {fault[1]}"
    if needs.gpu and (line := room_fault(needs, tuple(memory for view in views for memory in view.memories))):
        yield line


def views_of_nodes(
    paths: Sequence[str], say: Say = say_on_stderr, run: Callable[..., NodeView] = inspect_node
) -> list[NodeView]:
    """Return the reports of all live nodes with CPUs or GPUs. Waits up to PATIENCE seconds, with a message.

    Raises ConfigError if no node answers, or a node cannot run this package.
    """
    import ray

    calls = _start_calls(paths, run)
    done, left = ray.wait(list(calls), num_returns=len(calls), timeout=SOON) if calls else ([], [])
    if left:
        say(f"waiting up to {PATIENCE:.0f} s for {len(left)} of {len(calls)} nodes: {_addresses(calls, left)}")
        done, left = ray.wait(list(calls), num_returns=len(calls), timeout=PATIENCE - SOON)
    if left:
        say(f"going on without a look at {len(left)} nodes that do not answer: {_addresses(calls, left)}")
    views = [view for call in done if (view := _fetch_view(call, calls[call])) is not None]
    if calls and not views:
        raise ConfigError(f"cluster: none of its {len(calls)} nodes ran a small task within {PATIENCE:.0f} s; see them "
                          "with `ray status`")  # fmt: skip
    return views


def _start_calls(paths: Sequence[str], run: Callable[..., NodeView]) -> dict[Any, Place]:
    """Start the task on each node. Return the nodes by call."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, calls = ray.remote(run), dict[Any, Place]()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        works = node["Resources"].get("CPU", 0) or node["Resources"].get("GPU", 0)  # many head nodes have neither
        if node["Alive"] and works:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = task.options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)
            place = Place(node["NodeManagerAddress"], node["Resources"].get("GPU", 0.0))
            calls[options.remote(place.address, list(paths))] = place
    return calls


def _fetch_view(call: Any, place: Place) -> NodeView | None:
    """Return a node's report; None if the node was lost meanwhile. Raises ConfigError if it lacks this package."""
    import ray

    try:
        view: NodeView = ray.get(call)
        return replace(view, gpus=place.gpus)
    except (ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError, ray.exceptions.TaskUnschedulableError):
        return None
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"packages: node {place.address} cannot run our code ({lines[-1].strip()}); install this package and "
            "requirements.lock there, or submit with `ray job submit --working-dir .`"
        ) from error


def _addresses(calls: Mapping[Any, Place], left: Sequence[Any]) -> str:
    return ", ".join(sorted(calls[call].address for call in left)[:5])
