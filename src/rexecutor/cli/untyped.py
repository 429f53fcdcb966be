"""Jobs of executors whose classes are not known here: any JSON is their data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rexecutor.jobs.enqueue import JobBuilder
    from rexecutor.jobs.executor import AnyExecutor
    from rexecutor.model.job import Job


def untyped(executor: str) -> "type[AnyExecutor]":
    """Return a class that stands in for the executor of this name, which exists only in the code of the workers.

    Raises:
        DefinitionError: No executor can have this name.
    """
    from rexecutor.jobs.executor import Executor  # loads msgspec

    class Untyped(Executor[Any, Any, Any]):
        """Takes any JSON."""

        name = executor

        async def execute(self, job: "Job[Any, Any, Any]") -> None:
            raise NotImplementedError

    return Untyped


def builder_of(
    executor_cls: "type[AnyExecutor]",
    data: str | None,
    metadata: str | None,
    *,
    max_attempts: int | None,
    priority: int | None,
    tags: list[str] | None,
) -> "JobBuilder[Any, Any, Any]":
    """Return a builder of a job with these settings, with data and metadata from JSON. What is None is left out.

    Raises:
        DecodeError: The JSON is not of the executor's type.
        InvalidJobError: A setting is out of range.
    """
    from rexecutor.jobs.types import codecs_of  # loads msgspec
    from rexecutor.model.job import Limits

    codecs = codecs_of(executor_cls, Limits())
    builder = executor_cls.builder()
    if data is not None:
        builder = builder.with_data(codecs.data.decode(data))
    if metadata is not None:
        builder = builder.with_metadata(codecs.metadata.decode(metadata))
    if max_attempts is not None:
        builder = builder.with_max_attempts(max_attempts)
    if priority is not None:
        builder = builder.with_priority(priority)
    return builder if tags is None else builder.with_tags(*tags)
