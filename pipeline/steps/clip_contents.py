"""Load what the views of `verify` show witnesses of a clip: media, transcript, title, and the words in the picture."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.annotation.media_loader import MediaLoader
from pipeline.annotation.witnesses import ANNOTATOR
from pipeline.errors import ConfigError
from pipeline.inspection.packages import FAMILIES
from pipeline.inspection.text_kinds import letters
from pipeline.inspection.text_reader import TextReader, open_text_reader
from pipeline.media.other_sound import find_other_sound
from pipeline.steps.inspection import choose_frames, decode_frame
from pipeline.steps.span_views import cut_clip
from pipeline.steps.witness_views import SWAP, WORDS, ClipContent

if TYPE_CHECKING:
    from pipeline.annotation.annotator import Annotator
    from pipeline.annotation.witnesses import Witness
    from pipeline.steps.verify import VerifyInput

READ_FRAMES = 6  # evenly spread, as `inspect.read_frames`: 0.5 s a clip on one core


def load_contents(
    entry: VerifyInput,
    loaders: Mapping[str, MediaLoader],
    own: MediaLoader,
    views: Collection[str],
    reader: TextReader | None,
) -> dict[str, ClipContent]:
    """Return what the views of a clip are made of, by witness: each has media as its own model takes them.

    own: the annotator's loader. views: those that are switched on. reader: of the words in the picture; None: not read.
    """
    footage, other = entry.footage, None
    if footage.sound is not None and SWAP in views:
        other = find_other_sound(own.read, footage.sound)
    swapped = None if other is None else own.sound(replace(footage, sound=other))
    title = video_title(entry.video.meta, entry.clip.meta)
    words = "" if reader is None else read_words(reader, own.read.frames(footage))
    loaded = {id(load): load(footage) for load in loaders.values()}
    return {
        label: ClipContent(loaded[id(load)], swapped, entry.transcript.text, title, words)
        for label, load in loaders.items()
    }


def add_parts(
    entry: VerifyInput, contents: dict[str, ClipContent], loaders: Mapping[str, MediaLoader]
) -> dict[str, ClipContent]:
    """Return what the views of a question are made of: of its clip, and of the spans that it names."""
    footage, times = entry.footage, entry.question.times
    if not times:
        return contents
    return {
        label: replace(content, part=partial(cut_clip, loaders[label], footage, times))
        for label, content in contents.items()
    }


def open_reader() -> TextReader:
    """Load the reader of words in pictures. Raises ConfigError without its packages."""
    family = FAMILIES["text"]
    if missing := [name for name in family.modules if find_spec(name) is None]:
        raise ConfigError(
            f"verify.more_views: `{WORDS}` needs {' and '.join(missing)}; pip install 'ola-pipeline[{family.extra}]', "
            f"or leave {WORDS} out"
        )
    return open_text_reader()


def read_words(reader: TextReader, jpegs: Sequence[memoryview]) -> str:
    """Return the lines that can be read in a clip's frames, each once, in the order in which they appear.

    Raises BadMedia for a frame that cannot be decoded.
    """
    lines = dict[str, str]()
    for n in choose_frames(len(jpegs), READ_FRAMES):
        for line in reader.read(decode_frame(jpegs[n])):
            lines.setdefault(letters(line.text), line.text.strip())
    return "\n".join(text for key, text in lines.items() if key)


def open_loaders(root: str, witnesses: Sequence[tuple[Witness, Annotator]], own: MediaLoader) -> dict[str, MediaLoader]:
    """Return the loader of each witness by its label; those that take raw media share one. own: of the annotator."""
    raw = own if own.processor is None else MediaLoader(root)
    found = {}
    for witness, model in witnesses:
        processor = getattr(model, "processor", None)
        found[witness.label] = raw if processor is None else MediaLoader(root, processor)
    return found | {ANNOTATOR: own}


def video_title(*metas: str) -> str:
    """Return the title and the description of a clip's metadata, JSON objects of which the last one counts."""
    known = {name: value for meta in metas for name, value in json.loads(meta).items()}
    texts = (known.get(name) for name in ("title", "description"))
    return "\n".join(text for text in texts if isinstance(text, str) and text.strip())
