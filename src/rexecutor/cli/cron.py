"""`rexecutor cron`: look at schedules, and take a tick by hand."""

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.output import counted_jobs, write_json, write_line, write_table
from rexecutor.cli.prune import prune_all
from rexecutor.cli.store import AsJson, Store, use_app, use_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend
    from rexecutor.model.schedules import Schedule, StoredSchedule

HEADINGS: Final = ("id", "executor", "expression", "timezone", "last_tick", "next_tick")
PRUNER: Final = "(pruner)"
"""Shown in place of an executor. The parentheses set it apart: an executor's name cannot contain any."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_DIGITS_SHOWN: Final = 12
_SHORTEST_PREFIX: Final = 4

cron = typer.Typer(name="cron", help="Look at schedules, and run one now.")


def preview(
    expression: Annotated[
        list[str],
        typer.Argument(metavar="EXPRESSION", help="Five fields, six with seconds first, or @daily; in quotes."),
    ],
    *,
    number: Annotated[int, typer.Option("-n", metavar="N", min=1, max=10_000, help="Number of ticks.")] = 10,
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of the schedule, such as Europe/Berlin.")
    ] = "UTC",
    json: AsJson = False,
) -> None:
    """Show the next ticks of a cron expression, in local time and in UTC. Needs no store."""
    from rexecutor.errors import ConfigurationError
    from rexecutor.model.cron import Cron  # not needed for --help

    if len(expression) > 1:  # the shell has replaced each * with the names of files
        raise MisusedError('EXPRESSION must be one argument; quote it, such as "30 2 * * *"')
    try:
        parsed = Cron(expression[0])
    except ConfigurationError as error:
        raise MisusedError(str(error)) from error
    ticks = [(tick.isoformat(), _in_utc(tick)) for tick in parsed.preview(number, _zone(timezone))]
    if json:
        listed = [{"local": local, "utc": utc} for local, utc in ticks]
        write_json({"expression": parsed.text, "timezone": timezone, "ticks": listed})
    else:
        write_table(("local", "utc"), ticks)


def list_schedules(*, store: Store, json: AsJson = False) -> None:
    """List the schedules in the store, of executors and of pruners, in order of id. Ticks are in UTC.

    A schedule that no worker has any more stays in the list, with a next tick in the past.

    With --json, print one array, with full ids; the executor of a pruner's schedule is null.
    """

    async def find(backend: "Backend") -> "tuple[list[StoredSchedule], datetime]":
        return list(await backend.schedules()), backend.clock.now()

    found, now = use_store(store, find)
    if json:
        write_json([_as_json(schedule) for schedule in found])
    else:
        rows = [_row(schedule, now if sys.stdout.isatty() else None) for schedule in found]
        write_table(HEADINGS, rows, shrinks=("id", "timezone", "executor"), nothing="no schedule")


def run_schedule(
    schedule_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="The schedule's id, as `cron list` shows it; or the name of its executor."),
    ],
    *,
    store: Store,
    json: AsJson = False,
) -> None:
    """Do now, once, what a tick of the schedule does: enqueue its job, or prune. Its ticks stay as they are.

    ID may be cut after four characters or more. The application says what is done, so the command needs --app.
    """

    async def run(backend: "Backend", rexecutor: "Rexecutor") -> dict[str, Any]:
        schedules = {**rexecutor.schedules, **{pruning.schedule.id: pruning.schedule for pruning in rexecutor.prunings}}
        schedule = _chosen(schedule_id, schedules)
        if schedule.job is None:
            specs = [spec for each in rexecutor.prunings if each.schedule.id == schedule.id for spec in each.specs]
            return {"id": schedule.id, "pruned": sum([await prune_all(backend, spec) for spec in specs])}
        [enqueued] = await backend.enqueue([schedule.job])
        return {"id": schedule.id, "executor": schedule.job.executor, "job": enqueued.id}

    done = use_app(store, run)
    if json:
        write_json(done)
    elif "job" in done:
        write_line(f"job {done['job']} of {done['executor']} is enqueued")
    else:
        write_line(f"pruned {counted_jobs(done['pruned'])}")


def _chosen(wanted: str, schedules: "Mapping[str, Schedule]") -> "Schedule":
    """Return the schedule with this id, or the only one whose id begins so, or that has this executor."""
    if wanted in schedules:
        return schedules[wanted]
    found = [
        schedule
        for schedule in schedules.values()
        if (len(wanted) >= _SHORTEST_PREFIX and schedule.id.startswith(wanted))
        or wanted == (PRUNER if schedule.job is None else schedule.job.executor)
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(_shown_id(schedule.id) for schedule in found or schedules.values()) or "none"
    if found:
        raise MisusedError(f"ID {wanted!r} is ambiguous; give one of {listed}")
    short = "" if len(wanted) >= _SHORTEST_PREFIX else f": give at least {_SHORTEST_PREFIX} characters of an id"
    raise MisusedError(f"the application has no schedule {wanted!r}{short}; it has {listed}")


def _zone(name: str) -> "ZoneInfo":
    from zoneinfo import ZoneInfo  # not needed for --help

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise MisusedError(
            f"--timezone {name!r}: no such zone on this machine; give one such as Europe/Berlin or UTC"
        ) from error


def _as_json(schedule: "StoredSchedule") -> dict[str, Any]:
    return {
        "id": schedule.id,
        "executor": schedule.executor,
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "last_tick": schedule.last_tick,
        "next_tick": schedule.next_tick,
    }


def _shown_id(schedule_id: str) -> str:
    """Return the id; of a digest, the first digits, which identify it."""
    return schedule_id[:_DIGITS_SHOWN] if _DIGEST.fullmatch(schedule_id) else schedule_id


def _row(schedule: "StoredSchedule", now: datetime | None) -> tuple[str, ...]:
    """Return the row: with ticks in UTC, or as they are seen from a moment."""
    executor = PRUNER if schedule.executor is None else schedule.executor
    ticks = [_shown(schedule.last_tick, now), _shown(schedule.next_tick, now)]
    return (_shown_id(schedule.id), executor, schedule.expression, schedule.timezone, *ticks)


def _shown(tick: datetime | None, now: datetime | None) -> str:
    from rexecutor.answers.spans import relative  # not needed for --help

    if tick is None:
        return ""
    return _in_utc(tick) if now is None else relative(tick, now, coarse=True)


def _in_utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
