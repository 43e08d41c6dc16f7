"""Group the members of a tar or zip into sources with their companions: neighbouring members with the same key.

A key is the name up to the first dot of its last path component, as in webdataset. Members without a source become rows
with a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from manifests.ledger import digest, one_line
from pipeline.errors import BadMedia
from pipeline.sources.companions import LARGEST_COMPANION, SOUNDS, SUBTITLES
from pipeline.sources.containers.members import Member, Unreadable
from pipeline.sources.metadata import INFO, known_fields

VIDEO = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
         ".3gp", ".ogv", ".vob", ".mxf")  # fmt: skip
TEXT = (*SUBTITLES, ".json", ".txt")
OTHER = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".cls", ".npy", ".npz", ".pt", ".pth", ".pkl", ".pickle", ".csv",
         ".tsv", ".xml", ".html", ".md")  # fmt: skip

# Made once: `json.loads` and `json.dumps` make them for each call, which takes longer than their work.
DECODER = json.JSONDecoder(parse_constant=lambda name: None)  # NaN and Infinity, which JSON does not have
ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSource:
    """A source in a container, as stored in the index; or a row with a reason.

    name: the part after the container's uri and `#`; "" for a row about the container itself. sidecars: names of
    members. apart: name of the member with the audio. sha256: of the bytes, if indexing had to read them.
    """

    name: str
    bytes: int = 0
    place: str = ""
    meta: str = "{}"
    sidecars: tuple[str, ...] = ()
    companions: str = ""
    apart: str = ""
    fault: str | None = None
    sha256: str | None = None


@dataclass(slots=True)
class _Read:
    """A member with the content that was read when the stream passed it.

    data: of a text; value: of a JSON file. fault: why a text is invalid; the video is then used without it.
    """

    member: Member
    ending: str
    data: bytes = b""
    value: Any = None
    sha256: str | None = None
    fault: str = ""


Content = Callable[[Member], bytes]
Digest = Callable[[Member], "str | None"]


def sources(
    members: Iterable[Member], content: Content, sha256: Digest = lambda member: None
) -> Iterator[MemberSource]:
    """Yield the sources among a container's members in order, and a row with a reason for each faulty member.

    content: reads a small member; sha256: returns the digest of a large one if the container is read anyway.
    """
    names, keys = set[str](), set[str]()
    for key, group in groupby(members, key=lambda member: key_of(member.name)):
        found = []
        for member in group:
            try:
                _check(member, names)
                found.append(_read(member, content, sha256))
                names.add(member.name)
            except (Unreadable, BadMedia) as error:
                yield MemberSource(name=_row_name(member, names), bytes=member.size, fault=str(error))
        yield from _sources_of(found, is_apart=key in keys)
        keys.add(key)


def key_of(name: str) -> str:
    """Return the key of a member: `a.b/talk` of `a.b/talk.en.srt`."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.split(".", 1)[0]


def _check(member: Member, names: set[str]) -> None:
    if member.fault:
        raise Unreadable(member.fault)
    if member.name in names:
        raise Unreadable("this name comes twice in the container: the first one is used")


def _row_name(member: Member, names: set[str]) -> str:
    return f"{member.name}@{member.place}" if member.name in names else member.name


def _ending(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") + 1 else ""


def _read(member: Member, content: Content, sha256: Digest) -> _Read:
    ending = _ending(member.name)
    if ending not in TEXT:
        return _Read(member, ending, sha256=sha256(member))
    if member.size > LARGEST_COMPANION:
        return _Read(member, ending, fault=f"too large beside a video: {member.size >> 20} MB")
    data = content(member)
    value, fault = _parse_json(data) if ending == ".json" else (None, "")
    return _Read(member, ending, data, value, fault=fault)


def _sources_of(group: Sequence[_Read], is_apart: bool) -> Iterator[MemberSource]:
    """Yield the sources of the members of one key. is_apart: whether members of this key occurred before."""
    videos, beside = _split_group(group)
    for video, mine in zip(videos, _companions_by_video(videos, beside), strict=True):
        yield _source(video, mine)
    for companion in beside:
        if fault := companion.fault if videos else _orphan(is_apart):
            yield MemberSource(name=companion.member.name, bytes=companion.member.size, fault=fault)


def _orphan(is_apart: bool) -> str:
    if is_apart:
        return "it lies apart from other members of its key: webdataset reads it as another sample; not used"
    return "not a video, and beside no video of its key"


def _split_group(group: Sequence[_Read]) -> tuple[list[_Read], list[_Read]]:
    """Split members into possible videos and companions. Without a known video ending, every member may be a video."""
    for is_video in (VIDEO.__contains__, _may_be_video, SOUNDS.__contains__):
        videos = [member for member in group if is_video(member.ending)]
        if videos:
            break
    return videos, [member for member in group if not is_video(member.ending)]


def _may_be_video(ending: str) -> bool:
    return ending not in (*TEXT, *SOUNDS, *OTHER)


def _companions_by_video(videos: Sequence[_Read], beside: Sequence[_Read]) -> list[list[_Read]]:
    """Return the companions of each video: those with its name, else those with its key."""
    if len(videos) < 2 or not beside:
        return [list(beside) for _ in videos]
    stems = [video.member.name.removesuffix(video.ending) for video in videos]
    closest = [max((len(stem) for stem in stems if _is_named(companion, stem)), default=None) for companion in beside]
    return [
        [
            companion
            for companion, length in zip(beside, closest, strict=True)
            if length is None or (length == len(stem) and _is_named(companion, stem))
        ]
        for stem in stems
    ]


def _is_named(member: _Read, stem: str) -> bool:
    return member.member.name.startswith(f"{stem}.")


def _source(video: _Read, beside: Sequence[_Read]) -> MemberSource:
    usable = [companion for companion in beside if not companion.fault]
    subtitles = [companion for companion in usable if companion.ending in SUBTITLES]
    key = len(key_of(video.member.name))
    sounds = [companion for companion in usable if companion.ending in SOUNDS][:1]
    facts = sorted((companion.member.name[key:], hashlib.sha256(companion.data).hexdigest()) for companion in subtitles)
    facts += [(companion.member.name[key:], str(companion.member.size)) for companion in sounds]
    return MemberSource(
        name=video.member.name,
        bytes=video.member.size,
        place=video.member.place,
        meta=_meta(usable),
        sidecars=tuple(f"{companion.member.name}@{companion.member.place}" for companion in subtitles),
        companions=digest(facts) if facts else "",
        apart="".join(f"{companion.member.name}@{companion.member.place}" for companion in sounds),
        sha256=video.sha256,
    )


def _parse_json(data: bytes) -> tuple[Any, str]:
    """Parse JSON. Return the value and "", or None and the reason why it is invalid."""
    try:
        value = DECODER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # also of half a character
        return None, f"no JSON: {one_line(error)}; the video is used without it"
    return value, ""


def _meta(beside: Sequence[_Read]) -> str:
    """Return the metadata as JSON: the keys of `.json`, then those of `.info.json`, and `.txt` as `caption`."""
    meta: dict[str, Any] = {}
    jsons = [companion for companion in beside if companion.ending == ".json"]
    for companion in sorted(jsons, key=lambda companion: not _is_info(companion)):
        fields = companion.value if isinstance(companion.value, dict) else {"json": companion.value}
        meta |= known_fields(fields) if _is_info(companion) else fields | known_fields(fields)
    for companion in [companion for companion in beside if companion.ending == ".txt"][:1]:
        meta["caption"] = companion.data.decode("utf-8-sig", errors="replace").strip()
    return ENCODER.encode(meta) if meta else "{}"


def _is_info(member: _Read) -> bool:
    return member.member.name.lower().endswith(INFO)
