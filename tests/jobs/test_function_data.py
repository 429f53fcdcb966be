"""The data of function jobs: arguments by name, checked at the enqueue and again at the decode."""

import copy
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from rexecutor import ArgumentsError, DecodeError, EncodeError, InMemoryBackend, InvalidJobError, Where, job
from rexecutor.jobs.executor import executor_class
from rexecutor.jobs.types import codecs_of
from rexecutor.model.job import Limits


class Colour(Enum):
    RED = "red"


class Address(TypedDict):
    street: str


@dataclass
class Point:
    x: int


class Order(msgspec.Struct, frozen=True):
    id: int


class Model(pydantic.BaseModel):
    name: str


@job
async def send_email(to: str, subject: str = "hello", *, copies: int | None = None) -> None: ...


def stored(function: Any, /, *args: Any, **kwargs: Any) -> str:
    codecs: Any = codecs_of(executor_class("function", function), Limits())
    text: str = codecs.data.encode(function.data(*args, **kwargs))
    return text


def read(function: Any, text: str) -> Any:
    codecs: Any = codecs_of(executor_class("function", function), Limits())
    return codecs.data.decode(text)


class TestArguments:
    def test_data_are_one_object_of_arguments_by_name(self) -> None:
        assert stored(send_email, "bob") == '{"to":"bob","subject":"hello","copies":null}'
        assert stored(send_email, subject="hi", to="bob", copies=2) == '{"to":"bob","subject":"hi","copies":2}'

    def test_equal_arguments_are_equal_data(self) -> None:
        assert send_email.data("bob") == send_email.data(to="bob", subject="hello")

    def test_data_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            send_email.data("bob").to = "eve"

    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            ((), {}, "missing a required argument: 'to'"),
            (("a", "b", 3), {}, "too many positional arguments"),
            (("a",), {"to": "b"}, "multiple values for argument 'to'"),
            (("a",), {"bcc": "b"}, "got an unexpected keyword argument 'bcc'"),
        ],
    )
    def test_wrong_arguments_are_named_with_the_signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
    ) -> None:
        wanted = "send_email(to: str, subject: str = 'hello', *, copies: int | None = None)"

        for call in (send_email.data, send_email.new, send_email.enqueue, send_email.enqueue_sync):
            with pytest.raises(ArgumentsError, match=re.escape(f"send_email: {message}; expected {wanted}")):
                call(*args, **kwargs)

    def test_a_wrong_argument_is_a_type_error_and_an_invalid_job(self) -> None:
        with pytest.raises(TypeError):
            send_email.data()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        with pytest.raises(InvalidJobError):
            send_email.data()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    async def test_an_argument_of_another_type_is_refused_at_the_enqueue_by_its_path(self) -> None:
        backend = InMemoryBackend()
        send: Any = send_email.options(backend=backend)

        with pytest.raises(EncodeError, match=re.escape("Expected `str`, got `int` - at `$.to`")) as caught:
            await send.enqueue(1234567)
        assert "1234567" not in str(caught.value)
        with pytest.raises(EncodeError, match=re.escape("$.copies")):
            await send.enqueue("bob", copies="many")
        assert await backend.query(Where.id_equals(1)) == []


class TestStoredJobs:
    def test_a_parameter_that_was_added_with_a_default_is_the_default(self) -> None:
        assert read(send_email, '{"to": "bob"}') == send_email.data("bob")

    @pytest.mark.parametrize(
        "text", ['{"subject": "hi"}', '{"to": "bob", "bcc": "eve"}', '{"to": 1}', '["bob"]', "null", '"bob"']
    )
    def test_other_data_are_no_data_of_the_job(self, text: str) -> None:
        with pytest.raises(DecodeError, match="send_email: data: "):
            read(send_email, text)

    def test_a_changed_default_leaves_stored_jobs_as_they_are(self) -> None:
        text = stored(send_email, "bob")

        @job(name="send_email")
        async def changed(to: str, subject: str = "good morning", *, copies: int | None = 1) -> None: ...

        assert read(changed, text).subject == "hello"
        assert read(changed, text).copies is None


class TestTypes:
    @pytest.mark.parametrize(
        ("hint", "value"),
        [
            (int, 7),
            (str | None, None),
            (list[int], [1, 2]),
            (dict[str, list[int]], {"a": [1]}),
            (set[int], {1, 2}),
            (tuple[int, str], (1, "a")),
            (Literal["a", "b"], "b"),
            (Colour, Colour.RED),
            (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
            (Address, {"street": "a"}),
            (Point, Point(1)),
            (Order, Order(1)),
            (Model, Model(name="a")),
            (list[Model], [Model(name="a")]),
            (Annotated[int, msgspec.Meta(gt=0)], 1),
            (bytes, b"a"),
            (Any, {"a": [1, None]}),
        ],
    )
    def test_a_value_of_a_type_that_json_can_hold_comes_back_the_same(self, hint: Any, value: Any) -> None:
        async def function(value: Any) -> None: ...

        function.__annotations__["value"] = hint
        send = job(function)

        came = read(send, stored(send, value)).value
        assert came == value
        assert type(came) is type(value)

    def test_a_parameter_without_annotation_takes_any_json_value_but_no_other(self) -> None:
        async def function(value: Any) -> None: ...

        del function.__annotations__["value"]
        send: Any = job(function)

        assert read(send, stored(send, [1, {"a": None}])).value == [1, {"a": None}]
        with pytest.raises(EncodeError, match=re.escape("$.value")):
            stored(send, (1, 2))

    def test_a_bound_of_the_annotation_holds_at_the_enqueue(self) -> None:
        @job
        async def pay(amount: Annotated[int, msgspec.Meta(gt=0)]) -> None: ...

        with pytest.raises(EncodeError, match=re.escape("Expected `int` >= 1 - at `$.amount`")):
            stored(pay, 0)

    @pytest.mark.parametrize(
        "name", ["self", "cls", "class_", "data", "copy", "name", "job", "_x", "function", "kwargs", "args", "execute"]
    )
    def test_a_parameter_may_have_any_name(self, name: str) -> None:
        found: dict[str, Any] = {}
        exec(f"async def function({name}: str) -> None: seen.append({name})", found)  # noqa: S102 - a name as a parameter

        send: Any = job(found["function"])

        assert stored(send, **{name: "a"}) == f'{{"{name}":"a"}}'
        assert getattr(read(send, stored(send, "a")), name) == "a"


class TestDefaults:
    def test_jobs_do_not_share_a_mutable_default(self) -> None:
        default: list[int] = [1]

        @job
        async def add(numbers: list[int] = default) -> None: ...

        first = add.data().numbers
        first.append(2)

        assert add.data().numbers == [1]
        assert default == [1]
        assert read(add, "{}").numbers == [1]

    @pytest.mark.parametrize("default", [Order(1), Model(name="a"), Point(1), {"a": [1]}, (1, 2), frozenset({1})])
    def test_a_default_may_be_of_any_type_that_json_can_hold(self, default: Any) -> None:
        async def function(value: Any = default) -> None: ...

        function.__annotations__["value"] = tuple[int, int] if isinstance(default, tuple) else type(default)
        send = job(function)

        assert send.data().value == default
        assert read(send, stored(send)).value == default


def test_data_have_a_readable_form_and_can_be_copied() -> None:
    data = send_email.data("bob")

    assert repr(data) == "Arguments(to='bob', subject='hello', copies=None)"
    assert copy.copy(data) == copy.deepcopy(data) == data
