"""`rexecutor pause` and `rexecutor resume`: whether jobs of an executor start."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.cli.output import write_json, write_line, write_table
from rexecutor.cli.store import AsJson, Store, use_store
from rexecutor.cli.values import check_text, duration, note_unknown
from rexecutor.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rexecutor.backend.base import Backend
    from rexecutor.backend.messages import Pause

HEADINGS: Final = ("executor", "since", "until", "reason")
Name = Annotated[str | None, typer.Argument(metavar="NAME", help="The executor's name.")]


def pause(
    name: Name = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Pause every executor, those that start later too.")] = False,
    lasting: Annotated[
        timedelta | None, typer.Option("--for", parser=duration, metavar="TIME", help="How long: 90s, 15m, 12h, 31d.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Shown to those who ask why jobs wait.")] = "",
    store: Store,
    json: AsJson = False,
) -> None:
    """Start no more jobs of an executor, on any node, until it is resumed or the time is over.

    Jobs that run go on, and jobs can be enqueued as always. Without a NAME, list what is paused.
    """
    check_text("--reason", reason)
    if name is None and not every:
        if lasting is not None or reason:
            raise MisusedError("no executor given: give a NAME, or --all")
        _list(use_store(store, _find), json=json)
        return
    executor = _chosen(name, every=every)

    async def act(backend: "Backend") -> "tuple[Pause, datetime]":
        if name is not None:
            await note_unknown(backend, {name})
        try:
            return await backend.pause(executor, reason, lasting=lasting), backend.clock.now()
        except ConfigurationError as error:
            raise MisusedError(str(error)) from error

    made, now = use_store(store, act)
    if json:
        write_json(_as_json(made))
        return
    from rexecutor.answers.spans import at  # loads msgspec

    until = "until it is resumed" if made.until is None else f"until {at(made.until, now)}"
    write_line(f"{_named(made)} is paused {until}; jobs that run go on")


def resume(
    name: Name = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="End the pause of every executor that --all has begun.")] = False,
    store: Store,
    json: AsJson = False,
) -> None:
    """End a pause: jobs of the executor start again, on all nodes, at once."""
    if name is None and not every:
        raise MisusedError("no executor given: give a NAME, or --all")
    executor = _chosen(name, every=every)

    async def act(backend: "Backend") -> bool:
        try:
            return await backend.resume(executor)
        except ConfigurationError as error:
            raise MisusedError(str(error)) from error

    was_paused = use_store(store, act)
    if not was_paused:
        raise FailedError(f"{'every executor' if every else name} is not paused")
    if json:
        write_json({"executor": executor, "resumed": True})
    else:
        write_line(f"{'every executor' if every else name} is resumed")


def _chosen(name: str | None, *, every: bool) -> str:
    from rexecutor.backend.messages import EVERY_EXECUTOR  # loads msgspec

    if name is None:
        return EVERY_EXECUTOR
    if every:
        raise MisusedError("NAME and --all cannot be used together")
    return name


async def _find(backend: "Backend") -> "tuple[Sequence[Pause], datetime]":
    return await backend.pauses(), backend.clock.now()


def _list(found: "tuple[Sequence[Pause], datetime]", *, json: bool) -> None:
    pauses, now = found
    if json:
        write_json([_as_json(each) for each in pauses])
    elif not pauses:
        write_line("nothing is paused")
    else:
        from rexecutor.answers.spans import at, relative  # loads msgspec

        shown = relative if sys.stdout.isatty() else at
        rows = [
            (
                _named(each),
                shown(each.since, now),
                "resumed" if each.until is None else shown(each.until, now),
                each.reason,
            )
            for each in pauses
        ]
        write_table(HEADINGS, rows, shrinks=("reason",))


def _named(pause: "Pause") -> str:
    from rexecutor.backend.messages import EVERY_EXECUTOR  # loads msgspec

    return "every executor" if pause.executor == EVERY_EXECUTOR else pause.executor


def _as_json(pause: "Pause") -> dict[str, Any]:
    return {"executor": pause.executor, "since": pause.since, "until": pause.until, "reason": pause.reason}
