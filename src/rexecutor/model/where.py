"""Which jobs a query is about: a small tree of values, evaluated by `rules.matches` or compiled to SQL."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from rexecutor.errors import ConfigurationError
from rexecutor.model.checks import (
    LONGEST_DELAY,
    checked_delay,
    checked_ids,
    checked_instance,
    checked_int,
    checked_moment,
    checked_statuses,
    checked_tags,
    mistake,
    spread,
)
from rexecutor.model.codec import compared
from rexecutor.model.job import JobId
from rexecutor.model.status import JobStatus

MAX_PARTS: Final = 1_000
MAX_LEVELS: Final = 25

Moment: TypeAlias = datetime | timedelta
"""A moment, or how long before the store's time it is."""


class Where:
    """An expression over jobs. Combine expressions with `&`, `|` and `~`.

    ```python
    Where.status_equals(JobStatus.COMPLETE) & ~Where.tagged_by_one_of("import", "export")
    ```

    An expression may have at most 1,000 parts and 25 levels; making a larger one raises a `ConfigurationError`.
    """

    __slots__ = ()

    parts_in_all: int = 1
    levels: int = 1

    @staticmethod
    def everything() -> "Where":
        """All jobs."""
        return Everything()

    @staticmethod
    def data_equals(data: object) -> "Where":
        """Jobs with these data, compared as JSON values: the order of keys does not matter, and 1 equals 1.0.

        Raises:
            EncodeError: JSON cannot hold the data.
        """
        return DataEquals(compared(data, owner="Where.data_equals", what="value"))

    @staticmethod
    def data_at(path: str | Sequence[str | int], value: object) -> "Where":
        """Jobs whose data hold this value at a path, compared as JSON values: `Where.data_at("user.id", 7)`.

        Other values in the data do not matter. Jobs whose data have nothing at the path do not match, not even if the
        value is None.

        Args:
            path: The way to the value. Each step is the key of a member of an object, or the number of an element of an
                array, counted from 0. As a str, the steps are separated by dots: `"orders.0.id"`. A key with a dot in
                it needs a sequence of steps: `["example.com", 0]`.
            value: Compared as a whole: an object with the same members, an array with the same elements in their order.

        Raises:
            ConfigurationError: The path has no steps, a str has an empty step, or a step is neither a str nor an int.
            EncodeError: JSON cannot hold the value.
        """
        return DataAt(_path(path), compared(value, owner="Where.data_at", what="value"))

    @staticmethod
    def metadata_equals(metadata: object) -> "Where":
        """Jobs with this metadata, compared as JSON values; None for jobs without metadata.

        Raises:
            EncodeError: JSON cannot hold the metadata.
        """
        return MetadataEquals(compared(metadata, owner="Where.metadata_equals", what="value"))

    @staticmethod
    def id_equals(job_id: JobId) -> "Where":
        """The job with this id."""
        return IdIn(frozenset({checked_int("Where.id_equals: job_id", job_id)}))

    @staticmethod
    def id_in(*ids: JobId) -> "Where":
        """Jobs with one of these ids; no jobs if no id is given."""
        return IdIn(checked_ids("Where.id_in", ids))

    @staticmethod
    def executor_equals(name: str) -> "Where":
        """Jobs of the executor with this name, for queries of all jobs of a backend."""
        return ExecutorIn(_names("Where.executor_equals", (name,)))

    @staticmethod
    def executor_in(*names: str) -> "Where":
        """Jobs of one of these executors; no jobs if no name is given."""
        return ExecutorIn(_names("Where.executor_in", names))

    @staticmethod
    def error_equals(type_name: str) -> "Where":
        """Jobs with an error of this type: `Where.error_equals("ConnectionError")`.

        The type is `JobError.type_name`: the name of the exception's class without its module, or a word such as
        `Cancel`, `NodeLost` or `Expired`. A job keeps its latest 20 errors by default.
        """
        return ErrorIs(checked_instance("Where.error_equals: type_name", type_name, str, "a str"))

    @staticmethod
    def last_error_equals(type_name: str) -> "Where":
        """Jobs whose last error is of this type, as `error_equals` names it. For a discarded job it is the cause."""
        return ErrorIs(checked_instance("Where.last_error_equals: type_name", type_name, str, "a str"), is_last=True)

    @staticmethod
    def status_equals(status: JobStatus) -> "Where":
        """Jobs in this status."""
        return StatusIn(checked_statuses("Where.status_equals", (status,)))

    @staticmethod
    def status_in(*statuses: JobStatus) -> "Where":
        """Jobs in one of these statuses; no jobs if no status is given."""
        return StatusIn(checked_statuses("Where.status_in", statuses))

    @staticmethod
    def tagged_by_one_of(*tags: str) -> "Where":
        """Jobs with at least one of these tags; no jobs if no tag is given."""
        return TaggedByOneOf(frozenset(checked_tags("Where.tagged_by_one_of", tags)))

    @staticmethod
    def tagged_by_all_of(*tags: str) -> "Where":
        """Jobs with all of these tags, and possibly others; all jobs if no tag is given."""
        return TaggedByAllOf(frozenset(checked_tags("Where.tagged_by_all_of", tags)))

    @staticmethod
    def scheduled_at_older_than(age: timedelta) -> "Where":
        """Jobs that were due longer ago than this, on the store's clock."""
        return Scheduled(before=checked_delay("Where.scheduled_at_older_than: age", age, limit=LONGEST_DELAY))

    @staticmethod
    def scheduled_at_before(moment: datetime) -> "Where":
        """Jobs that were or will be due before this aware moment, which is excluded."""
        return Scheduled(before=checked_moment("Where.scheduled_at_before: moment", moment))

    @staticmethod
    def scheduled_at_within_the_last(age: timedelta) -> "Where":
        """Jobs that fell due between this long ago and now, on the store's clock; both ends count."""
        start = checked_delay("Where.scheduled_at_within_the_last: age", age, limit=LONGEST_DELAY)
        return Scheduled(after=start, before=timedelta(0), ends_count=True)

    @staticmethod
    def scheduled_at_after(moment: datetime) -> "Where":
        """Jobs that were or will be due after this aware moment, which is excluded."""
        return Scheduled(after=checked_moment("Where.scheduled_at_after: moment", moment))

    @staticmethod
    def scheduled_at_equals(moment: datetime) -> "Where":
        """Jobs that were or will be due at this aware moment, to the microsecond."""
        exactly = checked_moment("Where.scheduled_at_equals: moment", moment)
        return Scheduled(after=exactly, before=exactly, ends_count=True)

    @staticmethod
    def inserted_at_older_than(age: timedelta) -> "Where":
        """Jobs that were enqueued longer ago than this, on the store's clock."""
        return Inserted(before=checked_delay("Where.inserted_at_older_than: age", age, limit=LONGEST_DELAY))

    @staticmethod
    def inserted_at_before(moment: datetime) -> "Where":
        """Jobs that were enqueued before this aware moment, which is excluded."""
        return Inserted(before=checked_moment("Where.inserted_at_before: moment", moment))

    @staticmethod
    def inserted_at_within_the_last(age: timedelta) -> "Where":
        """Jobs that were enqueued between this long ago and now, on the store's clock; both ends count."""
        start = checked_delay("Where.inserted_at_within_the_last: age", age, limit=LONGEST_DELAY)
        return Inserted(after=start, before=timedelta(0), ends_count=True)

    @staticmethod
    def inserted_at_after(moment: datetime) -> "Where":
        """Jobs that were enqueued after this aware moment, which is excluded."""
        return Inserted(after=checked_moment("Where.inserted_at_after: moment", moment))

    def __and__(self, other: "Where") -> "Where":
        """Jobs that match both expressions."""
        if not isinstance(other, Where):
            return NotImplemented
        return And((*_parts_of(And, self), *_parts_of(And, other)))

    def __or__(self, other: "Where") -> "Where":
        """Jobs that match at least one of the two expressions."""
        if not isinstance(other, Where):
            return NotImplemented
        return Or((*_parts_of(Or, self), *_parts_of(Or, other)))

    def __invert__(self) -> "Where":
        """Jobs that do not match the expression."""
        return self.part if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        """Raise, because `a and b`, `a or b` and `not a` would silently drop a part of the expression.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a Where is neither true nor false; combine with &, | and ~ instead of and, or and not")


@dataclass(frozen=True, slots=True)
class Everything(Where):
    """All jobs."""


@dataclass(frozen=True, slots=True)
class IdIn(Where):
    """Jobs with one of these ids; no jobs if `ids` is empty."""

    ids: frozenset[JobId]


@dataclass(frozen=True, slots=True)
class StatusIn(Where):
    """Jobs in one of these statuses; no jobs if `statuses` is empty."""

    statuses: frozenset[JobStatus]


@dataclass(frozen=True, slots=True)
class ExecutorIn(Where):
    """Jobs of one of these executors; no jobs if `names` is empty."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeyIs(Where):
    """Jobs that were enqueued with the uniqueness key that has this digest."""

    digest: str


@dataclass(frozen=True, slots=True)
class DataEquals(Where):
    """Jobs whose data are this JSON, given in canonical form."""

    json: str


@dataclass(frozen=True, slots=True)
class DataAt(Where):
    """Jobs whose data hold this JSON, given in canonical form, at the path."""

    path: tuple[str, ...]
    """At least one step: the key of a member of an object, or the decimal number of an element of an array."""
    json: str


@dataclass(frozen=True, slots=True)
class MetadataEquals(Where):
    """Jobs whose metadata is this JSON, given in canonical form; a job without metadata counts as null."""

    json: str


@dataclass(frozen=True, slots=True)
class TaggedByOneOf(Where):
    """Jobs with at least one of these tags."""

    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class TaggedByAllOf(Where):
    """Jobs with all of these tags."""

    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class ErrorIs(Where):
    """Jobs with an error of this type, or (`is_last`) whose last error is of it."""

    type_name: str
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Between(Where):
    """Base of the nodes about a moment of the job: it is after `after` and before `before`; None for no bound."""

    after: Moment | None = None
    before: Moment | None = None
    ends_count: bool = False
    """Whether the bounds themselves are included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled(Between):
    """Jobs whose due time is between the bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted(Between):
    """Jobs that were enqueued between the bounds."""


@dataclass(frozen=True, slots=True)
class _Group(Where):
    parts: tuple[Where, ...]
    parts_in_all: int = field(init=False, compare=False, repr=False, default=1)
    levels: int = field(init=False, compare=False, repr=False, default=1)

    def __post_init__(self) -> None:
        _measure(self, self.parts)


@dataclass(frozen=True, slots=True)
class And(_Group):
    """Jobs that match every part; all jobs if there is no part."""


@dataclass(frozen=True, slots=True)
class Or(_Group):
    """Jobs that match at least one part; no jobs if there is no part."""


@dataclass(frozen=True, slots=True)
class Not(Where):
    """Jobs that do not match the part."""

    part: Where
    parts_in_all: int = field(init=False, compare=False, repr=False, default=1)
    levels: int = field(init=False, compare=False, repr=False, default=1)

    def __post_init__(self) -> None:
        _measure(self, (self.part,))


Node: TypeAlias = (
    Everything
    | IdIn
    | StatusIn
    | ExecutorIn
    | KeyIs
    | DataEquals
    | DataAt
    | MetadataEquals
    | TaggedByOneOf
    | TaggedByAllOf
    | ErrorIs
    | Scheduled
    | Inserted
    | And
    | Or
    | Not
)
"""Every kind of node of an expression."""


def node_of(where: Where) -> Node:
    """Return the expression, typed as the union of its kinds, so that `match` can take it apart.

    Raises:
        ConfigurationError: It is not an expression.
    """
    if not isinstance(where, Node):
        raise mistake("Where: each part", "a Where, such as Where.status_equals(…)", where)
    return where


def _names(what: str, names: tuple[str, ...]) -> frozenset[str]:
    for name in names:
        checked_instance(f"{what}: each name", name, str, "a str", spread(name))
    return frozenset(names)


def _path(path: str | Sequence[str | int]) -> tuple[str, ...]:
    what = "Where.data_at: path"
    if not isinstance(path, str | Sequence):
        raise mistake(what, 'a str such as "user.id", or a sequence of keys', path)
    steps = path.split(".") if isinstance(path, str) else path
    for step in steps:
        if type(step) is not int and not isinstance(step, str):
            raise mistake(f"{what}: each step", "a str or an int", step)
    found = tuple(map(str, steps))
    if not found or (isinstance(path, str) and not all(found)):
        raise mistake(what, "one step or more, none of them empty", path, 'write "user.id", or a list of keys')
    return found


def _parts_of(kind: type[_Group], where: Where) -> tuple[Where, ...]:
    return where.parts if isinstance(where, kind) else (where,)


def _measure(group: And | Or | Not | _Group, parts: tuple[Where, ...]) -> None:
    for part in parts:
        node_of(part)
    size = 1 + sum(part.parts_in_all for part in parts)
    levels = 1 + max((part.levels for part in parts), default=0)
    if size > MAX_PARTS + 1 or levels > MAX_LEVELS:
        raise ConfigurationError(
            f"Where: {size - 1:,} parts in {levels} levels, at most {MAX_PARTS:,} in {MAX_LEVELS} are possible;"
            " give many values to one part (id_in, status_in, tagged_by_one_of), or ask several times"
        )
    object.__setattr__(group, "parts_in_all", size)
    object.__setattr__(group, "levels", levels)
