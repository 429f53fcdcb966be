"""The options that choose jobs: `jobs list`, and changes of many jobs, take them all."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rexecutor.cli.values import check_texts, json_text, moment
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
    scheduled_before: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="ISO", help="Only due before this moment.")
    ] = None
    scheduled_after: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="ISO", help="Only due after this moment.")
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            parser=json_text,
            metavar="JSON",
            help="Only with these data; the order of keys does not matter, and 1 equals 1.0.",
        ),
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether no filter is given."""
        return self == Filters()

    def where(self) -> "Where":
        """Return the expression.

        Raises:
            MisusedError: A text cannot be stored.
        """
        from rexecutor.model.codec import canonical  # not needed for --help
        from rexecutor.model.where import And, DataEquals, ExecutorIn, Scheduled, StatusIn, TaggedByAllOf

        parts: list[Where] = []
        if self.status:
            parts.append(StatusIn(frozenset(self.status)))
        if self.executor:
            parts.append(ExecutorIn(check_texts("--executor", self.executor)))
        if self.tag:
            parts.append(TaggedByAllOf(check_texts("--tag", self.tag)))
        if self.scheduled_before is not None or self.scheduled_after is not None:
            parts.append(Scheduled(after=self.scheduled_after, before=self.scheduled_before))
        if self.data is not None:
            parts.append(DataEquals(canonical(self.data)))
        return And(tuple(parts))
