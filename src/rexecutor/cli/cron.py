"""`rexecutor cron`: look at schedules."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.output import write_json, write_table
from rexecutor.cli.store import AsJson, Store, use_store

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from rexecutor.backend.base import Backend
    from rexecutor.model.schedules import StoredSchedule

HEADINGS: Final = ("id", "executor", "expression", "timezone", "last_tick", "next_tick")
PRUNER: Final = "(pruner)"
"""Shown in place of an executor. The parentheses set it apart: an executor's name cannot contain any."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_DIGITS_SHOWN: Final = 12

cron = typer.Typer(name="cron", help="Look at schedules.")


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

    async def find(backend: "Backend") -> "list[StoredSchedule]":
        return list(await backend.schedules())

    found = use_store(store, find)
    if json:
        write_json([_as_json(schedule) for schedule in found])
    else:
        write_table(HEADINGS, map(_row, found))


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


def _row(schedule: "StoredSchedule") -> tuple[str, ...]:
    # The first digits of a digest identify it; an id that a user has chosen is shown in full.
    shown = schedule.id[:_DIGITS_SHOWN] if _DIGEST.fullmatch(schedule.id) else schedule.id
    ticks = (schedule.last_tick, schedule.next_tick)
    executor = PRUNER if schedule.executor is None else schedule.executor
    return (shown, executor, schedule.expression, schedule.timezone, *("" if t is None else _in_utc(t) for t in ticks))


def _in_utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
