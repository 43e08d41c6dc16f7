"""Counters and gauges of a run for Prometheus: their definitions, the values of this process, and how they leave it.

A worker counts each outcome when it journals it (`StepMetrics`), into the `VALUES` of its process. With `engine:
inline` that process is the run, and `pipeline.monitoring.metrics_file` writes its values. With `engine: ray` each lane
actor publishes its values through `ray.util.metrics`, and returns them with each part, so that the driver can add them
up. An error in metrics is logged once and never ends a run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec

from manifests.counts import DROPPED, FAILED, OK
from manifests.records import ModelCall, Outcome

P = ParamSpec("P")
Labels = tuple[str, ...]
Sink = Callable[["Metric", float, Labels], None]


@dataclass(frozen=True)
class Metric:
    """One metric. labels: names of its labels, in the order in which values are given."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: Labels = ("root", "step")


RECORDS = Metric(
    "ola_records_total", "counter", "Records with an outcome: ok, dropped or failed.", ("root", "step", "status")
)
IN_FLIGHT = Metric("ola_records_in_flight", "gauge", "Records that a step works on now.")
SECONDS = Metric("ola_step_seconds_total", "counter", "Seconds that steps worked on records, over all workers.")
TOKENS = Metric(
    "ola_tokens_total", "counter", "Tokens that the model read or wrote for answers.", ("root", "step", "direction")
)
MEDIA = Metric("ola_media_bytes_total", "counter", "Bytes of frames and sound written into tars.")
PARTS = Metric("ola_parts_committed_total", "counter", "Parts committed.")
ASIDE = Metric("ola_parts_set_aside_total", "counter", "Parts that could not go on and stay open.")
METRICS = {metric.name: metric for metric in (RECORDS, IN_FLIGHT, SECONDS, TOKENS, MEDIA, PARTS, ASIDE)}

Values = dict[tuple[str, Labels], float]  # by name and label values

REFRESH = 1.0  # seconds: Ray forgets a gauge that is not set again within two of its reports, which come every 10 s

_logged: set[str] = set()


def harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function log its first error instead of raising it."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  a run is worth more than its metrics
            log_once(function.__qualname__, error)

    return guarded


def log_once(what: str, error: Exception) -> None:
    """Log an error of `what`, if it is the first one in this process."""
    if what not in _logged:
        _logged.add(what)
        line = " ".join(str(error).split())
        logging.getLogger(__name__).warning("metrics: %s: %s: %s; the run goes on", what, type(error).__name__, line)


class Registry:
    """The values of the metrics in this process. Threads may share it."""

    def __init__(self) -> None:
        """Nothing is counted yet, and nothing is published."""
        self.values: Values = {}
        self.sink: Sink | None = None
        self.lock = threading.Lock()

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add to a counter. Adding 0 makes its series, so that a rate can be taken from the beginning."""
        key = metric.name, labels
        with self.lock:
            self.values[key] = self.values.get(key, 0) + value
        if value:
            self._publish(metric, value, labels)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        with self.lock:  # also while it publishes: `refresh` must not publish an older value after this one
            self.values[metric.name, labels] = value
            self._publish(metric, value, labels)

    def refresh(self) -> None:
        """Publish all gauges again."""
        with self.lock:
            for (name, labels), value in self.values.items():
                if METRICS[name].kind == "gauge":
                    self._publish(METRICS[name], value, labels)

    def _publish(self, metric: Metric, value: float, labels: Labels) -> None:
        if self.sink is None:
            return
        try:
            self.sink(metric, value, labels)
        except Exception as error:  # noqa: BLE001  what is counted here must not suffer
            self.sink = None
            log_once("publishing on Ray", error)

    def take(self) -> Values:
        """Return the counters as they grew since the last call. Gauges stay: they are of this process alone."""
        with self.lock:
            taken = {key: value for key, value in self.values.items() if METRICS[key[0]].kind == "counter"}
            self.values = {key: value for key, value in self.values.items() if key not in taken}
        return taken

    def merge(self, values: Mapping[tuple[str, Labels], float]) -> None:
        """Add the counters that another process has taken."""
        for (name, labels), value in values.items():
            self.add(METRICS[name], value, *labels)

    def clear(self) -> None:
        """Forget all values."""
        with self.lock:
            self.values = {}

    def text(self) -> str:
        """Return all values in Prometheus' text exposition format."""
        with self.lock:
            values = sorted(self.values.items())
        lines = []
        for metric in METRICS.values():
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [_sample(metric, labels, value) for (name, labels), value in values if name == metric.name]
        return "".join(f"{line}\n" for line in lines)


def _sample(metric: Metric, labels: Labels, value: float) -> str:
    pairs = (f'{name}="{_escaped(label)}"' for name, label in zip(metric.labels, labels, strict=True))
    return f"{metric.name}{{{','.join(pairs)}}} {int(value) if value == int(value) else value!r}"


def _escaped(label: str) -> str:
    text = label.encode(errors="backslashreplace").decode()  # a path may be any bytes
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


VALUES = Registry()


class StepMetrics:
    """Counts what one worker does for one step. No method raises."""

    def __init__(self, root: str, step: str) -> None:
        """root: of the run, a label of all its series."""
        self.labels, self.in_flight, self.media_bytes = (root, step), 0, 0
        for status in (OK, DROPPED, FAILED):
            VALUES.add(RECORDS, 0, *self.labels, status)

    @harmless
    def opened(self, media_bytes: int) -> None:
        """Note how much an earlier worker has left in the part's tar: that is not counted again."""
        self.media_bytes = media_bytes

    @harmless
    def started(self, records: int) -> None:
        """Note that the worker now works on so many records, and on no others."""
        self.in_flight = records
        VALUES.set(IN_FLIGHT, records, *self.labels)

    @harmless
    def done(self, outcome: Outcome, media_bytes: int) -> None:
        """Count an outcome. media_bytes: in the part's tar by now."""
        VALUES.add(RECORDS, 1, *self.labels, outcome.status)
        VALUES.add(SECONDS, outcome.seconds, *self.labels)
        if media_bytes > self.media_bytes:
            VALUES.add(MEDIA, media_bytes - self.media_bytes, *self.labels)
            self.media_bytes = media_bytes
        for answer in answers_in(outcome):
            VALUES.add(TOKENS, answer.prompt_tokens, *self.labels, "read")
            VALUES.add(TOKENS, answer.answer_tokens, *self.labels, "written")
        self.started(max(0, self.in_flight - 1))

    @harmless
    def ended(self) -> None:
        """Note that the worker has left the part."""
        if self.in_flight:
            self.started(0)

    @harmless
    def committed(self) -> None:
        """Count a part that is committed."""
        VALUES.add(PARTS, 1, *self.labels)

    @harmless
    def set_aside(self) -> None:
        """Count a part that cannot go on."""
        VALUES.add(ASIDE, 1, *self.labels)


def answers_in(outcome: Outcome) -> set[ModelCall]:
    """Return the model's answers that the records of an outcome hold. Several records may be made of one answer."""
    found = (getattr(record, "asked", None) for record in outcome.records)
    return {asked for asked in found if isinstance(asked, ModelCall)}


def publish_on_ray() -> None:
    """Publish what this process counts from now on at the Prometheus endpoint of its Ray node, as `ray_ola_…`."""
    try:
        VALUES.sink = ray_sink()
        threading.Thread(target=_keep_refreshing, daemon=True).start()
    except Exception as error:  # noqa: BLE001  a run is worth more than its metrics
        log_once("publishing on Ray", error)


def _keep_refreshing() -> None:
    while VALUES.sink is not None:
        time.sleep(REFRESH)
        VALUES.refresh()


def ray_sink() -> Sink:
    """Return a function that records values with `ray.util.metrics`."""
    from ray.util.metrics import Counter, Gauge

    made: dict[str, Any] = {}
    for name, metric in METRICS.items():
        kind = Counter if metric.kind == "counter" else Gauge
        made[name] = kind(name, metric.help, metric.labels)

    def record(metric: Metric, value: float, labels: Labels) -> None:
        instrument, tags = made[metric.name], dict(zip(metric.labels, labels, strict=True))
        instrument.inc(value, tags) if metric.kind == "counter" else instrument.set(value, tags)

    return record
