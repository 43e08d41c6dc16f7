"""The exported decoder is a complete Qwen2, also if several processes write it or one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import Qwen2ForCausalLM

from ola.checkpoint import BadCheckpoint
from ola.export import export_decoder, load_without_decoder
from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Request
from tests.ola import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.model(rope_theta=5e5).save_pretrained(tmp_path / "ola")
    return tmp_path / "ola"


@pytest.mark.parametrize("tied", [False, True])
def test_the_decoder_is_a_qwen2_with_equal_logits(tmp_path: Path, tied: bool) -> None:
    tiny.model(rope_theta=5e5, tie_word_embeddings=tied).bfloat16().save_pretrained(tmp_path / "ola")
    ola = OlaForConditionalGeneration.from_pretrained(tmp_path / "ola")
    export_decoder(tmp_path / "ola", tmp_path / "out" / "qwen2")
    with safe_open(tmp_path / "out" / "qwen2" / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) is not tied  # noqa: SIM118  it is no dict
        assert file.get_tensor("model.norm.weight").dtype == torch.bfloat16
    qwen2 = Qwen2ForCausalLM.from_pretrained(tmp_path / "out" / "qwen2")
    assert qwen2.config.vocab_size == ola.config.vocab_size
    embeds = ola.get_input_embeddings()(torch.arange(40))[None]
    with torch.inference_mode():
        assert torch.equal(qwen2(inputs_embeds=embeds).logits, ola(inputs_embeds=embeds).logits)


def test_what_is_there_is_not_written_again(folder: Path, tmp_path: Path) -> None:
    export_decoder(folder, tmp_path / "qwen2")
    before = (tmp_path / "qwen2" / "model.safetensors").stat()
    export_decoder(folder, tmp_path / "qwen2")
    assert (tmp_path / "qwen2" / "model.safetensors").stat() == before


def test_a_folder_that_is_no_whole_ola_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(BadCheckpoint, match="cut short"):
        export_decoder(folder, tmp_path / "qwen2")
    assert not (tmp_path / "qwen2").exists()


EXPORT = (
    "import sys; from pathlib import Path; from ola.export import export_decoder;"
    "export_decoder(*map(Path, sys.argv[1:]))"
)
"""Arguments: folder, out."""


def test_after_a_kill_the_next_one_writes_it_whole(folder: Path, tmp_path: Path) -> None:
    slow = "import os, time; os.fsync = lambda _: time.sleep(60);" + EXPORT
    out = tmp_path / "qwen2"
    killed = subprocess.Popen([sys.executable, "-c", slow, folder, out])
    draft = tmp_path / "qwen2.draft" / "model.safetensors"
    deadline = time.monotonic() + 60
    while not draft.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert draft.exists()
    assert not out.exists()
    export_decoder(folder, out)
    assert Qwen2ForCausalLM.from_pretrained(out).config.hidden_size == 64
    assert not draft.parent.exists()


def test_of_some_at_once_one_writes(folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:  # the lock is of an open file, so threads stand for processes
        list(pool.map(lambda _: export_decoder(folder, tmp_path / "qwen2"), range(4)))
    assert Qwen2ForCausalLM.from_pretrained(tmp_path / "qwen2").config.hidden_size == 64
    assert not (tmp_path / "qwen2.draft").exists()


def test_the_rest_encodes_and_splices_as_the_whole(folder: Path) -> None:
    whole, rest = OlaForConditionalGeneration.from_pretrained(folder), load_without_decoder(folder)
    assert not [name for name, _ in rest.named_parameters() if name.startswith(("model.layers", "lm_head"))]
    assert sum(map(torch.numel, rest.parameters())) < sum(map(torch.numel, whole.parameters()))
    picture = torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8).numpy()
    processor = OlaProcessor(tiny.tokenizer(), whole.config)
    prompt = processor.prompt(Request("What is this?", images=[picture]))
    with torch.inference_mode():
        spliced = [one.splice(prompt, one.encode_visuals(prompt.visuals)) for one in (whole, rest)]
    assert torch.equal(*spliced)
    assert Ola(rest, processor).end_ids == Ola(whole, processor).end_ids
