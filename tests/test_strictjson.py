"""Strict JSON: what a hostile or careless client may write."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.errors import InvalidFormat
from chatbox.strictjson import MAX_INT, loads

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-MAX_INT, MAX_INT) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.booleans())
def test_what_is_plain_json_comes_back_as_it_was(value, ascii_only):
    assert loads(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(st.text())
def test_any_text_is_an_object_or_a_typed_refusal(text):
    with suppress(InvalidFormat):
        assert isinstance(loads(text), dict)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '"text"',
        "1",
        "null",
        '{"a": 1',
        '{"a": 1}}',
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": 9007199254740993}',
        '{"a": -9007199254740993}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": "\x01"}',
    ],
)
def test_what_is_not_strict_json_is_refused(text):
    with pytest.raises(InvalidFormat):
        loads(text)


def test_the_largest_integers_and_a_whole_surrogate_pair_are_fine():
    assert loads('{"a": 9007199254740992, "b": -9007199254740992}') == {"a": MAX_INT, "b": -MAX_INT}
    assert loads('{"a": "\\ud83d\\ude00"}') == {"a": "😀"}


def nested(levels, opening="[", closing="]"):
    return '{"a":' + opening * (levels - 1) + closing * (levels - 1) + "}"


def test_32_levels_are_fine_and_33_are_not():
    assert loads(nested(32))
    with pytest.raises(InvalidFormat, match="nested"):
        loads(nested(33))


def test_a_megabyte_of_brackets_is_refused_and_the_process_lives():
    for text in (nested(500_000), "[" * 1_000_000, '{"a":' * 200_000):
        with pytest.raises(InvalidFormat):
            loads(text)
