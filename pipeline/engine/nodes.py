"""Which node of a Ray cluster this process is on, and which nodes are lost; without Ray there is only this machine."""

from __future__ import annotations

import sys
from typing import Any


def current_node() -> str:
    """Return the id of this node; "" without Ray."""
    ray = _ray()
    return str(ray.get_runtime_context().get_node_id()) if ray is not None else ""


def is_lost(node: str) -> bool:
    """Tell whether the node with this id is gone from the cluster. This machine ("") never is."""
    ray = _ray()
    if ray is None or not node:
        return False
    return not any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())


def _ray() -> Any:
    ray = sys.modules.get("ray")  # not imported for this: the engine `inline` does without
    return ray if ray is not None and ray.is_initialized() else None
