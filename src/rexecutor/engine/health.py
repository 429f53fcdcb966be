"""How a node is doing, for probes: any thread may ask, even while the event loop is blocked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from rexecutor.telemetry.events import DutyFailed, DutyRecovered

PATIENCE: Final = 5.0
"""Seconds after which a fault is a problem. A retry, or a lag of a moment, is none."""

_VITAL: Final = ("claim", "settle", "heartbeat", "lease")
"""Duties without which no job runs. The failure of another, such as pruning, is logged, and ends nothing."""

_LONGEST_ERROR: Final = 200
"""How much of an error is repeated, in characters."""


class HealthStatus(StrEnum):
    """The stage of a `Rexecutor` between its start and its end."""

    STARTING = "starting"
    """Its store is being opened, or has not answered its first claim."""
    RUNNING = "running"
    """The store has answered its first claim, or its first heartbeat if it has no executors."""
    STOPPING = "stopping"
    """It claims nothing more, and waits for its running jobs."""
    STOPPED = "stopped"
    """It has not been started, or has ended."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a `Rexecutor` is doing; see `Rexecutor.health`."""

    status: HealthStatus
    problems: tuple[str, ...] = ()
    """What is wrong, each in a few words; empty if nothing is."""
    running: int = 0
    """How many jobs run now."""
    slots: int = 0
    """How many jobs may run at a time."""
    claimed_ago: timedelta | None = None
    """Time since the store answered a claim; None if it has not yet. While all slots are busy, nothing is claimed."""
    renewed_ago: timedelta | None = None
    """Time since the heartbeat that last renewed the lease; None without a lease."""
    loop_lag: timedelta = timedelta(0)
    """For how long the event loop has not responded, or did not when it was last asked."""

    @property
    def is_healthy(self) -> bool:
        """Whether it does what it should: it starts, runs or stops, and nothing is wrong."""
        return self.status is not HealthStatus.STOPPED and not self.problems

    @property
    def is_ready(self) -> bool:
        """Whether it is running and healthy."""
        return self.status is HealthStatus.RUNNING and not self.problems


class Doing(StrEnum):
    """The activity of the claim loop, or the thing that it waits for."""

    LEASE = "waits for a lease"
    OUTCOMES = "waits until outcomes are recorded"
    STORE = "waits for the store"
    SLOTS = "waits for a free slot"
    HINT = "waits until jobs are due"


@dataclass(frozen=True, slots=True)
class Signs:
    """All that is known of a node at one moment. Times are in seconds."""

    is_stopping: bool
    has_failed: bool
    """Whether the duties have ended although the node was not stopped."""
    up: float
    """Time since the start."""
    loop_lag: float
    renewed: float | None
    """Time since the heartbeat that last renewed the lease was sent; None if there was none."""
    is_trusted: bool
    """Whether the lease is certain."""
    heartbeat: float | None
    """Time that the heartbeat under way has had no answer; None if none is under way."""
    doing: Doing | None
    """What the claim loop does; None if the node has no executors, or has stopped claiming."""
    doing_for: float
    failing: Mapping[str, tuple[float, BaseException]]
    """Duties that fail at present, each with the time since its first failure, and its error."""


def problems_of(signs: Signs) -> tuple[str, ...]:
    """Return what is wrong, the cause before its effects."""
    found: list[str] = []
    if signs.has_failed:
        found.append("a duty of the node has ended unexpectedly")
    if signs.loop_lag >= PATIENCE:
        found.append(f"the event loop has been blocked for {signs.loop_lag:.0f} s")
    found += (
        f"{duty} has failed for {since:.0f} s: {_shown(error)}"
        for duty, (since, error) in signs.failing.items()
        if duty in _VITAL and since >= PATIENCE
    )
    if signs.heartbeat is not None and signs.heartbeat >= PATIENCE:
        found.append(f"a heartbeat has had no answer for {signs.heartbeat:.0f} s")
    if signs.renewed is None:
        if signs.up >= PATIENCE and not signs.is_stopping:  # at the end of its stop, the node gives its lease up
            found.append(f"there is no lease, {signs.up:.0f} s after the start")
    elif not signs.is_trusted:
        found.append(f"the lease is lost: it was renewed {signs.renewed:.0f} s ago")
    blocked = signs.loop_lag if signs.loop_lag >= PATIENCE else 0  # is told above, and keeps the claim loop waiting
    if "claim" not in signs.failing and signs.doing_for - blocked >= PATIENCE:
        match signs.doing:
            case Doing.STORE | Doing.OUTCOMES | Doing.HINT:
                found.append(f"the claim loop {signs.doing} for {signs.doing_for:.0f} s")
            case (
                Doing.LEASE | Doing.SLOTS | None
            ):  # a lost lease is reported above; all slots may be busy for as long as jobs run
                pass
    return tuple(found)


class Failing:
    """The duties that fail at present. The event loop notes events, and any thread may read."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, BaseException]] = {}

    def note(self, event: DutyFailed | DutyRecovered, now: float) -> None:
        """Note the failure or the recovery of a duty."""
        if isinstance(event, DutyFailed):
            self._since.setdefault(event.duty, (now, event.error))
        else:
            self._since.pop(event.duty, None)

    def at(self, now: float) -> Mapping[str, tuple[float, BaseException]]:
        """Return each duty that fails with the time since its first failure, and its error."""
        return {duty: (now - since, error) for duty, (since, error) in list(self._since.items())}


def _shown(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an exception's own methods may raise anything
        text = ""
    return f"{type(error).__name__}: {text[:_LONGEST_ERROR]}" if text else type(error).__name__
