"""A filter that hides rexecutor's tables from Alembic, and the statements that make them in its revisions.

Imports neither Alembic nor SQLAlchemy.

By default, `alembic revision --autogenerate` proposes to drop tables that the application's metadata does not have. On
SQLite, and on PostgreSQL with `include_schemas=True`, these include rexecutor's. `include_name` hides them. For one
chain of migrations, execute `upgrade_operations` in a revision.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from rexecutor.model.checks import checked_int

__all__ = ["IncludeName", "include_name", "upgrade_operations"]

Filter: TypeAlias = Callable[[Any, Any, Any], bool]

_PREFIX: Final = "rexecutor_"
"""How the names of all tables in an SQLite file begin."""


class IncludeName:
    """The filter that Alembic's `context.configure(include_name=…)` takes; see `include_name`."""

    def __init__(self, schema: str = "rexecutor") -> None:
        self._schema: Final = schema

    def __call__(self, name: str | None, type_: str, parent_names: Mapping[Any, str | None]) -> bool:
        """Return whether Alembic includes the object of this name: False for rexecutor's.

        Args:
            name: Its name; None for the default schema.
            type_: Its kind: `"schema"`, `"table"`, or a part of a table.
            parent_names: The names of its schema and its table, as Alembic gives them.
        """
        schema, table = parent_names.get("schema_name"), parent_names.get("table_name")
        if type_ == "schema":
            schema = name
        elif type_ == "table":
            table = name
        return schema != self._schema and not (table or "").startswith(_PREFIX)

    def beside(self, yours: Filter) -> Filter:
        """Return a filter that includes what both this one and `yours` include.

        Args:
            yours: The application's own filter, as Alembic calls it.
        """

        def both(name: Any, type_: Any, parent_names: Any) -> bool:
            return self(name, type_, parent_names) and yours(name, type_, parent_names)

        return both

    def for_schema(self, schema: str) -> "IncludeName":
        """Return a filter that hides this schema instead of `rexecutor`.

        Args:
            schema: The schema's name, as in `PostgresBackend(url, schema="jobs")`.
        """
        return IncludeName(schema)


include_name: Final = IncludeName()
"""Hides rexecutor's tables from Alembic's autogenerate: `context.configure(…, include_name=include_name)`.

Hidden are the schema `rexecutor`, or another one with `include_name.for_schema("jobs")`, and all tables whose names
begin with `rexecutor_`. `include_name.beside(yours)` is for applications that have a filter already.
"""


def upgrade_operations(from_version: int, *, to_version: int | None = None, schema: str = "rexecutor") -> Iterator[str]:
    """Return the SQL texts that bring rexecutor's tables on PostgreSQL from one version to another.

    ```py
    def upgrade() -> None:
        for text in upgrade_operations(0, to_version=1):
            op.execute(text)
    ```

    Each text is one statement. It brings the tables to the next version and records that, as `rexecutor migrate` does,
    or does nothing if they have that version already. So both may be used in turn. It may run in Alembic's transaction,
    and in its offline mode. On SQLite the tables are made when the file is opened.

    Args:
        from_version: The version after the earlier revisions; 0 for a database without rexecutor's tables.
        to_version: The last version; None for the newest that this rexecutor knows. Give it, so that the revision is
            the same after an update of rexecutor. `rexecutor migrate` and `rexecutor doctor` print the version.
        schema: The schema, as in `PostgresBackend(url, schema=…)`.

    Raises:
        ConfigurationError: This rexecutor knows no such version, or the schema's name is not valid.
    """
    # The driver of PostgreSQL is an extra, and `include_name` is for SQLite too.
    from rexecutor.backend.postgres.connection import checked_schema, migration_script, newest

    name = checked_schema(schema)
    last = checked_int("upgrade_operations: to_version", newest() if to_version is None else to_version, 0, newest())
    first = checked_int("upgrade_operations: from_version", from_version, 0, last)
    texts = [migration_script(name, number, first=number) for number in range(first + 1, last + 1)]
    return iter([text.rstrip().removesuffix(";") for text in texts])  # Alembic ends what it prints
