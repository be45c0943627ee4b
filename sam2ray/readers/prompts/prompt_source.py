"""Where a user's prompts are, and how to read them: a file, or columns of the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

from ...errors import UsageError
from ...storage import Options, Store, open_store
from ..files import addressed, slices_below
from ..patterns import all_files
from ..places import absolute, address_in, base_name, is_hidden, suffix_of
from ..slices import Slice
from ..store_file import store_errors
from ..tables import column_names, late_names, table_suffix
from ..uri_columns import find_uri_column
from .coco import coco_prompts
from .columns import PROMPT_NAMES, BoxFormat, Part, PromptColumns, find_prompt_columns
from .davis import davis_prompts
from .detections import detection_prompts
from .json_keys import outer_keys
from .matching import NamedPrompts
from .sav import AUTO, MANUAL, sav_prompts

Format = Literal["auto", "coco", "parquet", "sav", "davis"]  # parquet: also CSV and JSONL
Coordinates = Literal["pixels", "normalized"]

_LOOKED_AT = 1000  # files of a folder, to tell what it holds
_LOOKED_INTO = 8  # of these, where they are JSON: one folder has one kind of them
_BEGINNING_BYTES = 64 << 10
_MASKS_ALWAYS = ("sav", "davis")
_OF_JSON = ("coco", "sav")
_KEYS_OF_SAV = {"masklet", "masklet_id", "video_id", "video_frame_count"}
_KEYS_OF_COCO = {"images", "annotations", "categories"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSource:
    """What `--prompts` names, and what a file cannot say about itself."""

    uri: str | None = None  # None: columns of the source itself
    coordinates: Coordinates | None = None  # normalized: 0 to 1; tables need one of them
    format: Format = "auto"
    box_format: BoxFormat | None = None  # of a column `bbox`, or where two kinds of boxes are
    use: tuple[Part, ...] | None = None  # of what is there; None: boxes of COCO, else everything
    uri_column: str | None = None  # of a table: which one names the files

    def resolved(self, options: Options) -> PromptSource:
        """The same with its format found out, its columns checked; UsageError if that fails."""
        if self.uri is None:
            self._require_coordinates("columns")
            return self
        uri = absolute(self.uri)
        found = self.format if self.format != "auto" else _format_of(uri, options)
        source = replace(self, uri=uri, format=found)
        source._check(options)
        return source

    def own_columns(self, names: Sequence[str], place: str) -> PromptColumns:
        """The columns of a table that prompts are in."""
        return find_prompt_columns(
            names,
            place,
            normalized=self.coordinates == "normalized",
            box_format=self.box_format,
            use=self.use or get_args(Part),
        )

    def slices(self, options: Options) -> Iterator[Slice]:
        """Parts that can be read side by side; the order of slices is the order of prompts."""
        assert self.uri is not None
        if self.format == "davis":
            yield from slices_below("prompts", self.uri, options)
            return
        of_folder = suffix_of(self.uri) != ".json" and self.format == "sav"
        for store_uri, entry in all_files(self.uri, options):
            # A folder of SA-V has two files a video, whose objects have the same numbers.
            name = address_in(store_uri, entry.name)
            if self._takes(name) and (not of_folder or base_name(name).endswith(MANUAL)):
                yield Slice("prompts", store_uri, files=(entry,))

    def prompts(self, piece: Slice, options: Options) -> Iterator[NamedPrompts]:
        """The prompts of one slice, under the names that their file gives."""
        if self.format == "davis":
            yield from davis_prompts(piece, options)
            return
        for entry in addressed(piece, options):
            if self.format == "coco":
                yield from coco_prompts(entry.name, self.use or ("box",), options)
            elif self.format == "sav":
                yield sav_prompts(entry.name, options)
            else:
                names = column_names(entry, options)
                uri_column = self._uri_column(names, entry.name)
                columns = self.own_columns(names, entry.name)
                late = late_names(entry, names, PROMPT_NAMES)
                yield from detection_prompts(entry, uri_column, columns, options, late)

    def _uri_column(self, names: Sequence[str], place: str) -> str:
        return find_uri_column(names, place, self.uri_column, setting="prompts.uri_column")

    def _require_coordinates(self, place: str | None) -> None:
        if self.coordinates is None:
            raise UsageError(
                f"Prompts of {place}: a table does not say what it counts in; say "
                "prompts.coordinates=pixels (of the picture as shown) or normalized (0 to 1)."
            )

    def _refuse_of_tables(self) -> None:
        if self.coordinates == "normalized":
            raise UsageError(f"{self.uri}: {self.format} has pixels, not normalized coordinates.")
        of_tables = {"box_format": self.box_format, "uri_column": self.uri_column}
        said = [f"prompts.{name}" for name, value in of_tables.items() if value is not None]
        if said:
            raise UsageError(
                f"{self.uri}: {' and '.join(said)} are of tables; {self.format} says by itself "
                "what it holds. Leave them out."
            )

    def _takes(self, name: str) -> bool:
        if is_hidden(name):
            return False
        if self.format == "parquet":
            return table_suffix(name) is not None
        return suffix_of(name) == ".json"

    def _check(self, options: Options) -> None:
        """Say now what a task would say later."""
        if self.format == "parquet":
            self._require_coordinates(self.uri)
        else:
            self._refuse_of_tables()
        if self.format in _MASKS_ALWAYS and self.use not in (None, ("mask",)):
            raise UsageError(f"{self.uri}: {self.format} has masks alone, no points and no boxes.")
        first = next(self.slices(options), None)
        if first is None:
            raise UsageError(
                f"{self.uri}: nothing here is a file of format {self.format}. For SA-V's automatic "
                f"masklets write the pattern: FOLDER/**/*{AUTO}."
            )
        if self.format == "parquet":
            entry = addressed(first, options)[0]
            names = column_names(entry, options)
            self._uri_column(names, entry.name)
            self.own_columns(names, entry.name)


def _format_of(uri: str, options: Options) -> Format:
    """What a file's name and keys, or those in a folder, say about the format."""
    seen: Counter[Format] = Counter()
    for store_uri, entry in islice(all_files(uri, options), _LOOKED_AT):
        known = _format_by_name(address_in(store_uri, entry.name))
        if known in _OF_JSON and seen.total() < _LOOKED_INTO:
            known = _format_by_keys(open_store(store_uri, options), entry.name) or known
        if known is not None:
            seen[known] += 1
    if len(seen) == 1:
        return next(iter(seen))
    choices = ", ".join(get_args(Format)[1:])
    what = f"has files of several formats ({', '.join(seen)})" if seen else "has no known format"
    raise UsageError(f"{uri} {what}: say prompts.format=, one of {choices}.")


def _format_by_name(name: str) -> Format | None:
    if is_hidden(name):
        return None
    if table_suffix(name) is not None:
        return "parquet"
    if base_name(name).endswith((MANUAL, AUTO)):
        return "sav"
    by_suffix: dict[str, Format] = {".json": "coco", ".png": "davis"}
    return by_suffix.get(suffix_of(name))


def _format_by_keys(store: Store, name: str) -> Format | None:
    """What a JSON file holds; None if its beginning does not tell."""
    with store_errors(store.uri_of(name)):
        beginning = store.read_range(name, 0, _BEGINNING_BYTES)
    keys = outer_keys(beginning.decode(errors="replace"))
    if keys & _KEYS_OF_SAV:
        return "sav"
    return "coco" if keys & _KEYS_OF_COCO else None
