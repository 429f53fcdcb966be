"""Jobs that are unique by their data: which fields there are, and when data count as the same."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired

import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from rexecutor import (
    DefinitionError,
    Executor,
    InMemoryBackend,
    InvalidJobError,
    Job,
    UniquenessCriteria,
    enqueue_many,
    enqueue_many_sync,
)
from rexecutor.model.job import Limits
from rexecutor.model.where import Everything

BY_USER = UniquenessCriteria.by_data("user_id")


class Order(msgspec.Struct):
    user_id: int
    kind: str = "new"


class Renamed(msgspec.Struct, rename="camel", omit_defaults=True):
    user_id: int
    kind: str = "new"


class Swapped(msgspec.Struct, rename={"user_id": "kind", "kind": "user_id"}):
    user_id: int
    kind: str


class Listed(msgspec.Struct, array_like=True, tag="listed"):
    kind: str
    user_id: int


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str
    owner: int


@dataclass
class Point:
    user_id: float
    kind: str = "new"


class Words(TypedDict):
    kind: str
    user_id: NotRequired[int]


class Pair(NamedTuple):
    kind: str
    user_id: int


class User(pydantic.BaseModel):
    user_id: int = pydantic.Field(alias="userId")
    kind: str = pydantic.Field("new", validation_alias=pydantic.AliasChoices("sort", "type"))


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    kind: str = "new"


class Users(pydantic.RootModel[dict[str, int]]):
    pass


@pydantic_dataclass
class Checked:
    user_id: int
    kind: str = "new"


class Later(Executor["Forward"]):
    name = "later"
    uniqueness_criteria = UniquenessCriteria.by_data("usr")

    async def execute(self, job: Job["Forward"]) -> None: ...


class Forward(msgspec.Struct):
    user_id: int


def user(user_id: int, kind: str = "new") -> User:
    return User.model_validate({"userId": user_id, "sort": kind})


def executor_of(kind: Any, unique: UniquenessCriteria | None = None) -> type[Executor[Any, Any, Any]]:
    class Unique(Executor[kind]):
        name = "by_data"
        uniqueness_criteria = unique

        async def execute(self, job: Job[Any]) -> None: ...

    return Unique


def key_of(kind: Any, unique: UniquenessCriteria, data: object) -> str:
    built = executor_of(kind, unique).builder().with_data(data).build(Limits()).unique
    assert built is not None
    assert (built.is_by_executor, built.data_fields) == (True, None)
    assert built.key is not None
    return built.key


class TestCriteria:
    def test_data_are_compared_within_the_executor(self) -> None:
        criteria = UniquenessCriteria.by_data()

        assert criteria == UniquenessCriteria().and_data() == UniquenessCriteria.by_executor().and_data()
        assert (criteria.is_by_executor, criteria.data_fields, criteria.key) == (True, frozenset(), None)

    def test_fields_are_added_up_in_any_order_and_all_data_hold_all_fields(self) -> None:
        both = UniquenessCriteria.by_data("a", "b")

        assert both == UniquenessCriteria.by_data("b", "a", "b") == UniquenessCriteria.by_data("b").and_data("a")
        assert both.and_data() == UniquenessCriteria.by_data().and_data("a") == UniquenessCriteria.by_data()

    @pytest.mark.parametrize("wrong", ["", 7, None, ["a", "b"]])
    def test_a_field_is_a_text(self, wrong: Any) -> None:
        with pytest.raises(Exception, match="by_data: each field must be a non-empty str, not ") as raised:
            UniquenessCriteria.by_data("a", wrong)

        assert ("; write *['a', 'b']" in str(raised.value)) is isinstance(wrong, list)

    def test_no_executor_is_needed_to_make_them(self) -> None:
        assert not UniquenessCriteria.by_data().is_empty
        assert UniquenessCriteria.by_key(1).and_data("a").key == UniquenessCriteria.by_key(1).key


class TestKey:
    @pytest.mark.parametrize(
        ("kind", "one", "other"),
        [
            (dict[str, Any], {"a": 1, "b": [{"x": 1, "y": 2}]}, {"b": [{"y": 2.0, "x": 1}], "a": 1.0}),
            (set[str], {"a", "b", "c"}, {"c", "b", "a"}),
            (Order, Order(1), {"kind": "new", "user_id": 1}),
            (Order, Order(1), {"user_id": 1}),
            (User, user(1), {"userId": 1}),
            (datetime, datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
            (None, None, None),
        ],
    )
    def test_equal_data_make_equal_keys(self, kind: Any, one: Any, other: Any) -> None:
        criteria = UniquenessCriteria.by_data()

        assert key_of(kind, criteria, one) == key_of(kind, criteria, other)

    @pytest.mark.parametrize(
        ("kind", "one", "other"),
        [
            (int, 1, 2),
            (Any, 1, "1"),
            (Any, 1, True),
            (Any, None, {}),
            (list[int], [1, 2], [2, 1]),
            (Order, Order(1), Order(1, "old")),
            (Decimal, Decimal("1.1"), Decimal("1.10")),
        ],
    )
    def test_other_data_make_other_keys(self, kind: Any, one: Any, other: Any) -> None:
        criteria = UniquenessCriteria.by_data()

        assert key_of(kind, criteria, one) != key_of(kind, criteria, other)

    @pytest.mark.parametrize(
        ("kind", "one", "other", "different"),
        [
            (Order, Order(1), Order(1, "old"), Order(2)),
            (Renamed, Renamed(1), Renamed(1, "old"), Renamed(2)),
            (Swapped, Swapped(1, "a"), Swapped(1, "b"), Swapped(2, "a")),
            (Listed, Listed("a", 1), Listed("b", 1), Listed("a", 2)),
            (Order | None, Order(1), Order(1, "old"), Order(2)),
            (Annotated[Order, msgspec.Meta(description="x")], Order(1), Order(1, "old"), Order(2)),
            (Point, Point(1), Point(1.0, "old"), Point(2)),
            (Pair, Pair("a", 1), Pair("b", 1), Pair("a", 2)),
            (Words, {"kind": "a", "user_id": 1}, {"kind": "b", "user_id": 1}, {"kind": "a"}),
            (dict[str, Any], {"user_id": 1}, {"user_id": 1.0, "more": 2}, {"user_id": "1"}),
            (dict, {"user_id": 1}, {"user_id": 1, "more": 2}, {"user_id": None}),
            (Any, {"user_id": [1]}, {"user_id": [1.0], "more": 2}, {"user_id": 1}),
            (User, user(1), user(1, "old"), user(2)),
            (Users, Users({"user_id": 1}), Users({"user_id": 1, "x": 2}), Users({"user_id": 2})),
            (Open, Open(user_id=1), Open(user_id=1, kind="x"), Open(user_id=2)),  # pyright: ignore[reportCallIssue]
            (Checked, Checked(1), Checked(1, "old"), Checked(2)),
        ],
    )
    def test_of_chosen_fields_only_these_count(self, kind: Any, one: Any, other: Any, different: Any) -> None:
        key = key_of(kind, BY_USER, one)

        assert key == key_of(kind, BY_USER, other)
        assert key != key_of(kind, BY_USER, different)

    @pytest.mark.parametrize(
        ("kind", "data", "names"),
        [
            (Renamed, Renamed(1), ("user_id", "userId")),
            (User, user(1), ("user_id", "userId")),
            (User, user(1), ("kind", "sort", "type")),
        ],
    )
    def test_a_field_may_be_named_as_in_python_or_as_in_json(self, kind: Any, data: Any, names: tuple[str]) -> None:
        assert len({key_of(kind, UniquenessCriteria.by_data(name), data) for name in names}) == 1

    def test_a_field_that_has_its_default_counts_as_any_other(self) -> None:
        by_kind = UniquenessCriteria.by_data("kind")

        assert key_of(Renamed, by_kind, Renamed(1)) == key_of(Renamed, by_kind, Renamed(2))
        assert key_of(Renamed, by_kind, Renamed(1)) != key_of(Renamed, by_kind, Renamed(1, "old"))

    def test_a_large_number_keeps_all_its_digits(self) -> None:
        assert key_of(Any, BY_USER, {"user_id": 2**70}) != key_of(Any, BY_USER, {"user_id": 2**70 + 1})

    def test_it_is_none_that_by_key_makes(self) -> None:
        data = {"user_id": 1}

        assert key_of(Any, UniquenessCriteria.by_data(), data) != UniquenessCriteria.by_key(data).key

    def test_it_is_the_same_in_every_process(self) -> None:
        code = (
            "from tests.jobs.test_unique_by_data import *\n"
            "print(key_of(dict[str, set[str]], UniquenessCriteria.by_data('b', 'a'), {'a': set('abcdef'), 'b': set()}))"
        )

        keys = {
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONHASHSEED": seed},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("1", "2", "3")
        }

        assert len(keys) == 1

    def test_the_same_criteria_on_the_class_compare_each_enqueue(self) -> None:
        executor_cls = executor_of(Order, BY_USER)
        orders = [Order(1), Order(2), Order(1, "old")]

        handles = enqueue_many_sync(
            [executor_cls.builder().with_data(order) for order in orders], backend=InMemoryBackend()
        )

        assert [handle.disposition for handle in handles] == ["inserted", "inserted", "existing"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("kind", "field", "message"),
        [
            (Order, "usr_id", "by_data('usr_id'): the data have no field 'usr_id'; they have 'kind', 'user_id'; did"),
            (Point, "usr_id", "they have 'kind', 'user_id'; did you mean 'user_id'?"),
            (Words, "other", "the data have no field 'other'; they have 'kind', 'user_id'"),
            (Pair, "other", "they have 'kind', 'user_id'"),
            (User, "other", "they have 'kind', 'user_id'"),
            (Checked, "other", "they have 'kind', 'user_id'"),
            (Cat | Dog, "other", "they have 'name', 'owner'"),
            (Order | None, "other", "they have 'kind', 'user_id'"),
            (str, "other", "the data have no field 'other'; write by_data() to compare all data"),
            (list[Order], "user_id", "the data have no field 'user_id'; write by_data() to compare all data"),
            (None, "user_id", "the data have no field 'user_id'; write by_data() to compare all data"),
        ],
    )
    def test_a_field_that_the_type_does_not_have_is_an_error_where_the_class_is_defined(
        self, kind: Any, field: str, message: str
    ) -> None:
        with pytest.raises(DefinitionError, match=r"Unique: uniqueness_criteria: by_data") as raised:
            executor_of(kind, UniquenessCriteria.by_data(field))

        assert message in str(raised.value)

    @pytest.mark.parametrize(
        ("kind", "data", "message"),
        [
            (dict[str, int], {"userid": 1}, "no field 'user_id'; they have 'userid'; did you mean 'userid'?"),
            (dict[str, int], {}, "the data have no field 'user_id'; write by_data() to"),
            (Any, 7, "the data have no fields; write by_data() to compare all data"),
            (Any, [1], "the data have no fields"),
            (Order | None, None, "the data have no fields"),
            (Users, Users({"other": 1}), "the data have no field 'user_id'; they have 'other'"),
            (Open, Open(), "the data have no field 'user_id'; they have 'kind'"),
        ],
    )
    async def test_a_field_that_the_data_do_not_have_is_an_error_of_the_enqueue(
        self, kind: Any, data: Any, message: str
    ) -> None:
        backend = InMemoryBackend()
        job = executor_of(kind, BY_USER).builder().with_data(data)

        with pytest.raises(InvalidJobError, match=r"^by_data: data: by_data\('user_id'\): ") as raised:
            await job.enqueue(backend=backend)

        assert message in str(raised.value)
        assert await executor_of(kind).query_jobs(Everything(), backend=backend) == []

    def test_a_field_of_another_member_of_a_union_is_an_error_of_the_enqueue(self) -> None:
        unique = UniquenessCriteria.by_data("owner")

        assert key_of(Cat | Dog, unique, Dog("a", 1)) == key_of(Cat | Dog, unique, Dog("b", 1))
        with pytest.raises(InvalidJobError, match="no field 'owner'; they have 'name'"):
            key_of(Cat | Dog, unique, Cat("a"))

    async def test_criteria_of_one_job_are_checked_when_it_is_enqueued(self) -> None:
        job = executor_of(Order).builder().with_data(Order(1)).unique(UniquenessCriteria.by_data("usr"))

        with pytest.raises(InvalidJobError, match="no field 'usr'; they have 'kind', 'user_id'"):
            await job.enqueue(backend=InMemoryBackend())

    async def test_the_fields_of_a_type_that_is_defined_later_are_checked_at_the_enqueue(self) -> None:
        with pytest.raises(InvalidJobError, match="no field 'usr'; they have 'user_id'; did you mean 'user_id'"):
            await Later.builder().with_data(Forward(1)).enqueue(backend=InMemoryBackend())

    async def test_an_update_asks_for_no_field(self) -> None:
        executor_cls = executor_of(dict[str, int], BY_USER)
        backend = InMemoryBackend()
        handle = await executor_cls.builder().with_data({"other": 1}).unique(None).enqueue(backend=backend)
        job = await handle.fetch()

        changed = await executor_cls.update_job(replace(job, priority=1), backend=backend)

        assert (changed.priority, changed.data) == (1, {"other": 1})

    async def test_in_a_batch_the_message_says_which_job(self) -> None:
        executor_cls = executor_of(dict[str, int], BY_USER)
        jobs = [executor_cls.builder().with_data(data) for data in ({"user_id": 1}, {"other": 1})]

        with pytest.raises(InvalidJobError, match=r"^job 2 of 2: by_data: data: "):
            await enqueue_many(jobs, backend=InMemoryBackend())
