"""Draw a stratified sample of a run's questions, and store what the auditors must not see.

Strata are what a question was measured to need, apart by whether it is in the shards; questions without a verdict are
one as well. Half of the sample comes from questions measured to need both senses, for a narrow interval of precision;
the other strata share the rest, for recall. The same seed draws the same sample of the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from manifests import storage, views
from manifests.ledger import digest
from manifests.records import PackedTask
from manifests.schema import record_schema
from pipeline.config import load_run
from pipeline.errors import ConfigError
from pipeline.pack.candidates import create_candidates
from pipeline.steps.needs import needs_sql
from stages.catalogue import current

FOLDER = "audits"
BOTH = "both"
QUESTIONS = """
SELECT q.id, q.clip, q.kind, q.question, q.options, q.answer, coalesce(v.needs, 'not verified') AS needs,
       s.id IS NOT NULL AS packed, f.frames, f.frame_bytes, f.frame_ms, f.sound
FROM ask q JOIN extract f ON f.clip = q.clip AND f.status = 'ok'
LEFT JOIN (SELECT question, {needs} AS needs FROM verify WHERE status = 'ok') v ON v.question = q.id
LEFT JOIN (SELECT DISTINCT id FROM shards WHERE kind = 'cross_modal_qa') s
       ON s.id = q.clip || '-cross_modal_qa-' || q.number
WHERE q.status = 'ok'
"""


@dataclass(frozen=True)
class SampledQuestion:
    """A sampled question without its text. weight: questions of its stratum that it stands for."""

    question: str
    clip: str
    kind: str
    needs: str
    packed: bool
    stratum: str
    weight: float


@dataclass(frozen=True)
class Sample:
    """A sample. name: of its file in the root; the same for the same questions."""

    name: str
    questions: Sequence[SampledQuestion]


def draw_sample(root: str, count: int, seed: int) -> tuple[Sample, list[dict[str, Any]]]:
    """Draw a sample and store it in the root. Returns it, and the rows of its questions in the order of the page.

    Raises ConfigError for a run without questions.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(_read_questions(root), key=lambda row: _draw(seed, row["id"])):
        groups.setdefault(_stratum(row), []).append(row)
    if not groups:
        raise ConfigError(f"{root}: expected a run with questions, got none; run the step 'ask' first")
    sizes = share_out({name: len(rows) for name, rows in groups.items()}, count)
    chosen = [(row, name) for name, rows in groups.items() for row in rows[: sizes[name]]]
    chosen.sort(key=lambda pair: _draw(seed + 1, pair[0]["id"]))  # so that the order tells nothing of the strata
    questions = [
        SampledQuestion(
            row["id"], row["clip"], row["kind"], row["needs"], row["packed"], name, len(groups[name]) / sizes[name]
        )
        for row, name in chosen
    ]
    facts = [asdict(each) for each in questions]
    sample = Sample(f"n{count}-seed{seed}-{digest(facts, 8)}", questions)
    storage.write_bytes(_sample_uri(root, sample.name), json.dumps(facts, ensure_ascii=False, indent=1).encode())
    return sample, [row for row, _ in chosen]


def read_sample(root: str, name: str) -> Sample:
    """Read a sample of a root. Raises ConfigError if the root has none of this name."""
    try:
        facts = json.loads(storage.read_bytes(_sample_uri(root, name)))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"--read: the run has no audit {name!r}; read answers into the run they are about") from error
    return Sample(name, [SampledQuestion(**each) for each in facts])


def share_out(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Return how many of each stratum are sampled: half of those measured `both`, the rest alike, at least one each."""
    named_both = [name for name in sizes if name.startswith(f"{BOTH},")]
    wanted = {name: count / 2 / len(named_both) if name in named_both else 0.0 for name in sizes}
    others = [name for name in sizes if name not in named_both]
    rest = count - (count / 2 if named_both else 0)
    wanted |= {name: rest / len(others) for name in others}
    found = {name: min(sizes[name], max(1, round(wanted[name]))) for name in sizes}
    while sum(found.values()) < min(count, sum(sizes.values())):  # what small strata left, one by one
        for name in sorted(sizes):
            found[name] += int(found[name] < sizes[name] and sum(found.values()) < count)
    return found


def _sample_uri(root: str, name: str) -> str:
    if not name.replace("-", "").isalnum():
        raise ConfigError(f"--read: expected the name of an audit, got {name!r}")
    return storage.join(storage.normal(root), f"{FOLDER}/{name}.json")


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _stratum(row: Mapping[str, Any]) -> str:
    return f"{row['needs']}, {'packed' if row['packed'] else 'left out'}"


def _read_questions(root: str) -> list[dict[str, Any]]:
    config = load_run(root)
    plan = config.plan(root)
    with views.connect(plan.root, plan.manifests, current(plan.root)) as connection:
        create_candidates(connection, plan, config.pack)
        if "shards" not in views.names(connection):
            connection.register("shards", record_schema(PackedTask).empty_table())
        needs = needs_sql(config.pack.agreement, judges=config.pack.judges)
        rows: list[dict[str, Any]] = connection.sql(QUESTIONS.format(needs=needs)).to_arrow_table().to_pylist()
    return rows
