"""What exceptions become, whatever they do when they are asked."""

from datetime import timedelta
from typing import Any

import pytest

from rexecutor import Cancel, ErrorKind, Snooze
from rexecutor.engine.failure import error_of
from rexecutor.model.job import storable
from rexecutor.testing import FakeClock

NOW = FakeClock().now()


class Nameless(type):
    def __getattribute__(cls, name: str) -> object:
        if name in ("__name__", "__qualname__", "__module__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class UnnamedError(Exception, metaclass=Nameless):
    pass


def test_an_exception_whose_class_cannot_be_named_is_still_an_error() -> None:
    error = error_of(UnnamedError(), ErrorKind.EXCEPTION, attempt=1, now=NOW, limit=1_000)

    assert (error.type_name, error.kind) == ("Exception", ErrorKind.EXCEPTION)
    assert "could not be shown" in error.details


@pytest.mark.parametrize("value", [Cancel("no"), Cancel, Snooze(timedelta(1)), 7])
def test_a_value_that_was_raised_is_an_error_that_says_to_return_it(value: Any) -> None:
    try:
        raise value
    except TypeError as raised:
        error = error_of(raised, ErrorKind.EXCEPTION, attempt=1, now=NOW, limit=1_000)

    assert error.details.endswith("If that was a Cancel or a Snooze: return it, do not raise it.\n")


def test_a_cycle_of_causes_is_shown_once() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first

    error = error_of(first, ErrorKind.EXCEPTION, attempt=1, now=NOW, limit=10_000)

    assert error.details.count("ValueError: first") == 1


def test_a_huge_message_keeps_its_beginning_and_its_end() -> None:
    error = error_of(ValueError("x" * 10_000_000 + "the end"), ErrorKind.EXCEPTION, attempt=1, now=NOW, limit=8_192)

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
    error = error_of(UnshowableError(), ErrorKind.EXCEPTION, attempt=1, now=NOW, limit=1_000)

    assert error.details == "an exception that could not be shown: UnnamedError"
