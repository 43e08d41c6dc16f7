"""Register discovered sources in parts: changed or moved sources keep their places, new sources form new parts.

In: the sources that discovery found. Out: a new file of all sources, or none if nothing changed. A source keeps its
place in its part while its uri or its content exists. Of exact copies one is the owner, and all others name it as their
twin. If the owner's file is deleted, a copy becomes the owner.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from manifests.records import Source
from manifests.sources import Registered, SourceManifest, source_id
from pipeline.errors import RunError
from pipeline.sources.containers.members import is_unmeasured, read_unit
from pipeline.state.content_digests import Content

LARGEST_PART = 32  # videos per part, by default
LARGEST_TOGETHER = 128  # videos per part from one row group or compressed tar, which each part reads from its start
FEWEST_PARTS = 64  # parts of a large input, so that all workers stay busy until the end
NOTHING_BESIDE: Mapping[str, Any] = {
    "sidecars": (), "companions": "", "metadata": (), "described": "", "spans": (), "apart": "", "given": False,
}  # fmt: skip
NEW = -1  # part number of a source that is not in a part yet

Digests = Callable[[Sequence[Registered]], Mapping[str, str]]  # returns sha256 by uri, for readable sources
# returns contents by uri, of sources that no index has measured
Measure = Callable[[Sequence[Registered]], Mapping[str, Content]]
Live = Callable[[Sequence[Source]], set[str]]  # returns the uris whose files exist
Changes = Sequence[tuple[Registered, Registered]]  # old and new source of a place


def register(
    manifest: SourceManifest,
    found: Sequence[Source],
    limit: int | None,
    per_part: int | None,
    digests: Digests | None = None,
    live: Live | None = None,
    reopen: Callable[[Changes], None] = lambda changes: None,
    measure: Measure = lambda rows: {},
) -> list[int]:
    """Update the manifest with the found sources; return the numbers of all parts.

    limit: of sources in the whole run. per_part: videos per part (default: 1 to 32, depending on the number of new
    ones). digests, live: None to skip the search for copies. reopen: called with the changed places before they are
    written. measure: returns the contents of table rows that were read since their registration. Raises RunError if
    another process registered sources meanwhile.
    """
    number = manifest.next
    before = manifest.registered()
    after = merge_sources(before, found, limit)
    after = _with_measures(after, measure(after))
    if digests is not None and live is not None:
        contents = digests(_find_comparable(before, after))
        fixed, rest = split_removed(after, contents)
        after = [*fixed, *assign_owners(before, reuse_places(rest, contents, live), contents, live)]
    after = assign_parts(after, found, per_part)
    if after != before:
        reopen(_changed_places(before, after))
        if not manifest.write(number, after):
            raise RunError(f"another run registered sources at {manifest.root} meanwhile: run again")
    return sorted({each.part for each in after})


def merge_sources(before: Sequence[Registered], found: Iterable[Source], limit: int | None) -> list[Registered]:
    """Return the registered sources with the facts found now, then the new ones; sources not found stay unchanged.

    limit: of sources in the whole run; new ones are drawn from all folders, and a higher limit keeps them.
    """
    rows = {each.source.uri: each for each in before}
    new = []
    for source in found:
        known = rows.get(source.uri)
        if known is None:
            new.append(Registered(source, NEW, 0))
        elif not known.source.removed and has_changed(known.source, source):
            rows[source.uri] = replace(known, source=replace(source, twin=known.source.twin))
    return [*rows.values(), *(new if limit is None else _draw(new, max(0, limit - len(before))))]


def _draw(new: Sequence[Registered], count: int) -> list[Registered]:
    """Return up to `count` sources, drawn by the digests of their URIs, in the order of `new`."""
    digests = [hashlib.sha256(each.source.uri.encode()).digest() for each in new]
    return [new[n] for n in sorted(sorted(range(len(new)), key=digests.__getitem__)[:count])]


def _with_measures(rows: Sequence[Registered], found: Mapping[str, Content]) -> list[Registered]:
    if not found:
        return list(rows)

    def add_measures(source: Source) -> Source:
        read = found.get(source.uri)
        return replace(source, read_bytes=read.bytes, sha256=read.sha256) if read else source

    return [replace(each, source=add_measures(each.source)) for each in rows]


def split_removed(rows: Sequence[Registered], contents: Mapping[str, str]) -> tuple[list[Registered], list[Registered]]:
    """Split sources into removed ones and all others. A copy of a removed source is removed as well.

    contents: sha256 by uri. A removed source keeps its place and its uri for ever.
    """
    removed_digests = {each.source.sha256 for each in rows if each.source.removed and each.source.sha256}
    fixed, rest = list[Registered](), list[Registered]()
    for each in rows:
        content = contents.get(each.source.uri) or each.source.sha256
        if each.source.removed:
            fixed.append(each)
        elif content in removed_digests:
            fixed.append(replace(each, source=removed_source(each.source, content)))
        else:
            rest.append(each)
    return fixed, rest


def removed_source(source: Source, content: str | None) -> Source:
    """Return the entry of a removed source, which has only the facts needed to recognise it again."""
    return replace(source, sha256=content, twin=None, removed=True, meta="{}", **NOTHING_BESIDE)


def has_changed(stored: Source, found: Source) -> bool:
    """Return whether a source has changed since it was registered; False if it cannot be read now."""
    if found.fault and not stored.fault:
        return False
    names = ["bytes", "sidecars", "fault", "meta", "metadata", "spans", "apart", "given"]
    if stored.stamp and found.stamp:  # earlier releases stored no stamps
        names += ["stamp", "companions", "described"]
    return any(getattr(stored, name) != getattr(found, name) for name in names)


def _find_comparable(before: Sequence[Registered], after: Sequence[Registered]) -> list[Registered]:
    """Return the sources to compare by content: all of a size that a new or changed source shares with another.

    A source without a stamp also counts as changed: earlier releases left two owners if a file had moved.
    """
    known = {(each.source.id, each.part, _size(each)) for each in before if each.source.stamp}
    comparable = [each for each in after if each.source.fault is None and _size(each)]
    values, counts = np.unique(np.fromiter(map(_size, comparable), np.int64), return_counts=True)
    shared = set(values[counts > 1].tolist())  # most sizes are unique; no list is made for these
    sizes: dict[int, list[Registered]] = defaultdict(list)
    for each in comparable:
        if _size(each) in shared:
            sizes[_size(each)].append(each)
    return [
        each
        for group in sizes.values()
        if any((one.source.id, one.part, _size(one)) not in known for one in group)
        for each in group
    ]


def _size(each: Registered) -> int:
    return each.source.bytes or each.source.read_bytes


def reuse_places(rows: Sequence[Registered], digests: Mapping[str, str], live: Live) -> list[Registered]:
    """Give the places of moved files to the new sources: a missing and a new source with equal size and stamp.

    Only pairs in which the content of one source is unknown are matched here; copies are matched by content later.
    """
    files = {_file(each): each for each in rows if each.part != NEW}
    new = [(files[_file(each)], each) for each in rows if each.part == NEW and _file(each) in files]
    unread = {each for each, _ in new if not (each.source.sha256 or each.source.uri in digests)}
    moved = {each: come for each, come in new if come.source.stamp and (each in unread or is_unmeasured(come.source))}
    live_uris = live([each.source for each in moved])
    vanished = {each: come for each, come in moved.items() if each.source.uri not in live_uris}
    placed = {come: _in_place_of(each, come) for each, come in vanished.items()}
    return [placed.get(each, each) for each in rows if each not in vanished] if vanished else list(rows)


def _file(each: Registered) -> tuple[int, str]:
    return each.source.bytes, each.source.stamp


def _in_place_of(old: Registered, new: Registered) -> Registered:
    source = replace(new.source, sha256=new.source.sha256 or old.source.sha256, read_bytes=old.source.read_bytes)
    return replace(new, source=source, part=old.part, place=old.place)


def assign_owners(
    before: Sequence[Registered], rows: Sequence[Registered], digests: Mapping[str, str], live: Live
) -> list[Registered]:
    """Return the sources with one owner per content; the other copies name it as their twin."""
    groups: dict[str, list[Registered]] = defaultdict(list)
    rest = []
    for each in rows:
        content = digests.get(each.source.uri) or each.source.sha256
        if content:
            groups[content].append(each)
        else:
            rest.append(replace(each, source=replace(each.source, twin=None)) if each.source.twin else each)
    shared = {content: group for content, group in groups.items() if len(group) > 1 or group[0].source.twin}
    rest += [group[0] for content, group in groups.items() if content not in shared]
    live_uris = live([each.source for group in shared.values() for each in group])
    owners = {each.source.uri: each.source for each in before if not each.source.twin}
    for content, group in shared.items():
        owned = [each for each in group if _was_owner(owners.get(each.source.uri), each.source, content)]
        rest += _choose_owner(content, group, owned, live_uris)
    return rest


def _was_owner(owner: Source | None, source: Source, content: str) -> bool:
    """Return whether a source was the owner of this content before. owner: the source that had its uri."""
    return owner is not None and (owner.id == source.id or owner.sha256 == content)


def _choose_owner(
    content: str, group: Sequence[Registered], owned: Sequence[Registered], live_uris: set[str]
) -> list[Registered]:
    """Return the copies of one content, with one owner. New copies take the places of missing ones.

    The owner is a source whose file exists, preferably the previous owner, then one with subtitles.
    """

    def rank(each: Registered) -> tuple[bool, bool, bool, str]:
        source = each.source
        return source.uri not in live_uris, each not in owned, not source.sidecars, source.uri

    ordered = sorted(group, key=rank)
    uri = ordered[0].source.uri
    if owned and ordered[0] not in owned:
        ordered = _swap_places(ordered[0], min(owned, key=rank), ordered)
    vanished = [each for each in ordered if each.part != NEW and each.source.uri not in live_uris]
    new = [each for each in ordered if each.part == NEW]
    for left, come in zip(vanished, new, strict=False):
        ordered = _swap_places(come, left, ordered)
    return [_with_content(each, content, None if each.source.uri == uri else uri) for each in ordered]


def _swap_places(come: Registered, left: Registered, group: Sequence[Registered]) -> list[Registered]:
    """Return the group with `come` and `left` at each other's places; `left` is dropped if `come` had no place."""
    moved = {
        come: replace(come, part=left.part, place=left.place),
        left: replace(left, part=come.part, place=come.place),
    }
    return [moved.get(each, each) for each in group if each is not left or come.part != NEW]


def _with_content(each: Registered, content: str, twin: str | None) -> Registered:
    """Return the source with its content and twin. A lasting owner keeps its id, so that it is not read again."""
    source = replace(each.source, sha256=content, twin=twin)
    if twin is None and each.source.twin is None:
        return replace(each, source=source)
    return replace(each, source=replace(source, id=source_id(source)))


def assign_parts(rows: Iterable[Registered], found: Iterable[Source], per_part: int | None) -> list[Registered]:
    """Return all sources in the order of their places; new ones are in new parts, in the order of `found`."""
    placed = [each for each in rows if each.part != NEW]
    new = _sort_as_found([each.source for each in rows if each.part == NEW], found)
    size = per_part or part_size(len(new))
    first = max((each.part for each in placed), default=-1) + 1
    parts = enumerate(_group_sources(new, size), start=first)
    registered = [Registered(source, part, place) for part, sources in parts for place, source in enumerate(sources)]
    return sorted([*placed, *registered], key=lambda each: (each.part, each.place))


def part_size(videos: int) -> int:
    """Return the videos of a part, by the number of new videos."""
    return min(LARGEST_PART, -(-videos // FEWEST_PARTS) or 1)


def _sort_as_found(sources: Iterable[Source], found: Iterable[Source]) -> list[Source]:
    left = {source.uri: source for source in sources}
    return [left.pop(source.uri) for source in found if source.uri in left]


def _group_sources(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Yield the sources in parts of `size`; sources of one read unit share a part, up to LARGEST_TOGETHER."""
    part: list[Source] = []
    for source in sources:
        is_full = len(part) >= size and not _share_read_unit(part[-1], source)
        if is_full or len(part) >= max(size, LARGEST_TOGETHER):
            yield part
            part = []
        part.append(source)
    if part:
        yield part


def _share_read_unit(left: Source, right: Source) -> bool:
    unit = read_unit(left.uri, left.stamp)
    return bool(unit) and unit == read_unit(right.uri, right.stamp)


def _changed_places(before: Sequence[Registered], after: Sequence[Registered]) -> Changes:
    old_places = {(each.part, each.place): each for each in after} if before else {}
    pairs = [(each, old_places[each.part, each.place]) for each in before]
    return [(old, new) for old, new in pairs if _run_facts(old) != _run_facts(new)]


def _run_facts(each: Registered) -> tuple[str, bool]:
    return each.source.id, each.source.removed
