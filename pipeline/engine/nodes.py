"""Name the Ray node of this process, and recognise lost nodes. Without Ray there is only this machine."""

from __future__ import annotations

import sys
from typing import Any


def current_node() -> str:
    """Return the id of this node; "" without Ray."""
    ray = _ray()
    return str(ray.get_runtime_context().get_node_id()) if ray is not None else ""


def is_lost(node: str) -> bool:
    """Return whether the node with this id has left the cluster; False for this machine ("")."""
    ray = _ray()
    if ray is None or not node:
        return False
    return not any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())


def _ray() -> Any:
    ray = sys.modules.get("ray")  # not imported for this: the engine `inline` does without
    return ray if ray is not None and ray.is_initialized() else None
