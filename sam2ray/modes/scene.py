"""Who is in a clip at the moment: objects that are followed, what each remembers, who is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sam2_core.data import FrameMemory
from sam2_core.inference.memory_bank import BankRules, MemoryBank
from sam2_core.inference.object_steps import Bank, Recall


@dataclass(slots=True, eq=False)
class Followed:
    """One object that is being followed."""

    object_id: int
    bank: Bank
    absent_frames: int = 0  # since it was last seen


@dataclass(slots=True, eq=False)
class Scene:
    """The objects of one clip; each keeps the frame it was found on, and a ring of recent ones."""

    reach: int
    rules: BankRules
    objects: list[Followed] = field(default_factory=list)
    next_id: int = 1

    @property
    def ids(self) -> tuple[int, ...]:
        """Numbers of the objects, in the order of their rows."""
        return tuple(followed.object_id for followed in self.objects)

    def recalls(self, position: int, source: int) -> list[Recall]:
        """What all objects recall on a frame, which is this row of an embedding."""
        return [
            Recall(
                source,
                followed.bank,
                followed.bank.recollect(position, backward=False, reach=self.reach),
                self.reach,
            )
            for followed in self.objects
        ]

    def remember(self, position: int, memory: FrameMemory, first_row: int) -> None:
        """Keep what was seen of all objects on a frame, and forget what is out of reach."""
        for row, followed in enumerate(self.objects, first_row):
            features, pointer = memory.features_NPC[row], memory.pointer_NC[row]
            followed.bank.remember(position, features, pointer)
            followed.bank.keep_only(position + 1, backward=False)

    def new_ids(self, count: int) -> range:
        """Numbers that no object of this clip ever had."""
        ids = range(self.next_id, self.next_id + count)
        self.next_id = ids.stop
        return ids

    def welcome(self, object_id: int, position: int, memory: FrameMemory, row: int) -> None:
        """Follow an object from the frame it was found on, which it never forgets."""
        bank: Bank = MemoryBank(self.rules)
        # Clones: they are kept for good, and a row would keep its batch alive.
        features, pointer = memory.features_NPC[row].clone(), memory.pointer_NC[row].clone()
        bank.remember_prompted(position, features, pointer)
        self.objects.append(Followed(object_id, bank))

    def let_go(self, seen: Collection[int], is_gone: Callable[[int], bool]) -> None:
        """Take note of who was seen, and follow those no further who were not for so long."""
        for followed in self.objects:
            absent = 0 if followed.object_id in seen else followed.absent_frames + 1
            followed.absent_frames = absent
        self.objects = [o for o in self.objects if not is_gone(o.absent_frames)]
