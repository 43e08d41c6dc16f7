"""Whole runs with the decoder in vLLM (`make test-vllm`); without vLLM, the error message."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from ola.processor import OlaProcessor
from pipeline.annotation.annotator import open_annotator
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.errors import ConfigError
from tests.media import numbered, pattern
from tests.ola import tiny
from tests.runs import ola, rows, shards_of, talking

SMALL = ("extract.frames.cap=3", "split.longest=4", "pack.val=0", "caption.longest=8", "ask.longest=8",
         "ask.least_informative=0", "verify.longest=4")  # fmt: skip


def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.annotation.annotator.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"vllm is not installed; run `pip install vllm` in a venv of its own"):
        open_annotator(AnnotatorSettings(engine="vllm"))


@pytest.mark.skipif(find_spec("vllm") is None, reason="`make test-vllm` gives vLLM a venv of its own")
def test_both_engines_write_the_same_and_vllm_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Heads 32 wide, the least that vLLM's attention on a CPU takes.
    model = tiny.model(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16384)
    model.save_pretrained(tmp_path / "model")
    OlaProcessor(tiny.tokenizer(), model.config).save_pretrained(tmp_path / "model")
    talking(tmp_path / "videos", "one", pattern("one.mp4", 8.2), 8)
    talking(tmp_path / "videos", "mute", numbered("plain.mp4", 100), 4)
    digests, answers = [], []
    for name, engine in (("torch", "torch"), ("one", "vllm"), ("two", "vllm")):
        root = tmp_path / name
        settings = (*SMALL, f"annotator.model={tmp_path / 'model'}", f"annotator.engine={engine}")
        said = ola("run", tmp_path / "videos", "--root", root, *(part for one in settings for part in ("--set", one)))
        assert said.code == 0, said
        digests.append([hashlib.sha256(tar.read_bytes()).hexdigest() for tar in shards_of(root)])
        answers.append(
            rows(root, "SELECT view, asked.prompt, asked.answer, asked.finish FROM caption ORDER BY ALL")
            + rows(root, "SELECT input, status, reason, detail FROM ask ORDER BY ALL")
        )
    assert len(answers[0]) > 4
    assert answers[0] == answers[1] == answers[2]
    assert digests[1] == digests[2] != []
    [decoder] = (path for path in (tmp_path / "cache" / "ola").iterdir() if path.is_dir())
    assert {path.name for path in decoder.iterdir()} == {"config.json", "model.safetensors"}
