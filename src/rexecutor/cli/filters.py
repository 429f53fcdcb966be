"""The options that choose jobs: `jobs list`, `jobs count`, and changes of many jobs take them all."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.values import Point, Value, check_text, check_texts, moment, point, value_of
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    from rexecutor.model.where import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the jobs must be like, all at once. What is None or empty does not matter."""

    status: Annotated[
        list[JobStatus] | None,
        typer.Option(metavar="STATUS", help=f"Only in this status ({', '.join(JobStatus)}); may be repeated."),
    ] = None
    executor: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only of this executor; may be repeated.")
    ] = None
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only with this tag; if repeated, with all of them.")
    ] = None
    any_tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only with this tag; if repeated, with one of them.")
    ] = None
    data: Annotated[
        list[Value] | None,
        typer.Option(
            parser=value_of,
            metavar="KEY=VALUE",
            help="Only with this value in the data, such as user.id=7; or, as JSON, with these data; may be repeated.",
        ),
    ] = None
    metadata: Annotated[
        Value | None,
        typer.Option(parser=value_of, metavar="JSON", help="Only with this metadata; null for none."),
    ] = None
    error: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Only with an error of this type, such as TimeoutError, in any attempt."),
    ] = None
    last_error: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Only with an error of this type in the last attempt.")
    ] = None
    since: Annotated[
        Point | None,
        typer.Option(parser=point, metavar="TIME", help="Only enqueued since: 90s, 2h or 7d ago, or ISO."),
    ] = None
    until: Annotated[
        Point | None,
        typer.Option(parser=point, metavar="TIME", help="Only enqueued before: 90s, 2h or 7d ago, or ISO."),
    ] = None
    scheduled_after: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="ISO", help="Only due after this moment.")
    ] = None
    scheduled_before: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="ISO", help="Only due before this moment.")
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether no filter is given."""
        return self == Filters()

    def where(self) -> "Where":
        """Return the expression.

        Raises:
            MisusedError: A text cannot be stored, or the metadata are given by a path.
        """
        from rexecutor.model.where import (  # loads msgspec
            And,
            ErrorIs,
            ExecutorIn,
            Inserted,
            Scheduled,
            StatusIn,
            TaggedByAllOf,
            TaggedByOneOf,
        )

        parts: list[Where] = [*self._values()]
        if self.status:
            parts.append(StatusIn(frozenset(self.status)))
        if self.executor:
            parts.append(ExecutorIn(check_texts("--executor", self.executor)))
        if self.tag:
            parts.append(TaggedByAllOf(check_texts("--tag", self.tag)))
        if self.any_tag:
            parts.append(TaggedByOneOf(check_texts("--any-tag", self.any_tag)))
        for option, type_name in (("--error", self.error), ("--last-error", self.last_error)):
            if type_name is not None:
                check_text(option, type_name)
                parts.append(ErrorIs(type_name, is_last=option == "--last-error"))
        if self.since is not None or self.until is not None:
            after, before = (None if each is None else each.when for each in (self.since, self.until))
            parts.append(Inserted(after=after, before=before))
        if self.scheduled_before is not None or self.scheduled_after is not None:
            parts.append(Scheduled(after=self.scheduled_after, before=self.scheduled_before))
        return And(tuple(parts))

    def _values(self) -> "list[Where]":
        from rexecutor.model.codec import canonical  # loads msgspec
        from rexecutor.model.where import DataAt, DataEquals, MetadataEquals

        found: list[Where] = [
            DataEquals(canonical(value.json))
            if value.path is None
            else DataAt(tuple(value.path.split(".")), canonical(value.json))
            for value in self.data or ()
        ]
        if self.metadata is not None:
            if self.metadata.path is not None:
                raise MisusedError("--metadata: give all of the metadata, as JSON")
            found.append(MetadataEquals(canonical(self.metadata.json)))
        return found
