"""What the clock enqueues."""

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
    """The newest, where it is within the window."""
    ALL = "all"
    """All within the window."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One line of a crontab. Its identity is its id: two nodes that name the same one share its ticks."""

    id: str
    cron: Cron
    timezone: tzinfo
    job: NewJob | None
    """What a tick enqueues; its `scheduled_at` is the tick. None where whoever takes the tick does something else."""
    catch_up: CatchUp = CatchUp.LATEST
    window: timedelta = timedelta(seconds=60)
    """Ticks older than this are not made up for."""


Span: TypeAlias = tuple[datetime, datetime]
"""From a moment, up to another which is not in it."""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """What a store keeps of a schedule."""

    id: str
    executor: str | None
    """Whose jobs it enqueues; None for one that enqueues none, such as the pruner's."""
    expression: str
    timezone: str
    last_tick: datetime | None
    """The newest that was taken."""
    next_tick: datetime | None
    """The tick to come; None when there is none any more."""
    left_out: tuple[Span, ...] = ()
    """Spans of ticks that nodes left out because they had only just begun; others may have been up when they fell."""
