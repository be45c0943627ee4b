"""WebDataset shards -> a unit for each picture and video in them, to be read by its range."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from ..records import Failure, Unit
from ..storage import Entry, Options, open_store
from .cells import as_text
from .patterns import all_files
from .places import (
    address_in,
    base_name,
    is_compressed_tar,
    is_hidden,
    media_kind,
    reason_to_pass,
    suffix_of,
)
from .slices import DAMAGED, DUPLICATE, HIDDEN, NO_TEXT, Ignored, Slice
from .store_file import open_buffered
from .tar_index import FILE, FOLDER, TarMember, tar_members

SUFFIXES = frozenset((".tar",))

# A header and the small side files around it come with one request; pictures are skipped.
_READ_AHEAD_BYTES = 8 << 10
_SIDE_FILE_AT_MOST = 1 << 20


@dataclass(slots=True)
class _Sample:
    """Consecutive members of one key: KEY.jpg, KEY.json, KEY.cls."""

    key: str
    media: list[TarMember] = field(default_factory=list)
    fields: dict[str, object] = field(default_factory=dict)

    def units(self, shard: Entry, keep: Sequence[str]) -> Iterator[Unit]:
        """Each picture or video, with the fields of the side files."""
        texts = {name: as_text(self.fields.get(name)) for name in keep}
        user = {name: text for name, text in texts.items() if text is not None}
        for member in self.media:
            kind = media_kind(member.name)
            assert kind is not None
            yield Unit(
                source_uri=shard.name,
                kind=kind,
                member=member.name,
                offset=member.offset,
                length=member.length,
                version=shard.version,
                user=user,
                fault=None if member.fault is None else _fault_text(shard, member, member.fault),
            )


@dataclass(frozen=True, slots=True)
class TarReader:
    """Lists the members of shards by their headers alone."""

    keep: tuple[str, ...] = ()  # fields of KEY.json, or suffixes of side files without the dot

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """One for each shard, and for each other file, which will be ignored."""
        for uri in uris:
            for store_uri, entry in all_files(uri, options):
                yield Slice("tar", store_uri, files=(entry,))

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Members of one shard, in its order."""
        store = open_store(piece.uri, options)
        for entry in piece.files or ():
            uri = store.uri_of(entry.name)
            if (reason := _reason_against_shard(address_in(store.uri, entry.name))) is not None:
                yield Ignored(uri, reason)
                continue
            with open_buffered(store, entry, _READ_AHEAD_BYTES) as file:
                yield from self._members(Entry(uri, entry.size, entry.version), file)

    def _members(self, shard: Entry, file: BinaryIO) -> Iterator[Unit | Ignored]:
        seen: set[str] = set()
        sample = _Sample("")
        for member in tar_members(file, shard.size):
            if member.kind == FOLDER:
                continue
            if member.kind == DAMAGED:
                yield _damage(shard, member)
                continue
            if (key := _key_of(member.name)) != sample.key:
                yield from sample.units(shard, self.keep)
                sample = _Sample(key)
            reason = _reason_to_ignore(member, seen) or self._take(member, sample, file)
            if reason is None:
                seen.add(member.name)
            elif member.fault is not None:  # no picture, but the shard is damaged all the same
                yield _damage(shard, member)
            else:
                yield Ignored(f"{shard.name}: {member.name}", reason)
        yield from sample.units(shard, self.keep)

    def _take(self, member: TarMember, sample: _Sample, file: BinaryIO) -> str | None:
        """Put a member into its sample; the reason why not, if it does not belong there."""
        if media_kind(member.name) is not None:
            sample.media.append(member)
            return None
        suffix = base_name(member.name).partition(".")[2].lower()
        if member.fault is not None:
            return DAMAGED
        if not self.keep or (suffix != "json" and suffix not in self.keep):
            return reason_to_pass(member.name)
        return _read_side_file(member, suffix, file, sample.fields)


def _damage(shard: Entry, member: TarMember) -> Unit:
    """The unit that stands for a damage, and fails: nothing is lost without a word."""
    assert member.fault is not None
    is_told = member.kind == DAMAGED
    return Unit(
        source_uri=shard.name,
        kind="image",
        member=member.name if is_told else f"damage at byte {member.offset}",
        offset=member.offset,
        length=member.length,
        version=shard.version,
        fault=_fault_text(shard, member, member.fault),
    )


def _fault_text(shard: Entry, member: TarMember, fault: Failure) -> str:
    place = f"{shard.name}, byte {member.offset}"
    way_out = "put a sound shard in its place and run the same command again"
    words = f"{place}: {fault.message}; {way_out}"
    return Failure(fault.error_class, words).text


def _reason_against_shard(name: str) -> str | None:
    if is_hidden(name):
        return HIDDEN
    if is_compressed_tar(name):
        return "compressed shard"
    return None if suffix_of(name) in SUFFIXES else reason_to_pass(name)


def _reason_to_ignore(member: TarMember, seen: set[str]) -> str | None:
    if member.kind != FILE:
        return member.kind
    if member.name in seen:
        return DUPLICATE  # units are told apart by their members' names
    return HIDDEN if is_hidden(member.name) else None


def _read_side_file(
    member: TarMember, suffix: str, file: BinaryIO, fields: dict[str, object]
) -> str | None:
    if member.length > _SIDE_FILE_AT_MOST:
        return f"a side file of more than {_SIDE_FILE_AT_MOST >> 20} MiB"
    file.seek(member.offset)
    try:
        text = file.read(member.length).decode()
    except UnicodeDecodeError:
        return NO_TEXT
    if suffix != "json":
        fields[suffix] = text.strip()
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(content, Mapping):
        return "no JSON object"
    fields.update(content)
    return None


def _key_of(name: str) -> str:
    """What the members of a sample share: the name up to the first dot behind its folders."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]
