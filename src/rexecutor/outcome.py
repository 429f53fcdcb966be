"""What can happen to a job: the answers of an executor, and every change that a store makes to a row."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import msgspec

from rexecutor.backoff import LONGEST
from rexecutor.clock import checked_delay
from rexecutor.errors import ConfigurationError
from rexecutor.job import JobError, JobId, NodeId


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


def checked_result(result: object) -> ExecutionResult:
    """Answer what `execute` answered, or raise a `TypeError` where that means nothing."""
    if result is None or isinstance(result, Cancel | Snooze):
        return result
    raise TypeError(f"execute answered {type(result).__name__}; None, Cancel or Snooze expected")


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
