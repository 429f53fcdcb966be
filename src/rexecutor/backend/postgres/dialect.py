"""What of a condition PostgreSQL writes in its own way."""

from datetime import datetime, timedelta
from typing import Any, Final

from rexecutor.backend.sql.where import Dialect
from rexecutor.model.status import JobStatus


class PostgresDialect(Dialect):
    """JSON values compared as `jsonb`, sets of tags as arrays."""

    def is_member(self, column: str, name: str) -> str:
        """Whether the value is among those of the array."""
        kind = "bigint" if column == "id" else "text"
        values = f"SELECT value::{kind} FROM json_array_elements_text(%({name})s::json)"  # noqa: S608 - names of ours
        return f"{column} = ANY(ARRAY({values}))"

    def equals(self, column: str, name: str) -> str:
        """Whether they are the same."""
        return f"{column} = %({name})s"

    def is_json(self, column: str, name: str) -> str:
        """Whether they are the same value."""
        return f"coalesce({column}::jsonb, 'null') = %({name})s::jsonb"

    def is_tagged(self, name: str, *, by_all: bool) -> str:
        """Whether the arrays meet, or the one holds all of the other."""
        wanted = f"ARRAY(SELECT json_array_elements_text(%({name})s::json))"
        return f"tags {'@>' if by_all else '&&'} {wanted}"

    def statuses(self, statuses: frozenset[JobStatus]) -> str:
        """Whether it is none of the others: the conditions of the indexes follow from that.

        And a planner without statistics takes it for what most jobs are, and so walks an index in its order.
        """
        if statuses == frozenset({JobStatus.EXECUTING}):
            return "status = 'executing'"  # in the words of jobs_running
        others = ", ".join(f"'{one}'" for one in JobStatus if one not in statuses)
        return f"status NOT IN ({others})" if others else "true"

    def scheduled(self, comparison: str, name: str, *, ago: bool) -> str:
        """Compare with the moment, or with the database's time."""
        if ago:
            return f"scheduled_at {comparison} coalesce(%(now)s::timestamptz, now()) - %({name})s::interval"
        return f"scheduled_at {comparison} %({name})s::timestamptz"

    def moment(self, value: datetime | timedelta) -> Any:
        """Answer it as it is: the driver knows both."""
        return value


DIALECT: Final = PostgresDialect()
