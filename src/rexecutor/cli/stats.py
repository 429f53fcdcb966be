"""`rexecutor stats`: what each executor does now, and what it has done in the last hour."""

import sys
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rexecutor.cli.output import drawn_table, write_json, write_table
from rexecutor.cli.store import AsJson, Store, use_store

if TYPE_CHECKING:
    from datetime import datetime

    from rexecutor.answers.overview import Overview
    from rexecutor.backend.base import Backend

HEADINGS: Final = ("executor", "waiting", "due", "oldest", "runs", "failed", "/min", "wait", "ran", "state")
SHRINKS: Final = ("state", "executor")
_MANY: Final = 10
INTERVAL: Final = timedelta(seconds=2)


def stats(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.2, max=3_600, help="How often, with --watch.")
    ] = INTERVAL.total_seconds(),
    store: Store,
    json: AsJson = False,
) -> None:
    """Show what each executor does: jobs that wait, that are due and that execute, and the history of the last hour.

    oldest: for how long the oldest job is due. runs: jobs that execute. failed: attempts that failed in the last hour.
    /min: jobs that ended a minute, of the last five. wait, ran: how long jobs of the last hour waited after they were
    due, and ran: half of them less than the first time, all but one in a hundred less than the second. With --watch and
    --json, one line is printed each time.
    """

    async def show(backend: "Backend") -> None:
        if watch:
            await _watch(backend, interval, json=json)
            return
        found, now = await _look(backend)
        if json:
            write_json([_as_json(each) for each in found])
        else:
            write_table(HEADINGS, [_row(each, now) for each in found], shrinks=SHRINKS)

    try:
        use_store(store, show)
    except KeyboardInterrupt:
        if not watch:
            raise


async def _look(backend: "Backend") -> "tuple[list[Overview], datetime]":
    from rexecutor.answers.overview import HISTORY, overviews  # loads msgspec

    nodes = await backend.nodes()
    now = nodes[0].seen_at if nodes else backend.clock.now()
    history = await backend.stats(now - HISTORY)
    return overviews(await backend.load(), history, nodes, await backend.pauses(), now), now


async def _watch(backend: "Backend", interval: float, *, json: bool) -> None:
    """Show it until Ctrl-C: in place on a terminal, elsewhere one table after the other."""
    pause = timedelta(seconds=interval)
    if json or not sys.stdout.isatty():
        while True:
            found, now = await _look(backend)
            if json:
                _write_line_of_json(found, now)
            else:
                write_table(HEADINGS, [_row(each, now) for each in found])
            sys.stdout.flush()
            await backend.clock.sleep(pause)
    from rich.console import Console, Group  # only a terminal needs these
    from rich.live import Live
    from rich.text import Text

    from rexecutor.cli.failure import printable
    from rexecutor.errors import BackendError

    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                found, now = await _look(backend)
            except BackendError as error:  # it may be back at the next look
                live.update(Text(printable(f"cannot be read: {error}")), refresh=True)
            else:
                rows = [[printable(cell) for cell in _row(each, now)] for each in found]
                table = drawn_table(HEADINGS, rows, width=console.width, shrinks=SHRINKS)
                heading = Text(f"{now:%Y-%m-%d %H:%M:%S} UTC; every {interval:g} s; Ctrl-C ends", style="dim")
                live.update(Group(heading, Text(), table), refresh=True)
            await backend.clock.sleep(pause)


def _row(each: "Overview", now: "datetime") -> tuple[str, ...]:
    from rexecutor.answers.overview import counted  # not needed for --help
    from rexecutor.answers.spans import span

    return (
        each.executor,
        counted(each.waiting, each.counted_to),
        counted(each.due, each.counted_to),
        "" if each.oldest_due is None else span(now - each.oldest_due, coarse=True).replace(" ", ""),
        str(each.executing),
        f"{each.failed:,}",
        f"{each.ended_a_minute:,.0f}" if each.ended_a_minute >= _MANY else f"{each.ended_a_minute:.1f}",
        _pair(each.wait_p50, each.wait_p99),
        _pair(each.run_p50, each.run_p99),
        _state(each),
    )


def _pair(half: timedelta | None, most: timedelta | None) -> str:
    from rexecutor.answers.spans import span  # not needed for --help

    if half is None or most is None:
        return ""
    return f"{span(half, coarse=True)}/{span(most, coarse=True)}".replace(" ", "")


def _state(each: "Overview") -> str:
    if each.is_paused:
        return "paused"
    if each.nodes == 0:
        return "no node" if each.waiting or each.executing else ""
    return "1 node" if each.nodes == 1 else f"{each.nodes} nodes"


def _as_json(each: "Overview") -> dict[str, Any]:
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in asdict(each).items()
    }


def _write_line_of_json(found: "list[Overview]", now: "datetime") -> None:
    import msgspec  # not needed for --help

    line = msgspec.json.encode({"at": now, "executors": [_as_json(each) for each in found]})
    sys.stdout.write(line.decode() + "\n")
