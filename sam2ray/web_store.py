"""A folder on the web as a store: its files can be read, whole and in parts, but not listed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from .addresses import without_secrets
from .errors import BadAddress
from .file_systems import Options
from .patience import STEADY, Patience
from .range_file import RangeFile
from .storage import Entry, Folder, StillMine, Store, Unfinished, ask_store
from .web import WebFacts, look_at_web, read_web, read_web_range

Answer = TypeVar("Answer")

_READ_AHEAD_BYTES = 1 << 20


class WebStore(Store):
    """What stands before the last slash of an address."""

    def __init__(self, uri: str, options: Options, patience: Patience = STEADY) -> None:
        super().__init__(uri)
        self._options, self._patience = options, patience

    def with_patience(self, patience: Patience) -> Store:
        """The same store, asked so often."""
        return WebStore(self.uri, self._options, patience)

    def _asked(self, done: str, name: str, question: Callable[[str], Answer]) -> Answer:
        uri = self.uri_of(name)
        return ask_store(uri, done, lambda: question(uri), self._patience)

    def list(self, folder: str = "") -> Iterator[Entry]:
        """BadAddress: servers show no folders that one could rely on."""
        self._has_no_folders(folder)

    def level(self, folder: str = "") -> Iterator[Entry | Folder]:
        """BadAddress."""
        self._has_no_folders(folder)

    def read(self, name: str) -> bytes:
        """A whole file."""
        return self._asked("read", name, lambda uri: read_web(uri, self._options))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Part of a file."""

        def ask(uri: str) -> bytes:
            return read_web_range(uri, self._options, start, length)

        return self._asked("read", name, ask)

    def open(self, name: str) -> BinaryIO:
        """A file to read from."""

        def read_range(start: int, length: int) -> bytes:
            return self.read_range(name, start, length)

        file = RangeFile(read_range, self._facts(name).size, self.uri_of(name))
        return io.BufferedReader(file, _READ_AHEAD_BYTES)

    def entry(self, name: str) -> Entry:
        """Size and version of a file; FileNotFoundError if there is none."""
        facts = self._facts(name)
        return Entry(name, facts.size, facts.version)

    def put(self, name: str, content: bytes | Path) -> None:
        """BadAddress."""
        self._takes_nothing(name, content)

    def publish(self, name: str, file: Path, still_mine: StillMine) -> None:  # noqa: ARG002
        """BadAddress."""
        self._takes_nothing(name, file)

    def unfinished(self) -> Iterator[Unfinished]:
        """Nothing was ever begun."""
        return iter(())

    def create(self, name: str, content: bytes) -> bool:
        """BadAddress."""
        self._takes_nothing(name, content)

    def delete(self, name: str) -> None:
        """BadAddress."""
        self._takes_nothing(name, b"")

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            self._facts(name)
        except FileNotFoundError:
            return False
        return True

    def _facts(self, name: str) -> WebFacts:
        return self._asked("looked at", name, lambda uri: look_at_web(uri, self._options))

    def _has_no_folders(self, folder: str) -> NoReturn:
        uri = without_secrets(self.uri_of(folder) if folder else self.uri)
        raise BadAddress(f"{uri}: the web has no folders. Write a list of addresses instead.")

    def _takes_nothing(self, name: str, content: bytes | Path) -> NoReturn:  # noqa: ARG002
        uri = without_secrets(self.uri_of(name))
        raise BadAddress(f"{uri}: the web takes no files. Name a folder or a bucket.")
