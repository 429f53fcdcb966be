"""Events of the command `rexecutor worker` and its supervisor. They are logged, and reach no subscriber.

A supervisor loads no application, so nobody can subscribe in it.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ProbesAnswered:
    """A worker answers health probes by HTTP from now on."""

    url: str
    """Address of the probes, such as `http://127.0.0.1:8080`."""


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """A supervisor has started a worker process."""

    worker: str
    """Its name, such as `worker 1`; a process that replaces it has the same."""
    pid: int


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """A worker process of a supervisor has ended."""

    worker: str
    pid: int
    how: str
    """Its exit status, or the signal that killed it."""
    was_told: bool
    """Whether the supervisor had told it to end, or has killed it."""
    again: float | None
    """In how many seconds it is started again; None if it is not, or there is a successor already."""


@dataclass(frozen=True, slots=True)
class ProcessKilled:
    """A supervisor kills a worker process, which has not ended in the time it had."""

    worker: str
    pid: int


@dataclass(frozen=True, slots=True)
class ProcessHung:
    """A supervisor kills a worker process that has not reported for so long that its lease has run out."""

    worker: str
    pid: int
    seconds: float
    """For how long it has not reported."""


@dataclass(frozen=True, slots=True)
class ProcessesStopping:
    """A supervisor has been told to end, and tells its processes to."""

    processes: int


@dataclass(frozen=True, slots=True)
class ProcessesChanged:
    """The code has changed: a supervisor starts its processes anew."""


@dataclass(frozen=True, slots=True)
class RestartBegun:
    """A supervisor begins to replace its processes, one after the other."""

    processes: int


@dataclass(frozen=True, slots=True)
class RestartEnded:
    """A supervisor has replaced all its processes."""

    seconds: float
    """How long that took."""


@dataclass(frozen=True, slots=True)
class RestartFailed:
    """A process that was to replace another has ended before it was ready, or was not ready in time.

    The old processes go on.
    """

    worker: str
    pid: int
    why: str
    """What it did, such as "has ended (exit status 1) before it was ready"."""


@dataclass(frozen=True, slots=True)
class SupervisorLost:
    """The supervisor of this process has ended without a word, so the process shuts down."""


ProcessEvent: TypeAlias = (
    ProbesAnswered
    | ProcessStarted
    | ProcessEnded
    | ProcessKilled
    | ProcessHung
    | ProcessesStopping
    | ProcessesChanged
    | RestartBegun
    | RestartEnded
    | RestartFailed
    | SupervisorLost
)
"""Every event of the command."""
