"""Every error that rexecutor raises on purpose.

    RexecutorError
    ├── ConfigurationError (ValueError)      a setting, a URL, a path or a connection that cannot be used
    ├── DefinitionError (TypeError)          an executor class that cannot run
    ├── GlobalBackendError (RuntimeError)    no global backend, or a second one
    ├── InvalidJobError (ValueError)         a job that no store may hold: priority, tags, times, sizes
    │   ├── ArgumentsError (TypeError)       a function job does not take these arguments
    │   └── EncodeError                      its data or metadata cannot be stored as JSON of the declared type
    ├── DecodeError (ValueError)             stored data or metadata is not of the declared type
    ├── JobNotFoundError (LookupError)       no such job, or another executor's
    ├── JobFailedError                       the job whose result was asked for is cancelled or discarded
    ├── JobStateError (RuntimeError)         the job's status does not allow that change
    ├── StaleJobError (RuntimeError)         the job has changed since this copy of it was read
    ├── LeaseLostError (RuntimeError)        the job is no longer this worker's: roll back
    └── BackendError (RuntimeError)          the store failed; the driver's exception is the cause
        ├── BackendClosedError               used before it was opened or after it was closed
        └── SchemaError                      the store belongs to another version of rexecutor

A message says what is wrong, which one, and what to do.
"""

from typing import Any, Final, Self


class RexecutorError(Exception):
    """Base class of all errors that rexecutor raises on purpose."""


class ConfigurationError(RexecutorError, ValueError):
    """A setting, a URL, a path or a connection cannot be used. Raised before anything is stored."""


class DefinitionError(RexecutorError, TypeError):
    """An executor class cannot run; raised when the class or the `Rexecutor` is made."""


class GlobalBackendError(RexecutorError, RuntimeError):
    """There is no global backend, or a second one would be set."""


class InvalidJobError(RexecutorError, ValueError):
    """No store may hold this job. Raised before the backend is called."""


class ArgumentsError(InvalidJobError, TypeError):
    """A function job does not take these arguments: one is missing, or there is one too many. Nothing was stored."""


class EncodeError(InvalidJobError):
    """Data or metadata cannot be stored as JSON of the executor's declared type."""


class DecodeError(RexecutorError, ValueError):
    """Stored data or metadata is not of the executor's declared type."""


class JobNotFoundError(RexecutorError, LookupError):
    """There is no such job, or it is another executor's."""

    @classmethod
    def of(cls, job_id: int, executor: str | None = None) -> Self:
        """Return the error for a job that was not found among all jobs, or among the jobs of one executor."""
        return cls(f"there is no job {job_id}" + ("" if executor is None else f" of {executor}") + " in this store")


class JobFailedError(RexecutorError):
    """The job whose result was asked for is cancelled or discarded. `job` is that job: its `errors` say why."""

    def __init__(self, message: str, job: Any) -> None:
        """Make the error.

        Args:
            message: What became of the job, without its data.
            job: The `Job`. Its data are plain JSON values if they are no longer of the executor's type.
        """
        super().__init__(message)
        self.job: Final = job

    def __reduce__(self) -> tuple[type[Self], tuple[str, Any]]:
        """Pickle the job too; it is not in `args`, because a `repr` must not show its data."""
        return type(self), (str(self), self.job)


class JobStateError(RexecutorError, RuntimeError):
    """The job's status does not allow that change, such as a rerun of a running job."""


class StaleJobError(RexecutorError, RuntimeError):
    """The job has changed since this copy of it was read. Read it again, and change the new copy."""


class LeaseLostError(RexecutorError, RuntimeError):
    """The job is no longer this worker's, and another may run it. Roll back what was written for it."""


class BackendError(RexecutorError, RuntimeError):
    """The store failed. The driver's exception, if there is one, is the cause."""


class BackendClosedError(BackendError):
    """The backend was used before it was opened or after it was closed."""


class SchemaError(BackendError):
    """The store's tables are missing, or belong to another version of rexecutor."""

    def __init__(self, found: str, advice: str | None = None) -> None:
        """Make the error.

        Args:
            found: What is wrong with which tables.
            advice: What makes the tables; None if a migration does not help.
        """
        super().__init__(found if advice is None else f"{found}; {advice}")
        self.found: Final = found
        self.advice: Final = advice
