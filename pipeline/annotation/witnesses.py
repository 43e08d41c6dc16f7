"""Witnesses of `verify`: models beside the annotator that answer questions, so that it is not its own only examiner.

A witness is named as a user names models: a folder of weights or `nano`, `module:factory`, the address of a server with
the API of OpenAI and the name of its model (`http://host:8000/v1#qwen2.5-omni-7b`), or `annotator` for the annotator's
own place in the order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.annotation.annotator import Annotator, load_annotator
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.endpoint import Endpoint
from pipeline.annotation.model_digest import digest_of

ANNOTATOR = "annotator"
DEVICE = re.compile(r"cpu|cuda(:\d+)?")
FACTORY = re.compile(r"[\w.]+:\w+")
ADDRESS = ("http://", "https://")


@dataclass(frozen=True)
class Witness:
    """A witness. name: as in the settings. device: of its weights; empty: the annotator's choice."""

    name: str
    device: str = ""

    @property
    def is_endpoint(self) -> bool:
        """Whether it is a server."""
        return self.name.startswith(ADDRESS)

    @property
    def is_factory(self) -> bool:
        """Whether it is made by a function."""
        return not self.is_endpoint and FACTORY.fullmatch(self.name) is not None

    @property
    def label(self) -> str:
        """The model of a server, the last folder of a path, or the name."""
        if self.is_endpoint:
            return self.name.partition("#")[2]
        return self.name if self.is_factory else Path(self.name).name

    def settings(self, annotator: AnnotatorSettings) -> AnnotatorSettings:
        """Return the settings to load it with: those of the annotator with its own weights or its own engine."""
        own = (
            {"engine": self.name}
            if self.is_factory
            else {
                "model": self.name,
                "engine": "torch",
                "digest": "",
                "batch_invariant": False,  # a mode of vLLM
                **({"device": self.device, "runs_on": ""} if self.device else {}),
            }
        )
        return annotator.model_copy(update=own)

    def facts(self) -> dict[str, Any]:
        """Return what its answers depend on. A server's address is not part of it, the name of its model is."""
        if self.is_endpoint:
            return {"endpoint": self.label}
        if self.is_factory or self.name == ANNOTATOR:
            return {"engine": self.name}
        kind = {"device": self.device.partition(":")[0]} if self.device else {}
        return {"model": digest_of(self.name), **kind}

    def open(self, annotator: AnnotatorSettings, model: Annotator) -> Annotator:
        """Load it; for `annotator`, return `model`. Raises ConfigError; Unavailable for a server that is down."""
        if self.name == ANNOTATOR:
            return model
        if self.is_endpoint:
            server = Endpoint.at(self.name)
            server.check()
            return server
        return load_annotator(self.settings(annotator))


def order_witnesses(names: Sequence[str], devices: Mapping[str, str] = MappingProxyType({})) -> list[Witness]:
    """Return the witnesses in the order in which they are asked: as named, the annotator last unless it is named.

    devices: by label, of those with weights of their own.
    """
    named = [Witness(name) for name in (*names, *(() if ANNOTATOR in names else (ANNOTATOR,)))]
    return [replace(each, device=devices.get(each.label, "")) for each in named]


def check_devices(names: Sequence[str], devices: Mapping[str, str]) -> None:
    """Raise ValueError unless each device is one of a witness with weights of its own."""
    found = [each for each in map(Witness, names) if each.name != ANNOTATOR]
    own = [each.label for each in found if not each.is_endpoint and not each.is_factory]
    for label, device in devices.items():
        if label not in own:
            known = ", ".join(own)
            raise ValueError(f"witness_devices: expected folders of verify.witnesses ({known}), got {label!r}")
        if not DEVICE.fullmatch(device):
            raise ValueError(f"witness_devices: expected cpu, cuda or cuda:N for {label}, got {device!r}")


def check_witnesses(names: Sequence[str]) -> None:
    """Raise ValueError unless each name can be a witness and the rows can tell them apart."""
    for name in names:
        if name.startswith(ADDRESS) and not name.partition("#")[2]:
            raise ValueError(f"expected an address with the name of a model, as http://host:8000/v1#name, got {name!r}")
    labels = [Witness(name).label for name in names]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise ValueError(f"expected witnesses with different names, got {twice[0]!r} twice")
