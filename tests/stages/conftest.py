"""Fixtures for what reads shards: a processor, and a folder of mixed sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ola.processor import OlaProcessor
from tests.ola import tiny
from tests.stages.shardset import HEARD, WATCHED, sample, write_set


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in a worker; several threads would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def processor() -> OlaProcessor:
    return OlaProcessor(tiny.tokenizer(), tiny.config())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 tasks of 6 kinds in one folder."""
    folder = tmp_path_factory.mktemp("mixed")
    omni = [sample(n, *HEARD) for n in range(6)]
    watched = [sample(n, *WATCHED) for n in range(10, 14)]
    seen = [sample(n, "image_caption") for n in range(20, 26)]
    for name, content in {"omni": omni, "video": watched, "image": seen}.items():
        write_set(folder / name, content)
    return folder
