"""`rexecutor jobs update`: change jobs that have not ended."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rexecutor.cli.change import Apply, Asking, Change, Ids, change_jobs
from rexecutor.cli.failure import MisusedError, note
from rexecutor.cli.filters import Filters
from rexecutor.cli.store import AsJson, Store
from rexecutor.cli.untyped import builder_of, untyped
from rexecutor.cli.values import json_text, moment_or_now
from rexecutor.errors import DecodeError, InvalidJobError
from rexecutor.model.status import OPEN

if TYPE_CHECKING:
    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend
    from rexecutor.model.job import Limits
    from rexecutor.model.outcomes import FieldUpdate

MAX_PRIORITY: Final = 32_767
"""Largest priority, as `rexecutor.model.job` has it, whose import `--help` does not need."""
MAX_ATTEMPTS: Final = 32_767
"""Largest maximum number of attempts, as above."""


def update_jobs(  # noqa: PLR0913 - one parameter for each option
    ids: Ids = None,
    *,
    priority: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=MAX_PRIORITY, help="0 is the most urgent.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MAX_ATTEMPTS, help="How many attempts the job has in total.")
    ] = None,
    schedule_at: Annotated[
        datetime | None,
        typer.Option(parser=moment_or_now, metavar="ISO", help="When it is due; now, or a past moment, for at once."),
    ] = None,
    set_tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Replaces all its tags; may be repeated. An empty tag removes them."),
    ] = None,
    set_data: Annotated[
        str | None, typer.Option(parser=json_text, metavar="JSON", help="Replaces its data; see above.")
    ] = None,
    set_metadata: Annotated[
        str | None,
        typer.Option(parser=json_text, metavar="JSON", help="Replaces its metadata; null removes it."),
    ] = None,
    filters: Filters,
    asking: Asking,
    store: Store,
    json: AsJson = False,
) -> None:
    """Change jobs that have not ended: those with these IDs, or those that match the filters.

    What is not given stays as it is. An attempt that is running continues with the old values. With --app, new data and
    metadata are checked against the executor's types. Without, they can be any JSON, and data of another type make the
    job's attempts fail. With filters, the command says how many jobs there are and asks first.
    """
    new = _New(priority, max_attempts, set_tag or None, schedule_at, set_data, set_metadata)
    if new == _New():
        raise MisusedError(
            "nothing to change: give --priority, --max-attempts, --schedule-at, --set-tag, --set-data or --set-metadata"
        )
    change = Change(
        "update",
        "updated",
        "updated",
        OPEN,
        new.applied,
        "updated; it is executing, and this attempt continues with the old values",
        "are executing, and these attempts continue with the old values",
        is_update=True,
        check=None if set_data is None and set_metadata is None else new.check,
    )
    change_jobs(change, ids, filters, asking, store, json=json)


@dataclass(frozen=True, slots=True)
class _New:
    """The changes given on the command line. What is None stays as it is."""

    priority: int | None = None
    max_attempts: int | None = None
    tags: list[str] | None = None
    scheduled_at: datetime | None = None
    data: str | None = None
    metadata: str | None = None

    def applied(self, backend: "Backend") -> Apply:
        """Return what makes these changes of jobs in the store."""
        update = self._checked(backend.limits)
        return lambda ids, where: backend.update_many(ids, update, where=where)

    def check(self, rexecutor: "Rexecutor", names: Collection[str]) -> None:
        """Check the new data and metadata against the types of these executors.

        Raises:
            MisusedError: They are of another type.
        """
        from rexecutor.jobs.types import codecs_of  # loads msgspec

        for name in sorted(names):
            executor = rexecutor.executors.get(name)
            if executor is None:
                note(f"the application has no executor {name!r}: the new data of its jobs are not checked")
                continue
            codecs = codecs_of(type(executor), rexecutor.backend.limits)
            try:
                if self.data is not None:
                    codecs.data.decode(self.data)
                if self.metadata not in (None, "null"):
                    codecs.metadata.decode(self.metadata)
            except DecodeError as error:
                raise MisusedError(str(error)) from error

    def _checked(self, limits: "Limits") -> "FieldUpdate":
        """Return the changes, checked.

        Raises:
            MisusedError: A store with these limits cannot hold a value.
        """
        from msgspec import UNSET  # not needed for --help

        from rexecutor.model.outcomes import FieldUpdate

        tags = [] if self.tags in (None, [""]) else self.tags
        try:
            builder = builder_of(
                untyped("jobs"),
                self.data or "null",
                self.metadata,
                max_attempts=self.max_attempts,
                priority=self.priority,
                tags=tags,
            )
            new = (builder if self.scheduled_at is None else builder.schedule_at(self.scheduled_at)).build(limits)
        except InvalidJobError as error:
            raise MisusedError(str(error).removeprefix("jobs: ")) from error
        return FieldUpdate(
            data=UNSET if self.data is None else new.data,
            metadata=UNSET if self.metadata is None else new.metadata,
            max_attempts=UNSET if self.max_attempts is None else new.max_attempts,
            priority=UNSET if self.priority is None else new.priority,
            tags=UNSET if self.tags is None else new.tags,
            scheduled_at=UNSET if new.scheduled_at is None else new.scheduled_at,
        )
