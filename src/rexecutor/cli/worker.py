"""`rexecutor worker`: run the jobs of a `Rexecutor` that a module defines."""

from enum import StrEnum
from typing import Annotated, Final

import typer

EXIT_TIMEOUT: Final = 3.0
"""Seconds that Python may take to clean up and exit after the last job has ended."""
STUCK_EXIT_TIMEOUT: Final = 0.2
"""Seconds until the exit if a task has swallowed cancellation more than once: cancelling it again will not help."""


class LogLevel(StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:REXECUTOR",
            help="The module, and in it a Rexecutor or a function without arguments that returns one.",
        ),
    ],
    *,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            metavar="LEVEL",
            help=f"Level of the logger rexecutor: {', '.join(LogLevel)}. By default what the application has"
            " configured, or info on stderr if it has configured no logging.",
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, max=86_400, help="How long running jobs may go on after the first signal."
        ),
    ] = 25,
) -> None:
    """Run jobs until SIGTERM or SIGINT, then let them finish. A second signal cancels them, a third exits at once."""
    import asyncio  # not needed for --help
    from datetime import timedelta

    from rexecutor.cli.load import find_target, made_rexecutor

    found = find_target(target)

    async def run() -> None:
        rexecutor = made_rexecutor(target, found)
        _set_up_logging(log_level)
        await rexecutor.run_until_signal(grace=timedelta(seconds=grace))
        _leave_soon()

    asyncio.run(run())


def _set_up_logging(level: LogLevel | None) -> None:
    """Log to stderr if the application has not configured logging. Call it once the application is fully loaded.

    If no logger has a handler, the lines of all loggers are shown, but of other loggers no debug lines: libraries log
    secrets there. If the application has configured only some loggers, only the one of rexecutor gets a handler.
    """
    import logging

    root, ours = logging.getLogger(), logging.getLogger("rexecutor")
    if not ours.hasHandlers():
        shown = (level or LogLevel.INFO).upper()
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        if any(_writes(logger) for logger in root.manager.loggerDict.values()):
            ours.addHandler(handler)
            ours.setLevel(shown)
        else:
            root.addHandler(handler)
            root.setLevel(shown)  # turns the name of the level into its number
            root.setLevel(max(root.level, logging.INFO))
    if level is not None:
        ours.setLevel(level.upper())


def _writes(logger: object) -> bool:
    """Return whether the logger has a handler other than the `NullHandler` that libraries add."""
    import logging

    return isinstance(logger, logging.Logger) and any(
        not isinstance(handler, logging.NullHandler) for handler in logger.handlers
    )


def _leave_soon() -> None:
    """Exit the process after a few seconds, even if tasks or threads of jobs still run.

    Python would wait for ever for a task that ignores its cancellation and for a thread that a cancelled job has left
    behind. Their jobs have been given back by now. Signals are ignored from here on: the process is ending already,
    and a signal must not kill one that ends well.
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
    is_stuck = any(task.cancelling() > 1 for task in asyncio.all_tasks())

    def leave() -> None:
        log_event(ProcessLeft())
        os._exit(0)

    timer = threading.Timer(STUCK_EXIT_TIMEOUT if is_stuck else EXIT_TIMEOUT, leave)
    timer.daemon = True
    timer.start()
