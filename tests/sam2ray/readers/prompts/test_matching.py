"""Prompts find their units by whole address, path, or unique bare name."""

import json
import random
from dataclasses import replace

import pytest

from sam2ray.errors import UsageError
from sam2ray.readers.prompts import NamedPrompts, PromptJoin
from sam2ray.readers.spill import Spill
from sam2ray.records import Unit

ROOT = "s3://bucket/data"


def unit(path, **facts) -> Unit:
    return Unit(f"{ROOT}/{path}", "image", **facts)


def named(name, x=0.0, by_stem=False) -> NamedPrompts:
    return NamedPrompts(name, ({"frame": 0, "box": [x, 0.0, 9.0, 9.0]},), by_stem)


def joined(units, prompts, spill=None) -> tuple[PromptJoin, dict[str, list[float]]]:
    join = PromptJoin([ROOT, "s3://bucket"], spill)
    found = {}
    for done in join.run(units, prompts):
        key = done.member or done.source_uri.removeprefix(f"{ROOT}/")
        assert key not in found
        found[key] = [prompt["box"][0] for prompt in json.loads(done.prompts or "[]")]
    return join, found


@pytest.mark.parametrize(
    "name", [f"{ROOT}/x/a.jpg", "x/a.jpg", "./x/a.jpg", "a.jpg", "train2017/a.jpg", "/tmp/y/a.jpg"]
)
def test_a_name_finds_its_unit(name):
    join, found = joined([unit("x/a.jpg"), unit("b.jpg")], [named(name)])
    assert found == {"x/a.jpg": [0.0], "b.jpg": []}
    assert (join.report.unmatched, join.report.ambiguous) == (0, 0)


@pytest.mark.parametrize("right", ["cam1/a.jpg", "x/a.jpg", "a.jpg"])
def test_a_name_of_another_folder_gives_way_to_whoever_means_the_unit(right):
    """Both end in a.jpg, and the unit is but one picture: the other prompts are of no unit."""
    units = [unit("x/a.jpg"), unit("b.jpg")]
    prompts = [named(right, 1.0), named("cam2/a.jpg", 2.0), named("b.jpg", 3.0)]
    join, found = joined(units, prompts)
    expected = {"cam1/a.jpg": []}.get(right, [1.0])
    assert found == {"x/a.jpg": expected, "b.jpg": [3.0]}
    assert join.report.ambiguous == (2 if not expected else 1)


def test_it_is_said_where_folders_were_passed_over():
    join, _ = joined([unit("x/a.jpg")], [named("train2017/a.jpg")])
    assert join.report.describe().endswith(
        "; 1 match by their bare name alone, whatever folder they name"
    )


def test_a_path_decides_between_units_of_one_bare_name():
    units = [unit("x/a.jpg"), unit("y/a.jpg")]
    prompts = [
        named("y/a.jpg", 1.0),
        named(f"{ROOT}/x/a.jpg", 2.0),
        named("a.jpg", 3.0),
        named("z/a.jpg", 4.0),
    ]
    join, found = joined(units, prompts)
    assert found == {"x/a.jpg": [2.0], "y/a.jpg": [1.0]}
    assert (join.report.names, join.report.ambiguous, join.report.unmatched) == (4, 2, 0)
    assert join.report.describe() == (
        "2 of 2 units have prompts; of 4 names, 0 match no unit and 2 several (such as a.jpg, "
        "z/a.jpg)"
    )


def test_stems_are_only_matched_where_names_have_no_suffix():
    units = [Unit(f"{ROOT}/sav_1.mp4", "video"), Unit(f"{ROOT}/clips/my.clip", "frames")]
    _, found = joined(units, [named("sav_1", 1.0, True), named("my.clip", 2.0, True)])
    assert found == {"sav_1.mp4": [1.0], "clips/my.clip": [2.0]}
    with pytest.raises(UsageError):
        joined(units, [named("sav_1")])


def test_members_are_matched_and_their_shard_is_not():
    units = [Unit(f"{ROOT}/0.tar", "image", member=name) for name in ("a.jpg", "x/b.jpg")]
    join, found = joined(units, [named("x/b.jpg", 1.0), named(f"{ROOT}/0.tar", 2.0)])
    assert found == {"a.jpg": [], "x/b.jpg": [1.0]}
    assert join.report.unmatched == 1


def test_prompts_of_a_unit_keep_their_order_and_come_behind_its_own():
    own = '[{"box":[7.0,0.0,9.0,9.0],"frame":0,"object_id":1}]'
    _, found = joined([unit("a.jpg", prompts=own)], [named("a.jpg", x) for x in (3.0, 1.0, 2.0)])
    assert found == {"a.jpg": [7.0, 3.0, 1.0, 2.0]}


def test_units_come_back_as_they_were(tmp_path):
    units = [
        Unit(f"{ROOT}/a.jpg", "image", None, None, 5, "v", 1, 2, None, {"é": "\n"}, "old"),
        Unit(f"{ROOT}/x.tar", "video", "b.mp4", 512, 7, "w"),
    ]
    back = list(PromptJoin([ROOT], Spill(1)).run(units, [named("c.jpg"), named("b.mp4")]))
    assert sorted(back, key=lambda done: done.source_uri) == [
        units[0],
        replace(units[1], prompts='[{"box":[0.0,0.0,9.0,9.0],"frame":0,"object_id":1}]'),
    ]


def test_if_nothing_matches_both_sides_are_shown():
    with pytest.raises(
        UsageError, match=r"'000001\.jpg' and so on.*s3://bucket/data/a\.jpg' and so on"
    ):
        joined([unit("a.jpg")], [named("000001.jpg")])
    with pytest.raises(UsageError, match="holds no prompt"):
        joined([unit("a.jpg")], [])
    assert joined([], [named("a.jpg")])[1] == {}


def test_archives_that_do_not_fit_into_memory_are_joined_as_small_ones_are():
    rng = random.Random(0)
    units = [unit(f"{n % 7}/{n}.jpg") for n in range(5000)]
    prompts = [named(f"{n}.jpg", float(n)) for n in range(5000) for _ in range(2)]
    rng.shuffle(prompts)
    _, found = joined(units, prompts, Spill(limit_bytes=10_000))
    assert found == {f"{n % 7}/{n}.jpg": [float(n)] * 2 for n in range(5000)}
