"""How a cluster is shared out, and how many units travel together."""

from __future__ import annotations

import math

import pytest

from sam2ray.config import JobConfig
from sam2ray.errors import UsageError
from sam2ray.planner import Cluster, Plan, make_plan, shape_of_wave
from sam2ray.root import Wave


def _config(**settings) -> JobConfig:
    given = {"source": {"uri": "in"}, "output": {"uri": "out"}, "model": {"name": "nano"}}
    return JobConfig.model_validate(given | settings)


def _plan(config: JobConfig, cpus: float = 9.0, gpus: float = 8.0) -> Plan:
    return make_plan(config, Cluster(cpus, gpus))


@pytest.mark.parametrize("units", [1, 3, 8, 9, 40, 1000])
def test_every_actor_gets_videos_and_lanes_are_never_without_a_next_one(units):
    config = _config(resources={"video_lanes": 4})
    plan = _plan(config)
    assert plan.actors == 8
    shape = shape_of_wave(config, plan, Wave("todo", units, are_clips=True))
    assert shape.units_per_batch == shape.units_per_block, "or an actor would wait for a second"
    blocks = math.ceil(units / shape.units_per_block)
    assert blocks >= min(units, plan.actors) / 2, "a block is not shared between actors"
    assert shape.units_per_block <= 8
    if units >= 8 * plan.actors:
        assert shape.units_per_block == 8


@pytest.mark.parametrize(("units", "block"), [(1, 8), (60, 8), (200, 16), (512, 32), (10**6, 32)])
def test_few_pictures_travel_in_small_blocks_of_whole_batches(units, block):
    config = _config(resources={"batch_size": 8})
    shape = shape_of_wave(config, _plan(config), Wave("todo", units, are_clips=False))
    assert (shape.units_per_block, shape.units_per_batch) == (block, 8)


def test_blocks_of_large_models_are_bounded_in_bytes():
    config = _config(model={"name": "sam2.1_hiera_large"}, decode={"mode": "exact"})
    plan = _plan(config)
    assert plan.units_per_block * 3 * 1024**2 * 4 <= 100 << 20
    wave = Wave("todo", 10**6, are_clips=False)
    assert shape_of_wave(config, plan, wave).units_per_block == plan.units_per_block


def test_pictures_that_travel_whole_for_their_crops_travel_in_single_batches():
    config = _config(masks={"crop_n_layers": 1}, resources={"batch_size": 4})
    assert _plan(config).units_per_block == 4


def test_more_actors_than_there_is_room_for_are_refused_with_the_figures():
    with pytest.raises(UsageError, match=r"resources\.actors=20, but there is room for 8"):
        _plan(_config(resources={"actors": 20}))


def test_no_gpu_is_said_where_one_was_asked_for():
    with pytest.raises(UsageError, match="this cluster has no GPU"):
        _plan(_config(model={"name": "nano", "device": "cuda"}), gpus=0.0)
