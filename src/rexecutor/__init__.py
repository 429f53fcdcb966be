"""Durable, typed background jobs: an SQLite file today, many nodes on PostgreSQL tomorrow.

Everything public is importable from here. Modules are loaded when one of their names is first used, so that the
command line's `--help` does not load the engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rexecutor.app.connect import connect as connect
    from rexecutor.app.rexecutor import Rexecutor as Rexecutor
    from rexecutor.backend.base import Backend as Backend
    from rexecutor.backend.current import override_global_backend as override_global_backend
    from rexecutor.backend.memory import InMemoryBackend as InMemoryBackend
    from rexecutor.backend.postgres import PostgresBackend as PostgresBackend
    from rexecutor.backend.sqlite import SQLiteBackend as SQLiteBackend
    from rexecutor.errors import BackendClosedError as BackendClosedError
    from rexecutor.errors import BackendError as BackendError
    from rexecutor.errors import ConfigurationError as ConfigurationError
    from rexecutor.errors import DecodeError as DecodeError
    from rexecutor.errors import DefinitionError as DefinitionError
    from rexecutor.errors import EncodeError as EncodeError
    from rexecutor.errors import GlobalBackendError as GlobalBackendError
    from rexecutor.errors import InvalidJobError as InvalidJobError
    from rexecutor.errors import JobNotFoundError as JobNotFoundError
    from rexecutor.errors import JobStateError as JobStateError
    from rexecutor.errors import LeaseLostError as LeaseLostError
    from rexecutor.errors import RexecutorError as RexecutorError
    from rexecutor.errors import SchemaError as SchemaError
    from rexecutor.errors import StaleJobError as StaleJobError
    from rexecutor.jobs.enqueue import JobBuilder as JobBuilder
    from rexecutor.jobs.enqueue import enqueue_many as enqueue_many
    from rexecutor.jobs.enqueue import enqueue_many_sync as enqueue_many_sync
    from rexecutor.jobs.executor import Executor as Executor
    from rexecutor.jobs.handle import JobHandle as JobHandle
    from rexecutor.jobs.pruning import Pruner as Pruner
    from rexecutor.jobs.pruning import PrunerConfig as PrunerConfig
    from rexecutor.model.backoff import BackoffStrategy as BackoffStrategy
    from rexecutor.model.backoff import Jitter as Jitter
    from rexecutor.model.cron import Cron as Cron
    from rexecutor.model.job import ErrorKind as ErrorKind
    from rexecutor.model.job import Job as Job
    from rexecutor.model.job import JobError as JobError
    from rexecutor.model.job import Limits as Limits
    from rexecutor.model.outcomes import Cancel as Cancel
    from rexecutor.model.outcomes import ExecutionResult as ExecutionResult
    from rexecutor.model.outcomes import Snooze as Snooze
    from rexecutor.model.schedules import CatchUp as CatchUp
    from rexecutor.model.status import JobStatus as JobStatus
    from rexecutor.model.unique import Replace as Replace
    from rexecutor.model.unique import UniquenessCriteria as UniquenessCriteria
    from rexecutor.model.where import Where as Where

_HOMES = {
    "rexecutor.backend.base": ("Backend",),
    "rexecutor.backend.current": ("override_global_backend",),
    "rexecutor.backend.memory": ("InMemoryBackend",),
    "rexecutor.backend.postgres": ("PostgresBackend",),
    "rexecutor.backend.sqlite": ("SQLiteBackend",),
    "rexecutor.model.backoff": ("BackoffStrategy", "Jitter"),
    "rexecutor.jobs.enqueue": ("JobBuilder", "enqueue_many", "enqueue_many_sync"),
    "rexecutor.app.connect": ("connect",),
    "rexecutor.errors": (
        "BackendClosedError",
        "BackendError",
        "ConfigurationError",
        "DecodeError",
        "DefinitionError",
        "EncodeError",
        "GlobalBackendError",
        "InvalidJobError",
        "JobNotFoundError",
        "JobStateError",
        "LeaseLostError",
        "RexecutorError",
        "SchemaError",
        "StaleJobError",
    ),
    "rexecutor.jobs.executor": ("Executor",),
    "rexecutor.jobs.handle": ("JobHandle",),
    "rexecutor.model.job": ("ErrorKind", "Job", "JobError", "Limits"),
    "rexecutor.model.outcomes": ("Cancel", "ExecutionResult", "Snooze"),
    "rexecutor.app.rexecutor": ("Rexecutor",),
    "rexecutor.model.status": ("JobStatus",),
    "rexecutor.model.where": ("Where",),
    "rexecutor.model.unique": ("Replace", "UniquenessCriteria"),
    "rexecutor.model.cron": ("Cron",),
    "rexecutor.model.schedules": ("CatchUp",),
    "rexecutor.jobs.pruning": ("Pruner", "PrunerConfig"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
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
    "ErrorKind",
    "ExecutionResult",
    "Executor",
    "GlobalBackendError",
    "InMemoryBackend",
    "InvalidJobError",
    "Jitter",
    "Job",
    "JobBuilder",
    "JobError",
    "JobHandle",
    "JobNotFoundError",
    "JobStateError",
    "JobStatus",
    "LeaseLostError",
    "Limits",
    "PostgresBackend",
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
    "enqueue_many",
    "enqueue_many_sync",
    "override_global_backend",
]


if not TYPE_CHECKING:  # type checkers see the imports above, and so misspelt names

    def __getattr__(name: str) -> object:
        """Load the module that a public name lives in."""
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *_HOME_OF})
