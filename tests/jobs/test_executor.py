"""Executor classes: what is refused where it is written, and how types are found."""

import re
import types
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from rexecutor.errors import DecodeError, DefinitionError, EncodeError
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.types import codecs_of, decode
from rexecutor.model.backoff import LONGEST
from rexecutor.model.job import Job, JobRecord, Limits
from rexecutor.model.outcomes import Claimed, ExecutionResult
from rexecutor.model.rules import inserted, transition
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import new_job
from tests.model.typed_data import NotJson, Point, User

LIMITS = Limits()
T = TypeVar("T")
M = TypeVar("M")


class Line(msgspec.Struct, frozen=True):
    sku: str


@dataclass
class Order:
    id: int
    lines: "list[Line]" = field(default_factory=list[Line])


class Address(TypedDict):
    street: str


class Text(str):
    __slots__ = ()


class Owner(pydantic.BaseModel):
    id: int


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


async def run(self: object, job: Job[Any, Any, Any]) -> None: ...


def run_blocking(self: object, job: Job[Any, Any, Any]) -> None: ...


async def run_and_yield(self: object, job: Job[Any, Any, Any]) -> AsyncGenerator[int]:
    yield 1


def yield_blocking(self: object, job: Job[Any, Any, Any]) -> Generator[int]:
    yield 1


def define(**members: object) -> type[Executor[Any, Any, Any]]:
    """Make an executor class with these members beside a name and an `execute`."""
    return new_class("Defined", (Executor[str],), {"name": "defined", "execute": run} | members)


def new_class(name: str, bases: tuple[Any, ...], members: dict[str, object]) -> Any:
    """Make a class as a `class` statement does, which `type(…)` does not for generic bases."""
    return types.new_class(name, bases, exec_body=lambda namespace: namespace.update(members))


class TestDefinitionErrors:
    @pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "a" * 129, "a\n", "'", None, 1, b"a"])
    def test_a_name_that_no_store_takes_is_refused(self, name: object) -> None:
        expected = re.escape(f"Defined: name must be 1 to 128 characters of A-Z a-z 0-9 _ . : -, not {name!r}")
        with pytest.raises(DefinitionError, match=expected):
            define(name=name)

    def test_a_class_without_a_name_is_refused(self) -> None:
        with pytest.raises(DefinitionError, match="Nameless: name must be 1 to 128 characters"):

            class Nameless(Executor[str]):  # pyright: ignore[reportUnusedClass] - that it is refused is the point
                async def execute(self, job: Job[str]) -> None: ...

    @pytest.mark.parametrize("name", ["a", "a" * 128, "A-Z_0.9:x", "0", "-"])
    def test_a_name_within_the_rule_is_taken(self, name: str) -> None:
        assert define(name=name).name == name

    @pytest.mark.parametrize("max_attempts", [0, -1, 32_768, 1.0, "1", None, True])
    def test_max_attempts_out_of_range_are_refused(self, max_attempts: object) -> None:
        with pytest.raises(DefinitionError, match=r"Defined: defined: max_attempts must be an int from 1 to 32767"):
            define(max_attempts=max_attempts)

    @pytest.mark.parametrize("max_concurrency", [0, -1, 1.5, "1", True])
    def test_a_max_concurrency_out_of_range_is_refused(self, max_concurrency: object) -> None:
        with pytest.raises(DefinitionError, match=r"max_concurrency must be None or an int of 1 or more"):
            define(max_concurrency=max_concurrency)

    @pytest.mark.parametrize("blocking", ["processes", "threads", None, 2])
    def test_an_unknown_kind_of_blocking_is_refused(self, blocking: object) -> None:
        with pytest.raises(DefinitionError, match="blocking must be"):
            define(blocking=blocking)

    def test_a_plain_execute_without_blocking_is_refused(self) -> None:
        with pytest.raises(DefinitionError, match="plain `def`; make it `async def`, or set `blocking = True`"):
            define(execute=run_blocking)

    @pytest.mark.parametrize("blocking", [True, "thread", "process"])
    def test_an_async_execute_with_blocking_is_refused(self, blocking: object) -> None:
        with pytest.raises(DefinitionError, match="choose one"):
            define(blocking=blocking)

    @pytest.mark.parametrize("execute", [run_and_yield, yield_blocking])
    @pytest.mark.parametrize("blocking", [False, True])
    def test_a_generator_is_refused(self, execute: object, blocking: object) -> None:
        with pytest.raises(DefinitionError, match="execute is a generator"):
            define(execute=execute, blocking=blocking)

    @pytest.mark.parametrize("execute", [None, 1, "run"])
    def test_an_execute_that_is_no_method_is_refused(self, execute: object) -> None:
        with pytest.raises(DefinitionError, match=r"execute must be a method \(self, job\), not"):
            define(execute=execute)

    @pytest.mark.parametrize("name", ["timeout", "backoff"])
    def test_a_setting_that_is_no_method_is_refused(self, name: str) -> None:
        with pytest.raises(DefinitionError, match=rf"{name} must be a method \(self, job\), not"):
            define(**{name: timedelta(seconds=1)})

    def test_an_execute_that_takes_no_job_is_refused(self) -> None:
        async def execute(self: object) -> None: ...

        with pytest.raises(DefinitionError, match=r"execute must be a method \(self, job\), not"):
            define(execute=execute)

    @pytest.mark.parametrize("blocking", [True, "thread", "process"])
    def test_a_plain_execute_with_blocking_is_taken(self, blocking: object) -> None:
        assert define(execute=run_blocking, blocking=blocking).blocking == blocking

    def test_a_mistake_in_a_subclass_of_an_executor_is_refused_too(self) -> None:
        base = define()

        with pytest.raises(DefinitionError, match="max_attempts must be an int from 1 to 32767, not 0"):
            new_class("Derived", (base,), {"max_attempts": 0})

    def test_a_base_without_an_execute_needs_no_name(self) -> None:
        class Base(Executor[T], Generic[T]):
            @abstractmethod
            def describe(self) -> str: ...

        assert not hasattr(Base, "name")


class TestTypes:
    def test_metadata_may_be_left_out(self) -> None:
        class Email(Executor[str]):
            name = "email"

            async def execute(self, job: Job[str]) -> None: ...

        codecs = codecs_of(Email, LIMITS)

        assert codecs.data.encode("bob") == '"bob"'
        with pytest.raises(
            EncodeError,
            match="email: metadata: None expected, str given; declare its type, such as `Executor",
        ):
            codecs.metadata.encode("me")  # pyright: ignore[reportArgumentType] - that is the point

    @pytest.mark.parametrize(
        ("kind", "value", "text"),
        [
            (Line, Line("a"), '{"sku":"a"}'),
            (Order, Order(1, [Line("a")]), '{"id":1,"lines":[{"sku":"a"}]}'),
            (Address, {"street": "a"}, '{"street":"a"}'),
            (list[int], [1], "[1]"),
            (int | None, None, "null"),
            (None, None, "null"),
        ],
    )
    def test_data_may_be_of_any_type_that_json_holds(self, kind: Any, value: object, text: str) -> None:
        executor: Any = new_class("Defined", (Executor[kind],), {"name": "defined", "execute": run})

        assert codecs_of(executor, LIMITS).data.encode(value) == text

    def test_types_are_found_through_generic_bases_in_between(self) -> None:
        class Base(Executor[list[T], M], Generic[M, T]):
            @abstractmethod
            def describe(self) -> str: ...

        class Middle(Base[Order, T], Generic[T]): ...

        class Concrete(Middle[Line]):
            name = "concrete"

            def describe(self) -> str:
                return ""

            async def execute(self, job: Job[list[Line], Order]) -> None: ...

        codecs = codecs_of(Concrete, LIMITS)

        assert codecs.metadata.encode(Order(1)) == '{"id":1,"lines":[]}'
        assert codecs.data.encode([Line("a")]) == '[{"sku":"a"}]'

    def test_types_are_found_through_a_concrete_base(self) -> None:
        derived: type[Executor[Any, Any, Any]] = new_class("Derived", (define(),), {"name": "derived"})

        with pytest.raises(EncodeError, match="derived: data: str expected"):
            codecs_of(derived, LIMITS).data.encode(1)

    def test_a_type_that_is_defined_later_is_found_when_it_is_needed(self) -> None:
        assert codecs_of(UsesLater, LIMITS).data.encode(Later(1)) == '{"n":1}'

    def test_a_type_that_is_defined_nowhere_is_an_error_that_names_it(self) -> None:
        class Lost(Executor["Nowhere"]):  # pyright: ignore[reportUndefinedVariable] - that is the point
            name = "lost"

            async def execute(self, job: Any) -> None: ...

        with pytest.raises(DefinitionError, match="Lost: type 'Nowhere' cannot be resolved"):
            codecs_of(Lost, LIMITS)

    def test_an_executor_that_says_no_type_is_an_error(self) -> None:
        with pytest.raises(DefinitionError, match=r"Untyped.*data type"):
            new_class("Untyped", (Executor,), {"name": "untyped", "execute": run})

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            (NotJson, "NotJson is not a type that JSON can hold; use plain JSON values, a dataclass, a msgspec Struct"),
            (dict[str, list[NotJson]], "NotJson is not a type"),
            (pydantic.SecretStr, "a pydantic secret is not stored; enqueue a reference"),
            (Text, "Text is not a type that JSON can hold; use str, such as str"),
            (Line | User, "declare a pydantic model with a field of this union, or a `RootModel` of it"),
            (Order | Point, "declare a pydantic model with a field of this union"),
            (User | NotJson, "or msgspec Structs with `tag=True`"),
        ],
    )
    def test_a_type_that_json_cannot_hold_is_refused_where_the_class_is_written(self, kind: Any, message: str) -> None:
        with pytest.raises(DefinitionError, match=f"typed: data: .*cannot be stored as JSON: .*{message}"):
            new_class("Typed", (Executor[kind],), {"name": "typed", "execute": run})
        with pytest.raises(DefinitionError, match=f"typed: metadata: .*{message}"):
            new_class("Typed", (Executor[str, kind],), {"name": "typed", "execute": run})

    def test_what_the_advice_for_unions_names_is_taken(self) -> None:
        class Either(pydantic.BaseModel):
            one: User | Owner

        for kind in (Either, pydantic.RootModel[User | Owner], Cat | Dog):
            new_class("Typed", (Executor[kind],), {"name": "typed", "execute": run})

    def test_two_stores_may_have_two_limits(self) -> None:
        executor: Any = define()

        codecs_of(executor, Limits(data=100)).data.encode("x" * 50)
        with pytest.raises(EncodeError, match="at most 10"):
            codecs_of(executor, Limits(data=10)).data.encode("x" * 50)


class TestDecode:
    def test_a_record_becomes_a_job_with_every_field(self) -> None:
        record = msgspec.structs.replace(_record(data='{"id":7}', metadata='["a"]'), headers='{"from":"here"}')

        job = decode(TYPED, record)

        assert job.data == Order(7)
        assert job.metadata == ["a"]
        assert job.headers == {"from": "here"}
        fields = set(Job.__dataclass_fields__) - {"data", "metadata", "headers", "_version", "_completer"}
        assert {name: getattr(job, name) for name in fields} == {name: getattr(record, name) for name in fields}

    def test_metadata_that_was_left_out_is_none(self) -> None:
        assert decode(TYPED, _record(data='{"id":7}')).metadata is None

    def test_data_of_another_type_is_an_error_that_names_executor_and_type(self) -> None:
        with pytest.raises(DecodeError, match="typed: data: Order expected"):
            decode(TYPED, _record(data='"seven"'))

    def test_a_row_that_could_not_be_read_is_an_error_that_says_why(self) -> None:
        record = msgspec.structs.replace(_record(data='{"id":7}'), defect="its priority is -1")

        with pytest.raises(DecodeError, match="typed: its priority is -1"):
            decode(TYPED, record)

    def test_metadata_of_another_type_is_an_error(self) -> None:
        with pytest.raises(DecodeError, match=r"typed: metadata: list\[str\] expected"):
            decode(TYPED, _record(data='{"id":7}', metadata="[1]"))

    def test_an_attempt_is_the_final_one_from_the_last_on(self) -> None:
        record = _record(data='{"id":7}', max_attempts=1)

        assert decode(TYPED, record).is_final_attempt


class TestDefaults:
    def test_an_executor_waits_as_the_default_backoff_says(self) -> None:
        wait = Typed().backoff(decode(TYPED, _record(data='{"id":7}')))

        assert timedelta(seconds=3.6) <= wait <= timedelta(seconds=4.4) < LONGEST

    def test_an_attempt_may_take_as_long_as_it_wants(self) -> None:
        assert Typed().timeout(decode(TYPED, _record(data='{"id":7}'))) is None

    def test_a_job_starts_five_times_and_without_a_limit_of_its_own(self) -> None:
        assert (Typed.max_attempts, Typed.max_concurrency, Typed.blocking) == (5, None, False)


class Typed(Executor[Order, list[str]]):
    name = "typed"

    async def execute(self, job: Job[Order, list[str]]) -> ExecutionResult:
        return None


class UsesLater(Executor["Later"]):
    name = "uses_later"

    async def execute(self, job: Job["Later"]) -> None: ...


class Later(msgspec.Struct):
    n: int


TYPED = codecs_of(Typed, LIMITS)


def _record(*, data: str, metadata: str | None = None, max_attempts: int = 5) -> JobRecord:
    """Return a record in its first attempt."""
    new = new_job("typed", data=data, metadata=metadata, max_attempts=max_attempts, tags=("t",))
    return transition(inserted(new, 1, START), Claimed("node"), START, LIMITS)
