"""Maps of classes from the made world: of families of shapes, of what these are like, or of things.

A thing has the most particular class that there is: its family (`star`), its kind (`round`,
`angular`, `thin`), or `thing`. What has none is unknown; what no thing covers is ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam2_core.learning.shapes import HELD_OUT, KINDS, TRAINED
from sam2_core.learning.world import World
from sam2_core.network.class_head import UNKNOWN

from ...errors import UsageError
from .class_names import ClassNames
from .labelled import LabelledClasses

THING = "thing"


@dataclass(frozen=True, slots=True)
class WorldClasses:
    """An endless album."""

    seed: int
    size: int
    held_out: bool
    classes: ClassNames

    @classmethod
    def opened(cls, seed: int, size: int, held_out: bool, classes: ClassNames) -> WorldClasses:
        """Refuse classes that nothing in the world has."""
        classes.require_categories("world")
        known = {*KINDS, *KINDS.values(), THING}
        strange = [
            name
            for name in classes.names
            if name not in known and name not in (classes.ground, *classes.categories.values())
        ]
        if strange:
            raise UsageError(
                f"labels: the made world has no {strange[0]!r}: its classes are "
                f"{', '.join(sorted({*KINDS.values()}))}, {THING}, {', '.join(KINDS)}, and the "
                "ground."
            )
        return cls(seed, size, held_out, classes)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"world {self.seed}{' of shapes held out' if self.held_out else ''}"

    @property
    def pictures(self) -> None:
        """There is no end of them."""

    def picture(self, number: int) -> LabelledClasses:
        """One picture."""
        families = HELD_OUT if self.held_out else TRAINED
        made = World(self.seed, self.size, families=families).picture(number)
        of_things = [self._class_of(family) for family in made.families]
        table = np.array([self.classes.ground_id, *of_things], np.uint8)
        return LabelledClasses(made.pixels, table[made.ids])

    def _class_of(self, family: str) -> int:
        found = self.classes.id_of([family, KINDS[family], THING])
        return UNKNOWN if found is None else found
