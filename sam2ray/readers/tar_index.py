"""Headers of a tar file -> its members; bodies are skipped, and nothing is ever unpacked.

A header may lie: every number is checked against the size of the file, names are only text, and
what cannot be read ends the listing as damage instead of raising.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from .slices import DAMAGED

BLOCK = 512

FILE = "file"
LINK, DEVICE, FOLDER, SPARSE, UNKNOWN = "link", "device", "folder", "sparse file", "unknown type"

_KINDS = {
    b"0": FILE,
    b"\0": FILE,
    b"7": FILE,  # contiguous, once upon a time
    b"1": LINK,
    b"2": LINK,
    b"3": DEVICE,
    b"4": DEVICE,
    b"5": FOLDER,
    b"6": DEVICE,  # a pipe
    b"S": SPARSE,
}
_WITHOUT_BODY = (LINK, DEVICE, FOLDER)  # whatever their size says
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_EXTENDED = (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, b"X")

_ZEROS = bytes(BLOCK)
_ZEROS_AT_MOST = 1 << 16  # behind the end; further on there may be another tar
_EXTENSION_AT_MOST = 1 << 20  # a name or a PAX header
_LARGEST = 2**63 - 1
_OCTAL = re.compile(rb"[0-7]+")
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member, and where its body lies; `kind` says whether it is a file at all."""

    name: str
    kind: str
    offset: int
    length: int
    detail: str = ""


class _Damage(Exception):
    """What makes the rest of the file unreadable."""


@dataclass(slots=True)
class _Extension:
    """What headers of their own say about the member that follows them."""

    name: bytes | None = None
    length: int | None = None
    sparse: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    type: bytes
    length: int
    block: bytes = field(repr=False)


def tar_members(file: BinaryIO, size: int) -> Iterator[TarMember]:
    """Members in the order of the file; the last one has kind "damaged" if the rest is lost."""
    position = 0
    extension = _Extension()
    try:
        while (start := _next_header(file, position, size)) is not None:
            header = _read_header(file, start)
            body = start + BLOCK
            if header.type in _EXTENDED:
                _extend(extension, header, file, body, size)
                position = body + _padded(header.length)
                continue
            member, position = _member(header, extension, file, body)
            extension = _Extension()
            yield member
            if member.kind not in _WITHOUT_BODY and member.offset + member.length > size:
                raise _Damage(f"the file ends within the body of {member.name}")
    except _Damage as damage:
        yield TarMember(f"byte {position} and on", DAMAGED, position, 0, str(damage))


def _next_header(file: BinaryIO, position: int, size: int) -> int | None:
    """Where the next header is, behind zeros that end one tar before another; None at the end."""
    first = position
    while position < size:
        file.seek(position)
        block = file.read(BLOCK)
        if block != _ZEROS[: len(block)]:
            return position
        position += BLOCK
        if position - first > _ZEROS_AT_MOST:
            raise _Damage(f"{size - first} bytes behind the end of the archive were not looked at")
    return None


def _read_header(file: BinaryIO, start: int) -> _Header:
    file.seek(start)
    block = file.read(BLOCK)
    if start == 0:
        for magic, name in _COMPRESSED.items():
            if block.startswith(magic):
                raise _Damage(f"it is compressed ({name}): unpack it")
    if len(block) < BLOCK:
        raise _Damage(f"the file ends within the header at byte {start}")
    if not _checksum_holds(block):
        raise _Damage(f"what stands at byte {start} is no tar header (its checksum is wrong)")
    length = _number(block[124:136])
    if length is None:
        raise _Damage(f"the header at byte {start} has no readable size")
    name = _text(block[:100])
    prefix = _text(block[345:500])
    if prefix and block[257:263] == b"ustar\0":  # GNU keeps other things in there
        name = prefix + b"/" + name
    return _Header(name, block[156:157], length, block)


def _member(
    header: _Header, extension: _Extension, file: BinaryIO, body: int
) -> tuple[TarMember, int]:
    """The member that a header begins, and where the next one's header should be."""
    name = header.name if extension.name is None else extension.name
    length = header.length if extension.length is None else extension.length
    kind = SPARSE if extension.sparse else _KINDS.get(header.type, UNKNOWN)
    if kind == FILE and name.endswith(b"/"):  # how folders were written once
        kind = FOLDER
    if header.type == b"S":
        body = _skip_sparse_map(header, file, body)
    end = body if kind in _WITHOUT_BODY else body + _padded(length)
    detail = extension.fault
    if not detail and not name:
        detail = "it has no name"
    if kind == FILE and detail:
        kind = DAMAGED
    return TarMember(name.decode("utf-8", "backslashreplace"), kind, body, length, detail), end


def _extend(extension: _Extension, header: _Header, file: BinaryIO, body: int, size: int) -> None:
    if header.length > min(_EXTENSION_AT_MOST, size - body):
        raise _Damage(f"the header at byte {body - BLOCK} claims {header.length} bytes of names")
    file.seek(body)
    content = file.read(header.length)
    if len(content) < header.length:
        raise _Damage(f"the file ends within the header at byte {body - BLOCK}")
    if header.type == _LONG_NAME:
        extension.name = _text(content)
    elif header.type not in (_LONG_LINK, _PAX_GLOBAL):
        _read_pax(extension, content)


def _read_pax(extension: _Extension, content: bytes) -> None:
    """Records such as "18 path=some/name" and a newline, whose length the number is."""
    while content.strip(b"\0"):
        digits = content[:8].partition(b" ")[0]
        length = int(digits) if _DECIMAL.fullmatch(digits) else 0
        record = content[len(digits) + 1 : length]
        if not len(digits) + 2 < length <= len(content) or not record.endswith(b"\n"):
            extension.fault = "a PAX header that cannot be read"
            return
        key, equals, value = record[:-1].partition(b"=")
        _apply_pax(extension, key, value if equals else b"")
        content = content[length:]


def _apply_pax(extension: _Extension, key: bytes, value: bytes) -> None:
    if key == b"path":
        extension.name = value.partition(b"\0")[0]
    elif key == b"size":
        if not _DECIMAL.fullmatch(value) or int(value) > _LARGEST:
            extension.fault = "a PAX header with no readable size"
        else:
            extension.length = int(value)
    elif key.startswith(b"GNU.sparse."):
        extension.sparse = True


def _skip_sparse_map(header: _Header, file: BinaryIO, body: int) -> int:
    """Blocks that continue the map of an old GNU sparse file, up to the one that says no more."""
    more = header.block[482] != 0
    while more:
        file.seek(body)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise _Damage("the file ends within the map of a sparse file")
        more = block[504] != 0
        body += BLOCK
    return body


def _checksum_holds(block: bytes) -> bool:
    stated = _number(block[148:156])
    others = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(others)
    # Some old tars summed signed characters.
    return stated in (unsigned, unsigned - 256 * sum(byte > 127 for byte in others))


def _number(field_bytes: bytes) -> int | None:
    """Octal digits, or GNU's big-endian bytes behind 0x80; None if it is neither."""
    if field_bytes[0] == 0x80:
        value = int.from_bytes(field_bytes[1:], "big")
        return value if value <= _LARGEST else None
    digits = _text(field_bytes).strip(b" ")
    if not digits:
        return 0
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None


def _text(field_bytes: bytes) -> bytes:
    return field_bytes.partition(b"\0")[0]


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
