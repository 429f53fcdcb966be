"""What can happen to a job: the answers of an executor, and every change that a store makes to a row."""

import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

import msgspec

from rexecutor.clock import checked_delay
from rexecutor.errors import ConfigurationError
from rexecutor.model.backoff import LONGEST
from rexecutor.model.job import JobError, JobId, NodeId


@dataclass(frozen=True, slots=True)
class Cancel:
    """Answered by `execute`: never run this job again. It ends as cancelled, with the reason in its last error."""

    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(f"Cancel: the reason is {self.reason!r}, str expected")


@dataclass(frozen=True, slots=True)
class Snooze:
    """Answered by `execute`: run this job again after the delay. The attempt is given back."""

    delay: timedelta

    def __post_init__(self) -> None:
        checked_delay("Snooze", self.delay, most=LONGEST)


ExecutionResult: TypeAlias = Cancel | Snooze | None
"""What `execute` answers: None when the work is done."""


class Undeclared(NamedTuple):
    """A value that `execute` returned and nobody declared. Only its type is kept: the value may be data."""

    type_name: str


def known_result(value: object) -> ExecutionResult | Undeclared:
    """Return what a value that `execute` returned means.

    Raises:
        TypeError: It stands for work that has not been done: a coroutine, another awaitable, or a generator.
    """
    if value is None or isinstance(value, Cancel | Snooze | Undeclared):
        return value
    if inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise TypeError(f"execute returned a {type(value).__name__}, so its work was not done; await or run it")
    return Undeclared(type(value).__name__)


@dataclass(frozen=True, slots=True)
class Complete:
    """The attempt succeeded."""


COMPLETE: Final = Complete()
"""All successes are the same value; one is enough."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt ended in a cancel; the error holds the reason."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; the next is due after the delay, unless this was the last."""

    error: JobError
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was cut off through no fault of the job, or never started: it is given back."""


Outcome: TypeAlias = Complete | Cancelled | Snooze | Failed | Interrupted
"""How an attempt ended."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A node took the job to run it."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Lost:
    """The node that ran the job let its lease run out."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody asked for a cancel: done at once while the job waits, passed on to its node while it runs."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rerun:
    """Somebody asked for an ended job to run once more."""


Change: TypeAlias = Outcome | Claimed | Lost | CancelAsked | Rerun
"""All that changes a status."""


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """An outcome on its way to the store, with the fence: it counts only for this claim of this job.

    A msgspec struct and not a dataclass for the same reason as `JobRecord`.
    """

    job_id: JobId
    claims: int
    outcome: Outcome
    may_be_recorded: bool = False
    """Whether `Job.complete_in` has been called: then the job is complete already, if that was committed."""
