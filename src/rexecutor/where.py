"""Which jobs a query is about: a small tree of values, evaluated by `rules.matches` or compiled to SQL."""

from dataclasses import dataclass
from typing import TypeAlias

from rexecutor.job import JobId
from rexecutor.status import JobStatus


@dataclass(frozen=True, slots=True)
class Everything:
    """All jobs."""


@dataclass(frozen=True, slots=True)
class IdIn:
    """Jobs with one of these ids; none when it is empty."""

    ids: frozenset[JobId]


@dataclass(frozen=True, slots=True)
class StatusIn:
    """Jobs in one of these statuses; none when it is empty."""

    statuses: frozenset[JobStatus]


@dataclass(frozen=True, slots=True)
class ExecutorIn:
    """Jobs of one of these executors; none when it is empty."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class And:
    """Jobs that every part describes; all jobs when there is no part."""

    parts: tuple["Where", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Jobs that at least one part describes; none when there is no part."""

    parts: tuple["Where", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Jobs that the part does not describe."""

    part: "Where"


Where: TypeAlias = Everything | IdIn | StatusIn | ExecutorIn | And | Or | Not
"""An expression over jobs."""
