"""Addresses of a list -> the sizes and versions of what is there, asked for side by side.

Neighbours in one folder of S3 are looked up in its list where that takes less than asking for each;
other stores, and the web, are asked one by one. At most so many requests are under way, and each
address is asked for once while it is remembered. What cannot be told stays unknown: it is
forbidden, not there, or on a server that does not answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ..errors import BadAddress, StorageError
from ..file_systems import file_system, protocol_of, version_of
from ..patience import classify, status_of
from ..records import ErrorClass
from ..storage import Entry, Options, ask_store, local_path
from ..store_pages import facts_of_level
from ..web import look_at_web
from .listing import entry_at
from .places import is_web, place_of

_AT_A_TIME = 16  # requests of a process
_REMEMBERED = 50_000  # addresses; rows of one stand near each other
_WORTH_A_LIST = 16  # names in a folder: a page of a list costs as much as some HEADs
_LOOKED_AT_A_NAME = 50  # entries of a list, for each that is wanted; then it is cheaper to ask
_SILENCES = 3  # of a server of the web, until it is not asked any more
_UNKNOWN = (ErrorClass.NOT_FOUND, ErrorClass.FORBIDDEN)


class Versions:
    """Remembers what stores say of files."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._known: dict[str, Entry | None] = {}
        self._silences: Counter[str] = Counter()  # by host

    def of(self, whole: Mapping[str, str]) -> dict[str, Entry | None]:
        """Size and version of each, by its address and that which lets one in.

        StorageError if a store does not answer at all.
        """
        new = [uri for uri in whole if uri not in self._known]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known, new = {}, list(whole)
        self._ask(new, whole)
        return {uri: self._known[uri] for uri in whole}

    def _ask(self, uris: Sequence[str], whole: Mapping[str, str]) -> None:
        local = [uri for uri in uris if local_path(uri) is not None]
        self._known |= {uri: self._local(uri) for uri in local}
        # What has a secret that its store has no use for is refused when it is fetched.
        useless = [uri for uri in uris if whole[uri] != uri and not is_web(uri)]
        self._known |= dict.fromkeys(useless)
        remote = [uri for uri in uris if local_path(uri) is None and uri not in self._known]
        if not remote:
            return
        self._known |= dict.fromkeys(remote)
        folders: defaultdict[str, list[str]] = defaultdict(list)
        for uri in remote:
            folders[place_of(uri).folder if protocol_of(uri) in ("s3", "s3a") else ""].append(uri)
        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            listable = [f for f, own in folders.items() if f and len(own) >= _WORTH_A_LIST]
            for found in threads.map(
                lambda folder: self._listed(folder, folders[folder]), listable
            ):
                self._known |= found
            rest = [uri for uri in remote if self._known[uri] is None]
            self._known |= zip(
                rest, threads.map(self._asked, rest, (whole[uri] for uri in rest)), strict=True
            )

    def _local(self, uri: str) -> Entry | None:
        try:
            return entry_at(uri, {})
        except (OSError, ValueError):  # missing, no path, a folder of frames: the fetch will say
            return None

    def _listed(self, folder: str, uris: Sequence[str]) -> dict[str, Entry]:
        """Those of a folder of S3 that its list shows before it gets too long."""
        wanted = {place_of(uri).name: uri for uri in uris}
        first, last = min(wanted), max(wanted)
        found: dict[str, Entry] = {}
        try:
            for number, entry in enumerate(_entries_from(folder, first, self._options)):
                if entry.name > last or number > _LOOKED_AT_A_NAME * len(wanted):
                    break
                if entry.name in wanted:
                    found[wanted[entry.name]] = entry
        except FileNotFoundError:
            pass
        except StorageError as error:
            if not _is_unknown(error):  # else single objects may still be seen
                raise
        return found

    def _asked(self, uri: str, whole: str) -> Entry | None:
        if is_web(uri):
            return self._asked_on_the_web(uri, whole)
        try:
            return entry_at(uri, self._options)
        except (FileNotFoundError, BadAddress):  # the row of the unit will say
            return None
        except StorageError as error:
            if not _is_unknown(error):
                raise
            return None

    def _asked_on_the_web(self, uri: str, whole: str) -> Entry | None:
        host = uri.split("/")[2]
        if self._silences[host] >= _SILENCES:
            return None
        try:
            facts = look_at_web(whole, self._options)
        except BadAddress:
            return None
        except OSError as error:
            self._silences[host] += not status_of(error)  # else it has answered
            return None
        return Entry(uri, facts.size, facts.version)


def _entries_from(folder: str, first: str, options: Options) -> Iterator[Entry]:
    """Files of a folder of S3 in their order, from one of them on."""
    fs = file_system(folder, options, insists=False)
    ask = partial(ask_store, folder, "listed")
    for facts in facts_of_level(fs, fs._strip_protocol(folder), ask, after=first[:-1]):
        if facts["type"] == "file":
            name = facts["name"].rpartition("/")[2]
            yield Entry(name, int(facts["size"] or 0), version_of(facts))


def _is_unknown(error: StorageError) -> bool:
    return error.__cause__ is not None and classify(error.__cause__) in _UNKNOWN
