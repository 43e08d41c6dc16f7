"""Reads the fixtures of the original Ola (`--golden DIR`): what lies there, and the same as our requests."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ola.config import AUDIO_FRAMES_PER_S, OlaConfig
from ola.conversation import SPOKEN
from ola.processor import OlaProcessor
from ola.prompt import IMAGE, SPEECH, Prompt, Request, Sound, Visual, Wave
from ola.weights import BEATS_SIZES

TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def sampling_rows(folder: Path) -> Iterator[tuple[str, tuple[int, int, list[int]]]]:
    for rule, rows in read(folder, "preproc.json")["frame_sampling"].items():
        if isinstance(rows, dict):
            yield from ((f"{rule}-{n}", (int(n), int(rule[1:]), kept)) for n, kept in rows.items())


def size_rows(folder: Path, table: str) -> dict[str, Any]:
    rows = read(folder, "preproc.json")[table]
    return {"{}x{}".format(*row["in_wh"]) + (f"-{row['patch']}" if "patch" in row else ""): row for row in rows}


def named(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def with_features(folder: Path) -> list[str]:
    stored = load_file(folder / "audio.safetensors")
    files = read(folder, "manifest.json")["audio"]["wav_files"]
    return [name for name in files if f"{name}.mel" in stored or f"{name}.mel_rows" in stored]


# argument of a test -> its cases in the folder, by id
CASES: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
    "image_row": lambda folder: size_rows(folder, "image"),
    "video_row": lambda folder: size_rows(folder, "video"),
    "sampling": lambda folder: dict(sampling_rows(folder)),
    "record": lambda folder: {record["id"]: record for record in read(folder, "data/train.json")},
    "batch": lambda folder: read(folder, "train.json")["batches"],
    "pixels": lambda folder: named(name for name in load_file(folder / "train.safetensors") if name.endswith("_u8")),
    "sound": lambda folder: named(with_features(folder)),
    "e2e": lambda folder: named(sorted(file.stem for file in folder.glob("e2e_*.safetensors"))),
}


def config_of(folder: Path) -> OlaConfig:
    sizes, train = read(folder, "config.json"), read(folder, "train.json")
    vit, whisper, beats = sizes["vit"], sizes["whisper_dims"], sizes["beats_cfg"]
    return OlaConfig(
        **sizes["ola"],
        vision={
            "hidden_size": vit["embed_dim"],
            "intermediate_size": vit["mlp_hidden"],
            "num_hidden_layers": vit["depth"],
            "num_attention_heads": vit["num_heads"],
            "patch_size": vit["patch_size"],
            "image_size": vit["patch_size"] * vit["pos_grid"],
            "layer_norm_eps": vit["layer_norm_eps"],
        },
        whisper={
            "num_mel_bins": whisper["n_mels"],
            "d_model": whisper["n_audio_state"],
            "encoder_layers": whisper["n_audio_layer"],
            "encoder_attention_heads": whisper["n_audio_head"],
            "encoder_ffn_dim": 4 * whisper["n_audio_state"],
        },
        beats={ours: beats[theirs] for ours, theirs in BEATS_SIZES.items()},
        audio_chunk_seconds=whisper["n_audio_ctx"] // AUDIO_FRAMES_PER_S,
        max_frames=train["frames_upbound"],
    )


def sound_of(file: Path) -> Wave:
    with wave.open(str(file)) as reader:
        samples = np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
        return Wave(samples.reshape(-1, reader.getnchannels()).T, reader.getframerate())


def pictures_of(folder: Path, given: Any) -> list[Image.Image]:
    """Of a file, a list of them, or a part of a patch: images laid end to end, whose sizes are given."""
    if isinstance(given, list):
        return [picture for one in given for picture in pictures_of(folder, one)]
    if isinstance(given, str):
        return [opened(folder / given)]
    sizes = [given["size"]] if isinstance(given["size"], int) else given["size"]
    file = io.BytesIO((folder / given["patch"]).read_bytes())
    file.seek(given["start_num"])
    return [opened(io.BytesIO(file.read(size))) for size in sizes]


def opened(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file) as picture:
        picture.load()
        return picture


def record_of(folder: Path, name: str) -> Mapping[str, Any]:
    """The training sample of this id, or else the first that has such a medium."""
    records: list[dict[str, Any]] = read(folder, "data/train.json")
    return next(record for record in sorted(records, key=lambda r: r["id"] != name) if name in (record["id"], *record))


def visuals_of(folder: Path, record: Mapping[str, Any], processor: OlaProcessor) -> list[Visual]:
    images = [processor.image(picture) for picture in pictures_of(folder, record.get("image", []))]
    return images + ([processor.video(pictures_of(folder, record["video"]))] if "video" in record else [])


def sample_of(folder: Path, record: Mapping[str, Any], processor: OlaProcessor) -> Prompt:
    """A training sample as ours."""
    turns = [(turn["from"], turn["value"]) for turn in record["conversations"]]
    if "audio_q" in record:
        turns[0] = ("human", record["text_q"])
    sounds = [processor.sound(sound_of(folder / record[key])) for key in ("audio", "audio_q") if key in record]
    return processor.sample(turns, visuals_of(folder, record, processor), sounds, spoken="audio_q" in record)


def request_of(folder: Path, e2e: str, processor: OlaProcessor) -> Request:
    """The request whose prompt has the ids of this case; its pictures are the stored pixels."""
    tensors, facts = load_file(folder / f"{e2e}.safetensors"), read(folder, "manifest.json")[e2e]
    text = spelled(tensors["input_ids"][0], processor)
    turns = dict.fromkeys(("system", "user", "assistant"), "") | dict(re.findall(TURN, text))
    question = re.sub("^(<speech>|<image>)+\n", "", turns["user"])
    visuals = [visual_of(tensors, n) for n in range(text.count("<image>"))]
    files = read(folder, "manifest.json")["audio"]["wav_files"]
    sounds: list[Sound] = []
    if "audio" in facts:
        sounds = [processor.sound(sound_of(folder / files[facts["audio"]]))]
    spoken = sounds.pop() if SPOKEN in text else None
    return Request(
        question.replace(f"{SPOKEN}<speech>\n", ""),
        images=[visual for visual in visuals if visual.kind == "image"],
        video=next((visual for visual in visuals if visual.kind == "video"), None),
        sounds=sounds,
        spoken_question=spoken,
        system=turns["system"],
    )


def spelled(ids: Tensor, processor: OlaProcessor) -> str:
    tags = {IMAGE: "<image>", SPEECH: "<speech>"}
    runs = groupby(ids.tolist(), lambda token: min(token, 0))
    return "".join(tags[tag] * len([*run]) if tag else str(processor.tokenizer.decode([*run])) for tag, run in runs)


def visual_of(tensors: Mapping[str, Tensor], n: int) -> Visual:
    low, high = tensors[f"images.{n}"], tensors[f"images_highres.{n}"]
    if high.ndim == 5:
        return Visual("video", (high.squeeze(1),), f"video {n}")
    return Visual("image", (low, high), f"image {n}")
