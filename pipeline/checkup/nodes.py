"""Check before a run that every node of a cluster sees the root and the inputs, and has the same packages and GPUs.

In: the root and the first inputs. A file of a random name is written to a local root; a small task on each node looks
for it, and for the inputs. Out: nothing, or the ConfigError that names the node and what it lacks.
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
from pipeline.checkup.gpu import CudaView, TorchView, cuda_fault, cuda_view
from pipeline.checkup.needs import NOTHING, Needs
from pipeline.checkup.tools import OPTIONAL, advice_for
from pipeline.checkup.upfront import raise_for
from pipeline.engine.cluster import Say, say_on_stderr
from pipeline.errors import ConfigError

TOKEN = ".seen-by-all-nodes-"  # the file that nodes look for, then something random
FIRST = 3  # inputs that are looked for: all of them may be millions
SOON, PATIENCE = 5.0, 60.0  # seconds until it is said that nodes are waited for; until those left are gone on without
# decide what rows hold and how they are stored; `ola-pipeline` may be absent where the code comes with the job
PACKAGES = ("ola-pipeline", "ray", "pyarrow", "duckdb", "pydantic", "numpy", "av", "torch", "transformers")


@dataclass(frozen=True)
class NodeView:
    """What a node sees: its address, the paths that it lacks, and versions of Python and of packages.

    tools: of the packages that only some runs need, those that are installed. cuda: the driver and the build of torch.
    gpus: that Ray hands out there. seen: those that torch sees, where it was asked.
    """

    address: str
    lacks: tuple[str, ...]
    versions: Mapping[str, str]
    tools: tuple[str, ...] = tuple(OPTIONAL)
    cuda: CudaView | None = None
    gpus: float = 0.0
    seen: TorchView | None = None


class Place(NamedTuple):
    """A node by its address, with the GPUs that Ray hands out there."""

    address: str
    gpus: float


def look(address: str, paths: Sequence[str]) -> NodeView:
    """Return what this machine sees; runs on each node."""
    lacks = tuple(path for path in paths if not os.path.exists(path))
    return NodeView(address, lacks, versions(), tuple(name for name in OPTIONAL if find_spec(name)), cuda_view())


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed here, without those of builds (`+cpu`)."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]
    return found


def check_nodes(root: str, inputs: Sequence[str], say: Say = say_on_stderr, needs: Needs = NOTHING) -> None:
    """Raise ConfigError unless every node that can work sees what this process sees, and has its packages.

    Raises NeedsUnmet where nodes lack what the steps of the run need.
    """
    with token_file(root) as token:
        check_views(views_of_nodes([*token, *first_files(inputs)], say), root, token, needs)


def first_files(inputs: Sequence[str]) -> list[str]:
    """Return the first local inputs that are there."""
    files = [storage.normal(name) for name in inputs if storage.is_local(name)]
    return [name for name in files if os.path.exists(name)][:FIRST]


@contextmanager
def token_file(root: str) -> Iterator[list[str]]:
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


def check_views(views: Sequence[NodeView], root: str, token: Sequence[str], needs: Needs = NOTHING) -> None:
    """Raise ConfigError for the first node that lacks the root's file or an input, or has other versions.

    Raises NeedsUnmet with all that nodes lack of what the steps of a run need.
    """
    for line in [*_path_faults(views, root, token), *_version_faults(views, versions())]:
        raise ConfigError(line)
    raise_for(_need_faults(views, needs))


def faults_of_views(views: Sequence[NodeView], root: str, token: Sequence[str], needs: Needs) -> list[str]:
    """Return a line for each thing that a node lacks."""
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
    """Yield what the nodes lack on which the steps may run: those with GPUs, where the steps take GPUs.

    A cluster without GPUs may get nodes that have some, so their absence is no fault.
    """
    for view in views:
        if needs.gpus and not view.gpus:
            continue
        for key, name in needs.packages:
            if name in OPTIONAL and name not in view.tools:
                yield f"{key}: expected {name} on node {view.address}, and it is not there; {advice_for(key, name)}"
        fault = cuda_fault(view.cuda) if view.cuda is not None and needs.gpu else None
        if fault is not None:
            yield f"{needs.gpu}: expected a GPU on node {view.address}, and {fault[0]}; {fault[1]}"


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


def _calls(paths: Sequence[str], run: Callable[..., NodeView]) -> dict[Any, Place]:
    """Start the task on each node. Returns the nodes by call."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, calls = ray.remote(run), dict[Any, Place]()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        works = node["Resources"].get("CPU", 0) or node["Resources"].get("GPU", 0)  # many heads have neither
        if node["Alive"] and works:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            place = Place(node["NodeManagerAddress"], node["Resources"].get("GPU", 0.0))
            calls[options.remote(place.address, list(paths))] = place
    return calls


def _view(call: Any, place: Place) -> NodeView | None:
    """Return a node's answer; None for a node that was lost meanwhile. Raises ConfigError where it lacks our code."""
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


def _named(calls: Mapping[Any, Place], left: Sequence[Any]) -> str:
    return ", ".join(sorted(calls[call].address for call in left)[:5])
