"""Reading an object item by item says what reading it whole says."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2ray.learning.labels.long_json import members

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda some: (
        st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=4), some, max_size=4)
    ),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(st.sampled_from(["long", "images", "", "é"]), _VALUES, max_size=4)


def _whole(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in members(data, "long"):
        if one.is_item:
            assert repr(json.loads(one.text)) == repr(one.value)
            found[one.name].append(one.value)
        else:
            found[one.name] = one.value
    return found


@given(_OBJECTS, st.sampled_from([None, 2]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_items_and_members_are_those_of_the_whole(
    content: dict[str, Any], indent: int | None, encoding: str
) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    if any(0xD800 <= ord(sign) < 0xE000 for sign in text):
        text = json.dumps(content, indent=indent)
    assert repr(_whole(text.encode(encoding))) == repr(content)  # nan is not itself


@given(_OBJECTS, st.integers(0, 200), st.sampled_from(list('{}[]:,"x 1')) | st.just(""))
def test_what_is_broken_is_refused_where_the_whole_is(
    content: dict[str, Any], place: int, sign: str
) -> None:
    text = json.dumps(content)
    broken = text[:place] + sign + text[place + 1 :]
    try:
        expected = json.loads(broken)
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert repr(_whole(broken.encode())) == repr(expected)
    else:
        with pytest.raises(ValueError, match=r"."):
            _whole(broken.encode())


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{", '{"long": [1,]}', '{"a": 1,}', "{} x", "{1: 2}", '{"long": [1 2]}']
)
def test_no_object_is_no_object(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        _whole(text.encode())


def test_a_long_list_is_not_held_as_a_whole() -> None:
    item = {"segmentation": [[float(n) for n in range(100)]], "id": 1}
    data = json.dumps({"long": [item] * 3000}).encode()
    tracemalloc.start()
    count = sum(one.is_item for one in members(data, "long"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3000
    assert peak < 2 * len(data), "the text, and one item; as a whole it was five times the file"
