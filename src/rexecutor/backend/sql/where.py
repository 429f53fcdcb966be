"""Compiles `Where` to SQL: every node in parentheses, every value a parameter. SQL is composed nowhere else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

import msgspec

from rexecutor.model.job import is_storable
from rexecutor.model.status import JobStatus
from rexecutor.model.where import (
    And,
    Between,
    DataAt,
    DataEquals,
    ErrorIs,
    Everything,
    ExecutorIn,
    IdIn,
    Inserted,
    KeyIs,
    MetadataEquals,
    Moment,
    Not,
    Or,
    Scheduled,
    StatusIn,
    TaggedByAllOf,
    TaggedByOneOf,
    Where,
    node_of,
)

SMALLEST_ID, LARGEST_ID = -(2**63), 2**63 - 1

_WIDTH: Final = 50
"""Maximum number of terms in one pair of parentheses: parsers treat a long chain as a deep tree and refuse it."""


class Dialect(ABC):
    """The conditions that each database writes in its own SQL. `name` is the name of a parameter."""

    @abstractmethod
    def is_member(self, column: str, name: str) -> str:
        """Return the condition that the column's value is in the parameter's JSON array."""

    @abstractmethod
    def equals(self, column: str, name: str) -> str:
        """Return the condition that the column equals the parameter."""

    @abstractmethod
    def is_json(self, column: str, name: str) -> str:
        """Return the condition that the column's JSON equals the parameter's canonical JSON. NULL counts as `null`."""

    @abstractmethod
    def has_at(self, path: tuple[str, ...], json: str, add: Callable[[Any], str]) -> str:
        """Return the condition that the data hold this canonical JSON at the path. Never NULL.

        Args:
            path: The steps, which every store can hold.
            json: The JSON.
            add: Adds a parameter with this value, and returns its name.
        """

    @abstractmethod
    def has_error(self, name: str, *, is_last: bool) -> str:
        """Return the condition that one of the job's errors, or the last, has the parameter as type. Never NULL."""

    @abstractmethod
    def is_tagged(self, name: str, *, by_all: bool) -> str:
        """Return the condition that the job has one, or all, of the tags in the parameter's JSON array."""

    @abstractmethod
    def statuses(self, statuses: frozenset[JobStatus]) -> str:
        """Return the condition that the job is in one of these statuses; at least one is given."""

    @abstractmethod
    def compares(self, column: str, comparison: str, name: str, *, ago: bool) -> str:
        """Return the comparison of a column with a moment, or (`ago`) with a span before the store's time."""

    @abstractmethod
    def moment(self, value: datetime | timedelta) -> Any:
        """Return a moment or a time span as the value of a parameter."""


@dataclass(slots=True)
class Compiled:
    """An SQL condition and its parameters by name."""

    text: str
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


def compile_where(where: Where, dialect: Dialect) -> Compiled:
    """Return the expression as an SQL condition over the columns of a job."""
    compiler = _Compiler(dialect)
    return Compiled(compiler.compile(where), compiler.parameters)


class _Compiler:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.parameters: dict[str, Any] = {}

    def compile(self, where: Where) -> str:  # noqa: C901, PLR0912 - one case a kind
        """Return the condition in parentheses, and add its parameters."""
        node = node_of(where)
        match node:
            case Everything():
                text = "1 = 1"
            case IdIn(ids):
                text = self._is_member("id", [job_id for job_id in ids if SMALLEST_ID <= job_id <= LARGEST_ID])
            case StatusIn(statuses):
                text = self._dialect.statuses(statuses) if statuses else "1 = 0"
            case ExecutorIn(names):
                text = self._is_member("executor", _storable(names))
            case KeyIs(digest):
                # Equality alone would not do: with NULL it is neither true nor false, and so is its negation.
                text = f"unique_key IS NOT NULL AND {self._dialect.equals('unique_key', self._add(digest))}"
            case DataEquals(json):
                text = self._dialect.is_json("data", self._add(json))
            case DataAt(path, json):
                is_possible = all(map(is_storable, path))
                text = self._dialect.has_at(path, json, self._add) if is_possible else "1 = 0"
            case MetadataEquals(json):
                text = self._dialect.is_json("metadata", self._add(json))
            case TaggedByOneOf(tags):
                text = self._dialect.is_tagged(self._add(_array(_storable(tags))), by_all=False)
            case TaggedByAllOf(tags):
                is_possible = _storable(tags) == tags
                text = self._dialect.is_tagged(self._add(_array(tags)), by_all=True) if is_possible else "1 = 0"
            case ErrorIs(type_name, is_last):
                is_possible = is_storable(type_name)
                text = self._dialect.has_error(self._add(type_name), is_last=is_last) if is_possible else "1 = 0"
            case Scheduled():
                text = self._between(node, "scheduled_at")
            case Inserted():
                text = self._between(node, "inserted_at")
            case And(parts):
                text = self._joined(parts, "AND") or "1 = 1"
            case Or(parts):
                text = self._joined(parts, "OR") or "1 = 0"
            case Not(part):
                text = f"NOT {self.compile(part)}"
            case _:
                assert_never(node)
        return f"({text})"

    def _joined(self, parts: Sequence[Where], word: str) -> str:
        # Largest part first: a parser keeps everything to the left of a nested part on its stack, and some stacks hold
        # only 100 symbols.
        largest_first = sorted(parts, key=lambda part: part.parts_in_all, reverse=True)
        return _joined([self.compile(part) for part in largest_first], word)

    def _add(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return name

    def _is_member(self, column: str, values: Sequence[Any] | frozenset[str]) -> str:
        if len(values) == 1:
            return self._dialect.equals(column, self._add(next(iter(values))))
        return self._dialect.is_member(column, self._add(_array(values)))

    def _between(self, where: Between, column: str) -> str:
        same = "=" * where.ends_count
        bounds = ((f">{same}", where.after), (f"<{same}", where.before))
        texts = [self._bound(column, comparison, moment) for comparison, moment in bounds if moment is not None]
        return " AND ".join(texts) or "1 = 1"

    def _bound(self, column: str, comparison: str, moment: Moment) -> str:
        name = self._add(self._dialect.moment(moment))
        return self._dialect.compares(column, comparison, name, ago=isinstance(moment, timedelta))


def _storable(texts: frozenset[str]) -> frozenset[str]:
    """Drop texts that no job can have; a driver may refuse them or cut them short."""
    return frozenset(text for text in texts if is_storable(text))


def _array(values: Sequence[Any] | frozenset[str]) -> str:
    return msgspec.json.encode(sorted(values)).decode()


def _joined(texts: Sequence[str], word: str) -> str:
    while len(texts) > _WIDTH:
        texts = [f"({_joined(texts[start : start + _WIDTH], word)})" for start in range(0, len(texts), _WIDTH)]
    return f" {word} ".join(texts)
