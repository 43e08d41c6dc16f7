"""Save and load tokenizers so that transformers 4.57 and 5 read the same files.

Version 5 writes another class and a list of special tokens, which 4.57 cannot load. Whether a space is put before a
text depends in 4.57 on its own default, in version 5 on `tokenizer.json`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

CONFIG, TOKENIZER = "tokenizer_config.json", "tokenizer.json"
IS_OLD = int(transformers.__version__.split(".", maxsplit=1)[0]) < 5


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save a tokenizer in files that both versions load."""
    tokenizer.save_pretrained(folder)
    (Path(folder) / CONFIG).write_text(json.dumps(facts_for_both(Path(folder)), indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """Load a tokenizer that either version wrote. Raises OSError or ValueError, as transformers does."""
    if not IS_OLD or not (folder / CONFIG).is_file():
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, config=config)
        return loaded
    with tempfile.TemporaryDirectory() as copy:
        for file in folder.glob("*.*"):
            if file.is_file() and file.name != CONFIG:
                (Path(copy) / file.name).symlink_to(file.resolve())
        (Path(copy) / CONFIG).write_text(json.dumps(facts_for_both(folder)), encoding="utf-8")
        loaded = AutoTokenizer.from_pretrained(copy, config=config)
        loaded.name_or_path = str(folder)
        return loaded


def facts_for_both(folder: Path) -> dict[str, Any]:
    """Return the content of `tokenizer_config.json` in the form of 4.57, which version 5 also reads."""
    facts: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if facts.get("tokenizer_class") == "TokenizersBackend":
        facts["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(facts.get("extra_special_tokens"), list):
        facts["additional_special_tokens"] = facts.pop("extra_special_tokens")
    if (folder / TOKENIZER).is_file():
        before = json.loads((folder / TOKENIZER).read_text(encoding="utf-8")).get("pre_tokenizer") or {}
        if "add_prefix_space" in before:
            facts.setdefault("add_prefix_space", before["add_prefix_space"])
    return facts
