"""SQL of the dataset card, over the views of a run and of its shards."""

from __future__ import annotations

TOP = 20  # rows of a table with a row for each folder, licence or language; all others are one row
FREQUENT = 5  # answers shown for each kind of question

_SCHEME = "[A-Za-z][A-Za-z0-9+.-]*://"
_CONTAINER = r"(?is)^(.*?\.(?:tar|tar\.\w+|tgz|tzst|tbz2|zip|parquet|arrow|feather))#.+$"
# user:password@ ends at the last @ before a slash. An authority that is not host or host:port afterwards is hidden:
# a password with a slash in it would be taken for a path.
_BARE = f"regexp_replace(regexp_replace({{uri}}, '^({_SCHEME})[^/]*@', '\\1'), '[?#].*$', '', 's')"
FOLDER = f"""CASE
    WHEN NOT regexp_matches({{uri}}, '^{_SCHEME}')
    THEN regexp_replace(regexp_replace({{uri}}, '{_CONTAINER}', '\\1'), '([^/])/[^/]*$', '\\1')
    WHEN regexp_matches({_BARE}, '^{_SCHEME}([^/:@]*|\\[[^/@]*\\])(:\\d+)?(/|$)') AND NOT contains({_BARE}, '@')
    THEN regexp_replace({_BARE}, '([^/])/[^/]*$', '\\1')
    ELSE regexp_extract({{uri}}, '^{_SCHEME}') || '…' END"""
"""SQL for the store and folder of a source, without credentials, query, fragment, and member of a container."""

_WORDS = ("licence", "license", "licence_name", "license_name", "licence_url", "license_url")
_NO_LICENCE = "('', 'unknown', 'none', 'null', 'nan', 'n/a', '-')"


def licence_sql(meta: str) -> str:
    """Return SQL for the licence that metadata name; NULL if they name none."""
    texts = (f"trim({meta}::JSON->>'$.{word}')" for word in _WORDS)
    named = (f"CASE WHEN lower({text}) NOT IN {_NO_LICENCE} THEN {text} END" for text in texts)
    return f"coalesce({', '.join(named)})"


def packed_sql(has_transcripts: bool) -> str:
    """Return SQL that makes the table `packed`: a row for each clip in the run's own shards."""
    spoken = "coalesce(t.text_language, t.language)" if has_transcripts else "NULL"
    join = "LEFT JOIN transcribe t ON t.clip = p.clip AND t.status = 'ok'" if has_transcripts else ""
    return f"""
CREATE TEMP TABLE packed AS
SELECT p.clip, p.video, p.tasks, (c.end_ms - c.start_ms) / 3.6e6 AS hours, {spoken} AS language,
       coalesce({licence_sql("c.meta")}, {licence_sql("v.meta")}) AS licence
FROM (SELECT clip, any_value(video) AS video, count(*) AS tasks FROM pack WHERE status = 'ok' GROUP BY clip) p
LEFT JOIN split c ON c.id = p.clip AND c.status = 'ok'
LEFT JOIN ingest v ON v.id = p.video AND v.status = 'ok' {join}"""


SOURCES = f"""
SELECT {FOLDER.format(uri="s.uri")} AS folder, count(*) AS sources, count(v.id), count(p.video)
FROM source s
LEFT JOIN ingest v ON v.input = s.id AND v.status = 'ok'
LEFT JOIN (SELECT DISTINCT video FROM packed) p ON p.video = v.id
WHERE NOT s.removed GROUP BY ALL ORDER BY sources DESC, folder"""

BY_COLUMN = """
FROM (SELECT {column} AS value, count(DISTINCT video), count(*), sum(hours), sum(tasks)::BIGINT AS tasks
      FROM packed GROUP BY ALL)
ORDER BY value IS NULL, tasks DESC, value"""

READ_LICENCES = f"""
FROM (SELECT {licence_sql("meta")} AS licence, count(*) AS videos FROM ingest WHERE status = 'ok' GROUP BY ALL)
ORDER BY licence IS NULL, videos DESC, licence"""

KINDS = """
FROM (SELECT stage, kind, count(*) FILTER (split = 'train'), count(*) FILTER (split = 'val'), sum(tokens)::BIGINT
      FROM shards GROUP BY ALL)
ORDER BY list_position(['image', 'video', 'omni'], stage), kind"""

SPLITS = """
SELECT split, count(DISTINCT key), count(*), count(DISTINCT video), sum(tokens)::BIGINT
FROM shards GROUP BY ALL ORDER BY split"""

IN_BOTH = "SELECT count(*) FROM (SELECT video FROM shards GROUP BY video HAVING count(DISTINCT split) > 1)"

SET_SPLITS = "SELECT split, count(*) FROM shards_{name} GROUP BY ALL ORDER BY split"

QUESTIONS = """
CREATE TEMP TABLE packed_questions AS
SELECT q.kind, q.options, q.answer FROM ask q
WHERE q.status = 'ok' AND (q.clip, q.number) IN (
    SELECT (clip, regexp_extract(id, '-(\\d+)$', 1)::BIGINT) FROM pack
    WHERE status = 'ok' AND kind IN ('cross_modal_qa', 'video_qa'))"""

LETTERS = """
SELECT len(options), answer, count(*) FROM packed_questions WHERE len(options) > 0 GROUP BY ALL ORDER BY ALL"""

ANSWERS = f"""
SELECT kind, answer, questions, total FROM (
    SELECT *, (sum(questions) OVER (PARTITION BY kind))::BIGINT AS total,
           row_number() OVER (PARTITION BY kind ORDER BY questions DESC, answer) AS place
    FROM (SELECT kind, lower(trim(left(answer, 200))) AS answer, count(*) AS questions
          FROM packed_questions WHERE len(options) = 0 GROUP BY ALL))
WHERE questions > 1 AND place <= {FREQUENT} ORDER BY kind, place"""

MADE_BY = "SELECT '{step}', made_by, count(*) FROM {step} WHERE status = 'ok' GROUP BY ALL ORDER BY ALL"
ORIGINS = "SELECT origin, count(*), sum(words)::BIGINT FROM transcribe WHERE status = 'ok' GROUP BY ALL ORDER BY ALL"
