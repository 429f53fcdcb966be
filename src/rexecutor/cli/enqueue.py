"""`rexecutor jobs enqueue`: enqueue a job by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.output import write_json, write_line
from rexecutor.cli.store import AsJson, Store, use_app, use_store
from rexecutor.cli.untyped import builder_of, untyped
from rexecutor.cli.update import MAX_ATTEMPTS, MAX_PRIORITY
from rexecutor.cli.values import check_texts, duration, json_text, moment, note_unknown
from rexecutor.errors import DecodeError, DefinitionError, InvalidJobError

if TYPE_CHECKING:
    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend
    from rexecutor.jobs.enqueue import JobBuilder
    from rexecutor.jobs.executor import AnyExecutor
    from rexecutor.jobs.handle import JobHandle


def enqueue_job(  # noqa: PLR0913 - one parameter for each option
    name: Annotated[str, typer.Argument(metavar="NAME", help="The executor's name.")],
    *,
    data: Annotated[
        str | None, typer.Option(parser=json_text, metavar="JSON", help="The data; of a function job its arguments.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(parser=json_text, metavar="JSON", help="The metadata.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag; may be repeated.")] = None,
    priority: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=MAX_PRIORITY, help="0, the default, is the most urgent.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MAX_ATTEMPTS, help="Number of attempts in place of its own.")
    ] = None,
    schedule_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="ISO", help="When it is due; at once by default.")
    ] = None,
    schedule_in: Annotated[
        timedelta | None, typer.Option(parser=duration, metavar="TIME", help="How long until it is due: 90s, 15m, 12h.")
    ] = None,
    expires_in: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="TIME", help="It is cancelled unless it has started by then."),
    ] = None,
    store: Store,
    json: AsJson = False,
) -> None:
    """Enqueue a job.

    With --app, its data are checked against the executor's types, the executor's settings hold, its uniqueness criteria
    too, and the application's around_enqueue is around the enqueue. Without, any JSON is stored, and the job has 5
    attempts.
    """
    if schedule_at is not None and schedule_in is not None:
        raise MisusedError("--schedule-at and --schedule-in cannot be used together")
    new = _New(
        name,
        data,
        metadata,
        sorted(check_texts("--tag", tag or ())),
        priority,
        max_attempts,
        schedule_at,
        schedule_in,
        expires_in,
    )
    handle = use_store(store, new.enqueue) if store.resolved().app is None else use_app(store, new.enqueue_typed)
    if json:
        write_json({"id": handle.id, "executor": name, "disposition": handle.disposition})
    elif handle.disposition == "inserted":
        write_line(f"job {handle.id} of {name} is enqueued")
    else:
        what = "left as it is" if handle.disposition == "existing" else "changed"
        write_line(f"no new job: {name} is unique, and job {handle.id} exists, which is {what}")


@dataclass(frozen=True, slots=True)
class _New:
    """The job, as the command line describes it."""

    name: str
    data: str | None
    metadata: str | None
    tags: list[str]
    priority: int | None
    max_attempts: int | None
    schedule_at: datetime | None
    schedule_in: timedelta | None
    expires_in: timedelta | None

    async def enqueue(self, backend: "Backend") -> "JobHandle[Any, Any, Any]":
        """Enqueue it with any JSON as its data."""
        try:
            executor_cls = untyped(self.name)
        except DefinitionError as error:
            raise MisusedError(f"NAME {self.name!r}: {error}") from error
        if self.data is None:
            raise MisusedError(f"{self.name}: no data given; use --data JSON, null for an executor that needs none")
        await note_unknown(backend, {self.name})
        return await self._enqueue_to(backend, executor_cls)

    async def enqueue_typed(self, backend: "Backend", rexecutor: "Rexecutor") -> "JobHandle[Any, Any, Any]":
        """Enqueue it as a job of the application's executor of that name."""
        executor = rexecutor.executors.get(self.name)
        if executor is None:
            known = ", ".join(rexecutor.executors) or "none"
            raise MisusedError(f"the application has no executor {self.name!r}; it has {known}")
        executor_cls = type(executor)
        self._check_data(executor_cls)
        with rexecutor.around_enqueues(backend):
            return await self._enqueue_to(backend, executor_cls)

    def _check_data(self, executor_cls: "type[AnyExecutor]") -> None:
        """Raise a `MisusedError` that says what to give unless the executor takes these data."""
        from rexecutor.jobs.types import codecs_of  # loads msgspec
        from rexecutor.model.job import Limits

        types = executor_cls.declared_types()
        arguments = None if types is None else getattr(types.data, "__struct_fields__", ())
        what = "JSON" if arguments is None else f"with an object of its arguments: {', '.join(arguments) or 'none'}"
        try:
            if self.data is not None:
                codecs_of(executor_cls, Limits()).data.decode(self.data)
        except DecodeError as error:
            raise MisusedError(str(error) + ("" if arguments is None else f"; give --data {what}")) from error
        try:
            if self.data is None:
                executor_cls.builder().build(Limits())
        except InvalidJobError as error:
            raise MisusedError(f"{self.name}: no data given; use --data {what}") from error

    async def _enqueue_to(self, backend: "Backend", executor_cls: "type[AnyExecutor]") -> "JobHandle[Any, Any, Any]":
        try:
            return await self._builder(executor_cls).enqueue(backend=backend)
        except (InvalidJobError, DecodeError) as error:
            raise MisusedError(str(error)) from error

    def _builder(self, executor_cls: "type[AnyExecutor]") -> "JobBuilder[Any, Any, Any]":
        builder = builder_of(
            executor_cls,
            self.data,
            self.metadata,
            max_attempts=self.max_attempts,
            priority=self.priority,
            tags=self.tags,
        )
        if self.schedule_at is not None:
            builder = builder.schedule_at(self.schedule_at)
        if self.schedule_in is not None:
            builder = builder.schedule_in(self.schedule_in)
        return builder if self.expires_in is None else builder.expires_in(self.expires_in)
