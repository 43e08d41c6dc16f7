"""Tasks of lmms-eval about films of the toy world: pictures, sounds and videos, and a choice by likelihood."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.prompts import prompt
from pipeline.synthetic.nano.lessons import SILENCE
from pipeline.synthetic.world.audio import RATE, render_sound
from pipeline.synthetic.world.captions import describe_image
from pipeline.synthetic.world.frames import draw_frame
from pipeline.synthetic.world.generate import write_clip
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.truth import build_truth
from pipeline.synthetic.world.vocabulary import COLOURS

SEED = 2345  # of the split `test`, which nano did not learn from
TASKS = ("toy_picture", "toy_sound", "toy_video", "toy_choice")
SUFFIXES = {"picture": "png", "sound": "wav", "video": "mp4"}
UTILS = '''"""Functions of the tasks."""
import re

from PIL import Image

KINDS = (("image", "picture"), ("audio", "sound"), ("video", "video"))


def picture(doc):
    return [Image.open(doc["picture"]).convert("RGB")]


def sound(doc):
    return [doc["sound"]]


def video(doc):
    return [doc["video"]]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["text"]


def messages(doc, lmms_eval_specific_kwargs=None):
    media = [{"type": kind, "url": doc[name]} for kind, name in KINDS if doc.get(name)]
    return [{"role": "user", "content": [*media, {"type": "text", "text": doc["text"]}]}]


def process(doc, results):
    said = [re.sub(r"\\W+", " ", text.lower()).strip() for text in (results[0], doc["answer"])]
    named = [word in said[0].split() for word in doc["words"]]
    return {"exact": float(said[0] == said[1]), "named": sum(named) / len(named)}
'''
TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: {output_type}
doc_to_visual: !function utils.{medium}
doc_to_text: !function utils.text
{more}
"""
ANSWERED = """doc_to_messages: !function utils.messages
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 96
  do_sample: false
process_results: !function utils.process
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
  - metric: named
    aggregation: mean
    higher_is_better: true"""
CHOSEN = """doc_to_choice: choices
doc_to_target: gold
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true"""


def write_tasks(folder: Path, count: int) -> None:
    """Write the tasks with their documents and media into a folder, for `--include_path`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "utils.py").write_text(UTILS, encoding="utf-8")
    scenes = [compose_scene(SEED, number, kind="linked") for number in range(count)]
    docs = [_documents(folder, scene) for scene in scenes]
    for name in TASKS:
        file = folder / f"{name}.jsonl"
        file.write_text("".join(f"{json.dumps(each[name])}\n" for each in docs), encoding="utf-8")
        choice = name == "toy_choice"
        text = TASK.format(
            name=name,
            file=file,
            output_type="multiple_choice" if choice else "generate_until",
            medium="picture" if choice else name.removeprefix("toy_"),
            more=CHOSEN if choice else ANSWERED,
        )
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def _documents(folder: Path, scene: Scene) -> dict[str, dict[str, Any]]:
    """Return the document of a scene for each task, and write its media."""
    write_clip(folder, scene)
    sound, rendered = render_sound(scene)
    truth, first = build_truth(scene, rendered), scene.sights[0]
    at, figures = (first.start + first.end) / 2, [figure for sight in scene.sights for figure in sight.figures]
    files = {kind: str(folder / f"{scene.name}.{suffix}") for kind, suffix in SUFFIXES.items()}
    Image.fromarray(draw_frame(scene, at)).save(files["picture"])
    with wave.open(files["sound"], "wb") as wav:
        wav.setparams((1, 2, RATE, len(sound), "NONE", ""))
        wav.writeframes(sound.tobytes())
    seen, said = describe_image(scene, at), truth["transcript"] or SILENCE
    colour, gold = figures[0].colour, scene.number % 4
    choices = [seen.replace(colour, other) for other in COLOURS if other != colour][:3]
    shown = [word for figure in figures for word in (figure.colour, figure.shape)]
    asked = {
        "picture": ("caption_image", seen, shown[:2]),
        "sound": ("transcribe", said, said.lower().strip("[]").split()),
        "video": ("caption_joint", truth["captions"]["joint"], [*shown, *truth["transcript"].lower().split()]),
    }
    return {
        f"toy_{kind}": {kind: files[kind], "text": prompt(name), "answer": answer, "words": words}
        for kind, (name, answer, words) in asked.items()
    } | {
        "toy_choice": {
            "picture": files["picture"],
            "text": prompt("caption_image"),
            "choices": [*choices[:gold], seen, *choices[gold:]],
            "gold": gold,
        }
    }
