"""What a codec refuses, in both directions."""

import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor.errors import DecodeError, DefinitionError, EncodeError
from rexecutor.model.codec import canonical
from rexecutor.model.json_form import DEPTH
from tests.model.typed_data import LIMIT, Address, Line, NotJson, Order, Point, User, codec


def _deep(levels: int) -> list[Any]:
    """Return an empty list in so many lists, less one."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def _cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Chain(msgspec.Struct):
    next: "Chain | None" = None


class Model(pydantic.BaseModel):
    next: "Model | None" = None


def _chain(levels: int) -> Chain:
    value = Chain()
    for _ in range(levels - 1):
        value = Chain(value)
    return value


def _models(levels: int) -> Model:
    value = Model()
    for _ in range(levels - 1):
        value = Model(next=value)
    return value


@dataclass
class Keyed:
    values: dict[Any, Any]
    padding: str = "as long as what reading would lose"


class Kind(Enum):
    A = "a"


class TestBadInput:
    @pytest.mark.parametrize(
        ("kind", "value", "message"),
        [
            (str, 1, "got `int`|int given"),
            (str, None, "email_job: data: str expected"),
            (str, b"bytes", "str expected, bytes given"),
            (str, datetime(2026, 1, 1, tzinfo=UTC), "str expected, datetime given"),
            (int, "1", "email_job: data: int expected: Expected `int`, got `str`"),
            (int, True, "got `bool`"),
            (None, 1, "None expected"),
            (list[int], [1, "2"], r"\$\[1\]"),
            (Order, {"id": 1}, "missing required field `lines`"),
            (Order, Line("a"), "Order expected"),
            (Point, Point("no"), r"Point expected.*\$.x"),  # pyright: ignore[reportArgumentType] - that is the point
            (Address, {"street": "a"}, "missing required field `numbers`"),
            (Any, object(), "object is not a type that JSON can hold"),
            (Any, 1j, "complex is not a type"),
            (Any, NotJson(), "NotJson is not a type that JSON can hold; use plain JSON values, a dataclass"),
            (None, "x", r"None expected, str given; declare its type, such as `Executor\[str\]`"),
            (User, {"name": "x"}, "User expected"),
        ],
    )
    def test_data_of_another_type_is_refused(self, kind: object, value: object, message: str) -> None:
        with pytest.raises(EncodeError, match=message):
            codec(kind).encode(value)

    @pytest.mark.parametrize(
        ("kind", "value", "key"),
        [
            (Any, {1: 1, "1": 2}, "1"),
            (Any, [{"a": {"b": 1, 1.5: 1, "1.5": 2}}], "1.5"),
            (Any, {date(2026, 1, 1): 1, "2026-01-01": 2}, "2026-01-01"),
            (object, {b"a": 1, "YQ==": 2}, "YQ=="),
            (dict, {1: 1, "1": 2}, "1"),
            (dict[str, int], {1: 1, "1": 2}, "1"),
            (dict[str, Point], {1: Point(1), "1": Point(2)}, "1"),
            (Keyed, Keyed({1: 1, "1": 2}), "1"),
            (Keyed, {"values": {1: 1, "1": 2}}, "1"),
        ],
    )
    def test_keys_that_become_the_same_text_are_refused(self, kind: object, value: object, key: str) -> None:
        with pytest.raises(EncodeError, match=f'different keys that JSON writes the same, as "{key}"'):
            codec(kind).encode(value)

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (Any, {"1": 1, "2": 2, "2**64": 2**64, "2.5": {"1": 1, "a": {"a": 1}}}),
            (Any, [{"a": 1}, {"a": '":":\\'}]),
            (dict[int, float], {1: 1, 2: 2.5}),
            (dict[str, Point], {"1": Point(1)}),
            (Keyed, {"values": {"1": 1}, "padding": ""}),
        ],
    )
    def test_keys_of_different_texts_are_kept(self, kind: object, value: object) -> None:
        text = codec(kind).encode(value)

        assert json.loads(text) == json.loads(msgspec.json.encode(value))

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_nan_and_the_infinities_are_refused_wherever_they_are(self, number: float) -> None:
        cases: list[tuple[object, object]] = [
            (float, number),
            (float | None, number),
            (Any, {"a": [1, (number,)]}),
            (Point, Point(1, number)),
            (Point, Point(1, 2, Point(3, number))),
            (dict[str, float | None], {"a": number}),
        ]

        for kind, value in cases:
            with pytest.raises(EncodeError, match="NaN or an infinity"):
                codec(kind).encode(value)

    def test_nan_in_a_pydantic_model_is_refused(self) -> None:
        class Measured(pydantic.BaseModel):
            value: float | None

        with pytest.raises(EncodeError, match="NaN or an infinity"):
            codec(Measured).encode(Measured(value=math.nan))

    @pytest.mark.parametrize("text", ["\0", "a\0b", "\\\0", "\\\\\0", '"\0', "\\u0000\0"], ids=ascii)
    def test_a_nul_is_refused_wherever_it_is(self, text: str) -> None:
        for value in (text, {text: 1}, [[text]]):
            with pytest.raises(EncodeError, match="NUL"):
                codec(Any).encode(value)

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc80 x"], ids=ascii)
    def test_a_lone_surrogate_is_refused_wherever_it_is(self, text: str) -> None:
        for value in (text, {text: 1}, [[text]]):
            with pytest.raises(EncodeError, match="lone surrogate"):
                codec(Any).encode(value)

    def test_one_byte_more_than_allowed_is_refused(self) -> None:
        with pytest.raises(EncodeError, match="1,048,577 bytes as JSON, at most 1,048,576"):
            codec(str).encode("x" * (LIMIT - 1))

    def test_bytes_are_counted_and_not_characters(self) -> None:
        with pytest.raises(EncodeError, match="at most 10 are allowed"):
            codec(str, limit=10).encode("ž" * 5)

    @pytest.mark.parametrize("value", [_deep(100_000), _cyclic()], ids=["deep", "cyclic"])
    def test_what_is_nested_too_deeply_is_refused(self, value: object) -> None:
        for kind in (Any, object, list[Any], list[Model], Keyed):
            with pytest.raises(
                EncodeError, match=r"nested too deeply; at most 100 levels are allowed; make it flatter"
            ):
                codec(kind).encode(value)

    @pytest.mark.parametrize("levels", [1, 7, DEPTH])
    def test_the_depth_that_is_allowed_is_the_same_for_every_type(self, levels: int) -> None:
        kinds: list[tuple[Any, Callable[[int], Any]]] = [
            (Any, _deep),
            (list, _deep),
            (object, _deep),
            (Chain, _chain),
            (Model, _models),
            (dict[str, Any], lambda levels: {"[{": _deep(levels - 1) if levels > 1 else 1}),
        ]
        for kind, make in kinds:
            allowed, refused = make(levels), make(levels + 1)
            text = codec(kind, depth=levels).encode(allowed)

            assert codec(kind, depth=levels).decode(text) == allowed
            with pytest.raises(EncodeError, match=f"nested too deeply; at most {levels} levels are allowed"):
                codec(kind, depth=levels).encode(refused)
            written = msgspec.json.encode(refused, enc_hook=lambda model: model.model_dump()).decode()
            with pytest.raises(DecodeError, match=f"nested too deeply; at most {levels} levels are allowed"):
                codec(kind, depth=levels).decode(written)

    def test_the_depth_of_a_type_counts_too(self) -> None:
        value = [[{"a": 1}]]

        assert codec(list[list[dict[str, int]]], depth=3).encode(value) == '[[{"a":1}]]'
        with pytest.raises(EncodeError, match="at most 2 levels"):
            codec(list[list[dict[str, int]]], depth=2).encode(value)

    def test_brackets_in_texts_do_not_count(self) -> None:
        value = ["[" * 200, '"[{' * 200, "\\" * 3 + "[" * 200, {"]" * 200 + '"' + "[{" * 200: "\\"}]

        assert codec(Any).decode(codec(Any).encode(value)) == value

    def test_a_number_of_too_many_digits_is_refused(self) -> None:
        with pytest.raises(EncodeError, match="digits"):
            codec(int).encode(10**5_000)

    def test_a_type_whose_code_raises_is_refused(self) -> None:
        class Raising(pydantic.BaseModel):
            @pydantic.model_serializer
            def dump(self) -> dict[str, Any]:
                raise RuntimeError("no")

        with pytest.raises(EncodeError, match="Raising expected"):
            codec(Raising).encode(Raising())

    def test_missing_data_names_the_executor_and_the_type(self) -> None:
        assert str(codec(list[int]).missing()) == "email_job: data is missing, list[int] expected"

    @given(st.recursive(st.floats() | st.text() | st.binary() | st.complex_numbers(), st.lists))
    def test_whatever_is_given_is_stored_or_refused(self, value: object) -> None:
        try:
            text = codec(Any).encode(value)
        except EncodeError:
            return
        codec(Any).decode(text)
        assert "\\u0000" not in text.replace("\\\\", "")

    def test_an_error_of_pydantic_is_one_line_with_the_place_and_without_the_data(self) -> None:
        class Holding(msgspec.Struct):
            users: dict[str, list[User]]

        cases: list[tuple[Any, Any, str]] = [
            (User, {"name": 7}, "User expected: Input should be a valid string - at `$.name` (and 1 more)"),
            (User, {"name": "bob"}, "User expected: Field required - at `$.born`"),
            (
                User,
                {"name": "a", "born": "2026-01-01", "friends": [{}]},
                "required - at `$.friends[0].name` (and 1 more)",
            ),
            (list[User], [{"name": "bob"}], "expected: Field required - at `$[0].born`"),
            (Holding, {"users": {"a": [{"name": "bob"}]}}, "expected: Field required - at `$.users[...][0].born`"),
        ]
        for kind, value, message in cases:
            with pytest.raises(EncodeError) as refused:
                codec(kind).encode(value)
            with pytest.raises(DecodeError) as unread:
                codec(kind).decode(json.dumps(value))
            assert str(refused.value).endswith(message)
            assert str(unread.value) == str(refused.value)


class TestTypes:
    @pytest.mark.parametrize(
        "kind",
        [
            dict[bool, int],
            dict[tuple[int, int], str],
            dict[None, int],
            dict[Line, int],
            list[dict[frozenset[str], int]],
        ],
    )
    def test_a_dict_with_keys_that_are_never_texts_cannot_be_stored(self, kind: Any) -> None:
        with pytest.raises(DefinitionError, match=r"cannot be stored as JSON: keys of a JSON object are texts, which"):
            codec(kind)

    @pytest.mark.parametrize("key", [1, 1.5, "a", b"a", date(2026, 1, 1), Kind.A, Decimal("1.10"), uuid.UUID(int=1)])
    def test_a_dict_may_have_keys_that_texts_are_decoded_to(self, key: Any) -> None:
        kind: Any = dict[type(key), int]

        assert codec(kind).decode(codec(kind).encode({key: 1})) == {key: 1}

    def test_raw_json_which_nobody_has_checked_cannot_be_stored(self) -> None:
        with pytest.raises(DefinitionError, match=r"the content of a msgspec\.Raw is not checked; declare Any"):
            codec(list[msgspec.Raw])


class TestBadRows:
    @pytest.mark.parametrize(
        "text",
        ["", "nope", "1", "null", '"a', '"a" b', "NaN", "[" * 100_000, '"\ud800"', '"\\ud800"', '"\x00"', "{}"],
        ids=lambda text: ascii(text[:8]),
    )
    def test_a_row_that_is_not_of_the_type_does_not_decode(self, text: str) -> None:
        with pytest.raises(DecodeError, match="email_job: data: str expected"):
            codec(str).decode(text)

    @pytest.mark.parametrize(
        "text", ["[" * 100_000 + "]" * 100_000, "[" * 101 + "]" * 101, "9" * 10_000, "1e999"], ids=lambda text: text[:8]
    )
    def test_a_row_beyond_all_bounds_does_not_decode(self, text: str) -> None:
        with pytest.raises(DecodeError, match="Any expected"):
            codec(Any).decode(text)

    @pytest.mark.parametrize("levels", [DEPTH + 1, 500, 5_000])
    def test_a_row_that_is_nested_too_deeply_is_compared_as_text(self, levels: int) -> None:
        text = "[" * levels + "1.0" + "]" * levels

        assert canonical(text) == text

    def test_a_row_that_a_pydantic_model_refuses_does_not_decode(self) -> None:
        with pytest.raises(DecodeError, match="User expected"):
            codec(User).decode('{"name": "x", "born": "never"}')

    @given(st.text())
    def test_whatever_the_row_holds_it_is_decoded_or_refused(self, text: str) -> None:
        for kind in (str, Order, Point, User, Any):
            try:
                codec(kind).decode(text)
            except DecodeError:
                continue


class TestDefinitions:
    @pytest.mark.parametrize("kind", ["no type", Line | Order])
    def test_a_type_that_json_cannot_hold_is_refused(self, kind: object) -> None:
        with pytest.raises(DefinitionError, match=r"email_job: data: .*cannot be stored as JSON"):
            codec(kind)

    def test_a_type_that_is_not_known_is_refused(self) -> None:
        @dataclass
        class Open:
            other: "Nowhere"  # noqa: F821  # pyright: ignore[reportUndefinedVariable] - that is the point

        with pytest.raises(DefinitionError, match="Nowhere"):
            codec(Open)
