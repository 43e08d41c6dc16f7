"""Decode prompt embeddings to token ids by vLLM, with continuous batching.

In: the folder that `ola.export` writes, and `Reply`s. Out: (index of the reply, token id), as they are generated.
Greedy ids equal those of `TorchDecoder`. Sampled ids have the same distribution and are reproducible by seed, but
differ, since vLLM has its own sampler. Written for vLLM 0.32, which is imported when a decoder is made.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, set_num_threads  # imported before vLLM replaces it by a stub

from ola.decoding import Reply

CPU_CACHE = 4 * 2**30  # bytes of keys and values: 73,000 tokens at 7B sizes in bfloat16
ROWS, PASS_POSITIONS = 256, 8192  # of a step of vLLM, where engines share a GPU; its own numbers depend on the GPU


class VllmDecoder:
    """A Qwen2 in vLLM, in this process. Concurrent calls, from one or several threads, share a batch.

    A common prefix of prompts (the same clip, another question) is prefilled once.
    """

    continuous = True

    def __init__(
        self, folder: str | Path, dtype: torch.dtype, share: float = 0.8, cache_bytes: int | None = None, **options: Any
    ) -> None:
        """share: of the GPU's memory, for weights and cache; encoders and embeddings need the rest.

        cache_bytes: of the cache, where engines share a GPU: vLLM could not measure what is free there while others
        compute. vLLM refuses to start unless `share` is free. On a CPU the cache takes `CPU_CACHE` bytes, or
        VLLM_CPU_KVCACHE_SPACE GiB if it is set. options: arguments of vLLM's `EngineArgs`, which validates them.
        """
        # A separate engine process would survive a kill of this process, and embeddings would go through a socket.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import EngineArgs, LLMEngine, SamplingParams
        from vllm.platforms import current_platform
        from vllm.sampling_params import RequestOutputKind

        on_cpu = current_platform.is_cpu()
        room = {"kv_cache_memory_bytes": CPU_CACHE} if on_cpu else _gpu_room(share, cache_bytes)
        settings = {
            "dtype": str(dtype).removeprefix("torch."),
            "enable_prompt_embeds": True,
            "skip_tokenizer_init": True,
            "logprobs_mode": "raw_logits",
            "disable_log_stats": True,
            "enforce_eager": on_cpu,  # compiling for a CPU takes longer than most runs
        }
        # One thread for all calls: vLLM's CPU kernels hang if a thread with another thread count calls them.
        self.thread = ThreadPoolExecutor(1, "vllm", set_num_threads, (torch.get_num_threads(),))
        self.engine = self._call_engine(
            LLMEngine.from_engine_args, EngineArgs(str(folder), **settings | room | options)
        )
        cache = self.engine.vllm_config.cache_config
        self.capacity = cache.num_gpu_blocks * cache.block_size  # positions
        self.params, self.kind = SamplingParams, RequestOutputKind.DELTA
        self.names = map(str, count())
        self.arrived: dict[str, deque[Any]] = {}

    def decode(self, replies: Iterable[Reply]) -> Generator[tuple[int, int], None, None]:
        """Yield (index of a reply, its next token id). Raises VLLMValidationError if a prompt is too long.

        Replies are taken when the cache has room for them, also while others are decoded.
        """
        taken: list[Reply] = []
        with closing(self._outputs(replies, taken)) as outputs:
            for index, output in outputs:
                reply, [made] = taken[index], output.outputs
                reply.read_tokens = len(reply.embeds) - (output.num_cached_tokens or 0)
                for number, token in enumerate(made.token_ids, 1):
                    if not reply.finished:
                        reply.finished = made.finish_reason is not None and number == len(made.token_ids)
                        yield index, token

    def scores(self, replies: Sequence[Reply], ids: Sequence[int]) -> Tensor:
        """Return the raw logits (replies, ids) of the next token, for at most 128 ids (vLLM's limit)."""
        one_token = [replace(reply, max_new_tokens=1, temperature=0.0, finished=False) for reply in replies]
        found = torch.empty(len(replies), len(ids))
        with closing(self._outputs(one_token, [], logprob_token_ids=list(ids))) as outputs:
            for index, output in outputs:
                [logits] = output.outputs[0].logprobs
                found[index] = torch.tensor([logits[token].logprob for token in ids])
        return found

    def _outputs(
        self, replies: Iterable[Reply], taken: list[Reply], **more: Any
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield (index of a reply, a step's output for it) until all replies have finished; add replies to `taken`."""
        arrived: deque[Any] = deque()
        flying: dict[str, int] = {}
        left = iter(replies)
        try:
            while self._fill(left, taken, flying, arrived, more):
                for output in self._call_engine(self._wait, arrived):
                    if output.request_id in flying:  # else the caller has ended it meanwhile
                        yield flying[output.request_id], output
                    if output.finished:
                        flying.pop(output.request_id, None)
                ended = [name for name, index in flying.items() if taken[index].finished]
                if ended:
                    self._call_engine(self._abort, ended)
                for name in ended:
                    del flying[name]
        finally:
            self._call_engine(self._abort, flying)

    def _fill(
        self, left: Iterator[Reply], taken: list[Reply], flying: dict[str, int], arrived: deque[Any], more: Any
    ) -> bool:
        """Add replies to the batch until they fill the cache. Return whether any is in the batch."""
        positions = sum(_positions(taken[index]) for index in flying.values())
        while positions < self.capacity and (reply := next(left, None)) is not None:
            taken.append(reply)
            flying[self._call_engine(self._add, reply, arrived, more)] = len(taken) - 1
            positions += _positions(reply)
        return bool(flying)

    def _call_engine(self, call: Callable[..., Any], *given: Any) -> Any:
        """Run a call on the engine's thread, which alone uses the engine."""
        return self.thread.submit(call, *given).result()

    def _add(self, reply: Reply, arrived: deque[Any], more: dict[str, Any]) -> str:
        """Add a reply to the batch; its outputs are appended to `arrived`. Return the name of the request."""
        name, prompt = next(self.names), {"type": "embeds", "prompt_embeds": reply.embeds.cpu()}
        params = self.params(
            max_tokens=reply.max_new_tokens,
            temperature=reply.temperature,
            top_p=reply.top_p,
            seed=reply.seed % 2**63,  # -1 would mean a random seed
            stop_token_ids=sorted(reply.end_ids),
            ignore_eos=True,
            detokenize=False,
            output_kind=self.kind,
            **more,
        )
        self.engine.add_request(name, prompt, params)
        self.arrived[name] = arrived
        return name

    def _wait(self, arrived: deque[Any]) -> list[Any]:
        """Return the outputs queued for this call; if there are none, run one engine step and return its outputs."""
        if not arrived:
            for output in self.engine.step():
                self.arrived[output.request_id].append(output)
                if output.finished:
                    del self.arrived[output.request_id]
        given = [*arrived]
        arrived.clear()
        return given

    def _abort(self, names: Collection[str]) -> None:
        """Remove requests from the batch whose outputs are no longer wanted."""
        self.engine.abort_request([*names])
        for name in names:
            self.arrived.pop(name, None)


def _positions(reply: Reply) -> int:
    """Return the cache positions of a reply at its longest."""
    return len(reply.embeds) + reply.max_new_tokens


def _gpu_room(share: float, cache_bytes: int | None) -> dict[str, Any]:
    """Return the arguments of `EngineArgs` for the memory of a GPU."""
    if cache_bytes is None:
        return {"gpu_memory_utilization": share}
    limits = {"max_num_seqs": ROWS, "max_num_batched_tokens": PASS_POSITIONS}
    return {"gpu_memory_utilization": share, "kv_cache_memory_bytes": cache_bytes, **limits}
