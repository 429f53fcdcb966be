"""In what two JSON values differ, as a failure says it."""

import pytest

from rexecutor.testing.differences import shortened, value_differences


@pytest.mark.parametrize(
    ("expected", "actual", "lines"),
    [
        ('{"a":1,"b":2}', '{ "b": 2.0, "a": 1 }', []),
        ("1", "true", ["data: true, expected 1"]),
        ('"a"', '["a"]', ['data: ["a"], expected "a"']),
        ('{"a":1}', '{"b":1}', ["data.a: missing, expected 1", "data.b: 1, not expected"]),
        ('{"a":{"b":[1,2,{"c":3}]}}', '{"a":{"b":[1,2,{"c":4}]}}', ["data.a.b[2].c: 4, expected 3"]),
        ("[1,2]", "[1,2,3]", ["data: [1,2,3], expected [1,2]"]),
        ('{"a":[]}', '{"a":{}}', ["data.a: {}, expected []"]),
        ("1.0", "1.00000000000000000001", ["data: 1.00000000000000000001, expected 1.0"]),
        ('"a"', "no JSON", ['data: no JSON, expected "a"']),
    ],
)
def test_the_places_that_differ_are_named(expected: str, actual: str, lines: list[str]) -> None:
    assert value_differences("data", expected, actual) == lines


def test_of_many_differences_the_first_are_shown() -> None:
    lines = value_differences("data", "[0,0,0,0,0,0,0,0]", "[1,2,3,4,5,6,7,8]")

    assert lines[0] == "data[0]: 1, expected 0"
    assert len(lines) == 7
    assert lines[-1] == "data: 2 more differences"


def test_deep_values_are_compared_as_a_whole_at_the_bottom() -> None:
    (line,) = value_differences("data", "[" * 50 + "1" + "]" * 50, "[" * 50 + "2" + "]" * 50)

    assert line.startswith("data" + "[0]" * 8 + ": [[[")


def test_values_too_deep_to_be_taken_apart_are_shown_as_they_are() -> None:
    (line,) = value_differences("data", "1", "[" * 5_000 + "]" * 5_000)

    assert line.endswith("… (10,000 characters), expected 1")


def test_what_is_short_stays_as_it_is() -> None:
    assert shortened("x" * 200) == "x" * 200
    assert shortened("x" * 201) == "x" * 200 + "… (201 characters)"
