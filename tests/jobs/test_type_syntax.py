"""How the types of an executor may be written: one, two or three of them, generic bases, Python 3.12's syntax."""

import sys
import textwrap
from abc import abstractmethod
from typing import Any, Generic

import pytest
from typing_extensions import TypeVar

from rexecutor import DefinitionError, Executor, Job
from rexecutor.jobs.types import codecs_of
from rexecutor.model.job import Limits

T = TypeVar("T")
R = TypeVar("R", default=None)
M = TypeVar("M", default=int)

NEW_SYNTAX = """
    from typing import Any
    from rexecutor import Executor, Job

    type Ids = list[int]
    type Page[T] = dict[str, list[T]]

    class Build[T](Executor[list[T], None, T]):
        async def execute(self, job: Job[list[T]]) -> T:
            return job.data[0]

    class BuildTexts(Build[str]):
        name = "build_texts"

    class Mapped[K, V](Build[dict[K, V]]):
        pass

    class MappedInts(Mapped[str, int]):
        name = "mapped_ints"

    class OfIds(Executor[Ids, Page[int], Ids]):
        name = "of_ids"
        async def execute(self, job: Job[Ids, Page[int]]) -> Ids:
            return job.data

    class Alone(Executor[Ids]):
        name = "alone"
        async def execute(self, job: Job[Ids]) -> None: ...
"""
DEFAULTS = """
    from rexecutor import Executor, Job

    class Build[T, R = None](Executor[list[T], None, R]):
        async def execute(self, job: Job[list[T]]) -> R: ...

    class Texts(Build[str]):
        name = "texts"

    class Counts(Build[str, int]):
        name = "counts"
"""


class Base(Executor[list[T], None, R], Generic[T, R]):
    @abstractmethod
    async def execute(self, job: Job[list[T]]) -> R: ...


class Bare(Executor[T], Generic[T]):
    @abstractmethod
    async def execute(self, job: Job[T]) -> None: ...


def types_of(executor_cls: type[Executor[Any, Any, Any]]) -> tuple[Any, ...]:
    codecs = codecs_of(executor_cls, Limits())
    kinds = (codecs.data.kind, codecs.metadata.kind, codecs.result and codecs.result.kind)
    return tuple(None if kind is type(None) else kind for kind in kinds)


def defined(source: str) -> dict[str, Any]:
    """Run the source as if it stood in this module."""
    names: dict[str, Any] = {"__name__": __name__}
    exec(textwrap.dedent(source), names)  # noqa: S102 - a syntax that this file must not have
    return names


def test_one_type_is_that_of_the_data() -> None:
    class One(Executor[str]):
        name = "one"

        async def execute(self, job: Job[str]) -> None: ...

    assert types_of(One) == (str, None, None)


def test_two_types_are_those_of_data_and_metadata() -> None:
    class Two(Executor[str, int]):
        name = "two"

        async def execute(self, job: Job[str, int]) -> None: ...

    assert types_of(Two) == (str, int, None)


def test_the_third_type_is_that_of_the_result() -> None:
    class Three(Executor[str, None, "list[int]"]):
        name = "three"

        async def execute(self, job: Job[str]) -> list[int]: ...

    assert types_of(Three) == (str, None, list[int])


def test_a_generic_base_passes_on_its_types_and_their_defaults() -> None:
    class Both(Base[str, int]):
        name = "both"

        async def execute(self, job: Job[list[str]]) -> int: ...

    class One(Base[str]):
        name = "one"

        async def execute(self, job: Job[list[str]]) -> None: ...

    assert types_of(Both) == (list[str], None, int)
    assert types_of(One) == (list[str], None, None)


def test_a_base_without_brackets_has_its_defaults() -> None:
    class Defaulted(Executor[str, M, R], Generic[M, R]):
        @abstractmethod
        async def execute(self, job: Job[str, M]) -> R: ...

    class Unsaid(Defaulted):
        name = "unsaid"

        async def execute(self, job: Job[str, int]) -> None: ...

    assert types_of(Unsaid) == (str, int, None)


def test_a_type_that_is_left_open_is_an_error() -> None:
    with pytest.raises(DefinitionError, match="T has no type; give one in the brackets"):

        class Open(Bare):  # pyright: ignore[reportMissingTypeArgument, reportUnusedClass] - that is the point
            name = "open"

            async def execute(self, job: Job[Any]) -> None: ...


@pytest.mark.skipif(sys.version_info < (3, 12), reason="classes have type parameters since Python 3.12")
def test_type_parameters_and_aliases_of_python_3_12_are_resolved() -> None:
    names = defined(NEW_SYNTAX)

    assert types_of(names["BuildTexts"]) == (list[str], None, str)
    assert types_of(names["MappedInts"]) == (list[dict[str, int]], None, dict[str, int])
    of_ids = codecs_of(names["OfIds"], Limits())
    assert of_ids.data.decode("[1]") == [1]
    assert of_ids.metadata.decode('{"a":[1]}') == {"a": [1]}
    assert codecs_of(names["Alone"], Limits()).data.encode([1]) == "[1]"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="type parameters have defaults since Python 3.13")
def test_defaults_of_type_parameters_of_python_3_13_are_resolved() -> None:
    names = defined(DEFAULTS)

    assert types_of(names["Texts"]) == (list[str], None, None)
    assert types_of(names["Counts"]) == (list[str], None, int)
