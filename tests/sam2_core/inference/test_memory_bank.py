"""Which frames are recalled and which are kept, against the rules written down a second time."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from sam2_core.inference import memory_bank
from sam2_core.inference.memory_bank import BankRules, MemoryBank, Recalled, Recollection, recollect

STANDALONE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("memory_bank", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["memory_bank"] = module
spec.loader.exec_module(module)
bank = module.MemoryBank()
bank.remember_prompted(0, "features", "pointer")
print(bank.recollect(1, backward=False, reach=16).memories[0].frame)
heavy = {"torch", "numpy", "PIL", "av"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""


def test_the_bank_is_plain_python_and_needs_no_torch() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", STANDALONE, str(Path(memory_bank.__file__))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "0"


# ---------------------------------------------------------------- what is recalled


def _frames(recalled: tuple[Recalled, ...]) -> list[int]:
    return [seen.frame for seen in recalled]


def test_on_the_first_frame_after_a_prompt_only_the_prompt_is_recalled() -> None:
    found = recollect(1, [0], {0})
    assert found == Recollection((Recalled(6, 0),), (Recalled(1, 0),))


@pytest.mark.parametrize("frame", range(1, 25))
def test_the_memories_grow_to_seven_and_the_pointers_to_sixteen(frame: int) -> None:
    found = recollect(frame, [0], range(frame))
    assert len(found.memories) == min(frame, 7)
    assert len(found.pointers) == min(frame, 16)


def test_a_later_frame_recalls_the_prompt_then_six_frames_from_the_oldest_on() -> None:
    found = recollect(30, [0], range(30))
    assert found.memories == (
        Recalled(6, 0),
        Recalled(5, 24),
        Recalled(4, 25),
        Recalled(3, 26),
        Recalled(2, 27),
        Recalled(1, 28),
        Recalled(0, 29),
    )
    assert found.pointers == (Recalled(30, 0), *(Recalled(age, 30 - age) for age in range(1, 16)))


def test_backward_looks_the_other_way() -> None:
    found = recollect(5, [40], range(6, 41), backward=True)
    assert _frames(found.memories) == [40, 11, 10, 9, 8, 7, 6]
    assert found.pointers == (Recalled(35, 40), *(Recalled(age, 5 + age) for age in range(1, 16)))


def test_pointers_may_be_kept_of_frames_whose_memories_are_gone() -> None:
    found = recollect(5, [0], {3, 4}, pointed={1, 2, 3, 4})
    assert _frames(found.memories) == [0, 3, 4]
    assert _frames(found.pointers) == [0, 4, 3, 2, 1]


def test_a_prompted_frame_is_not_recalled_a_second_time_as_an_ordinary_one() -> None:
    found = recollect(5, [3], {0, 1, 2, 3, 4})
    assert _frames(found.memories) == [3, 0, 1, 2, 4]
    assert _frames(found.pointers) == [3, 4, 2, 1, 0]


def test_prompted_frames_of_the_future_are_memories_but_give_no_pointer() -> None:
    found = recollect(5, [9, 2], {3, 4})
    assert found.memories[:2] == (Recalled(6, 9), Recalled(6, 2))
    assert _frames(found.pointers) == [2, 4, 3]


def test_backward_it_is_the_earlier_prompts_that_give_no_pointer() -> None:
    found = recollect(5, [9, 2], {6, 7}, backward=True)
    assert _frames(found.memories)[:2] == [9, 2]
    assert found.pointers == (Recalled(4, 9), Recalled(1, 6), Recalled(2, 7))


def test_a_prompt_on_the_frame_itself_gives_a_pointer_of_age_zero() -> None:
    assert recollect(5, [5], set()).pointers == (Recalled(0, 5),)
    assert recollect(5, [5], set(), backward=True).pointers == (Recalled(0, 5),)


def test_memories_follow_the_order_of_the_prompts() -> None:
    assert _frames(recollect(20, [7, 1, 12], set()).memories) == [7, 1, 12]


def test_a_short_clip_shortens_the_reach_of_pointers_not_of_prompts() -> None:
    found = recollect(9, [0], range(9), reach=4)
    assert found.pointers == (Recalled(9, 0), Recalled(1, 8), Recalled(2, 7), Recalled(3, 6))


@pytest.mark.parametrize(
    ("frame", "backward", "stride", "expected"),
    [
        (20, False, 2, [10, 12, 14, 16, 18, 19]),
        (21, False, 2, [10, 12, 14, 16, 18, 20]),
        (20, False, 3, [6, 9, 12, 15, 18, 19]),
        (22, False, 3, [6, 9, 12, 15, 18, 21]),
        (20, True, 2, [30, 28, 26, 24, 22, 21]),
        (19, True, 2, [30, 28, 26, 24, 22, 20]),
        (20, True, 3, [36, 33, 30, 27, 24, 21]),
        (19, True, 3, [33, 30, 27, 24, 21, 20]),
    ],
)
def test_a_stride_keeps_the_latest_frame_and_thins_out_the_others(
    frame: int, backward: bool, stride: int, expected: list[int]
) -> None:
    rules = BankRules(stride=stride)
    prompted = 99 if backward else 0
    found = recollect(frame, [prompted], range(1, 99), backward=backward, rules=rules)
    assert _frames(found.memories) == [prompted, *expected]


def test_a_limit_takes_the_nearest_prompt_on_either_side_then_the_nearest_of_the_rest() -> None:
    prompted = [0, 10, 20, 30, 40]
    chosen = [
        _frames(recollect(21, prompted, set(), rules=BankRules(max_prompted=limit)).memories)
        for limit in (2, 3, 4)
    ]
    assert chosen == [[20, 30], [20, 30, 10], [20, 30, 10, 40]]


def test_a_prompted_frame_over_the_limit_counts_as_an_ordinary_one() -> None:
    rules = BankRules(max_prompted=2)
    found = recollect(8, [5, 6, 7, 9], {4}, rules=rules)
    assert found.memories == (
        Recalled(6, 7),
        Recalled(6, 9),
        Recalled(3, 4),
        Recalled(2, 5),
        Recalled(1, 6),
    )
    assert found.pointers == (Recalled(1, 7), Recalled(2, 6), Recalled(3, 5), Recalled(4, 4))


# ---------------------------------------------------------------- the rules, a second time


class Case(NamedTuple):
    frame: int
    prompted: list[int]
    tracked: set[int]
    backward: bool
    frames_in_clip: int
    stride: int
    limit: int


def _random_case(random_numbers: random.Random, *, stock: bool) -> Case:
    length = random_numbers.choice([1, 2, 3, 7, 12, 16, 17, 40])
    frame = random_numbers.randrange(length)
    count = random_numbers.randint(1, min(length, 6))
    prompted = random_numbers.sample(range(length), count)
    others = [f for f in range(length) if f not in prompted and f != frame]
    density = random_numbers.choice([0.2, 0.7, 1.0])
    return Case(
        frame,
        prompted,
        {f for f in others if random_numbers.random() < density},
        random_numbers.random() < 0.5,
        length,
        1 if stock else random_numbers.choice([1, 2, 3, 4]),
        -1 if stock else random_numbers.choice([-1, 2, 3, 4]),
    )


def _stock(case: Case) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The few lines that say it all where nothing is strided or limited."""
    step = -1 if case.backward else 1
    spatial = [(6, f) for f in case.prompted]
    for distance in (6, 5, 4, 3, 2, 1):
        other = case.frame - distance * step
        if other in case.tracked:
            spatial.append((distance - 1, other))
    ages = [((case.frame - f) * step, f) for f in case.prompted]
    pointers = [(age, f) for age, f in ages if age >= 0]
    for distance in range(1, min(case.frames_in_clip, 16)):
        other = case.frame - distance * step
        if other in case.tracked:
            pointers.append((distance, other))
    return spatial, pointers


def _general(case: Case) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Strides and limits too, one rule after the other."""
    selected = list(case.prompted)
    if case.limit != -1 and len(selected) > case.limit:
        earlier = [f for f in case.prompted if f < case.frame]
        not_earlier = [f for f in case.prompted if f >= case.frame]
        selected = ([max(earlier)] if earlier else []) + ([min(not_earlier)] if not_earlier else [])
        rest = [f for f in case.prompted if f not in selected]
        rest.sort(key=lambda f: abs(f - case.frame))
        selected += rest[: case.limit - len(selected)]
    ordinary = case.tracked | (set(case.prompted) - set(selected))
    spatial = [(6, f) for f in selected]
    for position in range(1, 7):  # 1 is the oldest
        distance = 7 - position
        if distance == 1:
            other = case.frame + 1 if case.backward else case.frame - 1
        elif case.backward:
            other = case.frame + 2
            while other % case.stride:
                other += 1
            other += (distance - 2) * case.stride
        else:
            other = case.frame - 2
            while other % case.stride:
                other -= 1
            other -= (distance - 2) * case.stride
        if other in ordinary:
            spatial.append((distance - 1, other))
    step = -1 if case.backward else 1
    pointers = [((case.frame - f) * step, f) for f in selected if (case.frame - f) * step >= 0]
    for distance in range(1, min(case.frames_in_clip, 16)):
        other = case.frame - distance * step
        if not 0 <= other < case.frames_in_clip:
            break
        if other in ordinary:
            pointers.append((distance, other))
    return spatial, pointers


def _ours(case: Case) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    found = recollect(
        case.frame,
        case.prompted,
        case.tracked,
        backward=case.backward,
        reach=min(case.frames_in_clip, 16),
        rules=BankRules(stride=case.stride, max_prompted=case.limit),
    )
    memories = [(seen.tag, seen.frame) for seen in found.memories]
    return memories, [(seen.tag, seen.frame) for seen in found.pointers]


def test_thousands_of_random_cases_equal_the_rules_of_the_released_settings() -> None:
    random_numbers = random.Random(1)
    for _ in range(5_000):
        case = _random_case(random_numbers, stock=True)
        assert _ours(case) == _stock(case), case


def test_thousands_of_random_cases_with_strides_and_limits_equal_the_rules() -> None:
    random_numbers = random.Random(2)
    for _ in range(5_000):
        case = _random_case(random_numbers, stock=False)
        assert _ours(case) == _general(case), case


# ---------------------------------------------------------------- what is kept


def test_a_bank_recalls_what_it_was_given() -> None:
    bank: MemoryBank[str, str] = MemoryBank()
    bank.remember_prompted(2, "features 2", "pointer 2")
    bank.remember(3, "features 3", "pointer 3")
    found = bank.recollect(4, backward=False, reach=16)
    assert _frames(found.memories) == [2, 3]
    assert [bank.features[f] for f in _frames(found.memories)] == ["features 2", "features 3"]
    assert [bank.pointers[f] for f in _frames(found.pointers)] == ["pointer 2", "pointer 3"]


def test_remembering_a_prompted_frame_again_leaves_it_prompted_once() -> None:
    bank: MemoryBank[str, str] = MemoryBank()
    bank.remember_prompted(2, "old", "old")
    bank.remember_prompted(2, "new", "new")
    bank.remember(2, "newest", "newest")
    assert bank.prompted == [2]
    assert bank.features == {2: "newest"}


def test_a_demoted_frame_is_recalled_as_an_ordinary_one_and_can_be_forgotten() -> None:
    bank: MemoryBank[str, str] = MemoryBank()
    bank.remember_prompted(2, "features", "pointer")
    bank.forget(2)
    assert bank.recollect(4, backward=False, reach=16).memories == (Recalled(6, 2),)
    bank.demote(2)
    assert bank.recollect(4, backward=False, reach=16).memories == (Recalled(1, 2),)
    bank.forget(2)
    assert bank.recollect(4, backward=False, reach=16) == Recollection((), ())


def test_forgetting_a_frame_that_was_never_seen_is_no_error() -> None:
    bank: MemoryBank[str, str] = MemoryBank()
    bank.forget(7)
    assert not bank.features


def _simulate(
    length: int,
    prompted: list[int],
    direction: str,
    rules: BankRules,
    reach: int,
    start: int | None = None,
) -> tuple[int, int]:
    """Walk a clip with one bank that forgets and one that does not; the largest sizes seen.

    Another object may have been prompted before this one: then the clip starts there.
    """
    ring: MemoryBank[int, int] = MemoryBank(rules)
    whole: MemoryBank[int, int] = MemoryBank(rules)
    for frame in prompted:
        ring.remember_prompted(frame, frame, frame)
        whole.remember_prompted(frame, frame, frame)
    first, last = min(prompted) if start is None else start, max(prompted)
    passes = {
        "forward": [(range(first, length), False)],
        "backward": [(range(last, -1, -1), True)],
        "both": [(range(first, length), False), (range(first, -1, -1), True)],
    }[direction]
    most_features = most_pointers = 0
    for number, (frames, backward) in enumerate(passes):
        turning_point = first if direction == "both" and number == 0 else None
        for frame in frames:
            if frame not in prompted:
                wanted = whole.recollect(frame, backward=backward, reach=reach)
                found = ring.recollect(frame, backward=backward, reach=reach)
                assert found == wanted, f"frame {frame}, backward {backward}"
                assert all(seen.frame in ring.features for seen in found.memories)
                assert all(seen.frame in ring.pointers for seen in found.pointers)
                ring.remember(frame, frame, frame)
                whole.remember(frame, frame, frame)
            ring.keep_only(
                frame + (-1 if backward else 1), backward=backward, turning_point=turning_point
            )
            most_features = max(most_features, len(set(ring.features) - set(prompted)))
            most_pointers = max(most_pointers, len(set(ring.pointers) - set(prompted)))
    return most_features, most_pointers


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_the_ring_keeps_all_that_is_ever_recalled_and_no_more_than_its_bound(
    direction: str, stride: int
) -> None:
    random_numbers = random.Random(stride)
    rounds = 2 if direction == "both" else 1  # the second pass needs the start of the first one
    for _ in range(25):
        length = random_numbers.choice([1, 2, 8, 17, 60, 90])
        prompted = random_numbers.sample(range(length), random_numbers.randint(1, min(length, 4)))
        limit = random_numbers.choice([-1, 2])
        rules = BankRules(stride=stride, max_prompted=limit)
        start = random_numbers.randint(0, min(prompted))
        reach = min(length, 16)
        features, pointers = _simulate(length, prompted, direction, rules, reach, start)
        assert features <= rounds * 6 * stride
        assert pointers <= rounds * 15


def test_the_ring_is_as_full_as_its_bound_allows_on_a_long_clip() -> None:
    assert _simulate(200, [0], "forward", BankRules(), 16) == (6, 15)
    assert _simulate(200, [100], "both", BankRules(), 16) == (12, 30)


def test_prompted_frames_are_never_forgotten_however_far_away() -> None:
    bank: MemoryBank[int, int] = MemoryBank()
    bank.remember_prompted(0, 0, 0)
    bank.remember_prompted(900, 1, 1)
    bank.remember(1, 2, 2)
    bank.keep_only(500, backward=False)
    assert sorted(bank.features) == sorted(bank.pointers) == [0, 900]
