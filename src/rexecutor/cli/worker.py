"""`rexecutor worker`: run the jobs of a `Rexecutor` that a module defines."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from rexecutor.cli.failure import note

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
        LogLevel, typer.Option(metavar="LEVEL", help=f"What to log, on stderr: {', '.join(LogLevel)}.")
    ] = LogLevel.INFO,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=86_400, help="How long running jobs may go on at the end.")
    ] = 25,
) -> None:
    """Run jobs until SIGTERM or SIGINT; running jobs may end first. A second signal cancels them, a third exits."""
    import asyncio  # a worker needs these, --help does not
    import logging
    from datetime import timedelta

    from rexecutor.cli.load import find_target, made_rexecutor

    found = find_target(target)
    # After the module, which may have set up logging in its own way; then only the level is ours.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("rexecutor").setLevel(log_level.upper())

    async def run() -> None:
        await made_rexecutor(target, found).run_until_signal(grace=timedelta(seconds=grace))
        _leave_soon()

    asyncio.run(run())


def _leave_soon() -> None:
    """End the process in a few seconds whatever happens: Python would wait for ever for tasks and threads of jobs.

    A task that goes on after it was cancelled, or a thread that a cancelled job has left behind, is such a one; its
    job has been given back by now. A signal can ask for nothing more than that, and must not kill what ends well.
    """
    import asyncio
    import os
    import signal
    import threading

    from rexecutor.signals import WATCHED

    for number in WATCHED:
        signal.signal(number, signal.SIG_IGN)
    is_deaf = any(task.cancelling() > 1 for task in asyncio.all_tasks())

    def leave() -> None:
        note("what a job has left running does not end: the worker leaves without it")
        os._exit(0)

    timer = threading.Timer(NO_PATIENCE if is_deaf else PATIENCE, leave)
    timer.daemon = True
    timer.start()
