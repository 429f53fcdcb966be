"""Which jobs a query is about: a small tree of values, evaluated by `rules.matches` or compiled to SQL."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from rexecutor.errors import ConfigurationError
from rexecutor.model.job import JobId
from rexecutor.model.status import JobStatus, checked_statuses
from rexecutor.model.where_input import given_age, given_canonical, given_moment, given_tags

MOST_PARTS: Final = 1_000
MOST_LEVELS: Final = 25

Moment: TypeAlias = datetime | timedelta
"""A moment, or how long before the store's own time it was."""


class Where:
    """An expression over jobs. Combine them with `&`, `|` and `~`.

    ```python
    Where.status_equals(JobStatus.COMPLETE) & ~Where.tagged_by_one_of("import", "export")
    ```

    An expression may have 1,000 parts and 25 levels; beyond that it raises a `ConfigurationError` when it is made.
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
            EncodeError: JSON cannot hold it.
        """
        return DataEquals(given_canonical("Where.data_equals", data))

    @staticmethod
    def metadata_equals(metadata: object) -> "Where":
        """Jobs with this metadata, compared as JSON values; None stands for jobs without any.

        Raises:
            EncodeError: JSON cannot hold it.
        """
        return MetadataEquals(given_canonical("Where.metadata_equals", metadata))

    @staticmethod
    def id_equals(job_id: JobId) -> "Where":
        """The job with this id."""
        if type(job_id) is not int:
            raise ConfigurationError(f"Where.id_equals: {job_id!r} is no id; give a whole number")
        return Where.id_in(job_id)

    @staticmethod
    def id_in(*ids: JobId) -> "Where":
        """Jobs with one of these ids; none when there are none."""
        for job_id in ids:
            if type(job_id) is not int:
                raise ConfigurationError(f"Where.id_in: {job_id!r} is no id; spread whole numbers: id_in(*ids)")
        return IdIn(frozenset(ids))

    @staticmethod
    def status_equals(status: JobStatus) -> "Where":
        """Jobs in this status."""
        return StatusIn(checked_statuses("Where.status_equals", (status,)))

    @staticmethod
    def status_in(*statuses: JobStatus) -> "Where":
        """Jobs in one of these statuses; none when there are none."""
        return StatusIn(checked_statuses("Where.status_in", statuses))

    @staticmethod
    def tagged_by_one_of(*tags: str) -> "Where":
        """Jobs with at least one of these tags; none when there are none."""
        return TaggedByOneOf(given_tags("Where.tagged_by_one_of", tags))

    @staticmethod
    def tagged_by_all_of(*tags: str) -> "Where":
        """Jobs with every one of these tags, and perhaps others; all jobs when there are none."""
        return TaggedByAllOf(given_tags("Where.tagged_by_all_of", tags))

    @staticmethod
    def scheduled_at_older_than(age: timedelta) -> "Where":
        """Jobs that were due longer ago than this, by the store's clock."""
        return Scheduled(before=given_age("Where.scheduled_at_older_than", age))

    @staticmethod
    def scheduled_at_before(moment: datetime) -> "Where":
        """Jobs that were or will be due before the aware moment; not at it."""
        return Scheduled(before=given_moment("Where.scheduled_at_before", moment))

    @staticmethod
    def scheduled_at_within_the_last(age: timedelta) -> "Where":
        """Jobs that fell due between that long ago and now, by the store's clock; both ends count."""
        start = given_age("Where.scheduled_at_within_the_last", age)
        return Scheduled(after=start, before=timedelta(0), ends_count=True)

    @staticmethod
    def scheduled_at_after(moment: datetime) -> "Where":
        """Jobs that were or will be due after the aware moment; not at it."""
        return Scheduled(after=given_moment("Where.scheduled_at_after", moment))

    @staticmethod
    def scheduled_at_equals(moment: datetime) -> "Where":
        """Jobs that were or will be due at the aware moment, to the microsecond."""
        exactly = given_moment("Where.scheduled_at_equals", moment)
        return Scheduled(after=exactly, before=exactly, ends_count=True)

    def __and__(self, other: "Where") -> "Where":
        """Jobs that both describe."""
        if not isinstance(other, Where):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            return NotImplemented
        return And((*_parts_of(And, self), *_parts_of(And, other)))

    def __or__(self, other: "Where") -> "Where":
        """Jobs that one of the two describes, or both."""
        if not isinstance(other, Where):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            return NotImplemented
        return Or((*_parts_of(Or, self), *_parts_of(Or, other)))

    def __invert__(self) -> "Where":
        """Jobs that it does not describe."""
        return self.part if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        """Refuse: `a and b`, `a or b` and `not a` would forget half of an expression.

        Raises:
            TypeError: Always.
        """
        raise TypeError("an expression is neither true nor false: combine with & | ~ and not with and, or, not")


@dataclass(frozen=True, slots=True)
class Everything(Where):
    """All jobs."""


@dataclass(frozen=True, slots=True)
class IdIn(Where):
    """Jobs with one of these ids; none when it is empty."""

    ids: frozenset[JobId]


@dataclass(frozen=True, slots=True)
class StatusIn(Where):
    """Jobs in one of these statuses; none when it is empty."""

    statuses: frozenset[JobStatus]


@dataclass(frozen=True, slots=True)
class ExecutorIn(Where):
    """Jobs of one of these executors; none when it is empty."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeyIs(Where):
    """Jobs that were enqueued with this uniqueness key: the digest of it."""

    digest: str


@dataclass(frozen=True, slots=True)
class DataEquals(Where):
    """Jobs whose data are this JSON, in its canonical form."""

    json: str


@dataclass(frozen=True, slots=True)
class MetadataEquals(Where):
    """Jobs whose metadata is this JSON, in its canonical form; none counts as null."""

    json: str


@dataclass(frozen=True, slots=True)
class TaggedByOneOf(Where):
    """Jobs with at least one of these tags."""

    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class TaggedByAllOf(Where):
    """Jobs with all of these tags."""

    tags: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled(Where):
    """Jobs due after the one and before the other; None stands for no bound."""

    after: Moment | None = None
    before: Moment | None = None
    ends_count: bool = False
    """Whether the bounds themselves are in."""


@dataclass(frozen=True, slots=True)
class _Group(Where):
    parts: tuple[Where, ...]
    parts_in_all: int = field(init=False, compare=False, repr=False, default=1)
    levels: int = field(init=False, compare=False, repr=False, default=1)

    def __post_init__(self) -> None:
        _measure(self, self.parts)


@dataclass(frozen=True, slots=True)
class And(_Group):
    """Jobs that every part describes; all jobs when there is no part."""


@dataclass(frozen=True, slots=True)
class Or(_Group):
    """Jobs that at least one part describes; none when there is no part."""


@dataclass(frozen=True, slots=True)
class Not(Where):
    """Jobs that the part does not describe."""

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
    | MetadataEquals
    | TaggedByOneOf
    | TaggedByAllOf
    | Scheduled
    | And
    | Or
    | Not
)
"""All that an expression is made of."""


def node_of(where: Where) -> Node:
    """Answer the expression as one of its kinds, to be taken apart with `match`.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(where, Node):
        raise ConfigurationError(f"{where!r} is no expression; make one with Where.status_equals(…) and the like")
    return where


def _parts_of(kind: type[_Group], where: Where) -> tuple[Where, ...]:
    return where.parts if isinstance(where, kind) else (where,)


def _measure(group: And | Or | Not | _Group, parts: tuple[Where, ...]) -> None:
    for part in parts:
        node_of(part)
    size = 1 + sum(part.parts_in_all for part in parts)
    levels = 1 + max((part.levels for part in parts), default=0)
    if size > MOST_PARTS + 1 or levels > MOST_LEVELS:
        raise ConfigurationError(
            f"Where: {size - 1:,} parts in {levels} levels, at most {MOST_PARTS:,} in {MOST_LEVELS} are possible;"
            " give many values to one part (id_in, status_in, tagged_by_one_of), or ask several times"
        )
    object.__setattr__(group, "parts_in_all", size)
    object.__setattr__(group, "levels", levels)
