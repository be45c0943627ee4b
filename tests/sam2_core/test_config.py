"""The facts about released models, and what a config refuses to be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sam2_core import (
    RELEASED,
    ConfigError,
    FramePrompt,
    ModelConfig,
    Prompt,
    Sam2,
    VideoTracker,
)
from sam2_core.config import model_config, nearest_multiple

# name: embed_dim, heads, stages, global blocks, windows, position grid; from the published files
PUBLISHED = {
    "tiny": (96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), 7),
    "small": (96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), 7),
    "base_plus": (112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), 14),
    "large": (144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), 7),
}


def test_eight_models_are_released_and_nano() -> None:
    names = [f"{family}_hiera_{size}" for family in ("sam2.1", "sam2") for size in PUBLISHED]
    assert list(RELEASED) == [*names, "nano"]
    assert all(config.name == name for name, config in RELEASED.items())


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize(("family", "version"), [("sam2.1", "2.1"), ("sam2", "2.0")])
def test_a_released_row_holds_the_published_facts(family: str, version: str, size: str) -> None:
    config = RELEASED[f"{family}_hiera_{size}"]
    found = (
        config.embed_dim,
        config.heads,
        config.stages,
        config.global_blocks,
        config.windows,
        config.position_grid,
    )
    assert found == PUBLISHED[size]
    assert config.version == version
    assert config.image_size == 1024
    assert (config.hidden_dim, config.memory_dim) == (256, 64)
    assert (config.memory_layers, config.memory_mlp_dim) == (4, 2048)
    assert (config.max_memories, config.max_pointers) == (7, 16)
    assert config.pred_iou_thresh is config.stability_score_thresh is None
    assert config.marks_absence_in_memory == config.pointers_know_their_age == (version == "2.1")


def test_nano_is_small() -> None:
    config = RELEASED["nano"]
    assert config.image_size == 384
    assert sum(weight.numel() for weight in Sam2(config).parameters()) <= 4_000_000


def test_sizes_follow_the_image_size() -> None:
    config = RELEASED["sam2.1_hiera_base_plus"]
    assert (config.coarse_size, config.low_res_size) == (64, 256)
    assert config.stage_dims == (112, 224, 448, 896)
    smaller = dataclasses.replace(config, image_size=256)
    assert (smaller.coarse_size, smaller.low_res_size) == (16, 64)


@pytest.mark.parametrize("name", [*RELEASED])
@pytest.mark.parametrize("size", [32, 64, 512, 1024, 2048])
def test_any_multiple_of_32_makes_a_variant(name: str, size: int) -> None:
    assert dataclasses.replace(RELEASED[name], image_size=size).image_size == size


@pytest.mark.parametrize(
    ("size", "near"), [(1000, 992), (100, 96), (1, 32), (0, 32), (-64, 32), (1023, 1024)]
)
def test_another_image_size_is_refused_with_the_nearest_that_works(size: int, near: int) -> None:
    with pytest.raises(ConfigError, match=f"image_size={size} of 'nano'.*such as {near}"):
        dataclasses.replace(RELEASED["nano"], image_size=size)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": "3.0"}, "version='3.0'.*'2.0' or '2.1'"),
        ({"version": 2.1}, "version=2.1"),
        ({"hidden_dim": 100}, "hidden_dim=100.*memory_dim=64"),
        ({"embed_dim": 33, "heads": 2}, "embed_dim=33.*heads=2"),
    ],
)
def test_a_shape_that_cannot_work_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        dataclasses.replace(RELEASED["nano"], **change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_size": "256"}, "image_size='256' of 'nano': it must be an integer"),
        ({"image_size": 256.0}, r"image_size=256\.0 of 'nano': it must be an integer"),
        ({"heads": True}, "heads=True of 'nano': it must be an integer"),
        ({"heads": np.array([1, 2])}, "heads=.* it must be an integer"),
        ({"memory_dim": 0}, "memory_dim=0 of 'nano': it must be at least 1"),
        ({"embed_dim": -32}, "embed_dim=-32 of 'nano': it must be at least 1"),
        ({"memory_layers": 0}, "memory_layers=0 of 'nano': it must be at least 1"),
        ({"max_memories": 0}, "max_memories=0 of 'nano': it must be at least 1"),
        ({"hidden_dim": 24, "memory_dim": 8}, "hidden_dim=24 .* a multiple of 16"),
        ({"memory_dim": 2}, "memory_dim=2 .* a multiple of 4"),
        ({"windows": (8, 4)}, r"windows=\(8, 4\) .* 4 numbers from 1 on"),
        ({"windows": (8, 4, 0, 4)}, r"windows=\(8, 4, 0, 4\) .* 4 numbers from 1 on"),
        ({"windows": (8, 4, 7, 4)}, r"windows=\(8, 4, 7, 4\) .* even but for the last one"),
        ({"windows": (10, 4, 8, 4)}, r"windows=\(10, 4, 8, 4\) .* a divisor of 96"),
        ({"windows": 8}, "windows=8 .* a row of integers"),
        ({"windows": "8484"}, "windows='8484' .* a row of integers"),
        ({"stages": (1, 2, 0, 1)}, r"stages=\(1, 2, 0, 1\) .* 4 numbers from 1 on"),
        ({"stages": (1, 2, 3.0, 1)}, r"stages=\(1, 2, 3\.0, 1\) .* a row of integers"),
        ({"global_blocks": (99,)}, r"global_blocks=\(99,\) .* numbers of blocks, 0 to 8"),
        ({"global_blocks": (-1,)}, r"global_blocks=\(-1,\) .* numbers of blocks, 0 to 8"),
        ({"name": 5}, "name=5 .* text"),
        ({"pred_iou_thresh": "a"}, "pred_iou_thresh='a' .* within 0..1, or None"),
        ({"stability_score_thresh": 1.5}, r"stability_score_thresh=1\.5 .* within 0..1"),
    ],
)
def test_a_number_or_a_row_that_cannot_work_is_refused_by_name(
    change: dict[str, object], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        dataclasses.replace(RELEASED["nano"], **change)


def test_integers_and_rows_of_any_kind_make_the_same_config() -> None:
    config = dataclasses.replace(RELEASED["nano"], image_size=np.int64(384), stages=[2, 3, 3, 1])
    assert config == RELEASED["nano"]
    assert type(config.image_size) is int
    assert len({config, RELEASED["nano"]}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_dim": 16, "memory_dim": 4},
        {"hidden_dim": 48, "memory_dim": 48},
        {"windows": (2, 2, 2, 1)},
        {"windows": (8, 6, 10, 3)},
        {"windows": (8, 64, 64, 64)},
        {"global_blocks": ()},
        {"global_blocks": (0, 1, 2, 3)},
        {"embed_dim": 3},
        {"max_memories": 1, "max_pointers": 1, "position_grid": 1},
    ],
    ids=str,
)
def test_what_is_accepted_at_the_edge_can_be_built_and_tracks(change: dict[str, object]) -> None:
    config = dataclasses.replace(
        RELEASED["nano"],
        **{
            "name": "edge",
            "image_size": 32,
            "embed_dim": 8,
            "stages": (1, 1, 1, 1),
            "global_blocks": (2,),
            **change,
        },
    )
    prompt = FramePrompt(0, 1, Prompt(box=(2, 2, 20, 20)))
    clip = np.zeros((3, 24, 40, 3), np.uint8)
    assert len(list(VideoTracker(Sam2(config).eval()).track(clip, [prompt]))) == 3


@pytest.mark.parametrize("given", [None, 5, ["nano"]], ids=repr)
def test_what_is_neither_a_name_nor_a_config_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=f"a name or a ModelConfig, not a {type(given).__name__}"):
        model_config(given)


@pytest.mark.parametrize("name", ["coarse", "image_sise"])
def test_an_unknown_field_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        dataclasses.replace(RELEASED["nano"], **{name: 1})


def test_a_config_is_frozen_and_equal_to_its_like() -> None:
    config = RELEASED["nano"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.image_size = 64
    assert dataclasses.replace(config) == config
    assert len({config, dataclasses.replace(config)}) == 1


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("sam2.1_hiera_tinny", "sam2.1_hiera_tiny"),
        ("sam2_hiera_baseplus", "sam2_hiera_base_plus"),
        ("SAM2.1_hiera_large", "sam2.1_hiera_large"),
        ("nanno", "nano"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"called '{name}'. Did you mean '{near}'"):
        model_config(name)


def test_a_name_like_no_other_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        model_config("???")
    assert "Did you mean" not in str(caught.value)
    assert all(name in str(caught.value) for name in RELEASED)


def test_a_name_gives_its_row_and_a_config_passes_through() -> None:
    assert model_config("nano") is RELEASED["nano"]
    own = ModelConfig(
        name="own", version="2.1", embed_dim=8, heads=1, stages=(1, 1, 1, 1), global_blocks=(2,)
    )
    assert model_config(own) is own


@pytest.mark.parametrize(("value", "nearest"), [(1, 32), (33, 32), (49, 64), (1000, 992)])
def test_the_nearest_multiple_is_at_least_one_step(value: int, nearest: int) -> None:
    assert nearest_multiple(value) == nearest
