"""The steps, by their names on the command line and in settings. A new step is a file here and a line below."""

from __future__ import annotations

from typing import Any

from pipeline.step import Step
from pipeline.steps.ask import Ask
from pipeline.steps.caption import Captioning
from pipeline.steps.extract import Extract
from pipeline.steps.fingerprint import FingerprintStep
from pipeline.steps.hear import Hear
from pipeline.steps.ingest import Ingest
from pipeline.steps.inspection import Inspect
from pipeline.steps.screen import Screen
from pipeline.steps.split import Split
from pipeline.steps.sync import Sync
from pipeline.steps.transcribe import Transcribe
from pipeline.steps.verify import Verify

STEPS: dict[str, type[Step[Any, Any]]] = {
    "ingest": Ingest,
    "split": Split,
    "extract": Extract,
    "transcribe": Transcribe,
    "screen": Screen,
    "caption": Captioning,
    "ask": Ask,
    "verify": Verify,
    "fingerprint": FingerprintStep,
    "inspect": Inspect,
    "hear": Hear,
    "sync": Sync,
}
