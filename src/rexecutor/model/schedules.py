"""Schedules: their definition, and the state that a store keeps of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TypeAlias

from rexecutor.model.cron import Cron
from rexecutor.model.job import NewJob


class CatchUp(StrEnum):
    """Which of the ticks that fell while no node was up are made up for."""

    SKIP = "skip"
    """None."""
    LATEST = "latest"
    """The newest, if it is within the window."""
    ALL = "all"
    """All within the window."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One line of a crontab. Nodes with a schedule of the same id share its ticks: one node takes each tick."""

    id: str
    cron: Cron
    timezone: tzinfo
    job: NewJob | None
    """The job that a tick enqueues, with the tick as its `scheduled_at`.

    None if the node that takes the tick does something else instead.
    """
    catch_up: CatchUp = CatchUp.LATEST
    window: timedelta = timedelta(seconds=60)
    """Ticks older than this are not made up for."""


Span: TypeAlias = tuple[datetime, datetime]
"""A start, and an end that is excluded."""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """The state that a store keeps of a schedule."""

    id: str
    executor: str | None
    """The executor whose jobs it enqueues; None if it enqueues none, as the pruner's."""
    expression: str
    timezone: str
    last_tick: datetime | None
    """The newest tick that was taken; None if none was."""
    next_tick: datetime | None
    """The next tick; None if there are no more."""
    left_out: tuple[Span, ...] = ()
    """Spans of ticks that nodes left out because they had only just begun; others may have been up when they fell."""
