"""The ledger's actor, as the stages know it; alone, so that who only commits loads no torch."""

from __future__ import annotations

from collections.abc import Sequence

import ray
from ray.actor import ActorHandle

from .ledger import Ending, Process, Verdict


class RayLedger:
    """Asks and tells the actor."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    def begin(self, process: Process, unit_ids: Sequence[str]) -> list[Verdict]:
        """Ask what to do with units."""
        return ray.get(self._actor.begin.remote(process, unit_ids))

    def hand_on(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Hold units again while all are put together."""
        ray.get(self._actor.hand_on.remote(process, unit_ids))

    def end(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Let units go; calls of one process arrive in order, so nobody waits for this one."""
        self._actor.end.remote(process, unit_ids)

    def last_words(self, process: Process, verdict: Verdict) -> None:
        """Say why this process ends itself."""
        ray.get(self._actor.last_words.remote(process, verdict), timeout=10)

    def report(self, endings: Sequence[Ending], *, early: bool = False) -> None:
        """Say what was committed, or early what is about to be."""
        ray.get(self._actor.report.remote(endings, early=early))

    def sign_of_life(self) -> None:
        """Say that something long moves on; nobody waits for the answer."""
        self._actor.sign_of_life.remote()

    def is_stopping(self) -> bool:
        """Ask whether the run takes no more units."""
        return ray.get(self._actor.is_stopping.remote())
