"""`rexecutor worker`: run the jobs of a `Rexecutor` that a module defines."""

from enum import StrEnum
from typing import Annotated, Final

import typer

PATIENCE: Final = 3.0
"""How many seconds Python may take to clean up after the last job has ended."""
NO_PATIENCE: Final = 0.2
"""How many where a job goes on that has been told to end again and again: Python can but tell it once more."""


class LogLevel(StrEnum):
    """How much of what happens is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:REXECUTOR",
            help="Where the Rexecutor is: the module, and in it a Rexecutor or a function that answers one.",
        ),
    ],
    *,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            metavar="LEVEL",
            help=f"What to log of rexecutor: {', '.join(LogLevel)}. By default what the application has configured,"
            " and info on stderr when it has configured no logging.",
        ),
    ] = None,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=86_400, help="How long running jobs may go on at the end.")
    ] = 25,
) -> None:
    """Run jobs until SIGTERM or SIGINT; running jobs may end first. A second signal cancels them, a third exits."""
    import asyncio  # a worker needs these, --help does not
    from datetime import timedelta

    from rexecutor.cli.load import find_target, made_rexecutor

    found = find_target(target)

    async def run() -> None:
        rexecutor = made_rexecutor(target, found)
        _set_up_logging(log_level)
        await rexecutor.run_until_signal(grace=timedelta(seconds=grace))
        _leave_soon()

    asyncio.run(run())


def _set_up_logging(asked: LogLevel | None) -> None:
    """Log to stderr where the application has not said how; call it when all of the application has been loaded.

    When it has configured nothing, its own lines are shown as ours are, except for debugging: libraries put secrets
    there. When it has configured only some loggers of its own, only ours gets a handler.
    """
    import logging

    root, ours = logging.getLogger(), logging.getLogger("rexecutor")
    if not ours.hasHandlers():
        level = (asked or LogLevel.INFO).upper()
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        if any(_writes(logger) for logger in root.manager.loggerDict.values()):
            ours.addHandler(handler)
            ours.setLevel(level)
        else:
            root.addHandler(handler)
            root.setLevel(level)  # takes the level's name, which makes its number
            root.setLevel(max(root.level, logging.INFO))
    if asked is not None:
        ours.setLevel(asked.upper())


def _writes(logger: object) -> bool:
    """Whether the logger has a handler that writes, as one does not that libraries add for peace."""
    import logging

    return isinstance(logger, logging.Logger) and any(
        not isinstance(handler, logging.NullHandler) for handler in logger.handlers
    )


def _leave_soon() -> None:
    """End the process in a few seconds whatever happens: Python would wait for ever for tasks and threads of jobs.

    A task that goes on after it was cancelled, or a thread that a cancelled job has left behind, is such a one; its
    job has been given back by now. A signal can ask for nothing more than that, and must not kill what ends well.
    """
    import asyncio
    import os
    import signal
    import threading

    from rexecutor.app.signals import WATCHED
    from rexecutor.telemetry.events import ProcessLeft
    from rexecutor.telemetry.log import log_event

    for number in WATCHED:
        signal.signal(number, signal.SIG_IGN)
    is_deaf = any(task.cancelling() > 1 for task in asyncio.all_tasks())

    def leave() -> None:
        log_event(ProcessLeft())
        os._exit(0)

    timer = threading.Timer(NO_PATIENCE if is_deaf else PATIENCE, leave)
    timer.daemon = True
    timer.start()
