"""Define, count and publish the Prometheus metrics of a run.

A worker counts each journaled outcome (`StepMetrics`) in the `VALUES` of its process. With `engine: inline` this is the
run's process, and `pipeline.monitoring.metrics_file` writes the values. With `engine: ray` each lane actor publishes
its values through `ray.util.metrics`, and returns them with each part to the driver, which adds them up. An error in
metrics is logged once and never ends a run.
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
    """A metric. labels: names of its labels, in the order of label values."""

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

REFRESH = 1.0  # seconds: Ray drops a gauge that is not set within two of its reports, one every 10 s

_logged: set[str] = set()


def errors_logged(function: Callable[P, None]) -> Callable[P, None]:
    """Wrap a function so that it logs its first error and raises none."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  a run is worth more than its metrics
            log_once(function.__qualname__, error)

    return guarded


def log_once(task: str, error: Exception) -> None:
    """Log an error, if it is the first error of `task` in this process."""
    if task not in _logged:
        _logged.add(task)
        line = " ".join(str(error).split())
        logging.getLogger(__name__).warning("metrics: %s: %s: %s; the run goes on", task, type(error).__name__, line)


class Registry:
    """The values of the metrics in this process; thread-safe."""

    def __init__(self) -> None:
        """Start without values and without a sink."""
        self.values: Values = {}
        self.sink: Sink | None = None
        self.lock = threading.Lock()

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add to a counter. Adding 0 creates its series, so that its rate is defined from the start."""
        key = metric.name, labels
        with self.lock:
            self.values[key] = self.values.get(key, 0) + value
        if value:
            self._publish(metric, value, labels)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        with self.lock:  # held while publishing, so that `refresh` cannot publish an older value afterwards
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
        except Exception as error:  # noqa: BLE001  the values must stay correct
            self.sink = None
            log_once("publishing on Ray", error)

    def take(self) -> Values:
        """Return and reset the counters' growth since the last call. Gauges stay, since they belong to this process."""
        with self.lock:
            taken = {key: value for key, value in self.values.items() if METRICS[key[0]].kind == "counter"}
            self.values = {key: value for key, value in self.values.items() if key not in taken}
        return taken

    def merge(self, values: Mapping[tuple[str, Labels], float]) -> None:
        """Add counters that another process returned from `take`."""
        for (name, labels), value in values.items():
            self.add(METRICS[name], value, *labels)

    def clear(self) -> None:
        """Remove all values."""
        with self.lock:
            self.values = {}

    def text(self) -> str:
        """Return all values in Prometheus' text exposition format."""
        with self.lock:
            values = sorted(self.values.items())
        lines = []
        for metric in METRICS.values():
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [_sample_line(metric, labels, value) for (name, labels), value in values if name == metric.name]
        return "".join(f"{line}\n" for line in lines)


def _sample_line(metric: Metric, labels: Labels, value: float) -> str:
    pairs = (f'{name}="{_escape_label(label)}"' for name, label in zip(metric.labels, labels, strict=True))
    return f"{metric.name}{{{','.join(pairs)}}} {int(value) if value == int(value) else value!r}"


def _escape_label(label: str) -> str:
    text = label.encode(errors="backslashreplace").decode()  # a path may hold invalid UTF-8
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


VALUES = Registry()


class StepMetrics:
    """Counts the work of one worker on one step. No method raises."""

    def __init__(self, root: str, step: str) -> None:
        """root: the run's root, a label of all series."""
        self.labels, self.in_flight, self.media_bytes = (root, step), 0, 0
        for status in (OK, DROPPED, FAILED):
            VALUES.add(RECORDS, 0, *self.labels, status)

    @errors_logged
    def opened(self, media_bytes: int) -> None:
        """Store the size of the part's tar at the start; these bytes are not counted again."""
        self.media_bytes = media_bytes

    @errors_logged
    def started(self, records: int) -> None:
        """Set the number of records in flight."""
        self.in_flight = records
        VALUES.set(IN_FLIGHT, records, *self.labels)

    @errors_logged
    def done(self, outcome: Outcome, media_bytes: int) -> None:
        """Count an outcome. media_bytes: current size of the part's tar."""
        VALUES.add(RECORDS, 1, *self.labels, outcome.status)
        VALUES.add(SECONDS, outcome.seconds, *self.labels)
        if media_bytes > self.media_bytes:
            VALUES.add(MEDIA, media_bytes - self.media_bytes, *self.labels)
            self.media_bytes = media_bytes
        for answer in answers_in(outcome):
            VALUES.add(TOKENS, answer.prompt_tokens, *self.labels, "read")
            VALUES.add(TOKENS, answer.answer_tokens, *self.labels, "written")
        self.started(max(0, self.in_flight - 1))

    @errors_logged
    def ended(self) -> None:
        """Set the number of records in flight to 0."""
        if self.in_flight:
            self.started(0)

    @errors_logged
    def committed(self) -> None:
        """Count a committed part."""
        VALUES.add(PARTS, 1, *self.labels)

    @errors_logged
    def set_aside(self) -> None:
        """Count a part that was set aside."""
        VALUES.add(ASIDE, 1, *self.labels)


def answers_in(outcome: Outcome) -> set[ModelCall]:
    """Return the distinct model calls in the records of an outcome; several records may share one call."""
    found = (getattr(record, "asked", None) for record in outcome.records)
    return {call for call in found if isinstance(call, ModelCall)}


def publish_on_ray() -> None:
    """Publish this process's metrics at the Prometheus endpoint of its Ray node, as `ray_ola_…`."""
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
    """Return a sink that records values with `ray.util.metrics`."""
    from ray.util.metrics import Counter, Gauge

    gauges: dict[str, Any] = {}
    for name, metric in METRICS.items():
        kind = Counter if metric.kind == "counter" else Gauge
        gauges[name] = kind(name, metric.help, metric.labels)

    def record(metric: Metric, value: float, labels: Labels) -> None:
        instrument, tags = gauges[metric.name], dict(zip(metric.labels, labels, strict=True))
        instrument.inc(value, tags) if metric.kind == "counter" else instrument.set(value, tags)

    return record
