"""Settings for CUDA that are made only where the user made none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from ola.cuda_settings import ALLOCATOR, EXPANDABLE, OLD_ALLOCATOR, exact_convolutions, expand_segments
from ola.model import OlaForConditionalGeneration
from tests.ola import tiny


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment without the allocator's variables."""
    made = {name: value for name, value in os.environ.items() if name not in (ALLOCATOR, OLD_ALLOCATOR)}
    monkeypatch.setattr(os, "environ", made)
    return made


def test_segments_grow_for_a_gpu_alone(environment: dict[str, str]) -> None:
    before = dict(environment)
    expand_segments("cpu")
    assert environment == before
    expand_segments("cuda:1")
    assert environment == before | {ALLOCATOR or OLD_ALLOCATOR: EXPANDABLE}


@pytest.mark.parametrize("name", [ALLOCATOR or OLD_ALLOCATOR, OLD_ALLOCATOR])
def test_a_user_s_choice_stays(environment: dict[str, str], name: str) -> None:
    environment[name] = "max_split_size_mb:128"
    before = dict(environment)
    expand_segments("cuda")
    assert environment == before


def test_nothing_is_set_once_cuda_is_open(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    before = dict(environment)
    expand_segments("cuda")
    assert environment == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="the weights would go to the GPU")
def test_loading_to_a_gpu_sets_it_first(environment: dict[str, str], tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path)
    with pytest.raises((AssertionError, RuntimeError)):  # this torch has no CUDA
        OlaForConditionalGeneration.from_pretrained(tmp_path, device="cuda")
    assert environment[ALLOCATOR or OLD_ALLOCATOR] == EXPANDABLE


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch 2.8 has one flag for all of cuDNN")
def test_beats_convolves_in_float32_and_leaves_the_setting_as_it_was() -> None:
    beats, seen, cudnn = tiny.model().speech_encoder.beats, list[str](), cast("Any", torch.backends.cudnn)

    def note(*_: Any) -> None:
        seen.append(cudnn.conv.fp32_precision)

    for convolution in (beats.patch_embed, beats.pos_conv):
        convolution.register_forward_pre_hook(note)
    before = cudnn.conv.fp32_precision
    beats(torch.zeros(1, 198, 128))
    assert seen == ["ieee"] * 2
    assert cudnn.conv.fp32_precision == before
    assert cudnn.allow_tf32 is True  # torch raises here if both of its ways were mixed


def test_torch_2_8_has_one_flag_for_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, bool]] = []
    flags = torch.backends.cudnn.flags

    class Old:
        enabled, benchmark, deterministic, allow_tf32 = True, False, True, True

        @staticmethod
        def flags(**settings: bool) -> Any:
            given.append(settings)
            return flags(**settings)

    monkeypatch.setattr(torch.backends, "cudnn", Old)
    with exact_convolutions():
        pass
    assert given == [{"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}]
