"""Check the nodes of a cluster: versions, access to the root, and GPUs as Ray and torch count them.

The task on each node is that of `pipeline.checkup.nodes`, which here also asks torch for its GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from pipeline.annotation.model_sizes import ModelSizes
from pipeline.checkup.finding import Finding, good, low, missing, unneeded
from pipeline.checkup.gpu import TorchView, memory_finding, torch_view
from pipeline.checkup.needs import Needs
from pipeline.checkup.nodes import (
    NodeView,
    find_node_faults,
    first_files,
    inspect_node,
    token_file,
    versions,
    views_of_nodes,
)
from pipeline.config import Config
from pipeline.engine.engines import RayEngine
from pipeline.errors import ConfigError

ADVICE = "start one with `ray start --head`, or name another as ray_address or RAY_ADDRESS"


def address_of(config: Config) -> str:
    """Return the address of the Ray cluster that a run joins; "" for none."""
    address = config.ray_address or os.environ.get("RAY_ADDRESS", "")
    return address if config.engine == "ray" and address != "local" else ""


def inspect_node_with_gpus(address: str, paths: Sequence[str]) -> NodeView:
    """Return this node's view, with the GPUs that torch sees; runs on each node."""
    view = inspect_node(address, paths)
    has_driver = view.cuda is not None and view.cuda.supports is not None
    return replace(view, seen=torch_view(hidden=True) if has_driver else TorchView(words="there is no NVIDIA driver"))


def cluster_findings(config: Config, root: str, needs: Needs, sizes: ModelSizes | None = None) -> Iterator[Finding]:
    """Check the nodes of the cluster and yield the findings."""
    address = address_of(config)
    if not address:
        yield unneeded("cluster")
        return
    engine = RayEngine(config.workers, address)
    try:
        engine.join()
        shared: AbstractContextManager[list[str]] = token_file(root) if root else nullcontext([])
        with shared as token:
            views = views_of_nodes([*token, *first_files(config.inputs)], run=inspect_node_with_gpus)
            yield from findings_of(views, root, token, needs)
        cards = [card for view in views if view.seen is not None for card in view.seen.cards]
        if needs.gpu and sizes is not None and cards:
            yield memory_finding(sizes, needs.annotator, cards)
    except ConfigError as error:
        yield missing("cluster", str(error), ADVICE)
    finally:
        engine.close()


def findings_of(views: Sequence[NodeView], root: str, token: Sequence[str], needs: Needs) -> Iterator[Finding]:
    """Yield a finding per fault of a node; without faults, one finding about all nodes."""
    faults = [missing("cluster", *_split_advice(line)) for line in find_node_faults(views, root, token, needs)]
    faults += [fault for view in views if (fault := gpus_fault(view)) is not None]
    yield from faults
    gpus = sum(view.gpus for view in views)
    if needs.gpus and not gpus:
        yield low("cluster", f"a worker takes {needs.gpus:g} GPUs, and no node has one now",
                  "add a node with GPUs before the run, which waits ten minutes for one")  # fmt: skip
    elif not faults:
        have = ", ".join(f"{name} {number}" for name, number in versions().items())
        yield good("cluster", f"{len(views)} nodes with the same packages ({have}), {gpus:g} GPUs")


def gpus_fault(view: NodeView) -> Finding | None:
    """Return a finding if torch sees fewer GPUs on a node than Ray assigns there; else None."""
    if view.seen is None or len(view.seen.cards) >= view.gpus:
        return None
    words = f" ({view.seen.words})" if view.seen.words else ""
    return missing("cluster", f"node {view.address} has {view.gpus:g} GPUs for Ray, and torch sees "
                   f"{len(view.seen.cards)}{words}", "start Ray there with --num-gpus as torch sees them, or run "
                   "`ola doctor --set annotator.device=cuda` there")  # fmt: skip


def _split_advice(line: str) -> tuple[str, str]:
    found, _, advice = line.partition("; ")
    return found, advice
