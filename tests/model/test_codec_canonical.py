"""`canonical`: one text for all JSON texts that mean the same."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor.model.codec import canonical

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "same",
    [
        ("1", "1.0", "1e0", "10e-1", "0.1e1", " 1 ", "1.000"),
        ("0", "-0", "0.0", "-0.0", "0e10", "0e-99"),
        ("-1", "-1.0", "-10e-1"),
        ("100", "1e2", "1E2", "1e+2", "100.0"),
        ("0.001", "1e-3", "10e-4"),
        ('"é"', '"\\u00e9"'),
        ('"/"', '"\\/"'),
        ('"😀"', '"\\ud83d\\ude00"'),
        ('{"a":1,"b":2}', '{"b":2.0,"a":1e0}', ' { "a" : 1 , "b" : 2 } ', '{"a":9,"b":2,"a":1}'),
        ('{"x":[{"b":1,"a":null}]}', '{"x":[{"a":null,"b":1.0}]}'),
        ("[]", "[ ]"),
        ("{}", "{ }"),
    ],
    ids=lambda same: same[0],
)
def test_what_means_the_same_is_written_the_same(same: tuple[str, ...]) -> None:
    assert {canonical(text) for text in same} == {canonical(same[0])}


DIFFERENT = (
    *("null", "true", "false", "0", "1", "-1", "10", "0.1", "1.5", "15", "1e15", "1e-15", "9007199254740993"),
    *("9007199254740992", "1e400", "1e-400", "0.1000000000000000055511151231257827", '"1"', '"null"', '""', "[]", "{}"),
    *("[1]", "[[1]]", "[1,2]", "[2,1]", "[12]", '["1,2"]', '["1","2"]', "[null]", "[[],[]]", "[[[]]]", '"e\\u0301"'),
    *('"\\u00e9"', '{"a":1}', '{"a":1,"b":1}', '{"a":{"b":1}}', '{"A":1}', '[{"a":1}]', '{"a":[1]}', '"[1,]"'),
)


def test_what_means_something_else_is_written_differently() -> None:
    assert len({canonical(text) for text in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    "text", ["", "{", "nope", "NaN", "Infinity", "1 2", "[1,]", "'a'", "9" * 4_000 + "x", "[" * 50_000]
)
def test_what_is_no_json_is_answered_as_it_is(text: str) -> None:
    assert canonical(text) == text


@given(values)
def test_it_does_not_matter_how_a_value_was_written(value: Any) -> None:
    text = json.dumps(value)

    assert canonical(text) == canonical(json.dumps(value, ensure_ascii=False, indent=3))


@given(st.dictionaries(texts, st.integers(), max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    backwards = dict(reversed(value.items()))

    assert canonical(json.dumps(value)) == canonical(json.dumps(backwards))


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_the_same_where_they_are_exactly_equal(one: Decimal, other: Decimal) -> None:
    assert (canonical(str(one)) == canonical(str(other))) is (one == other)


@given(values, values)
def test_values_are_written_the_same_where_they_are_equal(one: Any, other: Any) -> None:
    def read(value: Any) -> Any:
        """Tell true from 1; JSON numbers are decimals."""
        return json.loads(json.dumps(value), parse_int=Decimal, parse_float=Decimal)

    def shape(value: Any) -> Any:
        match value:
            case bool():
                return str(value), None
            case list():
                return [shape(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - any JSON
            case dict():
                return {name: shape(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType] - any JSON
            case _:
                return value

    assert (canonical(json.dumps(one)) == canonical(json.dumps(other))) is (shape(read(one)) == shape(read(other)))


def test_a_long_text_is_taken_apart_in_no_time() -> None:
    rows = ",".join(f'{{"b":{number},"a":[{number}.0]}}' for number in range(20_000))

    assert canonical(f"[{rows}]").startswith('[{"a":[0],"b":0},{"a":[1e0],"b":1e0},')


def test_large_texts_are_not_kept() -> None:
    from rexecutor.model import codec

    before = codec._short.cache_info().currsize
    canonical('"' + "x" * 100_000 + '"')

    assert codec._short.cache_info().currsize == before
