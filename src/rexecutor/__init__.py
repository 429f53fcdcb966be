"""Durable, typed background jobs: an SQLite file today, many nodes on PostgreSQL tomorrow.

Everything public is importable from here. Modules are loaded when one of their names is first used, so that the
command line's `--help` does not load the engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend as Backend
    from rexecutor.backend.current import override_global_backend as override_global_backend
    from rexecutor.backend.memory import InMemoryBackend as InMemoryBackend
    from rexecutor.backend.postgres import PostgresBackend as PostgresBackend
    from rexecutor.backend.sqlite import SQLiteBackend as SQLiteBackend
    from rexecutor.backoff import BackoffStrategy as BackoffStrategy
    from rexecutor.backoff import Jitter as Jitter
    from rexecutor.builder import JobBuilder as JobBuilder
    from rexecutor.builder import enqueue_many as enqueue_many
    from rexecutor.builder import enqueue_many_sync as enqueue_many_sync
    from rexecutor.cron import Cron as Cron
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
    from rexecutor.executor import Executor as Executor
    from rexecutor.handle import JobHandle as JobHandle
    from rexecutor.job import ErrorKind as ErrorKind
    from rexecutor.job import Job as Job
    from rexecutor.job import JobError as JobError
    from rexecutor.job import Limits as Limits
    from rexecutor.outcome import Cancel as Cancel
    from rexecutor.outcome import ExecutionResult as ExecutionResult
    from rexecutor.outcome import Snooze as Snooze
    from rexecutor.pruner import Pruner as Pruner
    from rexecutor.pruner import PrunerConfig as PrunerConfig
    from rexecutor.rexecutor import Rexecutor as Rexecutor
    from rexecutor.schedule import CatchUp as CatchUp
    from rexecutor.status import JobStatus as JobStatus
    from rexecutor.uniqueness import Replace as Replace
    from rexecutor.uniqueness import UniquenessCriteria as UniquenessCriteria
    from rexecutor.url import connect as connect
    from rexecutor.where import Where as Where

_HOMES = {
    "rexecutor.backend.base": ("Backend",),
    "rexecutor.backend.current": ("override_global_backend",),
    "rexecutor.backend.memory": ("InMemoryBackend",),
    "rexecutor.backend.postgres": ("PostgresBackend",),
    "rexecutor.backend.sqlite": ("SQLiteBackend",),
    "rexecutor.backoff": ("BackoffStrategy", "Jitter"),
    "rexecutor.builder": ("JobBuilder", "enqueue_many", "enqueue_many_sync"),
    "rexecutor.url": ("connect",),
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
    "rexecutor.executor": ("Executor",),
    "rexecutor.handle": ("JobHandle",),
    "rexecutor.job": ("ErrorKind", "Job", "JobError", "Limits"),
    "rexecutor.outcome": ("Cancel", "ExecutionResult", "Snooze"),
    "rexecutor.rexecutor": ("Rexecutor",),
    "rexecutor.status": ("JobStatus",),
    "rexecutor.where": ("Where",),
    "rexecutor.uniqueness": ("Replace", "UniquenessCriteria"),
    "rexecutor.cron": ("Cron",),
    "rexecutor.schedule": ("CatchUp",),
    "rexecutor.pruner": ("Pruner", "PrunerConfig"),
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
