"""Typed data to JSON text and back."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any, TypeVar

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecutor.model.json_form import in_order
from tests.model.typed_data import LIMIT, Address, Colour, Line, Order, Point, User, codec

T = TypeVar("T")


def there_and_back(kind: Any, value: T) -> T:
    text = codec(kind).encode(value)
    json.loads(text)
    return codec(kind).decode(text)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
lines = st.builds(Line, texts, st.integers(-(2**63), 2**64 - 1))
orders = st.builds(Order, st.integers(0, 2**63), st.lists(lines, max_size=3), st.none() | texts)
points = st.recursive(
    st.builds(Point, floats, floats, st.none(), st.lists(texts, max_size=2)),
    lambda inner: st.builds(Point, floats, floats, inner, st.just([])),
    max_leaves=4,
)
users = st.builds(User, name=texts, born=st.dates(), friends=st.just([]))


class TestWhatIsStoredComesBack:
    @given(json_values)
    def test_any_json(self, value: object) -> None:
        assert there_and_back(Any, value) == value

    @given(texts)
    def test_text(self, value: str) -> None:
        assert there_and_back(str, value) == value

    @given(orders)
    def test_structs(self, value: Order) -> None:
        assert there_and_back(Order, value) == value

    @given(points)
    def test_dataclasses(self, value: Point) -> None:
        assert there_and_back(Point, value) == value

    @given(st.fixed_dictionaries({"street": texts, "numbers": st.lists(st.integers(-9, 9))}))
    def test_typed_dicts(self, value: Address) -> None:
        assert there_and_back(Address, value) == value

    @given(st.builds(User, name=texts, born=st.dates(), friends=st.lists(users, max_size=2)))
    def test_pydantic_models(self, value: User) -> None:
        assert there_and_back(User, value) == value

    @given(st.lists(users, max_size=2), st.dictionaries(texts, users, max_size=2))
    def test_pydantic_models_within_other_types(self, several: list[User], named: dict[str, User]) -> None:
        assert there_and_back(list[User], several) == several
        assert there_and_back(dict[str, User], named) == named

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (None, None),
            (int, -1),
            (int, 2**63),
            (bool, True),
            (float, 1.5),
            (str | None, None),
            (list[int], [1, 2]),
            (tuple[int, str], (1, "a")),
            (dict[str, int], {"a": 1}),
            (dict[int, str], {1: "a"}),
            (set[int], {1, 2}),
            (bytes, b"\x00\xff"),
            (datetime, datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)),
            (uuid.UUID, uuid.UUID(int=7)),
            (Colour, Colour.RED),
            (str, "\\u0000 is six characters"),
            (Order | None, Order(1, [Line("a")])),
        ],
    )
    def test_whatever_msgspec_knows(self, kind: object, value: object) -> None:
        assert there_and_back(kind, value) == value

    def test_pydantic_models_with_other_names_in_json(self) -> None:
        class Aliased(pydantic.BaseModel):
            one: int = pydantic.Field(default=0, alias="uno")
            two: int = pydantic.Field(default=0, serialization_alias="due", validation_alias="dos")

        value = Aliased(uno=1, dos=2)  # pyright: ignore[reportCallIssue] - basedpyright knows one alias a field

        assert there_and_back(Aliased, value) == value

    def test_pydantic_models_that_are_strict_or_computed(self) -> None:
        class Strict(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(strict=True, extra="forbid")
            at: datetime

            @pydantic.computed_field
            @property
            def year(self) -> int:
                return self.at.year

        value = Strict(at=datetime(2026, 1, 1, tzinfo=UTC))

        assert there_and_back(Strict, value) == value

    def test_the_largest_data_that_is_allowed(self) -> None:
        text = "x" * (LIMIT - 2)

        assert there_and_back(str, text) == text


def test_members_of_a_large_set_are_not_each_compared_with_all_others() -> None:
    class Counted(list[int]):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return super().__eq__(other)

        __hash__ = None

    def read(text: str) -> list[Counted]:
        return [Counted(member) for member in json.loads(text)]

    members = {(number, -number) for number in range(300)}
    text = in_order(members, json.dumps(list(members)).encode(), read)

    assert {(first, second) for first, second in json.loads(text)} == members
    assert Counted.compared < 300
