"""The parts of SQL conditions that PostgreSQL writes differently from other databases."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from rexecutor.backend.sql.where import Dialect
from rexecutor.model.codec import NUMBER
from rexecutor.model.status import WAITING, JobStatus

_INTEGER: Final = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")
"""What PostgreSQL takes for the number of an element in a path: it counts negative ones from the end."""


class PostgresDialect(Dialect):
    """Compares JSON values as `jsonb`, and sets of tags as arrays."""

    def is_member(self, column: str, name: str) -> str:
        """Return the condition that the column's value is in the JSON array."""
        kind = "bigint" if column == "id" else "text"
        values = f"SELECT value::{kind} FROM json_array_elements_text(%({name})s::json)"  # noqa: S608 - only names from this package
        return f"{column} = ANY(ARRAY({values}))"

    def equals(self, column: str, name: str) -> str:
        """Return the condition that the column equals the parameter."""
        return f"{column} = %({name})s"

    def is_json(self, column: str, name: str) -> str:
        """Return the condition that the column's JSON, with NULL as null, equals the parameter's JSON."""
        return f"coalesce({column}::jsonb, 'null') = %({name})s::jsonb"

    def has_at(self, path: tuple[str, ...], json: str, add: Callable[[Any], str]) -> str:
        """Return the condition that the data hold this JSON at the path."""
        text, steps = "data", list[str]()
        for step in path:
            if NUMBER.fullmatch(step) or not _INTEGER.fullmatch(step):
                steps.append(step)
                continue
            # A key that `#>` would also take for the number of an element; `->` takes no text for a number.
            if steps:
                text, steps = f"({text} #> %({add(steps)})s::text[])", []
            text = f"({text} -> %({add(step)})s::text)"
        if steps:
            text = f"({text} #> %({add(steps)})s::text[])"
        return f"coalesce({text}::jsonb = %({add(json)})s::jsonb, false)"

    def has_error(self, name: str, *, is_last: bool) -> str:
        """Return the condition that one of the errors, or the last, is of the type."""
        error = f"jsonb_build_object('type_name', %({name})s::text)"
        return f"coalesce(errors -> -1 @> {error}, false)" if is_last else f"errors @> jsonb_build_array({error})"

    def is_tagged(self, name: str, *, by_all: bool) -> str:
        """Return the condition that the job has one, or all, of the tags in the JSON array."""
        wanted = f"ARRAY(SELECT json_array_elements_text(%({name})s::json))"
        return f"tags {'@>' if by_all else '&&'} {wanted}"

    def statuses(self, statuses: frozenset[JobStatus]) -> str:
        """Return the condition that the job has none of the other statuses.

        A planner without statistics assumes that a condition of this form holds for most jobs, and so walks an index
        in its order. If only waiting jobs are meant, or only executing ones, the condition asks for a row in `queue`
        or `running`, so that the planner may begin with that table.
        """
        others = ", ".join(f"'{one}'" for one in JobStatus if one not in statuses)
        text = f"status NOT IN ({others})" if others else "true"
        if statuses == frozenset({JobStatus.EXECUTING}):
            return "node IS NOT NULL"
        return f"due IS NOT NULL AND {text}" if statuses <= WAITING else text

    def compares(self, column: str, comparison: str, name: str, *, ago: bool) -> str:
        """Return the comparison of a column with a moment, or with a time span before now."""
        if ago:
            utc = "coalesce(%(now)s::timestamptz, now()) AT TIME ZONE 'UTC'"  # elsewhere a day may have 23 or 25 hours
            return f"{column} {comparison} ({utc} - %({name})s::interval) AT TIME ZONE 'UTC'"
        return f"{column} {comparison} %({name})s::timestamptz"

    def moment(self, value: datetime | timedelta) -> Any:
        """Return the value unchanged: the driver adapts both types."""
        return value


DIALECT: Final = PostgresDialect()
