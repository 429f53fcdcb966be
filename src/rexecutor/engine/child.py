"""The child's side of a child process: runs the jobs that arrive through a pipe, one by one, in the main thread."""

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, NamedTuple

from rexecutor.backend.completion import Completion
from rexecutor.background import in_fresh_context
from rexecutor.engine.attempt import completing, require_ours
from rexecutor.engine.failure import Failure, failure_of
from rexecutor.errors import JobStateError
from rexecutor.jobs.current import running_job
from rexecutor.jobs.definition import not_to_await
from rexecutor.jobs.executor import AnyExecutor
from rexecutor.jobs.middleware import AroundExecute, call_within, sync_manager
from rexecutor.jobs.providers import WorkerScope, enter_worker_scope
from rexecutor.jobs.types import Codecs, codecs_of, decode, encoded_result
from rexecutor.model.job import JobRecord, Limits, storable
from rexecutor.model.outcomes import COMPLETE, Returned, returned
from rexecutor.telemetry.events import ProviderNotClosed
from rexecutor.telemetry.subscribers import emit


class ChildSetup(NamedTuple):
    """The arguments with which a child is started."""

    around: Sequence[AroundExecute]
    """Middleware around each job. The parent enters asynchronous middleware itself.

    It is the first to be unpickled in the child: so it may set up what the modules of the executors need.
    """
    executors: Mapping[str, AnyExecutor]
    completion: Completion
    limits: Limits


class Ready(NamedTuple):
    """The child has started."""


class Begun(NamedTuple):
    """The child has taken a job over: if it dies from now on, the attempt has failed."""


class Reply(NamedTuple):
    """How a job ended in the child."""

    end: Returned | Failure
    """What the job returned, or what it raised."""
    commit_unknown: bool
    """Whether the job has called `complete_in_sync`."""
    memory: int
    """Memory that the process holds after the job, in bytes."""


class _Terminated(SystemExit):
    """Raised in the job when the parent ends the process, so that the job's `finally` blocks run."""


_IS_TERMINATED: Final = threading.Event()
"""Set once the parent has ended this process."""


class _ChildRun:
    """The run of a job in a child process, for the job's `complete_in_sync`."""

    def __init__(self, record: JobRecord, codecs: Codecs[Any, Any, Any], completion: Completion) -> None:
        self._record = record
        self._codecs = codecs
        self._completion = completion
        self.commit_unknown = False

    async def complete(self, connection: object, result: object) -> None:  # noqa: ARG002 - the shape of a run
        raise JobStateError("complete_in: there is no event loop in a child process; call complete_in_sync")

    def complete_sync(self, connection: object, result: object) -> None:
        text = encoded_result(self._codecs, self._record.executor, result)
        with completing(self):
            done = self._completion.complete_sync(self._record, connection, result=text)
            require_ours(self._record, holds_claim=done)


CHILD_NAME: Final = "rexecutor child"
"""Process name of every child."""

PARENT_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""Signals that go to all processes of a terminal or a service at once. The parent decides when its children end."""


def serve(pipe: "Connection[Any, Any]", stop_pipe: "Connection[Any, Any]", setup: ChildSetup) -> None:
    """Run the jobs that arrive through `pipe` until it is closed, the parent is gone, or the parent ends this process.

    A SIGTERM counts only if the parent has announced it through `stop_pipe`. Both signals are blocked when this begins.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, partial(_terminate, stop_pipe))
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENT_SIGNALS)
        os.register_at_fork(after_in_child=partial(_detach_forked_process, pipe))
    threading.Thread(target=_end_with_parent, name="rexecutor parent", daemon=True).start()
    providers = WorkerScope()
    try:
        with contextlib.suppress(EOFError, OSError):
            # Not `pipe.send`: if the other end is gone, its error keeps a view of a buffer alive. When both are
            # collected as garbage, the buffer complains, and Python 3.12 may crash.
            pipe.send_bytes(pickle.dumps(Ready()))
            while True:
                record: JobRecord = pipe.recv()
                pipe.send_bytes(pickle.dumps(Begun()))
                pipe.send_bytes(pickle.dumps(in_fresh_context(_run, record, setup, providers)))
    finally:  # the parent gives it a second, and then kills this process
        for provider, error in providers.close_sync():
            emit(ProviderNotClosed(provider, error))


def _run(record: JobRecord, setup: ChildSetup, providers: WorkerScope) -> Reply:
    """Run the job and return how it ended, whatever it raises."""
    enter_worker_scope(providers)
    executor = setup.executors[record.executor]
    codecs = codecs_of(type(executor), setup.limits)
    run = _ChildRun(record, codecs, setup.completion)
    end: Returned | Failure
    discard_on: tuple[type[BaseException], ...] = ()  # only while the job's own code runs
    try:
        job = decode(codecs, record, run)
        running_job.set(job)
        discard_on = executor.discard_on

        def checked(value: object) -> Returned:
            if run.commit_unknown:  # after `complete_in` the value does not count: the transaction decides
                return COMPLETE
            # Encoded here, because what a job returns need not be picklable.
            return returned(value, None if codecs.result is None else codecs.result.encode)

        def execute() -> Returned:
            nonlocal discard_on
            value = executor.execute(job)
            discard_on = ()
            return checked(not_to_await(executor, value))

        managers = [manager for one in setup.around if (manager := sync_manager(one(job))) is not None]

        def result_of_swallowed() -> Returned:
            if _IS_TERMINATED.is_set():
                raise _Terminated(128 + signal.SIGTERM)  # noqa: TRY301 - as the signal did
            return checked(None)

        end = call_within(managers, execute, result_of_swallowed)
    except _Terminated:
        raise
    except BaseException as error:  # noqa: BLE001 - a job may raise anything
        failure = failure_of(error, discard_on)
        end = failure._replace(details=storable(failure.details, setup.limits.error_text))
    return Reply(end, run.commit_unknown, _memory())


def _detach_forked_process(pipe: "Connection[Any, Any]") -> None:
    """Runs in a process that a job has forked: close the pipe to the parent, and let SIGTERM end the process."""
    pipe.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(stop_pipe: "Connection[Any, Any]", *_: object) -> None:
    if stop_pipe.poll():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: another would cut `finally` blocks short
        _IS_TERMINATED.set()
        raise _Terminated(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    """End the process when its parent is gone: other nodes will rescue its job."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _memory() -> int:
    """Return the memory that the process holds, in bytes; if that is unknown, the most that it ever held."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # for systems without /proc, such as macOS

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
