"""Shards and Parquet files that are damaged in known ways, and how each of their units ends."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from make_archive import jpeg, tar_bytes

PICTURES = [jpeg(48, 32, seed=n) for n in range(4)]
MEMBERS = [(f"{n}.jpg", picture) for n, picture in enumerate(PICTURES)]
SHARD = tar_bytes(MEMBERS)
_PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>" + bytes(2000)


@dataclass(frozen=True)
class Archive:
    """`ends` says of each unit `ok` or its class of failure, by its member."""

    name: str
    data: bytes = field(repr=False)
    ends: Mapping[str | None, str]


def headers_of(shard: bytes) -> list[int]:
    """Where the header of each member stands, behind those of its name."""
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        return [member.offset_data - 512 for member in tar]


def sound_archives() -> list[Archive]:
    """Those that damaged ones are compared with: members and rows have the same pictures."""
    members, rows = (dict.fromkeys(names, "ok") for names in (_names(), _rows()))
    return [Archive("sound.tar", SHARD, members), Archive("sound.parquet", _table(PICTURES), rows)]


def damaged_shards() -> list[Archive]:
    """Everything that befalls a shard on its way."""
    _, one, two, _ = headers_of(SHARD)
    end = headers_of(SHARD)[-1] + 512 + -(-len(PICTURES[-1]) // 512) * 512
    odd = tar_bytes([("ü" * 60 + ".jpg", PICTURES[0]), *MEMBERS[1:]], tarfile.PAX_FORMAT)
    path = odd.index(b" path=")
    return [
        _shard("checksum.tar", _put(SHARD, one + 148, b"\xff" * 8), (0, 2, 3), {one: "corrupt"}),
        _shard("cut.tar", SHARD[: two + 600], (0, 1), {}, **{"2.jpg": "truncated"}),
        _shard("cut between members.tar", SHARD[:two], (0, 1), {two: "truncated"}),
        _shard("no end.tar", SHARD[:end], (0, 1, 2, 3), {end: "truncated"}),
        _shard("hole.tar", _put(SHARD, one, bytes(two + 700 - one)), (0, 3), {one: "corrupt"}),
        _shard("more.tar", _put(SHARD, two, b"\1" * 777, 0), (0, 1, 2, 3), {two: "corrupt"}),
        _shard(
            "less.tar",
            _put(SHARD, one + 700, b"", 1000),
            (0, 2, 3),
            {},
            **{"1.jpg": "truncated"},
        ),
        _shard("name.tar", _put(odd, path - 2, b"xx"), (1, 2, 3), {headers_of(odd)[0]: "corrupt"}),
        _shard("packed.tar", gzip.compress(SHARD, mtime=0), (), {0: "unsupported"}),
        _shard("page.tar", _PAGE, (), {0: "unsupported"}),
        _shard("empty.tar", b"", (), {0: "truncated"}),
    ]


def damaged_tables() -> list[Archive]:
    """Parquet files that are none, or not to their end, or not in each row."""
    sound, rows = _table(PICTURES), _rows()
    return [
        Archive("cut.parquet", sound[: len(sound) // 2], {None: "truncated"}),
        Archive("empty.parquet", b"", {None: "truncated"}),
        Archive("footer.parquet", sound[:-60] + b"\xff" * 50 + sound[-10:], {None: "corrupt"}),
        Archive("page.parquet", _PAGE, {None: "unsupported"}),
        Archive("words.parquet", _encoded({"text": ["no", "pictures"]}), {None: "unsupported"}),
        Archive(
            "cells.parquet",
            _table([PICTURES[0], None, b"", PICTURES[3]]),
            dict(zip(rows, ("ok", "corrupt", "truncated", "ok"), strict=True)),
        ),
        Archive(
            "pages.parquet",
            _with_broken_page(sound, group=1),
            dict(zip(rows, ("ok", "ok", "corrupt", "corrupt"), strict=True)),
        ),
    ]


def _names() -> list[str]:
    return [name for name, _ in MEMBERS]


def _rows() -> list[str]:
    return [f"row {n}" for n in range(len(PICTURES))]


def _shard(
    name: str, data: bytes, sound: Sequence[int], damages: Mapping[int, str], **others: str
) -> Archive:
    ends: dict[str | None, str] = {f"{n}.jpg": "ok" for n in sound}
    ends |= {f"damage at byte {place}": error_class for place, error_class in damages.items()}
    return Archive(name, data, ends | others)


def _put(data: bytes, at: int, content: bytes, over: int | None = None) -> bytes:
    """Other content in a place, over so many bytes; without saying, over as many as it has."""
    return data[:at] + content + data[at + (len(content) if over is None else over) :]


def _table(pictures: Sequence[bytes | None]) -> bytes:
    cells = [{"bytes": picture, "path": f"{n}.jpg"} for n, picture in enumerate(pictures)]
    return _encoded({"image": cells})


def _encoded(columns: Mapping[str, object]) -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), file, row_group_size=2, use_dictionary=False)
    return file.getvalue().to_pybytes()


def _with_broken_page(table: bytes, group: int) -> bytes:
    facts = pq.read_metadata(pa.BufferReader(table))
    return _put(table, facts.row_group(group).column(0).data_page_offset, b"\xff" * 40)
