"""Durable, typed background jobs: an SQLite file today, many nodes on PostgreSQL tomorrow.

Everything public is importable from here; a name's module is loaded when the name is first used. Without psycopg, which
is an extra, `from rexecutor import *` leaves out `PostgresBackend`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rexecutor.app.connect import connect
    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend
    from rexecutor.backend.current import override_global_backend
    from rexecutor.backend.memory import InMemoryBackend
    from rexecutor.backend.postgres import PostgresBackend
    from rexecutor.backend.sqlite import SQLiteBackend
    from rexecutor.engine.health import Health, HealthStatus
    from rexecutor.errors import (
        ArgumentsError,
        BackendClosedError,
        BackendError,
        ConfigurationError,
        DecodeError,
        DefinitionError,
        EncodeError,
        GlobalBackendError,
        InvalidJobError,
        JobFailedError,
        JobNotFoundError,
        JobStateError,
        LeaseLostError,
        RexecutorError,
        SchemaError,
        StaleJobError,
    )
    from rexecutor.jobs.current import current_job
    from rexecutor.jobs.enqueue import Enqueueing, JobBuilder, enqueue_many, enqueue_many_sync
    from rexecutor.jobs.executor import Executor
    from rexecutor.jobs.function import JobFunction, job
    from rexecutor.jobs.handle import JobHandle, job_handle, results, results_sync
    from rexecutor.jobs.providers import PROVIDED, Provide, override_provider
    from rexecutor.jobs.pruning import Pruner, PrunerConfig
    from rexecutor.model.backoff import BackoffStrategy, Jitter
    from rexecutor.model.cron import Cron
    from rexecutor.model.job import ErrorKind, Job, JobError, Limits
    from rexecutor.model.outcomes import Cancel, ExecutionResult, Snooze
    from rexecutor.model.schedules import CatchUp
    from rexecutor.model.status import JobStatus
    from rexecutor.model.unique import Replace, UniquenessCriteria
    from rexecutor.model.where import Where
    from rexecutor.telemetry.subscribers import subscribe

__all__ = [
    "PROVIDED",
    "ArgumentsError",
    "Backend",
    "BackendClosedError",
    "BackendError",
    "BackoffStrategy",
    "Cancel",
    "CatchUp",
    "ConfigurationError",
    "Cron",
    "DecodeError",
    "DefinitionError",
    "EncodeError",
    "Enqueueing",
    "ErrorKind",
    "ExecutionResult",
    "Executor",
    "GlobalBackendError",
    "Health",
    "HealthStatus",
    "InMemoryBackend",
    "InvalidJobError",
    "Jitter",
    "Job",
    "JobBuilder",
    "JobError",
    "JobFailedError",
    "JobFunction",
    "JobHandle",
    "JobNotFoundError",
    "JobStateError",
    "JobStatus",
    "LeaseLostError",
    "Limits",
    "PostgresBackend",
    "Provide",
    "Pruner",
    "PrunerConfig",
    "Replace",
    "Rexecutor",
    "RexecutorError",
    "SQLiteBackend",
    "SchemaError",
    "Snooze",
    "StaleJobError",
    "UniquenessCriteria",
    "Where",
    "connect",
    "current_job",
    "enqueue_many",
    "enqueue_many_sync",
    "job",
    "job_handle",
    "override_global_backend",
    "override_provider",
    "results",
    "results_sync",
    "subscribe",
]


if not TYPE_CHECKING:  # type checkers see the imports above, and so misspelt names
    _MODULES = {
        "rexecutor.app.connect": ("connect",),
        "rexecutor.app.rexecutor": ("Rexecutor",),
        "rexecutor.backend.base": ("Backend",),
        "rexecutor.backend.current": ("override_global_backend",),
        "rexecutor.backend.memory": ("InMemoryBackend",),
        "rexecutor.backend.postgres": ("PostgresBackend",),
        "rexecutor.backend.sqlite": ("SQLiteBackend",),
        "rexecutor.engine.health": ("Health", "HealthStatus"),
        "rexecutor.errors": (
            "ArgumentsError",
            "BackendClosedError",
            "BackendError",
            "ConfigurationError",
            "DecodeError",
            "DefinitionError",
            "EncodeError",
            "GlobalBackendError",
            "InvalidJobError",
            "JobFailedError",
            "JobNotFoundError",
            "JobStateError",
            "LeaseLostError",
            "RexecutorError",
            "SchemaError",
            "StaleJobError",
        ),
        "rexecutor.jobs.current": ("current_job",),
        "rexecutor.jobs.enqueue": (
            "Enqueueing",
            "JobBuilder",
            "enqueue_many",
            "enqueue_many_sync",
        ),
        "rexecutor.jobs.executor": ("Executor",),
        "rexecutor.jobs.function": (
            "JobFunction",
            "job",
        ),
        "rexecutor.jobs.handle": (
            "JobHandle",
            "job_handle",
            "results",
            "results_sync",
        ),
        "rexecutor.jobs.providers": (
            "PROVIDED",
            "Provide",
            "override_provider",
        ),
        "rexecutor.jobs.pruning": (
            "Pruner",
            "PrunerConfig",
        ),
        "rexecutor.model.backoff": (
            "BackoffStrategy",
            "Jitter",
        ),
        "rexecutor.model.cron": ("Cron",),
        "rexecutor.model.job": (
            "ErrorKind",
            "Job",
            "JobError",
            "Limits",
        ),
        "rexecutor.model.outcomes": (
            "Cancel",
            "ExecutionResult",
            "Snooze",
        ),
        "rexecutor.model.schedules": ("CatchUp",),
        "rexecutor.model.status": ("JobStatus",),
        "rexecutor.model.unique": (
            "Replace",
            "UniquenessCriteria",
        ),
        "rexecutor.model.where": ("Where",),
        "rexecutor.telemetry.subscribers": ("subscribe",),
    }
    """The public names of each module."""
    _HOMES = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: a command such as `rexecutor --help` needs none of them."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    if find_spec("psycopg") is None or find_spec("psycopg_pool") is None:
        # Otherwise `from rexecutor import *` would fail.
        __all__.remove("PostgresBackend")  # noqa: PYI056 - type checkers do not see it


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__, "PostgresBackend"})
