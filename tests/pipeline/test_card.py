"""`ola card`: numbers are those of `ola status` and of the shards, and texts of others stay texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image

from pipeline.card.build import CardOptions, write_card
from pipeline.card.facts import CardFacts, ContentFacts, Others, RunRows, ShardSetFacts, merge_rest
from pipeline.card.header import CATEGORIES, header, licence_id, size_category
from pipeline.card.markdown import clean, table, text, without_uris
from pipeline.card.queries import FOLDER, TOP, licence_sql
from pipeline.plan import Plan
from pipeline.removal.card_copies import MARK
from stages.samples import KINDS
from tests.object_store import client, watched
from tests.pipeline import report_root
from tests.pipeline.report_root import describe, make_root
from tests.runs import Said, ola, rows

HOSTILE = "<script>x</script> | [a](http://b) ![c](d) `e` **f** www.g.org @h \u202ei\n---\nlicense: mit"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_root(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def card(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "out"
    write_card(plan.root, CardOptions(str(folder), "Talks"))
    return folder


def parts(folder: Path) -> tuple[dict[str, Any], str]:
    """The header of a card as read by a parser of YAML, and its text."""
    _, head, body = re.split(r"^---$", (folder / "README.md").read_text(encoding="utf-8"), maxsplit=2, flags=re.M)
    return yaml.safe_load(head), body


def tables(body: str) -> dict[str, list[list[str]]]:
    """The rows of each table by its first line."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", body, re.M):
        head, _, *lines = block.splitlines()
        found[head.strip("| ")] = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return found


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_the_funnel_and_the_stages_are_those_of_status(plan: Plan, card: Path) -> None:
    status = json.loads(ola("status", plan.root, "--json").out)
    found = tables(parts(card)[1])
    funnel = found["step | inputs | ok | dropped | failed | outputs"]
    counts = ("inputs", "ok", "dropped", "failed", "outputs")
    assert [[row[0], *map(number, row[1:])] for row in funnel] == [
        [step["step"], *(step[name] for name in counts)] for step in status["steps"]
    ]
    reasons = {(row[0], row[1].replace("\\", "")): number(row[2]) for row in found["step | reason | inputs"]}
    assert reasons == {(s["step"], reason): n for s in status["steps"] for reason, n in s["reasons"].items()}
    stages = {row[0]: [number(cell) for cell in row[1:4]] for row in found["stage | files | samples | tasks | MB"]}
    assert stages == {
        name: [facts["files"], facts["samples"], facts["tasks"]] for name, facts in status["shards"].items()
    }
    tokens = {
        row[0]: [number(cell) for cell in row[1:]]
        for row in found["step | tokens asked | tokens read | tokens written"]
    }
    named = ("prompt_tokens", "read_tokens", "answer_tokens")
    assert tokens == {s["step"]: [s[n] for n in named] for s in status["steps"] if "prompt_tokens" in s}


def test_tasks_are_those_of_the_shards(plan: Plan, card: Path) -> None:
    found = tables(parts(card)[1])
    query = (
        "SELECT stage, kind, count(*) FILTER (split='train'), count(*) FILTER (split='val'), sum(tokens) FROM shards"
    )
    kinds = [[*(cell.replace("\\", "") for cell in r[:2]), *map(number, r[2:])]
             for r in found["stage | kind of task | train | val | tokens"]]  # fmt: skip
    assert sorted(kinds) == sorted(map(list, rows(plan.root, f"{query} GROUP BY ALL")))
    splits = {r[0]: [number(cell) for cell in r[1:]] for r in found["split | samples | tasks | videos | tokens"]}
    query = "SELECT split, count(DISTINCT key), count(*), count(DISTINCT video), sum(tokens) FROM shards GROUP BY ALL"
    assert splits == {split: list(numbers) for split, *numbers in rows(plan.root, query)}
    total = rows(plan.root, "SELECT count(*) FROM shards")[0][0]
    for head in ("language of the speech", "licence |"):
        [wanted] = [listed for name, listed in found.items() if name.startswith(head)]
        place = 4 if head.startswith("language") else 5
        assert sum(number(row[place]) for row in wanted) == total
    query = """SELECT coalesce(t.text_language, 'unknown'), count(*) FROM pack p
               LEFT JOIN transcribe t ON t.clip = p.clip AND t.status = 'ok' WHERE p.status = 'ok' GROUP BY ALL"""
    languages = dict(rows(plan.root, query))
    heads = "language of the speech | videos | clips | hours | tasks | share of tasks"
    assert {row[0]: number(row[4]) for row in found[heads]} == languages
    [[folder, sources, read, packed]] = found["store and folder | sources | videos read | videos in the shards"]
    assert (Path(folder.replace("\\", "")).name, sources, read, packed) == ("films", "8", "7", "6")
    assert "Videos in both splits: 0." in parts(card)[1]


def test_biases_are_measured_on_packed_questions(plan: Plan, card: Path) -> None:
    found = tables(parts(card)[1])
    [[_, letter, count, share, chance]] = found["options | right letter | packed questions | share | share by chance"]
    query = "SELECT count(DISTINCT (clip, right(id, 1))) FROM shards WHERE kind IN ('video_qa', 'cross_modal_qa')"
    assert number(count) == rows(plan.root, f"{query} AND id LIKE '%-2'")[0][0] > 0
    assert (letter, share, chance) == ("B", "100.0%", "25.0%")
    answers = found["kind of question | answer | packed questions | share of the kind"]
    assert {row[1] for row in answers} == {"it is happy"}
    assert sum(number(row[2]) for row in answers) == rows(plan.root, f"{query} AND id NOT LIKE '%-2'")[0][0]


def test_the_same_run_gives_the_same_bytes(plan: Plan, card: Path, tmp_path: Path) -> None:
    write_card(plan.root, CardOptions(str(tmp_path / "again"), "Talks"))
    for name in ("README.md", "croissant.json"):
        assert (tmp_path / "again" / name).read_bytes() == (card / name).read_bytes()


def test_the_hub_reads_the_header(plan: Plan) -> None:
    from datasets import load_dataset_builder

    assert ola("card", plan.root).out.split() == [f"{plan.root}/README.md", f"{plan.root}/croissant.json"]
    head, _ = parts(Path(plan.root))
    assert (head["license"], head["language"], head["size_categories"]) == (["cc"], ["de", "en"], ["n<1K"])
    for name in ("image", "omni", "video"):
        files = load_dataset_builder(plan.root, name).config.data_files
        assert {split: len(tars) for split, tars in files.items()} == {"train": 1, "validation": 1}
    [block] = re.findall(r"^```python\n(.*?)^```", parts(Path(plan.root))[1], re.M | re.S)
    done = subprocess.run([sys.executable, "-c", block], cwd=plan.root, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 15), done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # mlcroissant calls old names of rdflib and pandas
def test_croissant_describes_the_tasks(plan: Plan, tmp_path: Path) -> None:
    reason = "mlcroissant, which validates the metadata, is not installed"
    mlcroissant = pytest.importorskip("mlcroissant", reason=reason)
    assert ola("card", plan.root).code == 0
    data = mlcroissant.Dataset(jsonld=f"{plan.root}/croissant.json")
    assert not data.metadata.ctx.issues.errors
    tasks = [record["omni-tasks/id"].decode() for record in data.records("omni-tasks")]
    assert sorted(tasks) == [name for (name,) in rows(plan.root, "SELECT id FROM shards_omni ORDER BY id")]


def test_croissant_names_each_file_once_with_its_digest(plan: Plan, card: Path) -> None:
    made = json.loads((card / "croissant.json").read_text(encoding="ascii"))
    assert made["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    names = [file["@id"] for file in made["distribution"]]
    assert sorted(names) == sorted(f"{s}-{n}" for s in ("image", "omni", "video") for n in ("rows", "train", "val"))
    for file in made["distribution"]:
        assert list(Path(plan.root).glob(file.get("includes") or file["contentUrl"]))


def hostile_facts() -> CardFacts:
    content = ContentFacts([ShardSetFacts("omni", "shards/omni/0", {"train": 1})], {"omni": stage()}, [], [], 0)
    licences = [(HOSTILE, 1, 1, 0.1, 1), (Others(3), 1, 1, 0.1, 1), (None, 1, 1, 0.1, 1)]
    return CardFacts(content, None, RunRows(licences=licences, sources=[(HOSTILE, 1, 1, 1)]))


def stage() -> dict[str, int]:
    return {"files": 1, "samples": 1, "tasks": 1, "bytes": 1}


def tokens(markdown: str) -> Iterator[Any]:
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token
        yield from token.children or ()


def test_hostile_texts_stay_texts() -> None:
    rendered = list(tokens(table(["licence", "n"], [(HOSTILE, 1), ("plain", 2)])))
    kinds = {token.type for token in rendered}
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "code_inline", "strong_open", "hr"}
    assert sum(token.type == "td_open" for token in rendered) == 4
    assert clean(HOSTILE) in {token.content for token in rendered if token.type == "inline"} | {
        "".join(c.content for c in t.children or ()) for t in rendered if t.type == "inline"
    }
    head = header(hostile_facts(), clean(HOSTILE))
    assert head.count("\n---\n") == 1
    assert yaml.safe_load(head.strip("-\n"))["license"] == ["other", "unknown"]
    assert yaml.safe_load(head.strip("-\n"))["pretty_name"] == clean(HOSTILE)
    assert text("a\u2028b\x00c") == "a b c"


def test_a_hostile_licence_reaches_the_card_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def described(source: Any) -> Any:
        video = describe(source)
        return video and replace(video, meta=json.dumps({"title": "t", "license": HOSTILE}))

    monkeypatch.setattr(report_root, "describe", described)
    made = make_root(tmp_path / "made", 3)
    assert ola("card", made.root).code == 0
    head, body = parts(Path(made.root))
    assert head["license"] == ["other"]
    assert "&lt;script&gt;x" in body
    kinds = {token.type for token in tokens(body.replace(MARK, ""))}
    assert not kinds & {"html_inline", "html_block", "link_open", "image"}


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/data/my films/a.mp4", "/data/my films"),
        ("/data/00012.TAR#x/y.mp4", "/data"),
        ("/data/C#/a.mp4", "/data/C#"),
        ("s3://bucket/00012.tar#000000012.mp4", "s3://bucket"),
        ("s3://key:secret@bucket/films/a.mp4", "s3://bucket/films"),
        ("https://user:p@ss@host:8000/v/a.mp4?X-Amz-Signature=secret#t", "https://host:8000/v"),
        ("https://user:se#cret@host/v/a.mp4", "https://host/v"),
        ("https://user:sec/ret@host/v/a.mp4", "https://…"),
        ("https://host?token=secret/a.mp4", "https://host"),
        ("https://host/a?token=secret\n/more/a.mp4", "https://host"),
    ],
)
def test_folders_are_without_secrets(uri: str, folder: str) -> None:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {FOLDER.format(uri='uri')} FROM (SELECT ? AS uri)", [uri]).fetchone()
    assert found == (folder,)


def test_reasons_are_without_uris() -> None:
    assert without_uris("404 for https://u:secret@h/a?x=1 again") == "404 for https://… again"


@pytest.mark.parametrize(
    ("meta", "licence"),
    [
        ({"licence": "CC-BY", "license": "MIT"}, "CC-BY"),
        ({"licence": " Unknown ", "license": "MIT"}, "MIT"),
        ({"license_url": "https://x"}, "https://x"),
        ({"licence": None}, None),
        ({}, None),
    ],
)
def test_licences_in_metadata(meta: dict[str, Any], licence: str | None) -> None:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {licence_sql('m')} FROM (SELECT ? AS m)", [json.dumps(meta)]).fetchone()
    assert found == (licence,)


@pytest.mark.parametrize(
    ("licence", "name"),
    [
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("https://creativecommons.org/licenses/by-nc/3.0/", "cc-by-nc-3.0"),
        ("CC-BY", "cc"),
        ("CC0", "cc0-1.0"),
        ("cc-by, but no training", "other"),
        (None, "unknown"),
        (Others(2), "other"),
    ],
)
def test_licences_by_the_names_of_the_hub(licence: Any, name: str) -> None:
    assert licence_id(licence) == name


def test_values_beyond_the_most_frequent_are_one_row() -> None:
    with duckdb.connect() as connection:
        query = f"SELECT CASE WHEN i < {TOP + 5} THEN i::VARCHAR END, 2, 0.5::DOUBLE FROM range({TOP + 6}) t(i)"
        found = merge_rest(connection, query)
    assert len(found) == TOP + 2
    assert found[-2:] == [(Others(5), 10, 2.5), (None, 2, 0.5)]


def test_every_kind_has_a_category_and_sizes_have_limits() -> None:
    assert CATEGORIES.keys() == KINDS.keys()
    assert [size_category(n) for n in (0, 999, 1000, 10**6)] == ["n<1K", "n<1K", "1K<n<10K", "1M<n<10M"]


def test_no_file_of_others_is_replaced(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    said = ola("card", plan.root, "--out", tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "expected no README.md, or that of a card" in said.err
    (tmp_path / "README.md").rename(tmp_path / "croissant.json")
    assert "expected no croissant.json" in ola("card", plan.root, "--out", tmp_path).err
    assert (tmp_path / "croissant.json").read_text() == "mine"


def test_a_removal_deletes_the_card_and_the_next_card_is_without_the_video(tmp_path: Path) -> None:
    made = make_root(tmp_path / "made", 3)

    def sources(said: Said) -> list[str]:
        assert said.code == 0, said
        [row] = tables(parts(Path(made.root))[1])["store and folder | sources | videos read | videos in the shards"]
        return row[1:]

    assert sources(ola("card", made.root)) == ["3", "3", "3"]
    [(uri,)] = rows(made.root, "SELECT uri FROM ingest WHERE status = 'ok' ORDER BY uri LIMIT 1")
    assert ola("remove", made.root, uri, "--yes").code == 0
    assert not list(Path(made.root).glob("README.md")) + list(Path(made.root).glob("croissant.json"))
    assert sources(ola("card", made.root)) == ["2", "2", "2"]


def test_a_root_in_a_store_gets_its_card_there(plan: Plan, card: Path) -> None:
    with watched("cards") as (store, _):
        for path in Path(plan.root).rglob("*"):
            if path.is_file() and path.name not in ("README.md", "croissant.json"):
                client().upload_file(str(path), "cards", f"root/{path.relative_to(plan.root)}")
        assert ola("card", f"{store}/root", "--name", "Talks").out.split() == [
            f"{store}/root/README.md", f"{store}/root/croissant.json"
        ]  # fmt: skip
        for name in ("README.md", "croissant.json"):
            found = client().get_object(Bucket="cards", Key=f"root/{name}")["Body"].read()
            assert found == (card / name).read_bytes()


def test_imported_shards_alone_have_a_card(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Black."}]
    (tmp_path / "a.json").write_text(json.dumps([{"id": "a", "image": "a.jpg", "conversations": turns}]))
    assert ola("import", tmp_path / "a.json", "--root", tmp_path / "root").code == 0
    said = ola("card", tmp_path / "root")
    assert said.code == 0, said
    head, body = parts(tmp_path / "root")
    assert (head["license"], head["task_categories"]) == (["unknown"], ["image-text-to-text"])
    assert [row[1] for row in tables(body)["imported set | tasks"]] == ["1"]
    assert ola("card", tmp_path).err.startswith("ola: no run at")
