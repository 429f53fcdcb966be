"""Read-only models of jobs, pauses, nodes, schedules and groups. Django does not manage their tables."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from django.db import connections, models
from django.utils.connection import ConnectionDoesNotExist

from rexecutor.django.fields import Json, Moment, Tags, Text
from rexecutor.django.stores import DEFAULT_SCHEMA, Store, stores
from rexecutor.errors import ConfigurationError
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    AnyQuerySet = models.QuerySet[Any, Any]
    AnyManager = models.Manager[Any]
    Integer = models.BigIntegerField[Any, Any]
    Boolean = models.BooleanField[Any, Any]
else:
    AnyQuerySet = models.QuerySet
    AnyManager = models.Manager
    Integer = models.BigIntegerField
    Boolean = models.BooleanField


def shown_store() -> Store | None:
    """Return the store that the models read: the first database in the settings that holds jobs; None if none does."""
    return next((store for store in stores() if store.database is not None), None)


class ReadOnlyQuerySet(AnyQuerySet):
    """Query set that only reads: each method that would write raises a `TypeError`."""

    def create(self, **_kwargs: Any) -> NoReturn:
        """Refuse to create an object."""
        raise _refusal(self.model)

    def bulk_create(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse to create objects."""
        raise _refusal(self.model)

    def bulk_update(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse to change objects."""
        raise _refusal(self.model)

    def update(self, **_kwargs: Any) -> NoReturn:
        """Refuse to change objects."""
        raise _refusal(self.model)

    def delete(self) -> NoReturn:
        """Refuse to delete objects."""
        raise _refusal(self.model)

    def _raw_delete(self, using: str | None) -> NoReturn:  # noqa: ARG002 - Django's signature
        raise _refusal(self.model)


class StoreManager(AnyManager.from_queryset(ReadOnlyQuerySet)):
    """Manager that reads from the database with the jobs."""

    def get_queryset(self) -> Any:
        """Return a query set of all objects.

        Raises:
            ConfigurationError: The settings name no database for jobs.
        """
        store = shown_store()
        if store is None:
            raise ConfigurationError(
                f"{self.model.__name__}: no task backend in TASKS has its jobs in a database; its models show nothing"
            )
        return super().get_queryset().using(self._db or store.database)


class ReadOnly(models.Model):
    """Base class of the models, whose objects cannot be written."""

    objects: ClassVar[StoreManager] = StoreManager()

    class Meta:
        """Options that all models have."""

        abstract = True
        managed = False
        default_permissions = ("view",)

    def save(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse to write the object: raise a `TypeError`."""
        raise _refusal(type(self))

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse to delete the object: raise a `TypeError`."""
        raise _refusal(type(self))


class Job(ReadOnly):
    """A stored job. Moments are as in other models: aware if `USE_TZ` is True."""

    id = Integer(primary_key=True)
    executor = Text()
    status = Text(choices=[(str(status), str(status)) for status in JobStatus])
    due = Boolean(null=True)
    """Whether a waiting job's time has come; None if the job does not wait."""
    data = Json()
    """The data; an `Unreadable` if the stored text is not JSON."""
    metadata = Json(null=True)
    attempt = Integer()
    max_attempts = Integer()
    priority = Integer()
    tags = Tags()
    errors = Json()
    """One object for each attempt that did not succeed, the last one last."""
    snoozes = Integer()
    losses = Integer()
    node = Text(null=True)
    """Id of the node that runs it; None unless it is executing."""
    cancel_reason = Text(null=True)
    inserted_at = Moment()
    scheduled_at = Moment()
    attempted_at = Moment(null=True)
    completed_at = Moment(null=True)
    cancelled_at = Moment(null=True)
    discarded_at = Moment(null=True)
    ended_at = Moment(null=True)
    expires_at = Moment(null=True)
    result = Json(null=True)
    headers = Json(null=True)

    class Meta(ReadOnly.Meta):
        """Options of the model."""

        abstract = False
        permissions = (
            ("cancel_job", "Can cancel job"),
            ("rerun_job", "Can rerun job"),
            ("pause_job", "Can pause and resume executors"),
        )

    def __str__(self) -> str:
        """Return the job's id and executor."""
        return f"{self.pk} ({self.executor})"


class Pause(ReadOnly):
    """A pause, which may be over: no job of its executor starts before `until`."""

    scope = Text(primary_key=True)
    since = Moment()
    until = Moment(null=True)
    """When it ends by itself; None if only a resume ends it."""
    reason = Text(null=True)

    class Meta(ReadOnly.Meta):
        """Options of the model."""

        abstract = False

    def __str__(self) -> str:
        """Return the executor's name."""
        return self.executor

    @property
    def executor(self) -> str:
        """The name of the executor; `*` for all."""
        return str(self.scope).removeprefix("executor:")


class Node(ReadOnly):
    """A worker process that runs jobs, or did so until its lease ran out."""

    id = Text(primary_key=True)
    name = Text()
    """Host and process."""
    started_at = Moment()
    lease_until = Moment()
    renewed_at = Moment(null=True)
    state = Json(null=True)
    """State that the node has sent with its last heartbeat."""
    executors = Json(null=True)
    """Maximum number of jobs at a time, by executor; None for an executor that only the node's slots limit."""

    class Meta(ReadOnly.Meta):
        """Options of the model."""

        abstract = False

    def __str__(self) -> str:
        """Return the node's host and process."""
        return str(self.name)


class Schedule(ReadOnly):
    """A schedule, and when it ticks next."""

    id = Text(primary_key=True)
    executor = Text(null=True)
    """Executor whose jobs it enqueues; None for a schedule that enqueues none."""
    expression = Text()
    timezone = Text()
    last_tick = Moment(null=True)
    next_tick = Moment(null=True)

    class Meta(ReadOnly.Meta):
        """Options of the model."""

        abstract = False

    def __str__(self) -> str:
        """Return the schedule's id."""
        return str(self.pk)


class Group(ReadOnly):
    """Jobs that belong together. No version of rexecutor makes groups yet, so there are none."""

    id = Integer(primary_key=True)
    name = Text()
    is_workflow = Boolean()
    """Whether some of its jobs wait for others."""
    total = Integer()
    """Number of its jobs."""
    open = Integer()
    """Number of its jobs that have not ended."""
    failed = Integer()
    """Number of its jobs that were discarded or cancelled."""
    cancel_reason = Text(null=True)
    inserted_at = Moment()
    ended_at = Moment(null=True)

    class Meta(ReadOnly.Meta):
        """Options of the model."""

        abstract = False

    def __str__(self) -> str:
        """Return the group's id and name."""
        return f"{self.pk} ({self.name})"


_TABLES: Final[dict[type[models.Model], str]] = {
    Job: "jobs",
    Pause: "pauses",
    Node: "nodes",
    Schedule: "schedules",
    Group: "groups",
}


def place_tables() -> None:
    """Point the models at the tables of the store that the settings name."""
    for model, name in _TABLES.items():
        model._meta.db_table = table_of(name)  # noqa: SLF001 - Django's public name for it
        for field in model._meta.fields:  # noqa: SLF001 - as above
            field.__dict__.pop("cached_col", None)  # it has the old table's name if a test has changed the settings


def refuse_raw(*, sender: type[models.Model], **_: Any) -> None:
    """Raise a `TypeError` for a write that does not call `save`, such as that of `loaddata`."""
    if sender in _TABLES:
        raise _refusal(sender)


def table_of(name: str) -> str:
    """Return a table's name in the store that the settings name.

    Django puts the whole name in quotes, so the schema's closing quote and the table's opening one are part of it.
    """
    store = shown_store()
    try:
        is_postgres = store is not None and connections[store.database or ""].vendor == "postgresql"
    except ConnectionDoesNotExist:  # the check E001 reports it
        is_postgres = False
    if not is_postgres:
        return f"rexecutor_{name}"
    return f'{DEFAULT_SCHEMA if store is None else store.schema}"."{name}'


def _refusal(model: type[models.Model]) -> TypeError:
    name = model.__name__
    return TypeError(
        f"{name} objects are read-only; change jobs by their handles, by executors, in the admin or by `rexecutor jobs`"
    )
