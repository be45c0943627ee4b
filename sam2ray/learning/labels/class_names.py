"""The classes that a head learns, as sources of labels need them: names, ids, the ground."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sam2_core.network.class_head import UNKNOWN

from ...errors import UsageError


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Names by their ids, and the one that means: none of the others."""

    names: tuple[str, ...]
    ground: str | None = None
    categories: Mapping[str, str] = field(default_factory=dict)  # others' words for these classes

    def id_of(self, words: Iterable[str]) -> int | None:
        """The id of the first of these words that is a class, or was said to mean one."""
        for word in words:
            name = self.categories.get(word, word)
            if name in self.names:
                return self.names.index(name)
        return None

    @property
    def ground_id(self) -> int:
        """What pixels are of which nothing is said."""
        return UNKNOWN if self.ground is None else self.names.index(self.ground)

    def require_categories(self, uri: str) -> None:
        """Refuse translations into a class that there is not."""
        for word, name in self.categories.items():
            if name not in self.names:
                raise UsageError(
                    f"labels: {uri}: categories says that {word} is {name!r}, and head.classes has "
                    f"{', '.join(self.names):.200}."
                )
