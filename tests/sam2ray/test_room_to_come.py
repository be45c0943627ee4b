"""Nodes that a plan needs are waited for as long as it was said, and no longer."""

from __future__ import annotations

import pytest

from sam2ray import room_to_come
from sam2ray.config import JobConfig
from sam2ray.errors import UsageError

pytestmark = pytest.mark.usefixtures("two_cpus")


def _config(**resources: object) -> JobConfig:
    return JobConfig.model_validate(
        {
            "source": {"uri": "in"},
            "output": {"uri": "out"},
            "model": {"name": "nano", "device": "cpu"},
            "resources": resources,
        }
    )


def test_what_has_room_is_not_waited_for():
    said: list[str] = []
    plan, there = room_to_come.plan_with_room(_config(actors=1, wait_s=60.0), said.append)
    assert (plan.actors, there.cpus, said) == (1, 2, [])


def test_who_waits_for_nodes_hears_so_once_and_in_the_end_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(room_to_come, "_LOOKS_EVERY_S", 0.1)
    said: list[str] = []
    with pytest.raises(UsageError, match=r"resources\.actors=9, but there is room for 1"):
        room_to_come.plan_with_room(_config(actors=9, wait_s=0.5), said.append)
    (words,) = said
    assert "Waiting up to 0.5 s for nodes" in words
    with pytest.raises(UsageError):
        room_to_come.plan_with_room(_config(actors=9), said.append)
    assert len(said) == 1
