"""Blocks of 512 bytes -> the headers of a tar file, and what PAX and GNU say beside them.

A header may lie: names are only text, and what cannot be read is told and not raised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

BLOCK = 512

FILE = "file"
LINK, DEVICE, FOLDER, SPARSE, UNKNOWN = "link", "device", "folder", "sparse file", "unknown type"

LONG_NAME, _LONG_LINK, _PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
EXTENDED = (LONG_NAME, _LONG_LINK, _PAX, PAX_GLOBAL, b"X")

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
_LARGEST = 2**63 - 1
_MOST_RECORDS = 1000  # of one header: programs write a dozen, and a million take seconds to read
_OCTAL = re.compile(rb"[0-7]+")
_DECIMAL = re.compile(rb"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says that begins a member."""

    name: bytes
    type: bytes
    length: int
    block: bytes = field(repr=False)


@dataclass(slots=True)
class Extension:
    """What headers of their own say about the member that follows them."""

    name: bytes | None = None
    length: int | None = None
    sparse: bool = False
    fault: str = ""

    def read(self, header: Header, content: bytes) -> None:
        """Take in one of these headers, with what stands behind it."""
        if header.type == LONG_NAME:
            self.name = _text(content)
        elif header.type not in (_LONG_LINK, PAX_GLOBAL):
            self._read_pax(content)

    def _read_pax(self, content: bytes) -> None:
        """Records such as "18 path=some/name" and a newline, whose length the number is."""
        at, end, count = 0, len(content.rstrip(b"\0")), 0
        while at < end:
            count += 1
            if count > _MOST_RECORDS:
                self.fault = f"its PAX header has more than {_MOST_RECORDS:,} records"
                return
            digits = content[at : at + 8].partition(b" ")[0]
            length = int(digits) if _DECIMAL.fullmatch(digits) else 0
            record = content[at + len(digits) + 1 : at + length]
            if not len(digits) + 2 < length <= len(content) - at or not record.endswith(b"\n"):
                self.fault = "its PAX header cannot be read"
                return
            key, equals, value = record[:-1].partition(b"=")
            self._apply_pax(key, value if equals else b"")
            at += length

    def _apply_pax(self, key: bytes, value: bytes) -> None:
        if key == b"path":
            self.name = value.partition(b"\0")[0]
        elif key == b"size":
            if not _DECIMAL.fullmatch(value) or int(value) > _LARGEST:
                self.fault = "its PAX header has no readable size"
            else:
                self.length = int(value)
        elif key.startswith(b"GNU.sparse."):
            self.sparse = True


def read_header(block: bytes) -> Header | None:
    """The header that a block is; None if its checksum is wrong, or its size cannot be read."""
    length = _number(block[124:136])
    if length is None or not _checksum_holds(block):
        return None
    name = _text(block[:100])
    prefix = _text(block[345:500])
    if prefix and block[257:263] == b"ustar\0":  # GNU keeps other things in there
        name = prefix + b"/" + name
    return Header(name, block[156:157], length, block)


def kind_of(header: Header, extension: Extension, name: bytes) -> str:
    """Whether a member is a file, or what else."""
    kind = SPARSE if extension.sparse else _KINDS.get(header.type, UNKNOWN)
    return FOLDER if kind == FILE and name.endswith(b"/") else kind  # how they were written once


def _checksum_holds(block: bytes) -> bool:
    if len(block) < BLOCK:
        return False
    stated = _number(block[148:156])
    others = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(others)
    # Some old tars summed signed characters.
    return stated in (unsigned, unsigned - 256 * sum(byte > 127 for byte in others))


def _number(field_bytes: bytes) -> int | None:
    """Octal digits, or GNU's big-endian bytes behind 0x80; None if it is neither."""
    if field_bytes[:1] == b"\x80":
        value = int.from_bytes(field_bytes[1:], "big")
        return value if value <= _LARGEST else None
    digits = _text(field_bytes).strip(b" ")
    if not digits:
        return 0
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None


def _text(field_bytes: bytes) -> bytes:
    return field_bytes.partition(b"\0")[0]
