"""The parts of SQL conditions that PostgreSQL writes differently from other databases."""

from datetime import datetime, timedelta
from typing import Any, Final

from rexecutor.backend.sql.where import Dialect
from rexecutor.model.status import WAITING, JobStatus


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

    def scheduled(self, comparison: str, name: str, *, ago: bool) -> str:
        """Return the condition that `scheduled_at` compares so with a moment, or with a time span before now."""
        if ago:
            utc = "coalesce(%(now)s::timestamptz, now()) AT TIME ZONE 'UTC'"  # elsewhere a day may have 23 or 25 hours
            return f"scheduled_at {comparison} ({utc} - %({name})s::interval) AT TIME ZONE 'UTC'"
        return f"scheduled_at {comparison} %({name})s::timestamptz"

    def moment(self, value: datetime | timedelta) -> Any:
        """Return the value unchanged: the driver adapts both types."""
        return value


DIALECT: Final = PostgresDialect()
