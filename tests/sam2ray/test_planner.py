"""How a cluster is shared out, and how many units travel together."""

from __future__ import annotations

import itertools
import math

import pytest

from sam2ray.config import JobConfig
from sam2ray.errors import UsageError
from sam2ray.planner import (
    Cluster,
    Plan,
    make_plan,
    remark_on_device,
    room_for_actors,
    shape_of_wave,
)
from sam2ray.room import Machine
from sam2ray.root import Wave


def _config(**settings) -> JobConfig:
    given = {"source": {"uri": "in"}, "output": {"uri": "out"}, "model": {"name": "nano"}}
    return JobConfig.model_validate(given | settings)


def _plan(config: JobConfig, cpus: float = 9.0, gpus: float = 8.0) -> Plan:
    return make_plan(config, Cluster((Machine(cpus, gpus),)))


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


# ---------------------------------------------------------------- machine by machine

H100, A100 = Machine(16, 2, "H100", {"zone": "a"}), Machine(8, 4, "A100", {"zone": "b"})


def _on(*machines: Machine, device: str = "auto", **resources) -> Plan:
    config = _config(resources=resources, model={"name": "nano", "device": device})
    return make_plan(config, Cluster(machines))


@pytest.mark.parametrize(
    ("machines", "resources", "actors"),
    [
        ([Machine(4)], {}, 3),
        ([Machine(4), Machine(4)], {}, 7),
        ([Machine(4), Machine(4)], {"decode_cpus": 2}, 5),  # 3 and 2, wherever Ray puts them
        ([Machine(4), Machine(4)], {"decode_cpus": 4}, 1),
        ([Machine(2)], {"cpus_per_actor": 0.5, "decode_cpus": 0.5}, 2),
        ([Machine(4), Machine(4)], {"cpus_per_actor": 0.5, "decode_cpus": 0.5}, 13),
        ([Machine(3), Machine(3), Machine(3)], {"cpus_per_actor": 2}, 3),
        ([Machine(1), Machine(4)], {"cpus_per_actor": 2}, 2),
        ([Machine(4), Machine(1)], {"cpus_per_actor": 2, "decode_cpus": 1.5}, 1),
        ([Machine(8, 1), Machine(8, 1)], {"gpus_per_actor": 0.6}, 2),
        ([Machine(8, 2)], {"gpus_per_actor": 0.4}, 4),
        ([Machine(8, 1)], {"gpus_per_actor": 1 / 3}, 3),
        ([Machine(1, 8), Machine(32)], {}, 1),
        ([Machine(2, 8), Machine(32)], {"cpus_per_actor": 0.25}, 8),
        ([Machine(9, 8)], {}, 8),
        ([Machine(8, 8)], {}, 7),
        ([H100, A100], {}, 6),
        ([H100, A100], {"accelerator_type": "H100"}, 2),
        ([H100, A100], {"label_selector": {"zone": "b"}}, 4),
        ([H100, A100], {"label_selector": {"zone": "!b"}}, 2),
        ([H100, A100], {"label_selector": {"zone": "in(a, c)"}}, 2),
        ([H100, A100], {"label_selector": {"zone": "!in(a,c)"}}, 4),
        ([H100, A100], {"cpus_per_actor": 0}, 6),
        ([Machine(0, 4), Machine(4)], {"cpus_per_actor": 0}, 4),
        ([Machine(1)], {}, 1),
        ([Machine(0.5)], {}, 1),
        ([Machine(2)], {"cpus_per_actor": 4}, 1),
        ([Machine(4)], {"cpus_per_actor": 0}, 1),
    ],
)
def test_actors_are_counted_where_they_fit(machines, resources, actors):
    assert _on(*machines, **resources).actors == actors


@pytest.mark.parametrize(
    ("machines", "resources", "words"),
    [
        (
            [Machine(1), Machine(1), Machine(1)],
            {"cpus_per_actor": 2},
            "room for 0: each takes 2 CPUs, 1 CPU feed them, and the cluster has 3 CPUs and 0 GPUs "
            "on 3 nodes .room for none on each of 3 nodes of 1 CPU.",
        ),
        (
            [H100, Machine(8)],
            {"accelerator_type": "B200"},
            "each takes 1 CPU and 1 GPU of kind B200, .* none on 1 node of 16 CPUs, 2 GPUs .H100.; "
            "none on 1 node of 8 CPUs",
        ),
        (
            [Machine(2), Machine(2)],
            {"decode_cpus": 3},
            "decode_cpus=3, but no node has as many CPUs: the largest has 2",
        ),
        ([Machine(8, 2), Machine(8)], {"actors": 3}, "actors=3, but there is room for 2: "),
        ([Machine(8)], {"label_selector": {"zone": "a"}}, "each takes 1 CPU, label zone=a, "),
    ],
)
def test_actors_that_fit_nowhere_are_refused_with_what_there_is(machines, resources, words):
    with pytest.raises(UsageError, match=words):
        _on(*machines, **resources)


@pytest.mark.parametrize("machines", [(1,), (2,), (4, 4), (3, 2, 8), (1, 1), (6, 1)])
@pytest.mark.parametrize("cpus", [0.5, 1, 1.5, 2])
@pytest.mark.parametrize("task_cpus", [0.5, 1, 2, 3])
def test_wherever_actors_are_placed_a_whole_cpu_and_a_task_find_room(machines, cpus, task_cpus):
    there = [Machine(count) for count in machines]
    if task_cpus > max(machines):
        return
    plan = _on(*there, cpus_per_actor=cpus, decode_cpus=task_cpus)
    assert plan.actors > 0
    if not plan.cpus_per_actor:
        return
    needed = max(1.0, plan.cpus_per_task)
    most = [range(int(one.cpus / plan.cpus_per_actor + 1e-6) + 1) for one in there]
    for placed in itertools.product(*most):
        if sum(placed) == plan.actors:
            left = [m.cpus - n * plan.cpus_per_actor for m, n in zip(there, placed, strict=True)]
            assert max(left) >= needed - 1e-6, placed


def test_the_room_is_said_by_kinds_of_nodes():
    config, there = _config(), Cluster((H100, A100, A100, Machine(1)))
    words = room_for_actors(config, there, make_plan(config, there))
    assert words == (
        "2 on 1 node of 16 CPUs, 2 GPUs (H100); 4 on each of 2 nodes of 8 CPUs, 4 GPUs (A100); "
        "none on 1 node of 1 CPU"
    )


def test_cpus_that_were_chosen_for_want_of_gpus_are_said_loudly():
    remark = remark_on_device(_config(), _on(Machine(8)))
    assert "run on CPUs" in remark
    assert "--set model.device=cuda" in remark
    assert remark_on_device(_config(), _on(H100)) == ""
    on_cpus = _config(model={"name": "nano", "device": "cpu"})
    assert remark_on_device(on_cpus, _on(Machine(8), device="cpu")) == ""
    without = _config(resources={"gpus_per_actor": 0})
    assert remark_on_device(without, make_plan(without, Cluster((H100,)))) == ""
