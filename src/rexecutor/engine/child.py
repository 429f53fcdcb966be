"""What runs in a child process: jobs that come through a pipe, one after the other, in the main thread."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, NamedTuple

from rexecutor.backend.completion import Completion
from rexecutor.background import apart
from rexecutor.engine.failure import Failure, shown
from rexecutor.engine.running import AnyExecutor, completing, require_ours
from rexecutor.errors import JobStateError
from rexecutor.jobs.definition import not_to_await
from rexecutor.jobs.executor import codecs_of, decode
from rexecutor.model.job import ErrorKind, JobRecord, Limits, storable
from rexecutor.model.outcomes import ExecutionResult, Undeclared, known_result


class Equipment(NamedTuple):
    """What a child is started with."""

    executors: Mapping[str, AnyExecutor]
    completion: Completion
    limits: Limits


class Ready(NamedTuple):
    """The child has started."""


class Begun(NamedTuple):
    """The child has taken a job over: from now on its end is the end of an attempt."""


class Reply(NamedTuple):
    """How a job ended in the child."""

    result: ExecutionResult | Undeclared
    failure: Failure | None
    may_be_complete: bool
    """Whether the job has called `complete_in_sync`."""
    memory: int
    """Bytes that the process holds after that."""


class _Terminated(SystemExit):
    """The parent wants the process to end: `finally` blocks of the job run."""


class _ChildRun:
    """The run of a job in a child, as far as the job itself may end it."""

    def __init__(self, record: JobRecord, completion: Completion) -> None:
        self._record = record
        self._completion = completion
        self.may_be_complete = False

    async def complete(self, connection: object) -> None:  # noqa: ARG002 - the shape of a run
        raise JobStateError("complete_in: there is no event loop in a child process; call complete_in_sync")

    def complete_sync(self, connection: object) -> None:
        with completing(self):
            require_ours(self._record, is_ours=self._completion.complete_sync(self._record, connection))


NAME: Final = "rexecutor child"
"""Of each such process."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What goes to all processes of a terminal or of a service at once. The parent decides what becomes of its children."""


def serve(pipe: "Connection[Any, Any]", told: "Connection[Any, Any]", equipment: Equipment) -> None:
    """Run what comes through the pipe until it is closed, or the parent is gone, or wants this process to end.

    A SIGTERM counts where the parent has said so through `told`. Both signals are blocked when this begins.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, partial(_terminate, told))
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.register_at_fork(after_in_child=partial(_part, pipe))
    threading.Thread(target=_end_with_parent, name="rexecutor parent", daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        pipe.send(Ready())
        while True:
            record: JobRecord = pipe.recv()
            pipe.send(Begun())
            pipe.send(apart(_run, record, equipment))


def _run(record: JobRecord, equipment: Equipment) -> Reply:
    """Run the job to its end, whatever it raises."""
    executor = equipment.executors[record.executor]
    run = _ChildRun(record, equipment.completion)
    result: ExecutionResult | Undeclared = None
    failure: Failure | None = None
    try:
        job = decode(codecs_of(type(executor), equipment.limits), record, run)
        result = known_result(not_to_await(executor, executor.execute(job)))
    except _Terminated:
        raise
    except BaseException as error:  # noqa: BLE001 - a job may raise anything
        type_name, details = shown(error)
        failure = Failure(ErrorKind.EXCEPTION, type_name, storable(details, equipment.limits.error_text))
    return Reply(result, failure, run.may_be_complete, _memory())


def _part(pipe: "Connection[Any, Any]") -> None:
    """Have a process that the job has forked answer for nobody, and end as others do."""
    pipe.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(told: "Connection[Any, Any]", *_: object) -> None:
    if told.poll():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: another would cut `finally` blocks off
        raise _Terminated(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    """End the process when its parent is gone: others will have its jobs."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _memory() -> int:
    """Answer the bytes of memory that the process holds now; where that cannot be known, the most it ever held."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # where there is no /proc, as on macOS

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
