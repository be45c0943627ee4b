"""A tar file -> its members and its damages; bodies are skipped, and nothing is ever unpacked.

Every number is checked against the size of the file. A damage is told where it is, and the members
are those that headers behind it name: see tar_search for how these are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from ..records import ErrorClass, Failure
from ..stages.sniff import describe
from .slices import DAMAGED
from .tar_headers import (
    BLOCK,
    DEVICE,
    EXTENDED,
    FILE,
    FOLDER,
    LINK,
    PAX_GLOBAL,
    Extension,
    Header,
    kind_of,
    read_header,
)
from .tar_search import find_header, first_byte

_WITHOUT_BODY = (LINK, DEVICE, FOLDER)  # whatever their size says
_EXTENSION_AT_MOST = 1 << 20  # a name or a PAX header
_END_BYTES = 2 * BLOCK  # of zeros
_RECORD_BYTES = 20 * BLOCK  # up to whole ones of these many programs add further zeros
_ZEROS_AT_END = 1 << 20  # at most, of programs that were told of larger records
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member and where its body lies, or a damage and the bytes that it costs; see `kind`."""

    name: str
    kind: str
    offset: int
    length: int
    fault: Failure | None = None  # of a damage, and of a file whose body is not whole


class _Damage(Exception):
    """Why no header stands where one should."""

    def __init__(
        self, at: int, error_class: ErrorClass, words: str, search_from: int | None
    ) -> None:
        super().__init__(words)
        self.at = at
        self.failure = Failure(error_class, words)
        self.search_from = search_from  # for the next header; None: there is none behind


def tar_members(file: BinaryIO, size: int) -> Iterator[TarMember]:
    """Members and damages, in the order of the file."""
    yield from _Walk(file, size).members()


class _Walk:
    """From header to header. A file is given out when what follows it says that it is whole."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._position: int | None = 0  # None: at the end
        self._before: TarMember | None = None
        # Where the body of what is before begins, while it may be short: until a header follows.
        self._unsure_from: int | None = None
        self._tar_start = 0  # several may stand one behind the other

    def members(self) -> Iterator[TarMember]:
        """All of them, once."""
        while self._position is not None:
            try:
                member = self._next(self._position)
            except _Damage as damage:
                yield from self._go_on_behind(damage)
                continue
            if self._before is not None:
                yield self._before
            self._before = member
        if self._before is not None:
            yield self._before

    def _next(self, position: int) -> TarMember | None:
        """The member whose headers begin here, or behind zeros; None at the end."""
        extension, is_announced = Extension(), False
        while (start := self._place_of_header(position)) is not None:
            header = self._header_at(start)
            self._unsure_from = None
            if header.type not in EXTENDED:
                return self._member(header, extension, start)
            extension.read(header, self._content_of(header, start))
            is_announced |= header.type != PAX_GLOBAL
            position = start + BLOCK + _padded(header.length)
        if is_announced:
            words = "the member that the header before it announces is missing"
            raise _Damage(position, ErrorClass.CORRUPT, words, None)
        self._position = None
        return None

    def _place_of_header(self, position: int) -> int | None:
        """Where the next header is, behind zeros that end one tar before another; None: nowhere."""
        if position >= self._size:
            words = "its end mark is missing: it was cut off, perhaps with members behind this byte"
            words = words if self._size else "it is empty"
            raise _Damage(self._size, ErrorClass.TRUNCATED, words, None)
        if self._block_at(position).strip(b"\0"):
            return position
        if self._swallows_headers():
            raise _Damage(position, ErrorClass.CORRUPT, "a body holds headers", position)
        first = first_byte(self._file, position, self._size)
        zeros = (first - position) // BLOCK * BLOCK
        if first == self._size:
            if self._size - position > _ZEROS_AT_END:
                words = f"its last {self._size - position} bytes are zeros, as where nothing came"
                raise _Damage(position, ErrorClass.CORRUPT, words, None)
            return None
        is_header = read_header(self._block_at(position + zeros)) is not None
        if is_header and self._are_an_end(position, zeros):
            self._tar_start = position + zeros
            return position + zeros
        words = f"{first - position} zero bytes stand where a member should begin"
        raise _Damage(position, ErrorClass.CORRUPT, words, position + zeros)

    def _swallows_headers(self) -> bool:
        """Whether what is before takes in what follows: the padding of tars is zeros."""
        before, body = self._before, self._unsure_from
        if before is None or body is None or before.offset + before.length <= body:
            return False
        end = before.offset + before.length
        self._file.seek(end - 1)
        is_padding = self._file.read(1) == b"\0"
        return is_padding and find_header(self._file, body, end) is not None

    def _are_an_end(self, position: int, zeros: int) -> bool:
        """Whether zeros end a tar before another; else they are a hole that has members in it."""
        fills_record = (position + zeros - self._tar_start) % _RECORD_BYTES == 0
        return zeros == _END_BYTES or (fills_record and _END_BYTES < zeros < 2 * _RECORD_BYTES)

    def _header_at(self, start: int) -> Header:
        block = self._block_at(start)
        if start == 0:
            for magic, name in _COMPRESSED.items():
                if block.startswith(magic):
                    raise _Damage(
                        0, ErrorClass.UNSUPPORTED, f"it is compressed ({name}): unpack it", None
                    )
        if len(block) < BLOCK:
            raise _Damage(start, ErrorClass.TRUNCATED, "it ends within a header", None)
        if (header := read_header(block)) is None:
            words = f"no tar header stands here{_name_in(block)}: its checksum or its size is wrong"
            raise _Damage(start, ErrorClass.CORRUPT, words, start + 1)
        return header

    def _content_of(self, header: Header, start: int) -> bytes:
        """The name or the PAX records that a header of their own announces."""
        body = start + BLOCK
        if header.length > _EXTENSION_AT_MOST:
            words = f"a header claims a name of {header.length} bytes"
            raise _Damage(start, ErrorClass.CORRUPT, words, body)
        if header.length > self._size - body:
            raise _Damage(start, ErrorClass.TRUNCATED, "it ends within the name of a member", body)
        self._file.seek(body)
        return self._file.read(header.length)

    def _member(self, header: Header, extension: Extension, start: int) -> TarMember:
        """The member that a header begins; what comes next is looked for behind its body."""
        name = header.name if extension.name is None else extension.name
        length = header.length if extension.length is None else extension.length
        kind, text = kind_of(header, extension, name), name.decode("utf-8", "backslashreplace")
        body = self._behind_sparse_map(header, start)
        end = body if kind in _WITHOUT_BODY else body + _padded(length)
        if kind not in _WITHOUT_BODY and body + length > self._size:
            return self._cut_off(TarMember(text, kind, body, length), start)
        self._position = end
        self._unsure_from = body if kind == FILE and not _is_tar(text) else None
        fault = extension.fault or ("" if name else "it has no name")
        if kind == FILE and fault:
            words = f"of the member {text!r}, {fault}" if name else "a member has no name"
            return _damage_at(start, end - start, Failure(ErrorClass.CORRUPT, words))
        return TarMember(text, kind, body, length)

    def _cut_off(self, member: TarMember, start: int) -> TarMember:
        """A member that ends behind the file, or claims to: others may follow within it."""
        place = None if _is_tar(member.name) else find_header(self._file, member.offset, self._size)
        there = (self._size if place is None else place) - member.offset
        words = f"of the {member.length} bytes of {member.name!r}, {max(there, 0)} are there"
        fault = Failure(ErrorClass.TRUNCATED, words)
        self._position, self._unsure_from = place, None
        if member.kind != FILE or not member.name:
            return _damage_at(start, max(there, 0) + member.offset - start, fault)
        return replace(member, fault=fault)

    def _behind_sparse_map(self, header: Header, start: int) -> int:
        """Where a body begins: an old GNU sparse file has blocks of its map in front of it."""
        body = start + BLOCK
        more = header.type == b"S" and header.block[482] != 0
        while more:
            block = self._block_at(body)
            if len(block) < BLOCK:
                words = "it ends within the map of a sparse file"
                raise _Damage(start, ErrorClass.TRUNCATED, words, start + BLOCK)
            more = block[504] != 0
            body += BLOCK
        return body

    def _go_on_behind(self, damage: _Damage) -> Iterator[TarMember]:
        """Tell a damage, and stand at the next header that can be found.

        If it lies within the body of the member before, then that is what is damaged: some of it is
        missing, and whatever follows has moved up.
        """
        before, self._before = self._before, None
        body, self._unsure_from = self._unsure_from, None
        found = damage.search_from
        if found is not None:
            found = find_header(self._file, found if body is None else body, self._size)
        self._position = found
        if before is not None:
            end = before.offset + before.length
            if body is not None and found is not None and found < end:
                yield _short(before, found)
                return
            yield before
        yield self._told(damage, found)

    def _told(self, damage: _Damage, found: int | None) -> TarMember:
        length = max(0, (self._size if found is None else found) - damage.at)
        failure = damage.failure
        if found is not None:
            behind = f"the next member that was found is at byte {found}"
        elif damage.at == 0 and failure.error_class is ErrorClass.CORRUPT:
            words = f"it is no tar file but {describe(self._block_at(0))}"
            failure, behind = Failure(ErrorClass.UNSUPPORTED, words), ""
        else:
            behind = f"none of the {length} bytes from there on was read" if length else ""
        words = f"{failure.message}; {behind}" if behind else failure.message
        return _damage_at(damage.at, length, Failure(failure.error_class, words))

    def _block_at(self, start: int) -> bytes:
        self._file.seek(start)
        return self._file.read(BLOCK)


def _damage_at(start: int, length: int, failure: Failure) -> TarMember:
    """What stands for a damage: no member that is listed can have its name, which has no suffix."""
    return TarMember(f"damage at byte {start}", DAMAGED, start, length, failure)


def _short(before: TarMember, found: int) -> TarMember:
    """A member, or a damage, within which another member begins."""
    there = found - before.offset
    if before.kind == DAMAGED:
        return replace(before, length=there)
    words = (
        f"of the {before.length} bytes of {before.name!r}, {there} are there: another member "
        f"begins at byte {found}"
    )
    return replace(before, fault=Failure(ErrorClass.TRUNCATED, words))


def _name_in(block: bytes) -> str:
    """What a broken header seems to be that of."""
    name = block[:100].partition(b"\0")[0]
    is_readable = name.isascii() and name.decode("ascii", "replace").isprintable()
    return f" (the name in it reads {name.decode()!r})" if name and is_readable else ""


def _is_tar(name: str) -> bool:
    """Whether a member is a tar itself: headers in it are none of the shard's."""
    return name.lower().endswith(".tar")


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
