"""Names of licences, as data sets and sites write them, brought to one form for `pack.licence`."""

from __future__ import annotations

import re
from functools import lru_cache

import duckdb

UNKNOWN = "unknown"
# Where `meta` says a licence, the first that is there; `.info.json` and `.json` are read under the first name.
KEYS = ("licence", "license", "Licence", "License", "licenses", "license_name", "license_url", "rights")
NO_NAMES = frozenset(("", "none", "null", "nan", "na", "n/a", "unknown", "unspecified", "other", "not specified", "-"))

CREATIVE_COMMONS = re.compile(
    r"\b(?:creative[\s_-]*commons?|cc)\b|creativecommons\.org|\bcc[\s_-]*by\b|^by(?:[\s_-]|$)"
)
ZERO = re.compile(r"\bcc[\s_-]?0\b|\bcc[\s_-]zero\b|publicdomain/zero|creative[\s_-]*commons zero")
PUBLIC_DOMAIN = re.compile(r"public[\s_-]*domain|publicdomain/mark|^pdm\b")
# Elements of a Creative Commons licence: by abbreviation, or as they are written out.
ELEMENTS = (
    ("BY", re.compile(r"\bby\b|attribution")),
    ("NC", re.compile(r"\bnc\b|non[\s_-]*commercial")),
    ("ND", re.compile(r"\bnd\b|no[\s_-]*deriv")),
    ("SA", re.compile(r"\bsa\b|share[\s_-]*alike")),
)
YOUTUBE_COMMONS = "creativecommon"  # the name of CC BY in YouTube's API
VERSION = re.compile(r"[\s_-]*\bv?\d+(?:\.\d+)+\b.*$")

_VALUES = ", ".join(f"nullif(c.meta->>'{key}', '')" for key in KEYS)
LICENCE = f"licence_name(coalesce({_VALUES}, ''))"
"""SQL for the licence of a clip `c`."""


@lru_cache(maxsize=4096)
def licence_name(text: str) -> str:
    """Return the licence's name: `CC-BY-SA` whatever its version and spelling, `MIT`, …; `unknown` for no name."""
    plain = " ".join(text.strip().strip("[]\"'").lower().split())
    if plain in NO_NAMES:
        return UNKNOWN
    if ZERO.search(plain):
        return "CC0"
    if PUBLIC_DOMAIN.search(plain):
        return "PUBLIC-DOMAIN"
    if plain == YOUTUBE_COMMONS:
        return "CC-BY"
    if CREATIVE_COMMONS.search(plain):
        return _creative_commons(plain)
    return re.sub(r"[^\w.+]+", "-", plain).strip("-").upper() or UNKNOWN


def _creative_commons(plain: str) -> str:
    """Return the name by its elements; `unknown` for a Creative Commons licence that names none."""
    words = re.sub(r"[_/.]", " ", VERSION.sub("", plain) if "/" not in plain else plain).replace("-", " ")
    found = [name for name, pattern in ELEMENTS if pattern.search(words)]
    return "-".join(["CC", *found]) if found else UNKNOWN


def create_licence_function(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the SQL function that LICENCE calls."""
    connection.create_function("licence_name", licence_name, ["VARCHAR"], "VARCHAR")
