"""What vLLM is started with, by a stand-in for its module: on a CPU, on a whole GPU, and on a shared one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from ola.vllm_decoder import CPU_CACHE, VllmDecoder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for vLLM. Returns the arguments of the engine that was started, and `on_cpu`, which a test may set."""
    found: dict[str, Any] = {"on_cpu": False}

    def engine_args(folder: str, **arguments: Any) -> str:
        found.update(arguments)
        return folder

    cache = SimpleNamespace(num_gpu_blocks=10, block_size=16)
    engine = SimpleNamespace(vllm_config=SimpleNamespace(cache_config=cache))
    modules: dict[str, dict[str, Any]] = {
        "vllm": {
            "EngineArgs": engine_args,
            "LLMEngine": SimpleNamespace(from_engine_args=lambda _arguments: engine),
            "SamplingParams": dict,
        },
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: found["on_cpu"])},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(DELTA=1)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return found


def memory_arguments(started: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in started.items() if "memory" in name or name.startswith("max_num")}


def test_alone_on_a_gpu_vllm_measures_its_room(started: dict[str, Any]) -> None:
    VllmDecoder(Path("decoder"), torch.bfloat16, 0.8)
    assert memory_arguments(started) == {"gpu_memory_utilization": 0.8}
    assert (started["dtype"], started["enforce_eager"]) == ("bfloat16", False)


def test_beside_others_on_a_gpu_its_cache_is_given(started: dict[str, Any]) -> None:
    """With the most rows and positions of a step, which its activations are reckoned from."""
    VllmDecoder(Path("decoder"), torch.bfloat16, 0.35, cache_bytes=10**10)
    assert memory_arguments(started) == {
        "gpu_memory_utilization": 0.35,
        "kv_cache_memory_bytes": 10**10,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 8192,
    }


def test_on_a_cpu_no_gpu_is_spoken_of(started: dict[str, Any]) -> None:
    started["on_cpu"] = True
    VllmDecoder(Path("decoder"), torch.float32, 0.8)
    assert memory_arguments(started) == {"kv_cache_memory_bytes": CPU_CACHE}
