"""The entry point by which lmms-eval finds Ola (group `lmms_eval.models` in pyproject.toml)."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """Return the manifests of the models `ola_pipeline` and `ola_pipeline_chat`; `ola` is a model of the harness."""
    from lmms_eval.models.registry_v2 import ModelManifest

    module = f"{__package__}.lmms_eval_model"
    return [
        ModelManifest("ola_pipeline", simple_class_path=f"{module}.OlaTasks"),
        ModelManifest("ola_pipeline_chat", chat_class_path=f"{module}.OlaChatTasks"),
    ]
