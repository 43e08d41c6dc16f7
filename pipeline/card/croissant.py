"""The card as metadata of MLCommons Croissant 1.0: the files of each shard set, and a record for each task.

The fields of a record are columns of `shards.parquet`; what a field means is the docstring of `PackedTask`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa

from manifests import storage
from manifests.records import PackedTask
from manifests.schema import record_schema
from pipeline.card.facts import CardFacts, ShardSetFacts
from pipeline.card.header import SPLITS, languages, licences
from stages.catalogue import ROWS

BLOCK = 16 << 20  # bytes hashed at once
FORMATS = {"tar": "application/x-tar", "parquet": "application/x-parquet"}
FIELDS = ("id", "kind", "stage", "split", "shard", "key", "clip", "video", "tokens")
TYPES = {pa.string(): "sc:Text", pa.int64(): "sc:Integer"}
# The context of the specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip


def croissant(facts: CardFacts, root: str, name: str, description: str) -> dict[str, Any]:
    """Return the metadata as JSON-LD. Reads each set's `shards.parquet` for its digest. description: as plain text."""
    sets = facts.content.sets
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": licences(facts),
        "keywords": ["omni-modal", "video", "speech", "webdataset"],
        "distribution": [file for each in sets for file in _files(each, root)],
        "recordSet": [_record_set(each) for each in sets],
    }
    spoken = languages(facts)
    return found | ({"inLanguage": spoken} if spoken else {})


def _files(shard_set: ShardSetFacts, root: str) -> list[dict[str, Any]]:
    rows = f"{shard_set.folder}/{ROWS}"
    found: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject", "@id": f"{shard_set.name}-rows", "name": f"{shard_set.name}-rows",
            "description": f"A row for each task of the set {shard_set.name}, with the place of its sample",
            "contentUrl": rows, "encodingFormat": FORMATS["parquet"], "sha256": file_digest(storage.join(root, rows)),
        }
    ]  # fmt: skip
    for own, _ in SPLITS:
        if shard_set.tasks.get(own):
            name = f"{shard_set.name}-{own}"
            found.append({
                "@type": "cr:FileSet", "@id": name, "name": name,
                "description": f"Samples of the set {shard_set.name} for {own}, as WebDataset tars",
                "encodingFormat": FORMATS["tar"], "includes": f"{shard_set.folder}/{own}-*.tar",
            })  # fmt: skip
    return found


def _record_set(shard_set: ShardSetFacts) -> dict[str, Any]:
    name = f"{shard_set.name}-tasks"
    schema = record_schema(PackedTask)
    fields = [
        {
            "@type": "cr:Field", "@id": f"{name}/{column}", "name": column,
            "dataType": TYPES[schema.field(column).type],
            "source": {"fileObject": {"@id": f"{shard_set.name}-rows"}, "extract": {"column": column}},
        }
        for column in FIELDS
    ]  # fmt: skip
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": f"{name}/id"}, "field": fields}


def file_digest(uri: str) -> str:
    """Return the sha256 of a file, read block by block."""
    found = hashlib.sha256()
    with storage.open_random(uri) as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def croissant_bytes(metadata: dict[str, Any]) -> bytes:
    """Return the metadata as a file."""
    return (json.dumps(metadata, ensure_ascii=True, indent=1) + "\n").encode()
