"""An overview of the executors: their waiting and executing jobs, and figures from their history."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecutor.backend.messages import EVERY_EXECUTOR, Load, Pause, StoredNode
from rexecutor.model.stats import NO_COUNTS, StatRow, percentile, total

HISTORY: Final = timedelta(hours=1)
"""Span of the history that percentiles and failures are taken from."""
RATE: Final = timedelta(minutes=5)
"""Span of the history that the number of jobs a minute is taken from."""


@dataclass(frozen=True, slots=True)
class Overview:
    """One executor."""

    executor: str
    waiting: int
    """Above `counted_to` for any larger number, as `due` is."""
    due: int
    oldest_due: datetime | None
    executing: int
    longest: datetime | None
    """When the job that has executed for the longest time was claimed."""
    failed: int
    """Attempts that failed in the last hour."""
    ended_a_minute: float
    """Jobs that ended per minute, in the last five minutes."""
    wait_p50: timedelta | None
    wait_p99: timedelta | None
    run_p50: timedelta | None
    run_p99: timedelta | None
    nodes: int
    """How many live nodes run it."""
    is_paused: bool
    counted_to: int
    """The number at which the count of its waiting jobs stopped; see `Load.counted_to`."""


def overviews(
    loads: Sequence[Load],
    history: Iterable[StatRow],
    nodes: Sequence[StoredNode],
    pauses: Sequence[Pause],
    now: datetime,
) -> list[Overview]:
    """Return what is known of each executor that has jobs or a history, or that a live node runs, by name."""
    rows: dict[str, list[StatRow]] = {}
    for row in history:
        rows.setdefault(row.executor, []).append(row)
    runs = [node.state.executors for node in nodes if node.is_live and node.state is not None]
    paused = {pause.executor for pause in pauses}
    by_name = {load.executor: load for load in loads}
    names = {*by_name, *rows, *(name for executors in runs for name in executors), *(paused - {EVERY_EXECUTOR})}
    return [
        _overview(
            name,
            by_name.get(name) or Load(name, 0, 0, None, ()),
            rows.get(name, []),
            now,
            nodes=sum(name in executors for executors in runs),
            is_paused=not paused.isdisjoint({name, EVERY_EXECUTOR}),
        )
        for name in sorted(names)
    ]


def _overview(
    name: str, load: Load, rows: Sequence[StatRow], now: datetime, *, nodes: int, is_paused: bool
) -> Overview:
    # Rows that lie ahead were written while the store's clock was wrong.
    recent = [row for row in rows if now - HISTORY <= row.moment <= now + RATE]
    waits = total([NO_COUNTS, *(row.waits for row in recent)])
    runs = total([NO_COUNTS, *(row.runs for row in recent)])
    ended = sum(row.attempts for row in recent if row.outcome.ends_job and row.moment >= now - RATE)
    return Overview(
        executor=name,
        waiting=load.waiting,
        due=load.due,
        oldest_due=load.oldest_due,
        executing=load.executing,
        longest=load.longest,
        failed=sum(row.attempts for row in recent if row.outcome.is_failure),
        ended_a_minute=ended / (RATE / timedelta(minutes=1)),
        wait_p50=percentile(waits, 0.5),
        wait_p99=percentile(waits, 0.99),
        run_p50=percentile(runs, 0.5),
        run_p99=percentile(runs, 0.99),
        nodes=nodes,
        is_paused=is_paused,
        counted_to=load.counted_to,
    )


def counted(number: int, to: int) -> str:
    """Return a number of jobs, which the store has counted up to `to`, as text: `1,234`, or `100,000+` above that."""
    return f"{to:,}+" if number > to else f"{number:,}"
