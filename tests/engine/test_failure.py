"""What exceptions become, whatever they do when they are asked."""

from datetime import timedelta
from typing import Any, cast

import pytest
from msgspec.structs import replace

from rexecutor import Cancel, ErrorKind, InMemoryBackend, JobStatus, Rexecutor, Snooze, job
from rexecutor.engine.failure import failure_of, job_error
from rexecutor.model.job import JobError, storable
from rexecutor.testing import FakeClock
from tests.support import record_made, soon

NOW = FakeClock().now()
RECORD = replace(record_made(7, JobStatus.EXECUTING), attempt=1, node="node-1")


def error_of(error: BaseException, limit: int) -> JobError:
    return job_error(failure_of(error), RECORD, now=NOW, limit=limit)


class Nameless(type):
    def __getattribute__(cls, name: str) -> object:
        if name in ("__name__", "__qualname__", "__module__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class UnnamedError(Exception, metaclass=Nameless):
    pass


def test_an_exception_whose_class_cannot_be_named_is_still_an_error() -> None:
    error = error_of(UnnamedError(), 1_000)

    assert (error.type_name, error.kind) == ("Exception", ErrorKind.EXCEPTION)
    assert "could not be shown" in error.details


class Unplaced(ValueError):  # noqa: N818 - its name is not what matters
    __module__ = cast("str", None)


def test_an_error_names_its_exception_by_a_path_and_the_node_that_ran_the_attempt() -> None:
    errors = [error_of(error, 1_000) for error in (KeyError("x"), UnnamedError(), Unplaced())]

    assert [error.type_path for error in errors] == ["builtins.KeyError", f"{__name__}.UnnamedError", None]
    assert {(error.attempt, error.node) for error in errors} == {(1, "node-1")}


@pytest.mark.parametrize("value", [Cancel("no"), Cancel, Snooze(timedelta(1)), 7])
def test_a_value_that_was_raised_is_an_error_that_says_to_return_it(value: Any) -> None:
    try:
        raise value
    except TypeError as raised:
        error = error_of(raised, 1_000)

    assert error.details.endswith("If that was a Cancel or a Snooze: return it, do not raise it.\n")


def test_a_cycle_of_causes_is_shown_once() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first

    error = error_of(first, 10_000)

    assert error.details.count("ValueError: first") == 1


def test_a_huge_message_keeps_its_beginning_and_its_end() -> None:
    error = error_of(ValueError("x" * 10_000_000 + "the end"), 8_192)

    assert len(error.details) <= 8_192
    assert error.details.startswith("ValueError: xxx")
    assert error.details.rstrip().endswith("the end")
    assert "characters left out" in error.details


def test_what_no_store_takes_is_replaced() -> None:
    assert storable("a\0b\ud800c", 100) == "a\ufffdb?c"
    assert len(storable("x" * 100, 10)) <= 10


class UnshowableError(Exception):
    def __getattribute__(self, name: str) -> object:
        raise UnnamedError


def test_nothing_escapes_even_if_showing_raises_what_cannot_be_named() -> None:
    error = error_of(UnshowableError(), 1_000)

    assert error.details == "an exception that could not be shown: UnnamedError"


class Closed(type):
    def __getattribute__(cls, name: str) -> object:
        raise RuntimeError(name)

    def __subclasscheck__(cls, subclass: type) -> bool:
        raise RuntimeError

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError

    __hash__ = type.__hash__


class ClosedError(LookupError, metaclass=Closed):
    pass


@pytest.mark.parametrize(
    ("error", "discard_on", "by"),
    [
        (KeyError(), (), None),
        (KeyError(), (ValueError, KeyError), "KeyError"),
        (KeyError(), (ValueError, LookupError), "LookupError"),
        (LookupError(), (KeyError,), None),
        (ExceptionGroup("", [KeyError()]), (KeyError,), None),
        (ExceptionGroup("", [KeyError()]), (ExceptionGroup,), "ExceptionGroup"),
        (ClosedError(), (KeyError, LookupError), "LookupError"),
        (KeyError(), (ClosedError, LookupError), "LookupError"),
        (ClosedError(), (ClosedError,), "ClosedError"),
    ],
)
def test_an_exception_is_compared_with_discard_on_as_an_except_does_it(
    error: BaseException, discard_on: tuple[type[BaseException], ...], by: str | None
) -> None:
    assert failure_of(error, discard_on).discarded_by == by


@job
async def failing() -> None:
    raise ValueError("mine")


@job(blocking=True)
def failing_in_a_thread() -> None:
    raise ValueError("mine")


@pytest.mark.parametrize("function", [failing, failing_in_a_thread])
async def test_the_traceback_of_a_function_job_begins_in_the_function(function: Any) -> None:
    async with Rexecutor(InMemoryBackend(), executors=[function]) as rexecutor:
        handle = await function.options(max_attempts=1, backend=rexecutor.backend).enqueue()
        [error] = (await soon(handle.wait())).errors

    lines = error.details.splitlines()
    assert f"in {function.__name__}" in lines[1]
    assert sum(line.startswith("  File") for line in lines) == 1
