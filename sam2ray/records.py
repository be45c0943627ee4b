"""The nouns of a job: units of work, how each ended, and the tables that keep them.

A unit is one image or one video. Every table has plain Arrow types, so that any engine reads it. A
schema changes by added columns alone; anything else is another major version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pyarrow as pa

SCHEMA_VERSION = "1.0"
ID_BYTES = 16
_ROWS_TOGETHER = 1 << 15  # of a table: as most row groups have fewer, and buckets of keys more

SAID = "said: "  # before a version that a list gives: no store knows it, so none is asked

Kind = Literal["image", "video", "frames"]  # frames: a folder of pictures that make a clip
Status = Literal["ok", "failed"]


class ErrorClass(str, Enum):
    """Why a unit failed; closed, so that reports and `--retry-failed` can rely on it."""

    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    IO = "io"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    BOMB = "bomb"
    NO_VIDEO_STREAM = "no_video_stream"
    ZERO_FRAMES = "zero_frames"
    PARTIAL = "partial"  # beside status ok: a video that ended early, with what came before
    BAD_PROMPT = "bad_prompt"
    OOM = "oom"
    CUDA = "cuda"
    TIMEOUT = "timeout"
    POISON = "poison"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the same unit may do better in another attempt."""
        return self in _RETRYABLE

    @property
    def blames_the_store(self) -> bool:
        """Whether it says more of the store than of the unit, however often the unit was tried."""
        return self in _OF_THE_STORE


_RETRYABLE = frozenset(
    {
        ErrorClass.NOT_FOUND,
        ErrorClass.FORBIDDEN,
        ErrorClass.THROTTLED,
        ErrorClass.IO,
        ErrorClass.OOM,
        ErrorClass.CUDA,
        ErrorClass.TIMEOUT,
        ErrorClass.POISON,
        ErrorClass.INTERNAL,
    }
)
_OF_THE_STORE = frozenset({ErrorClass.FORBIDDEN, ErrorClass.THROTTLED, ErrorClass.IO})


@dataclass(frozen=True, slots=True)
class Unit:
    """One image or video to be labelled, and where its bytes lie."""

    source_uri: str  # as users write it: s3://bucket/key, /data/a.jpg, https://...
    kind: Kind
    member: str | None = None  # of an archive, or the row of a table
    offset: int | None = None  # of the member's bytes in the source
    length: int | None = None  # bytes; of the whole source where there is no member
    version: str = ""  # etag, or size and mtime: another one means another unit
    first_frame: int | None = None  # a bounded part of a video: [first_frame, end_frame)
    end_frame: int | None = None
    prompts: str | None = None  # canonical JSON, see prompt_table
    user: Mapping[str, str] = field(default_factory=dict)  # columns of the source to be kept
    supersedes: str | None = None
    row_group: int | None = None  # of a table, whose rows are asked for in their order
    repeat: int = 0  # how often it had this content before; another, or another kind, in between
    whole_uri: str | None = field(default=None, repr=False)  # with its signature; in no table

    @property
    def address(self) -> str:
        """What is asked for; it may carry a secret, and is not for anybody to see."""
        return self.whole_uri or self.source_uri

    fault: str | None = None  # what a listing found to be broken here, as Failure.text has it
    pattern: str | None = None  # of a folder's pictures, those whose names fit; None: all

    @property
    def source_key(self) -> str:
        """What stays the same when a source gets new content or new prompts.

        Work is done in the order of these keys, so that neighbours of an archive are far apart.
        Only the rows of a table follow each other, as those of a row group cannot be read but
        together. Row groups are not in the key: the same rows may be written in others.
        """
        own = digest([self.source_uri, self.member, self.first_frame, self.end_frame])
        if self.row_group is None:
            return own
        block, row = divmod(self.offset or 0, _ROWS_TOGETHER)
        return f"{digest([self.source_uri, block])[:16]}{row:04x}{own[:12]}"

    @property
    def content_id(self) -> str:
        """What stays the same as long as content and prompts do."""
        bounds = [self.first_frame, self.end_frame]
        chosen = [] if self.pattern is None else [self.pattern]
        return digest([self.source_uri, self.member, self.version, bounds, self.prompts, *chosen])

    @property
    def unit_id(self) -> str:
        """What tells this unit from all others; 32 hex digits."""
        return digest([self.content_id, self.repeat]) if self.repeat else self.content_id


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a unit has no masks."""

    error_class: ErrorClass
    message: str

    @property
    def text(self) -> str:
        """Both in one line, for a column of a manifest."""
        return f"{self.error_class.value}: {self.message}"

    @classmethod
    def of_text(cls, text: str) -> Failure:
        """The same again."""
        error_class, _, message = text.partition(": ")
        return cls(ErrorClass(error_class), message)


def digest(content: object) -> str:
    """128 bits of a JSON value, as 32 hex digits."""
    return blake2b(canonical_json(content).encode(), digest_size=ID_BYTES).hexdigest()


# Big-endian, so that they are in the order of their bytes, and of their texts in hex.
ID_FIELDS = (("high", ">u8"), ("low", ">u8"))
_ID = np.dtype([*ID_FIELDS])
Ids = np.ndarray[Any, np.dtype[Any]]  # raw digests, 16 bytes each


def as_ids(hex_ids: pa.ChunkedArray | list[str]) -> Ids:
    """Digests in hex as numbers that can be sorted and compared."""
    texts = hex_ids if isinstance(hex_ids, list) else hex_ids.to_pylist()
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=_ID)


def as_hex(ids: Ids) -> list[str]:
    """Ids as tables and people write them."""
    text = ids.astype(_ID).tobytes().hex()  # numpy turns bytes round as it joins
    width = 2 * ID_BYTES
    return [text[start : start + width] for start in range(0, len(text), width)]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(content: object) -> str:
    """The one text that stands for a JSON value."""
    return _CANONICAL.encode(content)


UNIT_COLUMNS = pa.schema(
    [
        ("unit_id", pa.string()),
        ("source_key", pa.string()),
        ("content_id", pa.string()),
        ("source_uri", pa.string()),
        ("kind", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("version", pa.string()),
        ("first_frame", pa.int64()),
        ("end_frame", pa.int64()),
        ("prompts", pa.large_string()),
        ("user", pa.map_(pa.string(), pa.string())),
        ("supersedes", pa.string()),
        ("row_group", pa.int32()),
        ("repeat", pa.int32()),
        ("fault", pa.string()),
        ("pattern", pa.string()),
    ]
)
"""A manifest: what is to be done, one row a unit."""

MASK_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("source_uri", pa.string()),
        ("frame_index", pa.int32()),
        ("timestamp_s", pa.float64()),
        ("object_id", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("rle_counts", pa.string()),
        ("bbox_xywh", pa.list_(pa.float32())),
        ("point_xy", pa.list_(pa.float32())),
        ("crop_xywh", pa.list_(pa.float32())),
        ("area", pa.int64()),
        ("predicted_iou", pa.float32()),
        ("stability_score", pa.float32()),
        ("object_score", pa.float32()),
        ("label", pa.string()),
        ("prompt_id", pa.string()),
    ]
)
"""OUT/masks: one row a mask."""

EMBEDDING_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("source_uri", pa.string()),
        ("frame_index", pa.int32()),
        ("timestamp_s", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("embedding", pa.list_(pa.float16())),
        ("shape", pa.list_(pa.int32())),
    ]
)
"""OUT/embeddings: one row a unit and frame."""

OUTCOME_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("source_uri", pa.string()),
        ("member", pa.string()),
        ("kind", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("exif_orientation", pa.int32()),
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("etag", pa.string()),
        ("model", pa.string()),
        ("config_id", pa.string()),
        ("run_id", pa.string()),
        ("attempt", pa.int32()),
        ("masks", pa.int64()),
        ("fetch_s", pa.float32()),
        ("decode_s", pa.float32()),
        ("model_s", pa.float32()),
        ("pack_s", pa.float32()),
        ("status", pa.string()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("retryable", pa.bool_()),
        ("supersedes", pa.string()),
        ("user", pa.map_(pa.string(), pa.string())),
    ]
)
"""OUT/units: one row a unit and attempt."""
