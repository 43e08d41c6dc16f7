"""The YAML header of the card, as the Hugging Face Hub reads it: licences, languages, tasks, size and files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from pipeline.card.facts import CardFacts, Others

UNKNOWN = "unknown"
# Names of the Hub for kinds of tasks.
CATEGORIES: Mapping[str, str] = {
    "image_caption": "image-to-text",
    "video_caption": "video-text-to-text",
    "video_qa": "video-text-to-text",
    "cross_modal_qa": "any-to-any",
    "joint_caption": "any-to-any",
    "subtitle": "automatic-speech-recognition",
    "sound_caption": "audio-text-to-text",
    "speech_recognition": "automatic-speech-recognition",
    "given_caption": "video-text-to-text",
    "given_qa": "video-text-to-text",
    "chat": "text-generation",
    "image_chat": "image-text-to-text",
    "images_chat": "image-text-to-text",
    "video_chat": "video-text-to-text",
    "omni_chat": "any-to-any",
    "audio_chat": "audio-text-to-text",
    "spoken_qa": "any-to-any",
}
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))  # fmt: skip
# Licences of Creative Commons that the Hub has a name for; it names all others of them `cc`.
COMMONS = {
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
}  # fmt: skip
_COMMONS = re.compile(
    r"(?:cc[ -]|creativecommons\.org/licenses/)(by(?:-nc)?(?:-sa|-nd)?)[-/ ]?([1-4]\.[05])?( international| unported)?"
)
_NAMED = {"apache-2.0", "mit", "cc0-1.0", "odc-by", "odbl", "pddl", "gpl-3.0", "bsd-3-clause"}
_NAMES = {"cc0": "cc0-1.0", "creativecommons.org/publicdomain/zero/1.0": "cc0-1.0", "apache 2.0": "apache-2.0"}
SPLITS = (("train", "train"), ("val", "validation"))  # ours, and that of the Hub


def header(facts: CardFacts, name: str) -> str:
    """Return the header with its two lines of dashes. name: of the data set."""
    fields: dict[str, Any] = {"pretty_name": name, "license": licences(facts)}
    if spoken := languages(facts):
        fields["language"] = spoken
    kinds = [kind for _, kind, *_ in facts.content.kinds]
    fields |= {
        "task_categories": sorted({CATEGORIES[kind] for kind in kinds}),
        "size_categories": [size_category(sum(stage["samples"] for stage in facts.content.stages.values()))],
        "annotations_creators": ["machine-generated"],
        "tags": ["webdataset", "croissant", "omni-modal"],
        "configs": [_config(each.name, each.folder, each.tasks) for each in facts.content.sets],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def _config(name: str, folder: str, tasks: Mapping[str, int]) -> dict[str, Any]:
    files = [{"split": hub, "path": f"{folder}/{own}-*.tar"} for own, hub in SPLITS if tasks.get(own)]
    return {"config_name": name, "data_files": files}


def licences(facts: CardFacts) -> list[str]:
    """Return the licences of the packed videos by the Hub's names: `other`, and `unknown` where none is named."""
    found = {licence_id(value) for value, *_ in facts.rows.licences}
    if facts.content.has_imports or not found:
        found.add(UNKNOWN)
    return sorted(found)


def licence_id(value: str | Others | None) -> str:
    """Return the Hub's name of a licence."""
    if value is None:
        return UNKNOWN
    if isinstance(value, Others):
        return "other"
    plain = re.sub(r"^https?://(www\.)?", "", value.strip().lower()).rstrip("/").replace("_", "-")
    plain = _NAMES.get(plain, plain)
    if plain in _NAMED:
        return plain
    commons = _COMMONS.fullmatch(plain)
    if commons is None:
        return "other"
    versioned = f"cc-{commons[1]}-{commons[2]}"
    return versioned if versioned in COMMONS else "cc"


def languages(facts: CardFacts) -> list[str]:
    """Return the ISO 639 codes of the languages in packed clips."""
    named: Iterable[str] = (value for value, *_ in facts.rows.languages if isinstance(value, str))
    codes = (re.match(r"([a-z]{2,3})(?=$|[-_])", value.lower()) for value in named)
    return sorted({code[1] for code in codes if code and code[1] != "und"})


def size_category(samples: int) -> str:
    """Return the Hub's class of size for a number of samples."""
    return next((name for limit, name in SIZES if samples < limit), "n>1T")
